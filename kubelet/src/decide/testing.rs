//! Short ways to make what the tests of this folder need.

use jiff::Timestamp;
use kubewright_runtime_shim::{ContainerState, SandboxId};

use super::{ContainerView, RuntimePod, SandboxView};
use crate::objects::Pod;

pub(super) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

pub(super) fn pod(spec: serde_json::Value) -> Pod {
    let metadata = serde_json::json!({"name": "p", "namespace": "ns", "uid": "u"});
    serde_json::from_value(serde_json::json!({"metadata": metadata, "spec": spec})).unwrap()
}

pub(super) fn view(name: &str, attempt: u32, state: ContainerState) -> ContainerView {
    ContainerView {
        id: format!("{name}-{attempt}").into(),
        sandbox_id: "s0".into(),
        name: name.to_owned(),
        attempt,
        state,
        created_at: at(10 + i64::from(attempt)),
        started_at: None,
        finished_at: None,
        exit_code: 0,
        reason: String::new(),
        message: String::new(),
        image: "img".into(),
        image_id: "sha256:1".into(),
        hash: None,
    }
}

pub(super) fn running(name: &str, attempt: u32) -> ContainerView {
    ContainerView { started_at: Some(at(20)), ..view(name, attempt, ContainerState::Running) }
}

pub(super) fn exited(name: &str, attempt: u32, exit_code: i32) -> ContainerView {
    let view = view(name, attempt, ContainerState::Exited);
    ContainerView { started_at: Some(at(20)), finished_at: Some(at(30)), exit_code, ..view }
}

pub(super) fn sandbox(attempt: u32, ready: bool) -> SandboxView {
    SandboxView {
        id: SandboxId::new(format!("s{attempt}")),
        attempt,
        ready,
        host_network: false,
        ips: vec!["10.0.0.7".parse().unwrap()],
        created_at: at(5),
    }
}

/// A ready sandbox with these containers, the newest first.
pub(super) fn runtime<const N: usize>(containers: [ContainerView; N]) -> RuntimePod {
    RuntimePod { sandboxes: vec![sandbox(0, true)], containers: containers.into() }
}
