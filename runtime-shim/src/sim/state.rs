//! What the simulated runtime knows: a plain state machine, to which the time is an argument.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::sync::broadcast;

use super::script::Script;
use crate::{
    Container, ContainerConfig, ContainerEvent, ContainerEventType, ContainerId, ContainerState, ContainerStatus,
    Error, Image, ImageRef, ImageSpec, Kind, PodSandbox, PodSandboxConfig, PodSandboxState, PodSandboxStatus,
    SandboxId,
    logs::{LogFile, LogStream, Splitter},
    reason,
};

/// A piece of output, for those who are attached.
pub(super) type Output = (LogStream, Arc<[u8]>);

pub(super) struct SandboxRecord {
    pub(super) status: PodSandboxStatus,
}

pub(super) struct ContainerRecord {
    pub(super) status: ContainerStatus,
    pub(super) config: ContainerConfig,
    pub(super) script: Script,
    /// What the script has yet to write, and when.
    lines: VecDeque<(SystemTime, LogStream, String)>,
    /// When it ends by itself.
    exits_at: Option<SystemTime>,
    pub(super) log: Option<LogFile>,
    pub(super) attached: Option<broadcast::Sender<Output>>,
    /// CPU in nanoseconds a second, and memory in bytes.
    pub(super) usage: (u64, u64),
}

/// What the simulated runtime knows.
pub(super) struct State {
    pub(super) sandboxes: BTreeMap<SandboxId, SandboxRecord>,
    pub(super) containers: BTreeMap<ContainerId, ContainerRecord>,
    pub(super) images: BTreeMap<String, Image>,
    /// Events since the driver took them last.
    pub(super) events: Vec<ContainerEvent>,
    names: BTreeSet<String>,
    first_ip: Ipv4Addr,
    seed: u64,
    made: u64,
}

impl State {
    pub(super) const fn new(seed: u64, first_ip: Ipv4Addr) -> Self {
        Self {
            sandboxes: BTreeMap::new(),
            containers: BTreeMap::new(),
            images: BTreeMap::new(),
            events: Vec::new(),
            names: BTreeSet::new(),
            first_ip,
            seed,
            made: 0,
        }
    }

    /// The next id: 64 hexadecimal digits, the same ones for the same seed.
    fn next_id(&mut self) -> String {
        self.made += 1;
        (0..4).map(|part| format!("{:016x}", mix(self.seed ^ (self.made * 4 + part)))).collect()
    }

    pub(super) fn run_sandbox(&mut self, config: &PodSandboxConfig, now: SystemTime) -> Result<SandboxId, Error> {
        let name = sandbox_name(config);
        if !self.names.insert(name.clone()) {
            return Err(Error::AlreadyExists { kind: Kind::Sandbox, name });
        }
        let id = SandboxId::new(self.next_id());
        let mut sandbox = PodSandbox::new(id.clone(), config.metadata.clone(), now);
        sandbox.state = PodSandboxState::Ready;
        sandbox.labels.clone_from(&config.labels);
        sandbox.annotations.clone_from(&config.annotations);
        sandbox.runtime_handler.clone_from(&config.runtime_handler);
        let mut status = PodSandboxStatus::new(sandbox);
        status.host_network = config.security.host_network();
        if !status.host_network {
            status.ips.push(config.ip.unwrap_or_else(|| self.next_ip()));
        }
        self.sandboxes.insert(id.clone(), SandboxRecord { status });
        Ok(id)
    }

    fn next_ip(&self) -> IpAddr {
        let offset = u32::try_from(self.made % (1 << 24)).unwrap_or(0);
        IpAddr::V4(Ipv4Addr::from(u32::from(self.first_ip).wrapping_add(offset)))
    }

    pub(super) fn stop_sandbox(&mut self, id: &SandboxId, now: SystemTime) {
        let Some(record) = self.sandboxes.get_mut(id) else {
            return;
        };
        record.status.sandbox.state = PodSandboxState::NotReady;
        record.status.ips.clear();
        let inside: Vec<_> = self.containers_of(id);
        for container in inside {
            self.kill(&container, now);
        }
    }

    pub(super) fn remove_sandbox(&mut self, id: &SandboxId, now: SystemTime) {
        self.stop_sandbox(id, now);
        for container in self.containers_of(id) {
            self.remove_container(&container, now);
        }
        if let Some(record) = self.sandboxes.remove(id) {
            let metadata = &record.status.sandbox.metadata;
            self.names.remove(&name_of(&metadata.uid, &metadata.namespace, &metadata.name, metadata.attempt));
        }
    }

    fn containers_of(&self, sandbox: &SandboxId) -> Vec<ContainerId> {
        let inside = self.containers.values().map(|record| &record.status.container);
        inside.filter(|container| container.sandbox_id == *sandbox).map(|container| container.id.clone()).collect()
    }

    pub(super) fn create(
        &mut self,
        sandbox_id: &SandboxId,
        config: &ContainerConfig,
        log: Option<LogFile>,
        usage: (u64, u64),
        now: SystemTime,
    ) -> Result<ContainerId, Error> {
        let sandbox = self.sandboxes.get(sandbox_id).ok_or_else(|| Error::sandbox_not_found(sandbox_id))?;
        if sandbox.status.sandbox.state != PodSandboxState::Ready {
            return Err(Error::precondition(format!("pod sandbox {sandbox_id} is not ready")));
        }
        let image_ref = self.image(&config.image).map(|image| image.id.clone());
        let image_ref = image_ref.ok_or_else(|| Error::ImageNotFound { image: config.image.image.clone() })?;
        let name = format!("{sandbox_id}/{}/{}", config.metadata.name, config.metadata.attempt);
        if !self.names.insert(name.clone()) {
            return Err(Error::AlreadyExists { kind: Kind::Container, name });
        }
        let id = ContainerId::new(self.next_id());
        let mut container = Container::new(id.clone(), sandbox_id.clone(), config.metadata.clone(), now);
        container.image = config.image.clone();
        container.image_ref = image_ref;
        container.labels.clone_from(&config.labels);
        container.annotations.clone_from(&config.annotations);
        let mut status = ContainerStatus::new(container);
        status.mounts.clone_from(&config.mounts);
        status.log_path = log.as_ref().map(|log| log.path().to_owned());
        status.resources = Some(config.resources.clone());
        let command = [config.command.as_slice(), config.args.as_slice()].concat();
        let record = ContainerRecord {
            status,
            config: config.clone(),
            script: Script::parse(&command).unwrap_or_else(Script::server),
            lines: VecDeque::new(),
            exits_at: None,
            log,
            attached: None,
            usage,
        };
        self.containers.insert(id.clone(), record);
        self.tell(&id, ContainerEventType::Created, now);
        Ok(id)
    }

    pub(super) fn start(&mut self, id: &ContainerId, now: SystemTime) -> Result<(), Error> {
        let record = self.containers.get_mut(id).ok_or_else(|| Error::container_not_found(id))?;
        if record.status.container.state != ContainerState::Created {
            let state = record.status.container.state;
            return Err(Error::precondition(format!("container {id} is {state:?}, not Created")));
        }
        record.status.container.state = ContainerState::Running;
        record.status.started_at = Some(now);
        record.exits_at = record.script.ends_after().map(|after| now + after);
        record.lines = record.script.lines().into_iter().map(|(at, stream, text)| (now + at, stream, text)).collect();
        self.tell(id, ContainerEventType::Started, now);
        self.advance(now);
        Ok(())
    }

    /// Lets everything happen that is due by `now`, in order of time.
    pub(super) fn advance(&mut self, now: SystemTime) {
        while let Some((due, id)) = self.next_due().filter(|(due, _)| *due <= now) {
            let Some(record) = self.containers.get_mut(&id) else {
                return;
            };
            match record.lines.pop_front_if(|(at, ..)| *at <= due) {
                Some((at, stream, text)) => record.write(stream, format!("{text}\n").as_bytes(), at),
                None => {
                    let code = record.script.exit_code;
                    self.end(&id, code, "", due);
                }
            }
        }
    }

    /// When something happens next by itself.
    pub(super) fn next_deadline(&self) -> Option<SystemTime> {
        self.next_due().map(|(due, _)| due)
    }

    fn next_due(&self) -> Option<(SystemTime, ContainerId)> {
        let due = self.containers.iter().filter_map(|(id, record)| Some((record.next_due()?, id)));
        due.min().map(|(due, id)| (due, id.clone()))
    }

    /// `SIGTERM`: ends it, unless it takes no notice. Returns whether it lives on.
    pub(super) fn terminate(&mut self, id: &ContainerId, now: SystemTime) -> bool {
        let Some(record) = self.containers.get(id) else {
            return false;
        };
        match (record.status.container.state, record.script.exit_code_term) {
            (ContainerState::Running, None) => return true,
            (ContainerState::Running, Some(code)) => self.end(id, code, "", now),
            _ => {}
        }
        false
    }

    /// `SIGKILL`.
    pub(super) fn kill(&mut self, id: &ContainerId, now: SystemTime) {
        self.end(id, 137, "", now);
    }

    /// Ends a running container; `why` of "" is the usual word for the code.
    pub(super) fn end(&mut self, id: &ContainerId, code: i32, why: &str, now: SystemTime) {
        let Some(record) = self.containers.get_mut(id) else {
            return;
        };
        if record.status.container.state != ContainerState::Running {
            return;
        }
        let usual = if code == 0 { reason::COMPLETED } else { reason::ERROR };
        record.status.container.state = ContainerState::Exited;
        record.status.exit_code = code;
        record.status.reason = if why.is_empty() { usual } else { why }.to_owned();
        record.status.finished_at = Some(now);
        record.lines.clear();
        record.exits_at = None;
        record.log = None;
        record.attached = None;
        self.tell(id, ContainerEventType::Stopped, now);
    }

    pub(super) fn remove_container(&mut self, id: &ContainerId, now: SystemTime) {
        self.kill(id, now);
        let Some(record) = self.containers.get(id) else {
            return;
        };
        let container = &record.status.container;
        let (name, attempt) = (&container.metadata.name, container.metadata.attempt);
        self.names.remove(&format!("{}/{name}/{attempt}", container.sandbox_id));
        self.tell(id, ContainerEventType::Deleted, now);
        self.containers.remove(id);
    }

    /// Input for a container's program.
    pub(super) fn input(&mut self, id: &ContainerId, input: &[u8], now: SystemTime) {
        if let Some(record) = self.containers.get_mut(id)
            && record.status.container.state == ContainerState::Running
            && record.script.reads_input()
        {
            record.write(LogStream::Stdout, input, now);
        }
    }

    /// The end of a container's input.
    pub(super) fn input_ended(&mut self, id: &ContainerId, now: SystemTime) {
        if self.containers.get(id).is_some_and(|record| record.config.stdin_once && record.script.reads_input()) {
            self.end(id, 0, "", now);
        }
    }

    /// The image of this name or id.
    pub(super) fn image(&self, spec: &ImageSpec) -> Option<&Image> {
        self.images.get(&spec.image).or_else(|| self.images.values().find(|image| image.id.0 == spec.image))
    }

    pub(super) fn add_image(&mut self, name: &str) -> ImageRef {
        let digest: String = (0..4).map(|part| format!("{:016x}", mix(text_hash(name).wrapping_add(part)))).collect();
        let mut image = Image::new(ImageRef(format!("sha256:{digest}")));
        image.repo_tags = vec![name.to_owned()];
        image.size = 1 << 20;
        let id = image.id.clone();
        self.images.entry(name.to_owned()).or_insert(image);
        id
    }

    fn tell(&mut self, id: &ContainerId, event_type: ContainerEventType, now: SystemTime) {
        if let Some(record) = self.containers.get(id) {
            let sandbox = record.status.container.sandbox_id.clone();
            self.events.push(ContainerEvent::new(id.clone(), sandbox, event_type, now));
        }
    }
}

impl ContainerRecord {
    fn next_due(&self) -> Option<SystemTime> {
        let line = self.lines.front().map(|(at, ..)| *at);
        line.into_iter().chain(self.exits_at).min()
    }

    fn write(&self, stream: LogStream, bytes: &[u8], now: SystemTime) {
        if let Some(log) = &self.log {
            let (mut splitter, mut lines) = (Splitter::new(stream), Vec::new());
            splitter.push(bytes, now, &mut lines);
            splitter.finish(now, &mut lines);
            if let Err(error) = log.append(&lines) {
                tracing::warn!(container.id = %self.status.container.id, %error, "cannot write the container's log");
            }
        }
        if let Some(attached) = &self.attached {
            // Nobody may be attached any more.
            let _ = attached.send((stream, bytes.into()));
        }
    }

    /// CPU time used so far, in nanoseconds.
    pub(super) fn cpu_used(&self, now: SystemTime) -> u64 {
        let until = self.status.finished_at.unwrap_or(now);
        let ran = self.status.started_at.and_then(|from| until.duration_since(from).ok()).unwrap_or(Duration::ZERO);
        u64::try_from(ran.as_nanos() * u128::from(self.usage.0) / 1_000_000_000).unwrap_or(u64::MAX)
    }
}

fn sandbox_name(config: &PodSandboxConfig) -> String {
    let metadata = &config.metadata;
    name_of(&metadata.uid, &metadata.namespace, &metadata.name, metadata.attempt)
}

fn name_of(uid: &str, namespace: &str, name: &str, attempt: u32) -> String {
    format!("{namespace}/{name}/{uid}/{attempt}")
}

/// A well-known mixer (splitmix64): ids look random and are not.
const fn mix(n: u64) -> u64 {
    let n = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}

fn text_hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}
