#![expect(missing_docs, reason = "the names of the cases say it")]

use std::time::{Duration, Instant};

use super::{
    Subject,
    pod::{Pod, env, read_log},
};
use crate::{ContainerFilter, ContainerId, ContainerState, Error, Mount, reason};

/// A timeout that a test must not have to sit out.
const LONG: Duration = Duration::from_secs(600);

pub async fn a_container_runs_to_its_end(subject: Subject) {
    let pod = Pod::run(&subject, "run").await;
    let config = pod.container("main", "echo done");
    let id = pod.create(&config).await.expect("a container");
    let status = pod.status(&id).await;
    assert_eq!(status.container.state, ContainerState::Created);
    assert_eq!((status.started_at, status.finished_at), (None, None));
    subject.runtime.start_container(&id).await.expect("a started container");
    let status = pod.exited(&id).await;
    assert_eq!((status.exit_code, status.reason.as_str()), (0, reason::COMPLETED));
    let (started, finished) = (status.started_at.expect("a start"), status.finished_at.expect("an end"));
    assert!(status.container.created_at <= started && started <= finished);
    let log = config.log_file(&pod.config).expect("a log");
    assert_eq!(read_log(&log), [("stdout".to_owned(), "done".to_owned())], "the log is complete at the end");
    pod.remove().await;
}

pub async fn an_exit_code_is_told(subject: Subject) {
    let pod = Pod::run(&subject, "code").await;
    let id = pod.start_script("main", "exit 42").await;
    let status = pod.exited(&id).await;
    assert_eq!((status.exit_code, status.reason.as_str()), (42, reason::ERROR));
    pod.remove().await;
}

pub async fn a_container_starts_once(subject: Subject) {
    let pod = Pod::run(&subject, "once").await;
    let id = pod.start_script("main", "sleep 1000").await;
    let error = subject.runtime.start_container(&id).await.expect_err("it runs");
    assert!(matches!(error, Error::FailedPrecondition { .. }), "{error:?}");
    let done = pod.start_script("done", "exit 0").await;
    pod.exited(&done).await;
    let error = subject.runtime.start_container(&done).await.expect_err("it has ended");
    assert!(matches!(error, Error::FailedPrecondition { .. }), "{error:?}");
    pod.remove().await;
}

pub async fn a_container_that_is_there_is_not_made_again(subject: Subject) {
    let pod = Pod::run(&subject, "same").await;
    let config = pod.container("main", "sleep 1000");
    let id = pod.create(&config).await.expect("a container");
    let error = pod.create(&config).await.expect_err("there is one");
    assert!(matches!(error, Error::AlreadyExists { .. }), "{error:?}");
    subject.runtime.remove_container(&id).await.expect("a removed container");
    let again = pod.create(&config).await.expect("the name is free again");
    assert_ne!(again, id);
    pod.remove().await;
}

pub async fn the_next_attempt_is_another_container(subject: Subject) {
    let pod = Pod::run(&subject, "attempts").await;
    let mut config = pod.container("main", "exit 1");
    let first = pod.start(&config).await;
    pod.exited(&first).await;
    config.metadata.attempt = 1;
    let second = pod.start(&config).await;
    assert_ne!(first, second);
    assert_eq!(pod.exited(&second).await.container.metadata.attempt, 1);
    assert_eq!(pod.status(&first).await.container.metadata.attempt, 0, "the old one stays until removed");
    pod.remove().await;
}

pub async fn a_container_needs_a_ready_sandbox(subject: Subject) {
    let mut pod = Pod::run(&subject, "sandboxless").await;
    let config = pod.container("main", "exit 0");
    let sandbox = std::mem::replace(&mut pod.id, "no-such-sandbox".into());
    let error = pod.create(&config).await.expect_err("there is no sandbox");
    assert!(error.is_not_found(), "{error:?}");
    pod.id = sandbox;
    subject.runtime.stop_pod_sandbox(&pod.id).await.expect("a stopped sandbox");
    assert!(pod.create(&config).await.is_err(), "the sandbox is stopped");
    pod.remove().await;
}

pub async fn a_program_that_is_not_there_is_a_start_error(subject: Subject) {
    if !subject.capabilities.programs {
        return;
    }
    let pod = Pod::run(&subject, "programless").await;
    let mut config = pod.container("main", "");
    config.command = vec!["no-such-program".to_owned()];
    let id = pod.create(&config).await.expect("a container");
    let error = subject.runtime.start_container(&id).await.expect_err("it cannot start");
    assert!(matches!(error, Error::Start { .. }), "{error:?}");
    assert!(error.to_string().contains("no-such-program"), "{error}");
    let status = pod.exited(&id).await;
    assert_eq!((status.exit_code, status.reason.as_str()), (128, reason::START_ERROR));
    assert!(status.message.contains("no-such-program"), "{}", status.message);
    pod.remove().await;
}

pub async fn a_stop_asks_first(subject: Subject) {
    let pod = Pod::run(&subject, "asking").await;
    let config = pod.container("main", "trap 'exit 7' TERM; echo ready; sleep 1000 & wait");
    let id = pod.start(&config).await;
    pod.logged(&config.log_file(&pod.config).expect("a log"), "ready").await;
    let start = Instant::now();
    subject.runtime.stop_container(&id, LONG).await.expect("a stopped container");
    assert!(start.elapsed() < LONG, "it did not wait for more than the end");
    let status = pod.status(&id).await;
    assert_eq!(status.container.state, ContainerState::Exited, "it is exited on return");
    assert_eq!((status.exit_code, status.reason.as_str()), (7, reason::ERROR));
    pod.remove().await;
}

pub async fn a_stop_kills_in_the_end(subject: Subject) {
    let pod = Pod::run(&subject, "insisting").await;
    let config = pod.container("main", "trap '' TERM; echo ready; sleep 1000");
    let id = pod.start(&config).await;
    pod.logged(&config.log_file(&pod.config).expect("a log"), "ready").await;
    let (start, patience) = (Instant::now(), Duration::from_secs(1));
    subject.runtime.stop_container(&id, patience).await.expect("a stopped container");
    assert!(start.elapsed() >= patience, "it was given its time");
    let status = pod.status(&id).await;
    assert_eq!((status.container.state, status.exit_code), (ContainerState::Exited, 137));
    pod.remove().await;
}

pub async fn a_stop_without_time_kills_at_once(subject: Subject) {
    let pod = Pod::run(&subject, "killing").await;
    let config = pod.container("main", "trap 'exit 0' TERM; echo ready; sleep 1000 & wait");
    let id = pod.start(&config).await;
    pod.logged(&config.log_file(&pod.config).expect("a log"), "ready").await;
    subject.runtime.stop_container(&id, Duration::ZERO).await.expect("a stopped container");
    assert_eq!(pod.status(&id).await.exit_code, 137);
    pod.remove().await;
}

pub async fn a_container_that_does_not_run_can_be_stopped(subject: Subject) {
    let pod = Pod::run(&subject, "still").await;
    let id = pod.start_script("main", "exit 3").await;
    let before = pod.exited(&id).await;
    subject.runtime.stop_container(&id, LONG).await.expect("no error");
    subject.runtime.stop_container(&id, Duration::ZERO).await.expect("no error");
    assert_eq!(pod.status(&id).await, before, "its end is not rewritten");
    let created = pod.create(&pod.container("new", "exit 0")).await.expect("a container");
    subject.runtime.stop_container(&created, LONG).await.expect("no error");
    pod.remove().await;
}

pub async fn a_running_container_can_be_removed(subject: Subject) {
    let pod = Pod::run(&subject, "forced").await;
    let id = pod.start_script("main", "trap '' TERM; sleep 1000").await;
    subject.runtime.remove_container(&id).await.expect("a removed container");
    subject.runtime.remove_container(&id).await.expect("removed twice");
    let error = subject.runtime.container_status(&id).await.expect_err("it is gone");
    assert!(error.is_not_found(), "{error:?}");
    pod.remove().await;
}

pub async fn containers_are_found_by_what_they_are(subject: Subject) {
    let pod = Pod::run(&subject, "found").await;
    let (up, down) = (pod.start_script("up", "sleep 1000").await, pod.start_script("down", "exit 0").await);
    pod.exited(&down).await;
    let list = async |filter: &ContainerFilter| -> Vec<ContainerId> {
        let found = subject.runtime.list_containers(filter).await.expect("a list");
        let mut ids: Vec<_> = found.into_iter().map(|container| container.id).collect();
        ids.sort();
        ids
    };
    let mut both = vec![up.clone(), down.clone()];
    both.sort();
    assert_eq!(list(&ContainerFilter::sandbox(pod.id.clone())).await, both);
    assert_eq!(list(&ContainerFilter::pod_uid(&pod.config.metadata.uid)).await, both);
    let mut filter = ContainerFilter::sandbox(pod.id.clone());
    filter.state = Some(ContainerState::Running);
    assert_eq!(list(&filter).await, std::slice::from_ref(&up));
    filter.id = Some(down.clone());
    assert!(list(&filter).await.is_empty(), "conditions are joined by and");
    filter.state = None;
    assert_eq!(list(&filter).await, [down]);
    pod.remove().await;
}

pub async fn a_status_tells_what_was_asked_for(subject: Subject) {
    let pod = Pod::run(&subject, "asked").await;
    let mut config = pod.container("main", "sleep 1000");
    config.annotations.insert("io.kubernetes.container.hash".to_owned(), "5eed".to_owned());
    config.mounts = vec![Mount::new("/data", subject.directory.join("volume"))];
    let id = pod.start(&config).await;
    let status = pod.status(&id).await;
    assert_eq!(status.container.id, id);
    assert_eq!(status.container.metadata, config.metadata);
    assert_eq!(status.container.labels, config.labels);
    assert_eq!(status.container.annotations, config.annotations);
    assert_eq!(status.container.image.image, config.image.image);
    assert!(!status.container.image_ref.as_str().is_empty());
    assert_eq!(status.mounts, config.mounts);
    assert_eq!(status.log_path, config.log_file(&pod.config));
    let listed = subject.runtime.list_containers(&ContainerFilter::sandbox(pod.id.clone())).await.expect("a list");
    assert_eq!(listed[0].sandbox_id, pod.id);
    assert_eq!(listed[0].labels, config.labels);
    pod.remove().await;
}

pub async fn a_container_has_its_environment_and_directory(subject: Subject) {
    if !subject.capabilities.programs {
        return;
    }
    let pod = Pod::run(&subject, "surroundings").await;
    let mut config = pod.container("main", "echo $GREETING; pwd; echo $0 $1; echo ${SECRET:-unset}");
    config.envs = vec![env("GREETING", "first"), env("GREETING", "hello there")];
    config.args = vec!["zero".to_owned(), "one".to_owned()];
    config.working_dir = Some("/tmp".to_owned());
    let id = pod.start(&config).await;
    assert_eq!(pod.exited(&id).await.exit_code, 0);
    let lines: Vec<String> =
        read_log(&config.log_file(&pod.config).expect("a log")).into_iter().map(|(_, line)| line).collect();
    assert_eq!(lines, ["hello there", "/tmp", "zero one", "unset"]);
    pod.remove().await;
}

pub async fn a_container_sees_its_volumes(subject: Subject) {
    if !subject.capabilities.programs {
        return;
    }
    let volume = subject.directory.join("volume");
    std::fs::create_dir_all(&volume).expect("a directory");
    std::fs::write(volume.join("in"), "from the host\n").expect("a file");
    let pod = Pod::run(&subject, "volumes").await;
    // The variable is empty where mounts are at their paths.
    let script = "cd ${KUBEWRIGHT_ROOT:-/}; cat srv/deep/data/in; echo back > srv/deep/data/out; cat srv/one-file";
    let mut config = pod.container("main", script);
    config.mounts = vec![Mount::new("/srv/deep/data", &volume), Mount::new("/srv/one-file", volume.join("in"))];
    let id = pod.start(&config).await;
    let status = pod.exited(&id).await;
    let log = read_log(&config.log_file(&pod.config).expect("a log"));
    assert_eq!(status.exit_code, 0, "{log:?}");
    let line = ("stdout".to_owned(), "from the host".to_owned());
    assert_eq!(log, [line.clone(), line]);
    assert_eq!(std::fs::read_to_string(volume.join("out")).expect("a file"), "back\n");
    pod.remove().await;
}

pub async fn many_containers_at_once(subject: Subject) {
    let pod = Pod::run(&subject, "many").await;
    let lives = (0..16).map(async |n| {
        let id = pod.start_script(&format!("c{n}"), &format!("exit {n}")).await;
        assert_eq!(pod.exited(&id).await.exit_code, n);
        subject.runtime.remove_container(&id).await.expect("a removed container");
    });
    futures::future::join_all(lives).await;
    let filter = ContainerFilter::sandbox(pod.id.clone());
    assert!(subject.runtime.list_containers(&filter).await.expect("a list").is_empty());
    pod.remove().await;
}
