//! A root of the container's own: the host's files, with the container's mounts at their places.
//!
//! The new root is a tmpfs onto which the host's directories are bound. A directory that a mount needs changed, such as
//! `/etc` for a mount at `/etc/config`, is made anew there, and its entries are bound one by one. The namespace, and
//! all of this with it, goes away with the container's last process.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs, io,
    os::unix::fs::{MetadataExt as _, chown, symlink},
    path::{Component, Path, PathBuf},
};

use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, unshare},
    sys::statvfs::{FsFlags, statvfs},
    unistd::{getegid, geteuid, pivot_root, sethostname},
};

use super::super::protocol::{Bind, Namespace};

/// A directory of the new root, with what is to be mounted at it and below it.
#[derive(Debug, Default, PartialEq, Eq)]
struct Node {
    bind: Option<Bind>,
    below: BTreeMap<OsString, Self>,
}

/// Moves this process into namespaces of its own, with the mounts made.
pub(super) fn enter(namespace: &Namespace) -> io::Result<()> {
    let told = |step: &str| {
        let step = step.to_owned();
        move |error: nix::Error| io::Error::new(io::Error::from(error).kind(), format!("cannot {step}: {error}"))
    };
    let (uid, gid) = (geteuid(), getegid());
    let mut flags = CloneFlags::CLONE_NEWNS;
    if !namespace.hostname.is_empty() {
        flags |= CloneFlags::CLONE_NEWUTS;
    }
    if namespace.user_namespace.is_some() {
        flags |= CloneFlags::CLONE_NEWUSER;
    }
    unshare(flags).map_err(told("make namespaces"))?;
    if let Some((inner_uid, inner_gid)) = namespace.user_namespace {
        // Without privileges, a group can only be mapped once `setgroups` is given up.
        fs::write("/proc/self/setgroups", "deny")?;
        fs::write("/proc/self/uid_map", format!("{inner_uid} {uid} 1"))?;
        fs::write("/proc/self/gid_map", format!("{inner_gid} {gid} 1"))?;
    }
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).map_err(told("make mounts private"))?;
    let root = &namespace.root;
    mount(Some("tmpfs"), root, Some("tmpfs"), MsFlags::MS_NOSUID, Some("mode=755,size=16m"))
        .map_err(told("mount the new root"))?;
    expose(Some(Path::new("/")), root, plan(&namespace.binds))?;
    std::env::set_current_dir(root)?;
    pivot_root(".", ".").map_err(told("change the root"))?;
    // The old root now lies over the new one at the same place, and comes off first.
    umount2(".", MntFlags::MNT_DETACH).map_err(told("let go of the old root"))?;
    std::env::set_current_dir("/")?;
    // The host's directory that the new root was built in was bound as well, with the unfinished root in it.
    let _ = umount2(root, MntFlags::MNT_DETACH);
    if !namespace.hostname.is_empty() {
        sethostname(&namespace.hostname).map_err(told("set the host name"))?;
    }
    Ok(())
}

/// Whether [`enter`] works on this machine: tries it, in this process.
pub(in super::super) fn probe(scratch: &Path, user_namespace: bool) -> io::Result<()> {
    let (root, volume) = (scratch.join("root"), scratch.join("volume"));
    fs::create_dir_all(&root)?;
    fs::create_dir_all(&volume)?;
    fs::write(volume.join("probe"), "")?;
    let container_path = PathBuf::from("/etc/kubewright-probe");
    let binds = vec![Bind { container_path: container_path.clone(), host_path: volume, readonly: true }];
    let user_namespace = user_namespace.then(|| (geteuid().as_raw(), getegid().as_raw()));
    enter(&Namespace { root, binds, hostname: "probe".to_owned(), user_namespace })?;
    fs::metadata(container_path.join("probe"))?;
    fs::metadata("/proc/self/stat")?;
    match fs::write(container_path.join("probe"), "x") {
        Ok(()) => Err(io::Error::other("a read-only mount was writable")),
        Err(_) => Ok(()),
    }
}

/// The mounts as a tree, along the host's real directories.
fn plan(binds: &[Bind]) -> Node {
    let mut root = Node::default();
    for bind in binds {
        let mut node = &mut root;
        for component in resolve(&bind.container_path).components() {
            if let Component::Normal(name) = component {
                node = node.below.entry(name.to_owned()).or_default();
            }
        }
        node.bind = Some(bind.clone());
    }
    root
}

/// The path with the symbolic links of the host followed, as far as it exists there.
fn resolve(path: &Path) -> PathBuf {
    for ancestor in path.ancestors() {
        if let (Ok(real), Ok(rest)) = (fs::canonicalize(ancestor), path.strip_prefix(ancestor)) {
            return real.join(rest);
        }
    }
    path.to_owned()
}

/// Fills a directory of the new root with the host's entries, and with the mounts of `node`.
fn expose(host: Option<&Path>, target: &Path, mut node: Node) -> io::Result<()> {
    for entry in host.map(fs::read_dir).transpose()?.into_iter().flatten() {
        let entry = entry?;
        let (from, to) = (entry.path(), target.join(entry.file_name()));
        match node.below.remove(&entry.file_name()) {
            Some(child) => place(Some(&from), &to, child)?,
            None => show(&from, &to)?,
        }
    }
    for (name, child) in node.below {
        place(None, &target.join(name), child)?;
    }
    Ok(())
}

/// Puts a mount, or a directory with mounts below it, at `target`.
fn place(host: Option<&Path>, target: &Path, node: Node) -> io::Result<()> {
    let Some(bind) = node.bind else {
        fs::create_dir_all(target)?;
        let host = host.filter(|host| host.is_dir());
        if let Some(host) = host {
            resemble(host, target)?;
        }
        return expose(host, target, Node { bind: None, below: node.below });
    };
    attach(&bind.host_path, target)?;
    for (name, child) in node.below {
        // Below a mount, the mount's own directories carry on.
        place_in_mount(&target.join(name), child)?;
    }
    if bind.readonly {
        make_readonly(target)?;
    }
    Ok(())
}

/// Gives a directory made anew the mode of the host's, and its owner where that can be done.
fn resemble(host: &Path, target: &Path) -> io::Result<()> {
    let metadata = fs::metadata(host)?;
    // In a user namespace, the owner may have no name.
    let _ = chown(target, Some(metadata.uid()), Some(metadata.gid()));
    fs::set_permissions(target, metadata.permissions())
}

fn place_in_mount(target: &Path, node: Node) -> io::Result<()> {
    match &node.bind {
        Some(_) => place(None, target, node),
        None => {
            fs::create_dir_all(target)?;
            node.below.into_iter().try_for_each(|(name, child)| place_in_mount(&target.join(name), child))
        }
    }
}

/// Shows an entry of the host as it is. One that cannot be shown is left out.
fn show(from: &Path, to: &Path) -> io::Result<()> {
    let Ok(kind) = fs::symlink_metadata(from).map(|metadata| metadata.file_type()) else { return Ok(()) };
    if kind.is_symlink() {
        return symlink(fs::read_link(from)?, to);
    }
    if let Err(error) = attach(from, to) {
        tracing::debug!(path = %from.display(), %error, "not shown in the container");
    }
    Ok(())
}

/// Binds a file or directory, with what is mounted below it.
fn attach(from: &Path, to: &Path) -> io::Result<()> {
    let exists = fs::symlink_metadata(to).is_ok();
    if fs::metadata(from)?.is_dir() {
        fs::create_dir_all(to)?;
    } else if !exists {
        fs::File::create(to)?;
    }
    let none: Option<&str> = None;
    let bound = mount(Some(from), to, none, MsFlags::MS_BIND | MsFlags::MS_REC, none);
    bound.map_err(|error| {
        io::Error::new(
            io::Error::from(error).kind(),
            format!("cannot mount {} at {}: {error}", from.display(), to.display()),
        )
    })
}

fn make_readonly(target: &Path) -> io::Result<()> {
    // A user namespace may not drop what the mount is already limited by.
    let limits = statvfs(target)?.flags();
    let mut flags = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY;
    for (limit, flag) in [
        (FsFlags::ST_NOSUID, MsFlags::MS_NOSUID),
        (FsFlags::ST_NODEV, MsFlags::MS_NODEV),
        (FsFlags::ST_NOEXEC, MsFlags::MS_NOEXEC),
        (FsFlags::ST_NOATIME, MsFlags::MS_NOATIME),
        (FsFlags::ST_NODIRATIME, MsFlags::MS_NODIRATIME),
        (FsFlags::ST_RELATIME, MsFlags::MS_RELATIME),
    ] {
        if limits.contains(limit) {
            flags |= flag;
        }
    }
    let none: Option<&str> = None;
    Ok(mount(none, target, none, flags, none)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_make_a_tree_along_real_directories() {
        let dir = tempfile::tempdir().unwrap();
        let real = dir.path().canonicalize().unwrap().join("real");
        fs::create_dir(&real).unwrap();
        symlink(&real, dir.path().join("link")).unwrap();
        let bind = |path: PathBuf| Bind { container_path: path, host_path: "/srv".into(), readonly: false };
        let path = dir.path().join("link/new/config");
        let mut node = &plan(&[bind(path.clone())]);
        for name in real.join("new/config").components().skip(1) {
            node = &node.below[name.as_os_str()];
        }
        assert_eq!(node.bind, Some(bind(path)));
    }
}
