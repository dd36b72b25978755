//! The process runtime passes the suite, with mounts at their paths and as links.

use std::{net::IpAddr, path::Path, sync::Arc};

use kubewright_runtime_shim::{
    conformance::Subject,
    process::{HelperCommand, MountPreference, ProcessConfig, ProcessRuntime},
};

fn config(state_dir: &Path) -> ProcessConfig {
    let mut config = ProcessConfig::new(state_dir);
    config.helper = HelperCommand::new(env!("CARGO_BIN_EXE_kubewright-hello"));
    config.node_name = "node-0".to_owned();
    config
}

/// An address of the machine that no other test uses now.
fn address() -> IpAddr {
    use std::sync::atomic::{AtomicU8, Ordering};
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let process = std::process::id().to_le_bytes();
    IpAddr::from([127, 64 + process[1] % 64, process[0], NEXT.fetch_add(1, Ordering::Relaxed)])
}

async fn subject(mounts: MountPreference) -> Subject {
    let directory = tempfile::tempdir().expect("a directory");
    let mut config = config(&directory.path().join("state"));
    config.mounts = mounts;
    let runtime = ProcessRuntime::open(config).await.expect("a runtime");
    let mut subject = Subject::new(Arc::new(runtime), "host", directory.path());
    subject.capabilities.images = false;
    subject.pod_ip = Some(address());
    subject.server = Some(("kubewright.dev/hello".to_owned(), 8080));
    subject.guard = Some(Box::new(directory));
    subject
}

mod mounts_where_they_work_best {
    use super::*;

    async fn best() -> Subject {
        subject(MountPreference::Auto).await
    }

    kubewright_runtime_shim::conformance_tests!(best);
}

mod mounts_as_links {
    use super::*;

    async fn links() -> Subject {
        subject(MountPreference::Symlinks).await
    }

    kubewright_runtime_shim::conformance_tests!(links);
}
