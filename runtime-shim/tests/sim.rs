//! The simulated runtime passes the suite, and does what it is told besides.

use std::{sync::Arc, time::Duration};

use kubewright_runtime_shim::{
    ContainerConfig, ContainerMetadata, ContainerState, Containers as _, Error, ImageSpec, PodSandboxConfig,
    PodSandboxMetadata, PodSandboxes as _, Stats as _,
    conformance::Subject,
    sim::{Operation, SimConfig, SimRuntime},
};

async fn subject() -> Subject {
    let mut config = SimConfig::default();
    config.images = vec!["busybox".to_owned()];
    let directory = tempfile::tempdir().expect("a directory");
    let mut subject = Subject::new(Arc::new(SimRuntime::new(config)), "busybox", directory.path());
    subject.capabilities.programs = false;
    subject.capabilities.terminals = false;
    subject.guard = Some(Box::new(directory));
    subject
}

mod conformance {
    kubewright_runtime_shim::conformance_tests!(super::subject);
}

fn pod() -> PodSandboxConfig {
    PodSandboxConfig::new(PodSandboxMetadata::new("default", "web", "uid"))
}

fn container(command: &[&str]) -> ContainerConfig {
    let mut config = ContainerConfig::new(ContainerMetadata::new("c", 0), ImageSpec::new("web"));
    config.command = command.iter().map(|word| (*word).to_owned()).collect();
    config
}

fn runtime() -> SimRuntime {
    let mut config = SimConfig::default();
    config.images = vec!["web".to_owned()];
    SimRuntime::new(config)
}

#[tokio::test(start_paused = true)]
async fn containers_end_when_the_clock_says_so() {
    let runtime = runtime();
    let sandbox = runtime.run_pod_sandbox(&pod()).await.unwrap();
    let id = runtime.create_container(&sandbox, &container(&["sleep", "3600"]), &pod()).await.unwrap();
    runtime.start_container(&id).await.unwrap();
    tokio::time::advance(Duration::from_secs(3599)).await;
    assert_eq!(runtime.container_status(&id).await.unwrap().container.state, ContainerState::Running);
    tokio::time::advance(Duration::from_secs(1)).await;
    let status = runtime.container_status(&id).await.unwrap();
    assert_eq!(status.container.state, ContainerState::Exited);
    let ran = status.finished_at.unwrap().duration_since(status.started_at.unwrap()).unwrap();
    assert_eq!(ran, Duration::from_secs(3600));
    let cpu = runtime.container_stats(&id).await.unwrap().cpu.unwrap();
    assert_eq!(cpu.usage_core_nano_seconds, 36_000_000_000);
}

#[tokio::test(start_paused = true)]
async fn errors_and_delays_are_as_asked_for() {
    let runtime = runtime();
    runtime.fail_next(Operation::RunPodSandbox, Error::unavailable("first"));
    runtime.fail_next(Operation::RunPodSandbox, Error::unavailable("second"));
    assert_eq!(runtime.run_pod_sandbox(&pod()).await.unwrap_err().to_string(), "first");
    assert_eq!(runtime.run_pod_sandbox(&pod()).await.unwrap_err().to_string(), "second");
    runtime.fail_always(Operation::StopPodSandbox, Error::unavailable("always"));
    runtime.delay(Operation::RunPodSandbox, Duration::from_secs(7));
    let start = tokio::time::Instant::now();
    let sandbox = runtime.run_pod_sandbox(&pod()).await.unwrap();
    assert_eq!(start.elapsed(), Duration::from_secs(7));
    for _ in 0..2 {
        assert_eq!(runtime.stop_pod_sandbox(&sandbox).await.unwrap_err().to_string(), "always");
    }
    runtime.heal();
    runtime.stop_pod_sandbox(&sandbox).await.unwrap();
    let calls: Vec<_> = runtime.take_calls().into_iter().map(|call| (call.operation, call.target)).collect();
    assert_eq!(calls[0], (Operation::RunPodSandbox, "default/web".to_owned()));
    assert_eq!(calls.len(), 6);
}

#[tokio::test]
async fn the_same_calls_give_the_same_ids_and_addresses() {
    let mut seen = Vec::new();
    for _ in 0..2 {
        let runtime = runtime();
        let sandbox = runtime.run_pod_sandbox(&pod()).await.unwrap();
        let container = runtime.create_container(&sandbox, &container(&[]), &pod()).await.unwrap();
        seen.push((runtime.pod_sandbox_status(&sandbox).await.unwrap().ips, sandbox, container));
    }
    assert_eq!(seen[0], seen[1]);
    assert_eq!(seen[0].0[0].to_string(), "10.128.0.1");
}
