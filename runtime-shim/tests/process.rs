//! The process runtime passes the suite, with mounts at their paths and as links.

use std::{
    io::{Read as _, Write as _},
    net::{IpAddr, TcpStream},
    path::Path,
    sync::Arc,
    time::Duration,
};

use kubewright_runtime_shim::{
    ContainerConfig, ContainerMetadata, Containers as _, Error, ImageSpec, Mount, PodSandboxConfig, PodSandboxMetadata,
    PodSandboxes as _, SecurityContext, Streams as _,
    conformance::Subject,
    logs::LogLine,
    process::{HelperCommand, MountMode, MountPreference, ProcessConfig, ProcessRuntime},
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

/// Asks a server until it answers.
fn ask(ip: IpAddr, path: &str) -> String {
    let start = std::time::Instant::now();
    loop {
        let asked = TcpStream::connect((ip, 8080)).and_then(|mut connection| {
            write!(connection, "GET {path} HTTP/1.0\r\n\r\n")?;
            let mut answer = String::new();
            connection.read_to_string(&mut answer).map(|_| answer)
        });
        match asked {
            Ok(answer) if !answer.is_empty() => return answer,
            _ => assert!(start.elapsed() < Duration::from_secs(60), "no answer: {asked:?}"),
        }
        std::thread::yield_now();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hello_says_who_it_is_and_ends_well() {
    let directory = tempfile::tempdir().unwrap();
    let runtime = ProcessRuntime::open(config(&directory.path().join("state"))).await.unwrap();
    for name in ["web-1", "web-2"] {
        let mut pod = PodSandboxConfig::new(PodSandboxMetadata::new("shop", name, name));
        pod.log_directory = Some(directory.path().join(name));
        let ip = address();
        pod.ip = Some(ip);
        let sandbox = runtime.run_pod_sandbox(&pod).await.unwrap();
        assert_eq!(runtime.pod_sandbox_status(&sandbox).await.unwrap().ips, [ip]);
        let image = ImageSpec::new("kubewright.dev/hello:latest");
        let mut container = ContainerConfig::new(ContainerMetadata::new("web", 0), image);
        container.log_path = Some("web.log".into());
        let id = runtime.create_container(&sandbox, &container, &pod).await.unwrap();
        runtime.start_container(&id).await.unwrap();
        for request in 1..3 {
            let line = format!("hello from pod {name} in namespace shop on node node-0, request {request}\n");
            let answer = tokio::task::spawn_blocking(move || ask(ip, "/")).await.unwrap();
            assert!(answer.ends_with(&line), "{answer}");
        }
        runtime.stop_container(&id, Duration::from_secs(600)).await.unwrap();
        let status = runtime.container_status(&id).await.unwrap();
        assert_eq!((status.exit_code, status.reason.as_str()), (0, "Completed"));
        let log = std::fs::read(directory.path().join(name).join("web.log")).unwrap();
        let last = log.split_inclusive(|byte| *byte == b'\n').filter_map(LogLine::parse).next_back().unwrap();
        assert_eq!(last.text, b"hello: stopped");
    }
    runtime.shutdown().await;
}

#[tokio::test]
async fn what_could_never_run_is_refused_in_words() {
    let directory = tempfile::tempdir().unwrap();
    let runtime = ProcessRuntime::open(config(&directory.path().join("state"))).await.unwrap();
    let pod = PodSandboxConfig::new(PodSandboxMetadata::new("default", "p", "p"));
    let sandbox = runtime.run_pod_sandbox(&pod).await.unwrap();
    let container = ContainerConfig::new(ContainerMetadata::new("c", 0), ImageSpec::new("nginx:1"));
    let error = runtime.create_container(&sandbox, &container, &pod).await.unwrap_err();
    assert!(matches!(error, Error::InvalidArgument { .. }), "{error:?}");
    assert!(error.to_string().contains("no command specified") && error.to_string().contains("nginx:1"), "{error}");
    assert_eq!(std::fs::read_dir(directory.path().join("state/containers")).unwrap().count(), 0);
}

#[tokio::test]
async fn a_helper_that_is_none_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let mut config = config(directory.path());
    config.helper = HelperCommand::new("/bin/true");
    let error = ProcessRuntime::open(config).await.unwrap_err();
    assert!(error.to_string().contains("dispatch"), "{error}");
}

#[tokio::test]
async fn in_a_namespace_mounts_are_at_their_paths_and_readonly_holds() {
    let directory = tempfile::tempdir().unwrap();
    let runtime = ProcessRuntime::open(config(&directory.path().join("state"))).await.unwrap();
    if runtime.mount_mode() != MountMode::Namespace {
        return;
    }
    let volume = directory.path().join("volume");
    std::fs::create_dir(&volume).unwrap();
    std::fs::write(volume.join("key"), "value").unwrap();
    let mut pod = PodSandboxConfig::new(PodSandboxMetadata::new("default", "p", "p"));
    pod.hostname = "named".to_owned();
    let sandbox = runtime.run_pod_sandbox(&pod).await.unwrap();
    let mut container = ContainerConfig::new(ContainerMetadata::new("c", 0), ImageSpec::new("host"));
    container.command = ["sleep", "1000"].map(str::to_owned).to_vec();
    let mut mount = Mount::new("/etc/kubewright/config", &volume);
    mount.readonly = true;
    let account = Mount::new("/var/run/secrets/kubernetes.io/serviceaccount", &volume);
    container.mounts = vec![mount, account, Mount::new("/tmp/deep/down", &volume)];
    let mut security = SecurityContext::default();
    security.no_new_privs = true;
    container.security = security;
    let id = runtime.create_container(&sandbox, &container, &pod).await.unwrap();
    runtime.start_container(&id).await.unwrap();
    let run = async |script: &str| {
        let output = runtime.exec_sync(&id, &["sh", "-c", script].map(str::to_owned), None).await.unwrap();
        (output.exit_code, String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    assert_eq!(run("cat /etc/kubewright/config/key").await, (0, "value".to_owned()));
    assert_eq!(run("cat /run/secrets/kubernetes.io/serviceaccount/key").await, (0, "value".to_owned()));
    assert_ne!(run("echo x > /etc/kubewright/config/key").await.0, 0);
    assert_eq!(run("echo x > /tmp/deep/down/key; cat /etc/kubewright/config/key").await, (0, "x".to_owned()));
    assert_eq!(run("cat /proc/sys/kernel/hostname; test -s /etc/passwd").await, (0, "named".to_owned()));
    assert_eq!(run("test -k /tmp && touch /tmp/own && ls /usr/bin/env").await, (0, "/usr/bin/env".to_owned()));
    assert!(!Path::new("/tmp/own").exists() && !Path::new("/etc/kubewright").exists(), "the host is as it was");
    runtime.shutdown().await;
}
