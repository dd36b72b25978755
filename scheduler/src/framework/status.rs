//! Why a plugin said no.

use std::borrow::Cow;
use std::fmt;

use crate::object::Name;

/// The kinds of no.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Code {
    /// Something went wrong that has nothing to do with the pod's fit.
    Error,
    /// The pod doesn't fit; other pods going might help.
    Unschedulable,
    /// The pod doesn't fit, and no preemption would help.
    UnschedulableAndUnresolvable,
    /// The pod is fine but must wait for something that the plugin will hear of.
    Pending,
}

/// A plugin's no: its kind, its reasons in upstream's words, and which plugin said it.
#[derive(Clone, PartialEq, Eq)]
pub struct Status {
    code: Code,
    reasons: Reasons,
    plugin: Option<Name>,
}

#[derive(Clone, PartialEq, Eq)]
enum Reasons {
    One(Cow<'static, str>),
    Many(Box<[Cow<'static, str>]>),
}

impl Status {
    /// A no with one reason.
    pub fn new(code: Code, reason: impl Into<Cow<'static, str>>) -> Self {
        Self { code, reasons: Reasons::One(reason.into()), plugin: None }
    }

    /// A no with several reasons.
    #[must_use]
    pub fn with_reasons(code: Code, reasons: Vec<Cow<'static, str>>) -> Self {
        Self { code, reasons: Reasons::Many(reasons.into()), plugin: None }
    }

    /// The pod doesn't fit; other pods going might help.
    pub fn unschedulable(reason: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Code::Unschedulable, reason)
    }

    /// The pod doesn't fit, and no preemption would help.
    pub fn unresolvable(reason: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Code::UnschedulableAndUnresolvable, reason)
    }

    /// Something went wrong.
    pub fn error(reason: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Code::Error, reason)
    }

    /// The same, said by that plugin.
    #[must_use]
    pub fn by(mut self, plugin: &Name) -> Self {
        self.plugin = Some(plugin.clone());
        self
    }

    /// The kind of no.
    #[must_use]
    pub const fn code(&self) -> Code {
        self.code
    }

    /// The plugin that said it, once a profile has noted that.
    #[must_use]
    pub const fn plugin(&self) -> Option<&Name> {
        self.plugin.as_ref()
    }

    /// The reasons.
    #[must_use]
    pub fn reasons(&self) -> &[Cow<'static, str>] {
        match &self.reasons {
            Reasons::One(reason) => std::slice::from_ref(reason),
            Reasons::Many(reasons) => reasons,
        }
    }

    /// All reasons in one line.
    #[must_use]
    pub fn message(&self) -> String {
        self.reasons().join(", ")
    }

    /// Whether it speaks of the pod, not of something gone wrong.
    #[must_use]
    pub const fn is_rejection(&self) -> bool {
        !matches!(self.code, Code::Error)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message())
    }
}

impl fmt::Debug for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}({})", self.code, self.message())
    }
}
