/// What the runtime is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RuntimeVersion {
    /// Its name, such as `containerd`; the prefix (`containerd://`) of container ids in a pod's status.
    pub runtime_name: String,
    /// Its own version.
    pub runtime_version: String,
    /// The version of the API it speaks, such as `v1`.
    pub runtime_api_version: String,
}

impl RuntimeVersion {
    /// A runtime that speaks `v1`.
    #[must_use]
    pub fn new(runtime_name: impl Into<String>, runtime_version: impl Into<String>) -> Self {
        Self {
            runtime_name: runtime_name.into(),
            runtime_version: runtime_version.into(),
            runtime_api_version: "v1".to_owned(),
        }
    }
}

/// Who gives a pod its address.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PodAddressing {
    /// The runtime (through CNI, say): read it from [`PodSandboxStatus::ips`](super::PodSandboxStatus::ips).
    #[default]
    Runtime,
    /// The caller, in [`PodSandboxConfig::ip`](super::PodSandboxConfig::ip); pods without one share the host's.
    Caller,
}

/// One thing that is or is not well with the runtime.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RuntimeCondition {
    /// `RuntimeReady`, `NetworkReady`, or one of the runtime's own.
    pub kind: String,
    /// Whether it is well.
    pub status: bool,
    /// One word on why not.
    pub reason: String,
    /// A sentence on why not.
    pub message: String,
}

impl RuntimeCondition {
    /// The condition every runtime has: it takes calls.
    pub const RUNTIME_READY: &'static str = "RuntimeReady";
    /// The condition every runtime has: it can give pods a network.
    pub const NETWORK_READY: &'static str = "NetworkReady";

    /// All is well.
    #[must_use]
    pub fn well(kind: impl Into<String>) -> Self {
        Self { kind: kind.into(), status: true, ..Self::default() }
    }

    /// All is not well, with a word and a sentence on why.
    #[must_use]
    pub fn unwell(kind: impl Into<String>, reason: impl Into<String>, message: impl Into<String>) -> Self {
        Self { kind: kind.into(), status: false, reason: reason.into(), message: message.into() }
    }
}

/// How the runtime is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RuntimeStatus {
    /// Its conditions, `RuntimeReady` and `NetworkReady` among them.
    pub conditions: Vec<RuntimeCondition>,
    /// Who gives pods their addresses.
    pub pod_addressing: PodAddressing,
    /// Runtime handlers besides the default one.
    pub runtime_handlers: Vec<String>,
}

impl RuntimeStatus {
    /// A runtime with which all is well.
    #[must_use]
    pub fn ready(pod_addressing: PodAddressing) -> Self {
        Self {
            conditions: vec![
                RuntimeCondition::well(RuntimeCondition::RUNTIME_READY),
                RuntimeCondition::well(RuntimeCondition::NETWORK_READY),
            ],
            pod_addressing,
            runtime_handlers: Vec::new(),
        }
    }

    /// Whether the condition of this kind is there and true.
    #[must_use]
    pub fn is_ready(&self, kind: &str) -> bool {
        self.conditions.iter().any(|condition| condition.kind == kind && condition.status)
    }
}
