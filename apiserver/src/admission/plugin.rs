//! What plugins that look something up have in common.

/// A plugin that holds one thing: its struct, what it is called when debugged, and how it is made.
macro_rules! plugin {
    ($(#[$doc:meta])* $name:ident, $field:ident: $lent:ty) => {
        $(#[$doc])*
        pub struct $name {
            $field: std::sync::Arc<$lent>,
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(stringify!($name))
            }
        }

        impl $name {
            /// One that asks these.
            #[must_use]
            pub fn new($field: std::sync::Arc<$lent>) -> Self {
                Self { $field }
            }
        }
    };
}

pub(super) use plugin;
