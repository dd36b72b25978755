//! What becomes of containers when processes die that should not, and of everything when containers go.
//!
//! This is a program of its own rather than `#[test]`s: it is its own container helper, and it hosts runtimes in
//! processes that it can kill.

use std::{
    ffi::OsString,
    fs,
    io::{BufRead as _, BufReader, Read as _},
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::Path,
    process::{Child, Command, ExitCode, Stdio},
    time::{Duration, Instant},
};

use kubewright_runtime_shim::{
    ContainerConfig, ContainerFilter, ContainerId, ContainerMetadata, ContainerState, Containers as _, Error,
    ImageSpec, Mount, PodSandboxConfig, PodSandboxFilter, PodSandboxMetadata, PodSandboxState, PodSandboxes as _,
    SandboxId, Stats as _, Streams as _,
    logs::LogLine,
    process::{MountMode, MountPreference, ProcessConfig, ProcessRuntime, dispatch},
};

const PATIENCE: Duration = Duration::from_secs(60);
/// The user that stands for any without privileges.
const NOBODY: u32 = 65534;

fn main() -> ExitCode {
    if let Some(code) = dispatch(std::env::args_os()) {
        return code;
    }
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let tokio = tokio::runtime::Runtime::new().expect("a tokio runtime");
    match arguments.as_slice() {
        [task, state_dir, script] if task == "host" => {
            tokio.block_on(host(Path::new(state_dir), script.to_str().expect("text")));
        }
        _ => tokio.block_on(async {
            processes_that_slip_away_are_killed().await;
            a_killed_host_leaves_nothing().await;
            a_killed_supervisor_leaves_nothing().await;
            a_directory_is_one_runtimes_own().await;
            a_user_without_privileges_has_containers().await;
            two_hundred_containers_leave_nothing().await;
        }),
    }
    ExitCode::SUCCESS
}

/// A program that hosts a runtime with one container until its input ends.
async fn host(state_dir: &Path, script: &str) {
    let runtime = ProcessRuntime::open(ProcessConfig::new(state_dir)).await.expect("a runtime");
    let pod = Pod::run(&runtime, "hosted", state_dir).await;
    let id = pod.start(script, 0).await;
    println(&format!("{id} {:?}", runtime.mount_mode()));
    let mut input = String::new();
    std::io::stdin().read_to_string(&mut input).expect("input");
    runtime.shutdown().await;
}

fn println(line: &str) {
    use std::io::Write as _;
    writeln!(std::io::stdout(), "{line}").expect("output");
}

struct Pod<'a> {
    runtime: &'a ProcessRuntime,
    config: PodSandboxConfig,
    id: SandboxId,
}

impl<'a> Pod<'a> {
    async fn run(runtime: &'a ProcessRuntime, name: &str, directory: &Path) -> Pod<'a> {
        let mut config = PodSandboxConfig::new(PodSandboxMetadata::new("default", name, name));
        config.log_directory = Some(directory.join("logs"));
        let id = runtime.run_pod_sandbox(&config).await.expect("a sandbox");
        Pod { runtime, config, id }
    }

    fn container(&self, script: &str, attempt: u32) -> ContainerConfig {
        let mut config = ContainerConfig::new(ContainerMetadata::new("main", attempt), ImageSpec::new("host"));
        config.command = ["sh", "-c", script].map(str::to_owned).to_vec();
        config.log_path = Some("main.log".into());
        config
    }

    async fn start(&self, script: &str, attempt: u32) -> ContainerId {
        let config = self.container(script, attempt);
        let id = self.runtime.create_container(&self.id, &config, &self.config).await.expect("a container");
        self.runtime.start_container(&id).await.expect("a started container");
        id
    }
}

/// A script whose processes take other sessions, other parents and other environments; `seconds` tells them apart.
fn slippery(seconds: u64) -> String {
    format!(
        "setsid sleep {seconds}.1 & (setsid setsid sleep {seconds}.2 &) ; (env -i setsid sh -c 'sleep {seconds}.3 &') ; \
         sh -c 'trap \"\" TERM HUP; sleep {seconds}.4' & echo up; sleep {seconds}.5"
    )
}

/// Processes that a script of [`slippery`] started.
fn slipped(seconds: u64) -> Vec<String> {
    let of = |entry: fs::DirEntry| -> Option<String> {
        entry.file_name().to_str()?.parse::<u32>().ok()?;
        let line = fs::read(entry.path().join("cmdline")).ok()?;
        let words: Vec<String> =
            line.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into()).collect();
        let is_one = words.first()? == "sleep" && words.get(1)?.starts_with(&format!("{seconds}."));
        is_one.then(|| words.join(" "))
    };
    fs::read_dir("/proc").expect("/proc").flatten().filter_map(of).collect()
}

async fn until(what: &str, mut look: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while !look().await {
        assert!(start.elapsed() < PATIENCE, "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn lines(log: &Path) -> Vec<String> {
    let text = fs::read(log).unwrap_or_default();
    let parsed = text.split_inclusive(|byte| *byte == b'\n').filter_map(LogLine::parse);
    parsed.map(|line| String::from_utf8_lossy(line.text).into_owned()).collect()
}

async fn processes_that_slip_away_are_killed() {
    let directory = tempfile::tempdir().expect("a directory");
    let runtime = ProcessRuntime::open(ProcessConfig::new(directory.path())).await.expect("a runtime");
    let pod = Pod::run(&runtime, "slippery", directory.path()).await;
    for (attempt, timeout) in [(0, Duration::ZERO), (1, PATIENCE)] {
        let seconds = 71_000 + u64::from(std::process::id() % 1000) + u64::from(attempt) * 1000;
        let id = pod.start(&slippery(seconds), attempt).await;
        until("all five run", async || slipped(seconds).len() == 5).await;
        runtime.stop_container(&id, timeout).await.expect("a stopped container");
        assert_eq!(slipped(seconds), Vec::<String>::new());
    }
    runtime.remove_pod_sandbox(&pod.id).await.expect("a removed sandbox");
    println("processes that slip away are killed");
}

/// Starts a host, and waits until its container is up. Returns the host, the container's id, and how it mounts.
fn start_host(program: &Path, state_dir: &Path, script: &str, user: Option<u32>) -> (Child, ContainerId, String) {
    let mut command = Command::new(program);
    command.arg("host").arg(state_dir).arg(script).stdin(Stdio::piped()).stdout(Stdio::piped());
    if let Some(user) = user {
        command.uid(user).gid(user).current_dir("/");
    }
    let mut host = command.spawn().expect("a host");
    let mut line = String::new();
    BufReader::new(host.stdout.take().expect("its output")).read_line(&mut line).expect("a line");
    let (id, mode) = line.trim().split_once(' ').expect("an id and a mode");
    (host, ContainerId::new(id), mode.to_owned())
}

async fn a_killed_host_leaves_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let seconds = 73_000 + u64::from(std::process::id() % 1000);
    let program = std::env::current_exe().expect("this program");
    let (mut host, id, _) = start_host(&program, directory.path(), &slippery(seconds), None);
    until("all five run", async || slipped(seconds).len() == 5).await;
    host.kill().expect("kill -9");
    host.wait().expect("an end");
    until("nothing runs", async || slipped(seconds).is_empty()).await;

    let runtime = ProcessRuntime::open(ProcessConfig::new(directory.path())).await.expect("a runtime");
    let status = runtime.container_status(&id).await.expect("the container is known");
    assert_eq!((status.container.state, status.exit_code), (ContainerState::Exited, 137));
    assert!(!status.message.is_empty() && status.finished_at >= status.started_at);
    let sandboxes = runtime.list_pod_sandboxes(&PodSandboxFilter::all()).await.expect("a list");
    assert_eq!(sandboxes.iter().map(|sandbox| sandbox.state).collect::<Vec<_>>(), [PodSandboxState::NotReady]);
    assert!(runtime.start_container(&id).await.is_err());
    runtime.remove_pod_sandbox(&sandboxes[0].id).await.expect("a removed sandbox");
    for kept in ["containers", "sandboxes"] {
        assert_eq!(fs::read_dir(directory.path().join(kept)).expect("a directory").count(), 0);
    }
    println("a killed host leaves nothing");
}

async fn a_killed_supervisor_leaves_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let runtime = ProcessRuntime::open(ProcessConfig::new(directory.path())).await.expect("a runtime");
    let pod = Pod::run(&runtime, "unsupervised", directory.path()).await;
    let seconds = 74_000 + u64::from(std::process::id() % 1000);
    // Without the process that hides its environment: of this one, nobody knows any more.
    let id = pod.start(&format!("setsid sleep {seconds}.1 & (setsid sleep {seconds}.2 &); sleep {seconds}.3"), 0).await;
    until("all three run", async || slipped(seconds).len() == 3).await;
    let status = directory.path().join("containers").join(id.as_str()).join("status.json");
    let status: serde_json::Value = serde_json::from_slice(&fs::read(status).expect("a file")).expect("JSON");
    let supervisor = status["supervisor"]["pid"].to_string();
    assert!(Command::new("sh").args(["-c", "kill -9 $0", &supervisor]).status().expect("kill").success());
    until("it is exited", async || {
        let status = runtime.container_status(&id).await.expect("a status");
        status.container.state == ContainerState::Exited && status.exit_code == 137
    })
    .await;
    assert_eq!(slipped(seconds), Vec::<String>::new());
    runtime.remove_pod_sandbox(&pod.id).await.expect("a removed sandbox");
    println("a killed supervisor leaves nothing");
}

async fn a_directory_is_one_runtimes_own() {
    let directory = tempfile::tempdir().expect("a directory");
    let first = ProcessRuntime::open(ProcessConfig::new(directory.path())).await.expect("a runtime");
    let error = ProcessRuntime::open(ProcessConfig::new(directory.path())).await.expect_err("it is in use");
    assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
    assert!(error.to_string().contains(&format!("in use by process {}", std::process::id())), "{error}");
    first.shutdown().await;
    drop(first);
    ProcessRuntime::open(ProcessConfig::new(directory.path())).await.expect("it is free again");
    println("a directory is one runtime's own");
}

/// Only as root is there another user to become; as an ordinary user, all the other cases are this one.
async fn a_user_without_privileges_has_containers() {
    if !fs::read_to_string("/proc/self/status").expect("a status").contains("\nUid:\t0\t0\t") {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let (program, state_dir) = (directory.path().join("host"), directory.path().join("state"));
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).expect("permissions");
    fs::copy(std::env::current_exe().expect("this program"), &program).expect("a copy");
    fs::create_dir(&state_dir).expect("a directory");
    std::os::unix::fs::chown(&state_dir, Some(NOBODY), Some(NOBODY)).expect("another owner");
    let seconds = 75_000 + u64::from(std::process::id() % 1000);
    let script = format!("echo \"$(id -u):$(id -g)\"; {}", slippery(seconds));
    let (mut host, _, mode) = start_host(&program, &state_dir, &script, Some(NOBODY));
    let log = state_dir.join("logs/main.log");
    until("its log is written", async || lines(&log).len() == 2).await;
    assert_eq!(lines(&log), [format!("{NOBODY}:{NOBODY}"), "up".to_owned()]);
    until("all five run", async || slipped(seconds).len() == 5).await;
    drop(host.stdin.take());
    assert!(host.wait().expect("an end").success());
    assert_eq!(slipped(seconds), Vec::<String>::new());
    println(&format!("a user without privileges has containers ({mode})"));
}

/// What could be left behind: open files, processes, mounts, directories.
#[derive(Debug, PartialEq, Eq)]
struct Held {
    files: usize,
    children: usize,
    mounts: usize,
    entries: usize,
}

impl Held {
    fn now(directory: &Path) -> Self {
        let own = std::process::id().to_string();
        let is_child = |entry: &fs::DirEntry| {
            let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
            stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(1)) == Some(&own)
        };
        let count = |path: &str| fs::read_dir(path).expect("a directory").count();
        let mounts = fs::read_to_string("/proc/self/mounts").expect("mounts");
        let entries =
            ["containers", "sandboxes"].map(|kept| fs::read_dir(directory.join(kept)).map_or(0, Iterator::count));
        Self {
            files: count("/proc/self/fd"),
            children: fs::read_dir("/proc").expect("/proc").flatten().filter(is_child).count(),
            mounts: mounts.lines().filter(|line| line.contains(&*directory.to_string_lossy())).count(),
            entries: entries.iter().sum(),
        }
    }
}

async fn two_hundred_containers_leave_nothing() {
    for mounts in [MountPreference::Auto, MountPreference::Symlinks] {
        let directory = tempfile::tempdir().expect("a directory");
        let mut config = ProcessConfig::new(directory.path());
        config.mounts = mounts;
        let runtime = ProcessRuntime::open(config).await.expect("a runtime");
        // Once before counting, for what the first one makes for all.
        one_of_many(&runtime, directory.path(), 1000).await;
        let before = Held::now(directory.path());
        for batch in 0..25 {
            let lives = (0..8).map(|n| one_of_many(&runtime, directory.path(), batch * 8 + n));
            futures::future::join_all(lives).await;
        }
        let all = runtime.list_containers(&ContainerFilter::all()).await.expect("a list");
        assert!(
            all.is_empty() && runtime.list_pod_sandboxes(&PodSandboxFilter::all()).await.expect("a list").is_empty()
        );
        let mut after = Held::now(directory.path());
        until("all is as before", async || {
            after = Held::now(directory.path());
            after == before
        })
        .await;
        runtime.shutdown().await;
        println(&format!("two hundred containers leave nothing ({:?}): {after:?}", runtime.mount_mode()));
        assert!(mounts != MountPreference::Symlinks || runtime.mount_mode() == MountMode::Symlinks);
    }
}

async fn one_of_many(runtime: &ProcessRuntime, directory: &Path, n: u32) {
    let pod = Pod::run(runtime, &format!("many-{n}"), directory).await;
    let mut config = pod.container("sleep 1000 & sleep 1000", 0);
    config.log_path = Some(format!("{n}.log").into());
    config.stdin = n.is_multiple_of(2);
    config.tty = n.is_multiple_of(3);
    config.mounts = vec![Mount::new("/srv/volume", directory.join("volume"))];
    let id = runtime.create_container(&pod.id, &config, &pod.config).await.expect("a container");
    runtime.start_container(&id).await.expect("a started container");
    let command = ["true".to_owned()];
    assert_eq!(runtime.exec_sync(&id, &command, Some(PATIENCE)).await.expect("output").exit_code, 0);
    assert_eq!(runtime.container_stats(&id).await.expect("figures").id, id);
    if n.is_multiple_of(4) {
        runtime.stop_container(&id, Duration::from_millis(1)).await.expect("a stopped container");
    }
    runtime.remove_pod_sandbox(&pod.id).await.expect("a removed sandbox");
}
