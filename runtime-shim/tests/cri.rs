//! A runtime that speaks the CRI passes the suite: the one at `KUBEWRIGHT_CRI_ENDPOINT`, which has the image
//! `KUBEWRIGHT_CRI_IMAGE` (with `sh`) and `KUBEWRIGHT_CRI_HELLO` (a server on port 8080). `.ci/containerd` brings one up.

use std::sync::Arc;

use kubewright_runtime_shim::{
    conformance::Subject,
    cri::{CriConfig, CriRuntime},
};

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| {
        panic!("{name} is not set: run these tests by `.ci/containerd test`, or without the feature cri-e2e")
    })
}

async fn subject() -> Subject {
    let directory = tempfile::tempdir().expect("a directory");
    let runtime = CriRuntime::connect(CriConfig::new(variable("KUBEWRIGHT_CRI_ENDPOINT"))).await.expect("a runtime");
    let mut subject = Subject::new(Arc::new(runtime), variable("KUBEWRIGHT_CRI_IMAGE"), directory.path());
    // Its images were brought in by hand, and nobody can be asked for others.
    subject.capabilities.pull = false;
    subject.server = Some((variable("KUBEWRIGHT_CRI_HELLO"), 8080));
    subject.guard = Some(Box::new(directory));
    subject
}

mod conformance {
    kubewright_runtime_shim::conformance_tests!(super::subject);
}
