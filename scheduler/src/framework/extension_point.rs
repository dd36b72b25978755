//! The places at which plugins take part.

use super::plugin::PluginRef;

/// The extension points.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "upstream's names, documented at the plugin traits")]
pub enum ExtensionPoint {
    PreEnqueue,
    QueueSort,
    PreFilter,
    Filter,
    PostFilter,
    PreScore,
    Score,
    Reserve,
    Permit,
    PreBind,
    Bind,
    PostBind,
}

impl ExtensionPoint {
    /// All of them, in the order in which they run.
    pub const ALL: [Self; 12] = [
        Self::PreEnqueue,
        Self::QueueSort,
        Self::PreFilter,
        Self::Filter,
        Self::PostFilter,
        Self::PreScore,
        Self::Score,
        Self::Reserve,
        Self::Permit,
        Self::PreBind,
        Self::Bind,
        Self::PostBind,
    ];

    /// Whether a plugin serves it.
    #[must_use]
    pub fn is_served_by(self, plugin: &PluginRef) -> bool {
        let p = || plugin.clone();
        match self {
            Self::PreEnqueue => p().pre_enqueue().is_some(),
            Self::QueueSort => p().queue_sort().is_some(),
            Self::PreFilter => p().pre_filter().is_some(),
            Self::Filter => p().filter().is_some(),
            Self::PostFilter => p().post_filter().is_some(),
            Self::PreScore => p().pre_score().is_some(),
            Self::Score => p().score().is_some(),
            Self::Reserve => p().reserve().is_some(),
            Self::Permit => p().permit().is_some(),
            Self::PreBind => p().pre_bind().is_some(),
            Self::Bind => p().bind().is_some(),
            Self::PostBind => p().post_bind().is_some(),
        }
    }
}
