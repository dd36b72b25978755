//! From a container's config to what its supervisor has to do.

use std::{
    fs, io,
    os::unix::fs::{chown, symlink},
    path::{Component, Path, PathBuf},
};

use nix::unistd::{self, Gid, Uid};

use super::{
    HelperCommand, MountMode,
    dispatch::ARGUMENT,
    hello,
    protocol::{Bind, Command, Namespace, User},
};
use crate::{ContainerConfig, Error, PodSandboxConfig, SecurityContext};

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Where a container is put, and by whom.
pub(super) struct Place<'a> {
    pub(super) mode: MountMode,
    pub(super) helper: &'a HelperCommand,
    pub(super) node_name: &'a str,
    /// Names the container's processes: see [`marker`].
    pub(super) marker: Vec<(String, String)>,
    pub(super) root: PathBuf,
    pub(super) namespace: PathBuf,
}

/// The variables by which a container's processes are known.
pub(super) fn marker(state_dir: &Path, container: &str) -> Vec<(String, String)> {
    vec![
        ("KUBEWRIGHT_STATE_DIR".to_owned(), state_dir.display().to_string()),
        ("KUBEWRIGHT_CONTAINER_ID".to_owned(), container.to_owned()),
    ]
}

/// What the container's first process will be. Refuses what could never run, before anything is made.
pub(super) fn command(
    config: &ContainerConfig,
    sandbox: &PodSandboxConfig,
    place: &Place<'_>,
) -> Result<Command, Error> {
    let user = user(&config.security, place.mode)?;
    Ok(Command {
        argv: argv(config, place.helper)?,
        envs: environment(config, sandbox, place),
        working_dir: place.root.clone(),
        user: User { oom_score_adj: config.resources.oom_score_adj.and_then(|score| score.try_into().ok()), ..user },
        tty: config.tty,
    })
}

/// Whether this is the built-in image, under any tag or digest.
pub(super) fn is_hello(image: &str) -> bool {
    let rest = image.strip_prefix(hello::IMAGE);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with([':', '@']))
}

fn argv(config: &ContainerConfig, helper: &HelperCommand) -> Result<Vec<String>, Error> {
    let image = &config.image.image;
    if !config.command.is_empty() {
        return Ok([config.command.as_slice(), config.args.as_slice()].concat());
    }
    if !is_hello(image) {
        return Err(Error::invalid(format!(
            "no command specified: the process runtime has no files of image {image:?}, only {} is built in; \
             set the container's command to a program of the host",
            hello::IMAGE
        )));
    }
    let text = |part: &std::ffi::OsStr| part.to_str().map(str::to_owned);
    let program = text(helper.program.as_os_str());
    let parts = helper.arguments.iter().map(|argument| text(argument));
    let own = [ARGUMENT, "hello"].map(|part| Some(part.to_owned()));
    let argv: Option<Vec<String>> = std::iter::once(program).chain(parts).chain(own).collect();
    argv.ok_or_else(|| Error::invalid("the helper's path is not UTF-8"))
}

fn environment(config: &ContainerConfig, sandbox: &PodSandboxConfig, place: &Place<'_>) -> Vec<(String, String)> {
    let hostname = if sandbox.hostname.is_empty() { &sandbox.metadata.name } else { &sandbox.hostname };
    let mut envs = vec![
        ("PATH".to_owned(), PATH.to_owned()),
        ("HOME".to_owned(), place.root.display().to_string()),
        ("HOSTNAME".to_owned(), hostname.clone()),
        ("POD_NAME".to_owned(), sandbox.metadata.name.clone()),
        ("POD_NAMESPACE".to_owned(), sandbox.metadata.namespace.clone()),
        ("NODE_NAME".to_owned(), place.node_name.to_owned()),
    ];
    if config.tty {
        envs.push(("TERM".to_owned(), "xterm".to_owned()));
    }
    if let Some(ip) = sandbox.ip.filter(|_| !sandbox.security.host_network()) {
        envs.push(("KUBEWRIGHT_POD_IP".to_owned(), ip.to_string()));
    }
    let mut set = |key: &str, value: &str| {
        envs.retain(|(known, _)| known != key);
        envs.push((key.to_owned(), value.to_owned()));
    };
    for env in &config.envs {
        set(&env.key, &env.value);
    }
    let root = match place.mode {
        MountMode::Namespace => "/".to_owned(),
        MountMode::Symlinks => place.root.display().to_string(),
    };
    set("KUBEWRIGHT_ROOT", &root);
    for (key, value) in &place.marker {
        set(key, value);
    }
    envs
}

fn user(security: &SecurityContext, mode: MountMode) -> Result<User, Error> {
    let id = |id: i64| u32::try_from(id).map_err(|_| Error::invalid(format!("{id} is no user or group id")));
    let mut uid = security.run_as_user.map(id).transpose()?;
    let mut gid = security.run_as_group.map(id).transpose()?;
    if let Some(name) = security.run_as_username.as_deref().filter(|name| !name.is_empty()) {
        let known = unistd::User::from_name(name).ok().flatten();
        let known = known.ok_or_else(|| Error::invalid(format!("the host has no user {name:?}")))?;
        uid = Some(known.uid.as_raw());
        gid.get_or_insert(known.gid.as_raw());
    }
    let groups = security.supplemental_groups.iter().map(|group| id(*group)).collect::<Result<Vec<_>, _>>()?;
    let (own_uid, own_gid) = (Uid::effective(), Gid::effective());
    if own_uid.is_root() {
        if let Some(uid) = uid {
            let known = unistd::User::from_uid(Uid::from_raw(uid)).ok().flatten();
            gid.get_or_insert_with(|| known.map_or(0, |user| user.gid.as_raw()));
        }
        return Ok(User { uid, gid, groups, no_new_privs: security.no_new_privs, oom_score_adj: None });
    }
    let other_gid = gid.filter(|gid| *gid != own_gid.as_raw());
    let other = uid.filter(|uid| *uid != own_uid.as_raw()).or(other_gid);
    if let (Some(other), MountMode::Symlinks) = (other, mode) {
        return Err(Error::invalid(format!(
            "cannot run as user or group {other}: this runtime runs as user {own_uid} without privileges"
        )));
    }
    // Another one is had in name, by the user namespace's map.
    Ok(User { uid: None, gid: None, groups: Vec::new(), no_new_privs: security.no_new_privs, oom_score_adj: None })
}

/// Makes what the container needs on disk, and says what its namespace is to be.
pub(super) fn lay_out(
    config: &ContainerConfig,
    sandbox: &PodSandboxConfig,
    place: &Place<'_>,
    command: &mut Command,
) -> Result<Option<Namespace>, Error> {
    let failed = |what: &str, path: &Path, error: io::Error| {
        Error::internal(format!("cannot {what} {}: {error}", path.display()), error)
    };
    if command.user.uid.is_some() || command.user.gid.is_some() {
        chown(&place.root, command.user.uid, command.user.gid).map_err(|e| failed("give away", &place.root, e))?;
    }
    let mut binds = Vec::new();
    for mount in &config.mounts {
        let container_path = inside(&mount.container_path)?;
        if !mount.host_path.exists() {
            fs::create_dir_all(&mount.host_path).map_err(|error| failed("make", &mount.host_path, error))?;
        }
        binds.push(Bind { container_path, host_path: mount.host_path.clone(), readonly: mount.readonly });
    }
    binds.sort_by(|a, b| a.container_path.cmp(&b.container_path));
    if place.mode == MountMode::Symlinks {
        for bind in &binds {
            link(bind, &place.root)?;
        }
        if let Some(wanted) = config.working_dir.as_deref().filter(|dir| !dir.is_empty()) {
            command.working_dir = below(&place.root, wanted).map_err(|error| failed("make", &place.root, error))?;
        }
        return Ok(None);
    }
    if let Some(wanted) = config.working_dir.as_deref().filter(|dir| !dir.is_empty()) {
        command.working_dir = PathBuf::from("/").join(wanted);
    }
    if let Some(dns) = sandbox.dns_config.as_ref().filter(|dns| !dns.servers.is_empty()) {
        let (file, target) = (place.root.with_file_name("resolv.conf"), PathBuf::from("/etc/resolv.conf"));
        if !binds.iter().any(|bind| bind.container_path == target) {
            fs::write(&file, resolv_conf(dns)).map_err(|error| failed("write", &file, error))?;
            binds.push(Bind { container_path: target, host_path: file, readonly: true });
        }
    }
    Ok(Some(Namespace {
        root: place.namespace.clone(),
        binds,
        hostname: if sandbox.security.host_network() { String::new() } else { sandbox.hostname.clone() },
        user_namespace: (!Uid::effective().is_root()).then(|| user_namespace(&config.security)),
    }))
}

/// The ids that this process's user has in a container's user namespace.
fn user_namespace(security: &SecurityContext) -> (u32, u32) {
    let wanted = |id: Option<i64>, own: u32| id.and_then(|id| u32::try_from(id).ok()).unwrap_or(own);
    let (uid, gid) = (Uid::effective().as_raw(), Gid::effective().as_raw());
    (wanted(security.run_as_user, uid), wanted(security.run_as_group, gid))
}

/// An absolute path without any `..`.
fn inside(path: &str) -> Result<PathBuf, Error> {
    let path = PathBuf::from(path);
    let plain = path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    if !path.is_absolute() || !plain || path == Path::new("/") {
        return Err(Error::invalid(format!("{} is no place for a mount", path.display())));
    }
    Ok(path)
}

/// Puts a link to a mount at its place below the container's directory.
fn link(bind: &Bind, root: &Path) -> Result<(), Error> {
    let at = root.join(bind.container_path.strip_prefix("/").unwrap_or(&bind.container_path));
    let parent = at.parent().unwrap_or(root);
    if parent.ancestors().take_while(|above| *above != root).any(Path::is_symlink) {
        return Err(Error::invalid(format!(
            "{} lies inside another mount, which cannot be done without mount namespaces",
            bind.container_path.display()
        )));
    }
    fs::create_dir_all(parent)
        .and_then(|()| symlink(&bind.host_path, &at))
        .map_err(|error| Error::internal(format!("cannot link {}: {error}", at.display()), error))
}

/// A working directory: below the container's directory if it is there, else the host's, else made.
fn below(root: &Path, wanted: &str) -> io::Result<PathBuf> {
    let own = root.join(wanted.trim_start_matches('/'));
    let host = Path::new("/").join(wanted);
    if own.is_dir() {
        return Ok(own);
    }
    if host.is_dir() {
        return Ok(host);
    }
    fs::create_dir_all(&own)?;
    Ok(own)
}

fn resolv_conf(dns: &crate::DnsConfig) -> String {
    let mut text: String = dns.servers.iter().map(|server| format!("nameserver {server}\n")).collect();
    for (word, values) in [("search", &dns.searches), ("options", &dns.options)] {
        if !values.is_empty() {
            text.push_str(&format!("{word} {}\n", values.join(" ")));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ContainerMetadata, ImageSpec, KeyValue, PodSandboxMetadata};

    fn config(image: &str) -> ContainerConfig {
        ContainerConfig::new(ContainerMetadata::new("c", 0), ImageSpec::new(image))
    }

    #[test]
    fn a_container_without_a_command_is_refused_in_words() {
        let error = argv(&config("nginx"), &HelperCommand::this_program()).unwrap_err().to_string();
        assert!(error.contains("no command specified") && error.contains("\"nginx\""), "{error}");
        assert!(argv(&config("kubewright.dev/hello:v1"), &HelperCommand::this_program()).is_ok());
        assert!(!is_hello("kubewright.dev/hello-world"));
    }

    #[test]
    fn the_containers_environment_wins_but_for_its_marker() {
        let place = Place {
            mode: MountMode::Symlinks,
            helper: &HelperCommand::this_program(),
            node_name: "n",
            marker: marker(Path::new("/state"), "id"),
            root: "/state/c".into(),
            namespace: "/state/n".into(),
        };
        let mut config = config("x");
        config.envs = vec![
            KeyValue::new("HOME", "/home/me"),
            KeyValue::new("A", "1"),
            KeyValue::new("A", "2"),
            KeyValue::new("KUBEWRIGHT_CONTAINER_ID", "forged"),
        ];
        let sandbox = PodSandboxConfig::new(PodSandboxMetadata::new("ns", "pod", "uid"));
        let envs = environment(&config, &sandbox, &place);
        let get = |key: &str| {
            let values: Vec<&str> = envs.iter().filter(|(k, _)| k == key).map(|(_, v)| v.as_str()).collect();
            assert_eq!(values.len(), 1, "{key}");
            values[0]
        };
        assert_eq!((get("HOME"), get("A"), get("KUBEWRIGHT_CONTAINER_ID")), ("/home/me", "2", "id"));
        assert_eq!((get("POD_NAME"), get("HOSTNAME"), get("KUBEWRIGHT_ROOT")), ("pod", "pod", "/state/c"));
    }

    #[test]
    fn mounts_become_links_and_stay_inside() {
        let dir = tempfile::tempdir().unwrap();
        let bind = |path: &str| Bind { container_path: path.into(), host_path: "/srv".into(), readonly: false };
        link(&bind("/etc/config"), dir.path()).unwrap();
        assert_eq!(fs::read_link(dir.path().join("etc/config")).unwrap(), Path::new("/srv"));
        assert!(link(&bind("/etc/config/below"), dir.path()).is_err());
        for wrong in ["relative", "/", "/a/../b"] {
            assert!(inside(wrong).is_err(), "{wrong}");
        }
    }
}
