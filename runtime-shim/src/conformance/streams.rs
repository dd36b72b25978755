#![expect(missing_docs, reason = "the names of the cases say it")]

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{
    PATIENCE, Subject,
    pod::{Pod, shell},
};
use crate::{AttachOptions, BoxRead, ContainerConfig, ContainerMetadata, Error, ExecOptions, ImageSpec, TerminalSize};

async fn read_all(from: Option<BoxRead>) -> String {
    let mut text = String::new();
    let mut from = from.expect("a stream");
    let read = tokio::time::timeout(PATIENCE, from.read_to_string(&mut text)).await;
    read.expect("an end in time").expect("text");
    text
}

pub async fn exec_sync_gives_output_and_code(subject: Subject) {
    let pod = Pod::run(&subject, "exec").await;
    let id = pod.start_script("main", "sleep 1000").await;
    let command = shell("echo out; echo err >&2; exit 5");
    let output = subject.runtime.exec_sync(&id, &command, Some(PATIENCE)).await.expect("output");
    assert_eq!(output.exit_code, 5);
    assert_eq!((output.stdout.as_slice(), output.stderr.as_slice()), (&b"out\n"[..], &b"err\n"[..]));
    let output = subject.runtime.exec_sync(&id, &shell("exit 0"), None).await.expect("output");
    assert_eq!(output.exit_code, 0);
    pod.remove().await;
}

pub async fn exec_sync_ends_at_its_timeout(subject: Subject) {
    let pod = Pod::run(&subject, "slow").await;
    let id = pod.start_script("main", "sleep 1000").await;
    let start = Instant::now();
    let limit = Duration::from_secs(1);
    let error = subject.runtime.exec_sync(&id, &shell("sleep 900"), Some(limit)).await.expect_err("it is too slow");
    assert!(matches!(error, Error::Timeout { .. }), "{error:?}");
    assert!(start.elapsed() >= limit);
    pod.remove().await;
}

pub async fn exec_in_what_does_not_run_is_refused(subject: Subject) {
    let pod = Pod::run(&subject, "ended").await;
    let id = pod.start_script("main", "exit 0").await;
    pod.exited(&id).await;
    let error = subject.runtime.exec_sync(&id, &shell("exit 0"), None).await.expect_err("it has ended");
    assert!(matches!(error, Error::FailedPrecondition { .. }), "{error:?}");
    let error = subject.runtime.exec_sync(&"no-such".into(), &shell("exit 0"), None).await.expect_err("nothing there");
    assert!(error.is_not_found(), "{error:?}");
    pod.remove().await;
}

pub async fn exec_copies_input_to_output(subject: Subject) {
    let pod = Pod::run(&subject, "input").await;
    let id = pod.start_script("main", "sleep 1000").await;
    let options = ExecOptions::new(["cat"]).with_stdin();
    let mut session = subject.runtime.exec(&id, &options).await.expect("a session");
    let mut stdin = session.stdin.take().expect("an input");
    let sent = "a line\n".repeat(20_000);
    let write = async {
        stdin.write_all(sent.as_bytes()).await.expect("written");
        stdin.shutdown().await.expect("ended");
        drop(stdin);
    };
    let ((), received) = tokio::join!(write, read_all(session.stdout.take()));
    assert_eq!(received.len(), sent.len());
    assert_eq!(received, sent);
    let code = tokio::time::timeout(PATIENCE, session.exit).await.expect("an end in time");
    assert_eq!(code.expect("an exit code"), 0);
    pod.remove().await;
}

pub async fn exec_tells_the_exit_code(subject: Subject) {
    let pod = Pod::run(&subject, "codes").await;
    let id = pod.start_script("main", "sleep 1000").await;
    let options = ExecOptions::new(shell("echo out; echo err >&2; exit 9"));
    let mut session = subject.runtime.exec(&id, &options).await.expect("a session");
    let (out, err) = tokio::join!(read_all(session.stdout.take()), read_all(session.stderr.take()));
    assert_eq!((out.as_str(), err.as_str()), ("out\n", "err\n"));
    assert!(session.stdin.is_none() && session.resize.is_none());
    assert_eq!(session.exit.await.expect("an exit code"), 9);
    pod.remove().await;
}

pub async fn exec_with_a_terminal(subject: Subject) {
    if !subject.capabilities.terminals {
        return;
    }
    let pod = Pod::run(&subject, "terminal").await;
    let id = pod.start_script("main", "sleep 1000").await;
    let script = "test -t 0 && test -t 1 && echo terminal; read line; stty size; echo got $line; exit 4";
    let options = ExecOptions::new(shell(script)).with_stdin().with_tty();
    let mut session = subject.runtime.exec(&id, &options).await.expect("a session");
    assert!(session.stderr.is_none(), "a terminal has one output");
    let resize = session.resize.take().expect("a terminal has a size");
    resize.send(TerminalSize::new(90, 33)).await.expect("a new size");
    let mut stdout = session.stdout.take().expect("an output");
    let mut shown = String::new();
    while !shown.contains("terminal") {
        let mut chunk = [0; 256];
        let read = tokio::time::timeout(PATIENCE, stdout.read(&mut chunk)).await.expect("in time").expect("output");
        assert_ne!(read, 0, "{shown}");
        shown.push_str(&String::from_utf8_lossy(&chunk[..read]));
    }
    // The size travels beside the input: give it a head start that any runtime can keep.
    let probe = async || {
        let output = subject.runtime.exec_sync(&id, &shell("exit 0"), None).await;
        output.expect("output").exit_code
    };
    for _ in 0..3 {
        assert_eq!(probe().await, 0);
    }
    let mut stdin = session.stdin.take().expect("an input");
    stdin.write_all(b"typed\n").await.expect("typed");
    stdin.flush().await.expect("sent");
    shown.push_str(&read_all(Some(stdout)).await);
    assert!(shown.contains("got typed") && shown.contains("33 90"), "{shown}");
    assert_eq!(session.exit.await.expect("an exit code"), 4);
    pod.remove().await;
}

pub async fn attach_gives_output_and_takes_input(subject: Subject) {
    let pod = Pod::run(&subject, "attached").await;
    let mut config = pod.container("main", "cat");
    config.stdin = true;
    let id = pod.start(&config).await;
    let mut options = AttachOptions::output();
    options.stdin = true;
    let mut session = subject.runtime.attach(&id, &options).await.expect("a session");
    let mut stdin = session.stdin.take().expect("an input");
    stdin.write_all(b"echoed\n").await.expect("written");
    stdin.flush().await.expect("sent");
    let mut echoed = [0; 7];
    let mut stdout = session.stdout.take().expect("an output");
    let read = tokio::time::timeout(PATIENCE, stdout.read_exact(&mut echoed)).await;
    read.expect("in time").expect("output");
    assert_eq!(&echoed, b"echoed\n");
    pod.logged(&config.log_file(&pod.config).expect("a log"), "echoed").await;
    drop((stdin, stdout, session));
    subject.runtime.stop_container(&id, Duration::ZERO).await.expect("a stopped container");
    assert!(subject.runtime.attach(&id, &options).await.is_err(), "it does not run");
    pod.remove().await;
}

pub async fn a_port_of_a_pod_is_reached(subject: Subject) {
    let Some((image, port)) = &subject.server else { return };
    let pod = Pod::run(&subject, "served").await;
    let config = ContainerConfig::new(ContainerMetadata::new("server", 0), ImageSpec::new(image));
    pod.start(&config).await;
    let answer = super::pod::until("the server answers", async || {
        let mut connection = subject.runtime.port_forward(&pod.id, *port).await.ok()?;
        connection.write_all(b"GET /healthz HTTP/1.0\r\n\r\n").await.ok()?;
        let mut answer = String::new();
        connection.read_to_string(&mut answer).await.ok()?;
        (!answer.is_empty()).then_some(answer)
    })
    .await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    pod.remove().await;
}
