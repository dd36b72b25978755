#![expect(missing_docs, reason = "the names of the cases say it")]

use super::{
    Subject,
    pod::{Pod, read_log},
};

pub async fn logs_tell_output_from_error(subject: Subject) {
    let pod = Pod::run(&subject, "logs").await;
    let config = pod.container("main", "echo out; echo err >&2; exit 1");
    let id = pod.start(&config).await;
    pod.exited(&id).await;
    let mut lines = read_log(&config.log_file(&pod.config).expect("a log"));
    lines.sort();
    assert_eq!(lines, [("stderr".to_owned(), "err".to_owned()), ("stdout".to_owned(), "out".to_owned())]);
    pod.remove().await;
}

pub async fn logs_can_be_rotated(subject: Subject) {
    let pod = Pod::run(&subject, "rotated").await;
    let config = pod.container("main", "echo one; sleep 2; echo two; sleep 1000");
    let id = pod.start(&config).await;
    let log = config.log_file(&pod.config).expect("a log");
    pod.logged(&log, "one").await;
    let old = log.with_extension("old");
    std::fs::rename(&log, &old).expect("a moved log");
    subject.runtime.reopen_container_log(&id).await.expect("a new log");
    super::pod::until("the second line is written", async || {
        // The state is looked at too, for runtimes in which things happen when they are looked at.
        pod.status(&id).await;
        (read_log(&old).len() + read_log(&log).len() == 2).then_some(())
    })
    .await;
    assert!(log.exists(), "there is a new file");
    assert_eq!(read_log(&old)[0].1, "one");
    subject.runtime.stop_container(&id, std::time::Duration::ZERO).await.expect("a stopped container");
    assert!(subject.runtime.reopen_container_log(&id).await.is_err(), "it does not run");
    pod.remove().await;
}

pub async fn a_pod_without_logs_runs(subject: Subject) {
    let mut config = super::pod::pod_config(&subject, "silent");
    config.log_directory = None;
    let id = subject.runtime.run_pod_sandbox(&config).await.expect("a sandbox");
    let pod = Pod { subject: &subject, config, id };
    let mut config = pod.container("main", "echo unheard");
    config.log_path = None;
    let id = pod.start(&config).await;
    let status = pod.exited(&id).await;
    assert_eq!((status.exit_code, status.log_path), (0, None));
    pod.remove().await;
}
