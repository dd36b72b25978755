#![expect(missing_docs, reason = "the names of the cases say it")]

use super::{
    Subject,
    pod::{Pod, pod_config},
};
use crate::{ContainerFilter, ContainerId, ContainerState, Error, PodSandboxFilter, PodSandboxState, SandboxId};

pub async fn a_sandbox_is_ready_then_stopped_then_gone(subject: Subject) {
    let runtime = &subject.runtime;
    let pod = Pod::run(&subject, "life").await;
    let status = runtime.pod_sandbox_status(&pod.id).await.expect("a status");
    assert_eq!(status.sandbox.state, PodSandboxState::Ready);
    assert_eq!(status.sandbox.metadata, pod.config.metadata);
    assert!(!status.ips.is_empty() || subject.pod_ip.is_none(), "the pod has no address");

    runtime.stop_pod_sandbox(&pod.id).await.expect("a stopped sandbox");
    runtime.stop_pod_sandbox(&pod.id).await.expect("stopped twice");
    let status = runtime.pod_sandbox_status(&pod.id).await.expect("a status");
    assert_eq!(status.sandbox.state, PodSandboxState::NotReady);

    runtime.remove_pod_sandbox(&pod.id).await.expect("a removed sandbox");
    let error = runtime.pod_sandbox_status(&pod.id).await.expect_err("it is gone");
    assert!(error.is_not_found(), "{error:?}");
    let filter = PodSandboxFilter::pod_uid(&pod.config.metadata.uid);
    assert!(runtime.list_pod_sandboxes(&filter).await.expect("a list").is_empty());
}

pub async fn a_second_sandbox_of_an_attempt_is_refused(subject: Subject) {
    let mut pod = Pod::run(&subject, "twice").await;
    let error = subject.runtime.run_pod_sandbox(&pod.config).await.expect_err("there is one");
    assert!(matches!(error, Error::AlreadyExists { .. }), "{error:?}");
    let first = pod.id.clone();
    pod.config.metadata.attempt = 1;
    pod.id = subject.runtime.run_pod_sandbox(&pod.config).await.expect("the next attempt");
    assert_ne!(pod.id, first);
    subject.runtime.remove_pod_sandbox(&first).await.expect("a removed sandbox");
    pod.config.metadata.attempt = 0;
    let again = subject.runtime.run_pod_sandbox(&pod.config).await.expect("the name is free again");
    subject.runtime.remove_pod_sandbox(&again).await.expect("a removed sandbox");
    pod.remove().await;
}

pub async fn sandboxes_are_found_by_what_they_are(subject: Subject) {
    let runtime = &subject.runtime;
    let (one, two) = (Pod::run(&subject, "one").await, Pod::run(&subject, "two").await);
    runtime.stop_pod_sandbox(&two.id).await.expect("a stopped sandbox");
    let list = async |filter: &PodSandboxFilter| -> Vec<SandboxId> {
        let found = runtime.list_pod_sandboxes(filter).await.expect("a list");
        found.into_iter().map(|sandbox| sandbox.id).collect()
    };
    assert_eq!(list(&PodSandboxFilter::pod_uid(&one.config.metadata.uid)).await, std::slice::from_ref(&one.id));
    let all = list(&PodSandboxFilter::all()).await;
    assert!(all.contains(&one.id) && all.contains(&two.id));
    let mut filter = PodSandboxFilter::all();
    filter.state = Some(PodSandboxState::Ready);
    let ready = list(&filter).await;
    assert!(ready.contains(&one.id) && !ready.contains(&two.id));
    filter.id = Some(two.id.clone());
    assert!(list(&filter).await.is_empty(), "conditions are joined by and");
    one.remove().await;
    two.remove().await;
}

pub async fn what_is_not_there_can_be_stopped_and_removed(subject: Subject) {
    let runtime = &subject.runtime;
    let (sandbox, container) = (SandboxId::new("no-such-sandbox"), ContainerId::new("no-such-container"));
    runtime.stop_pod_sandbox(&sandbox).await.expect("no error");
    runtime.remove_pod_sandbox(&sandbox).await.expect("no error");
    runtime.stop_container(&container, std::time::Duration::ZERO).await.expect("no error");
    runtime.remove_container(&container).await.expect("no error");
    let error = runtime.container_status(&container).await.expect_err("it is not there");
    assert!(error.is_not_found(), "{error:?}");
    let error = runtime.start_container(&container).await.expect_err("it is not there");
    assert!(error.is_not_found(), "{error:?}");
}

pub async fn a_stopped_sandbox_has_nothing_running(subject: Subject) {
    let pod = Pod::run(&subject, "stopping").await;
    let id = pod.start_script("main", "trap '' TERM; sleep 1000").await;
    subject.runtime.stop_pod_sandbox(&pod.id).await.expect("a stopped sandbox");
    let status = pod.exited(&id).await;
    assert_eq!(status.exit_code, 137);
    pod.remove().await;
}

pub async fn a_removed_sandbox_leaves_no_containers(subject: Subject) {
    let pod = Pod::run(&subject, "removing").await;
    pod.start_script("main", "sleep 1000").await;
    let done = pod.start_script("done", "exit 0").await;
    assert_eq!(pod.exited(&done).await.container.state, ContainerState::Exited);
    subject.runtime.remove_pod_sandbox(&pod.id).await.expect("a removed sandbox");
    let filter = ContainerFilter::sandbox(pod.id.clone());
    assert!(subject.runtime.list_containers(&filter).await.expect("a list").is_empty());
    let config = pod_config(&subject, "removing");
    let again = subject.runtime.run_pod_sandbox(&config).await.expect("the name is free again");
    subject.runtime.remove_pod_sandbox(&again).await.expect("a removed sandbox");
}
