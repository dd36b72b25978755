use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _, symlink};
use std::path::{Component, Path, PathBuf};

use jiff::Timestamp;

use super::{VolumeError, own};

/// What a file is to hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileContent {
    /// Its bytes.
    pub data: Vec<u8>,
    /// Its permissions.
    pub mode: u32,
}

/// Files by their path in the volume.
pub type Payload = BTreeMap<String, FileContent>;

/// The link through which readers see all files change at once.
const DATA: &str = "..data";
const DATA_NEW: &str = "..data_tmp";

/// Makes a directory hold exactly these files, all of them changing in one instant: they lie in a dated directory that
/// the link `..data` points to, and what a reader opens are links through it. Returns whether anything was written.
///
/// # Errors
/// A path leads out of the directory, or the file system refuses; then the files are as they were before.
pub fn write_atomically(
    directory: &Path,
    payload: &Payload,
    group: Option<i64>,
    now: Timestamp,
) -> Result<bool, VolumeError> {
    for path in payload.keys() {
        check_path(path)?;
    }
    let data = directory.join(DATA);
    let before = fs::read_link(&data).ok().map(|name| directory.join(name));
    let unchanged = before.as_ref().is_some_and(|dated| holds(dated, payload));
    if !unchanged {
        let dated = write_dated(directory, payload, group, now)?;
        let name = PathBuf::from(dated.file_name().unwrap_or_default());
        let new = directory.join(DATA_NEW);
        remove_any(&new)?;
        symlink(&name, &new).map_err(VolumeError::io(&new))?;
        fs::rename(&new, &data).map_err(VolumeError::io(&data))?;
    }
    link_names(directory, payload)?;
    if let Some(before) = before.filter(|_| !unchanged) {
        remove_any(&before)?;
    }
    Ok(!unchanged)
}

/// Relative, without `..` as a component, and not beginning with `..`.
fn check_path(path: &str) -> Result<(), VolumeError> {
    let normal = |component| matches!(component, Component::Normal(_));
    if path.is_empty() || path.starts_with("..") || !Path::new(path).components().all(normal) {
        return Err(VolumeError::Path { path: path.to_owned() });
    }
    Ok(())
}

/// Whether a dated directory holds exactly these files.
fn holds(dated: &Path, payload: &Payload) -> bool {
    let mut found = BTreeSet::new();
    if list_files(dated, dated, &mut found).is_err() || found.len() != payload.len() {
        return false;
    }
    payload.iter().all(|(path, content)| {
        let file = dated.join(path);
        let mode = fs::metadata(&file).map(|meta| meta.permissions().mode() & 0o7777);
        fs::read(&file).is_ok_and(|data| data == content.data) && mode.is_ok_and(|mode| mode == content.mode)
    })
}

fn list_files(root: &Path, directory: &Path, found: &mut BTreeSet<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            list_files(root, &entry.path(), found)?;
        } else {
            found.insert(entry.path().strip_prefix(root).unwrap_or(&entry.path()).to_owned());
        }
    }
    Ok(())
}

fn write_dated(
    directory: &Path,
    payload: &Payload,
    group: Option<i64>,
    now: Timestamp,
) -> Result<PathBuf, VolumeError> {
    let stamp = now.strftime("..%Y_%m_%d_%H_%M_%S");
    let dated = (0_u32..)
        .map(|n| directory.join(format!("{stamp}.{:09}{n}", now.subsec_nanosecond())))
        .find(|path| !path.exists())
        .unwrap_or_else(|| directory.join("..new"));
    let written = (|| {
        fs::create_dir(&dated).map_err(VolumeError::io(&dated))?;
        fs::set_permissions(&dated, fs::Permissions::from_mode(0o755)).map_err(VolumeError::io(&dated))?;
        own(&dated, group);
        for (path, content) in payload {
            write_file(&dated.join(path), content, group)?;
        }
        Ok(())
    })();
    match written {
        Ok(()) => Ok(dated),
        Err(error) => {
            drop(fs::remove_dir_all(&dated));
            Err(error)
        }
    }
}

fn write_file(path: &Path, content: &FileContent, group: Option<i64>) -> Result<(), VolumeError> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(VolumeError::io(parent))?;
    }
    let mut options = fs::OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(0o600).open(path).map_err(VolumeError::io(path))?;
    file.write_all(&content.data).map_err(VolumeError::io(path))?;
    own(path, group);
    // After the owner, for a change of owner takes some bits away; and not at `open`, where the umask would.
    file.set_permissions(fs::Permissions::from_mode(content.mode)).map_err(VolumeError::io(path))
}

/// Links the first component of every path through `..data`, and removes links that lead nowhere any more.
fn link_names(directory: &Path, payload: &Payload) -> Result<(), VolumeError> {
    let first = |path: &String| path.split('/').next().unwrap_or_default().to_owned();
    let wanted: BTreeSet<String> = payload.keys().map(first).collect();
    for name in &wanted {
        let link = directory.join(name);
        let target = Path::new(DATA).join(name);
        if fs::read_link(&link).is_ok_and(|current| current == target) {
            continue;
        }
        remove_any(&link)?;
        symlink(&target, &link).map_err(VolumeError::io(&link))?;
    }
    for entry in fs::read_dir(directory).map_err(VolumeError::io(directory))? {
        let entry = entry.map_err(VolumeError::io(directory))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with("..") && !wanted.contains(&name) {
            remove_any(&entry.path())?;
        }
    }
    Ok(())
}

fn remove_any(path: &Path) -> Result<(), VolumeError> {
    let removed = match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    };
    removed.map_err(VolumeError::io(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(files: &[(&str, &str)]) -> Payload {
        let file = |(path, data): &(&str, &str)| {
            ((*path).to_owned(), FileContent { data: data.as_bytes().to_vec(), mode: 0o644 })
        };
        files.iter().map(file).collect()
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = entries.filter(|name| !name.starts_with("..")).collect();
        names.sort();
        names
    }

    #[test]
    fn files_appear_change_and_go_together() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path();
        assert!(write_atomically(path, &payload(&[("a", "1"), ("sub/b", "2"), ("sub/c", "3")]), None, at(0)).unwrap());
        assert_eq!(names(path), ["a", "sub"]);
        assert_eq!(fs::read_to_string(path.join("sub/b")).unwrap(), "2");
        assert_eq!(fs::read_link(path.join("a")).unwrap(), Path::new("..data/a"));
        let first = fs::read_link(path.join(DATA)).unwrap();
        assert!(first.to_str().unwrap().starts_with("..1970_01_01_00_00_00."));

        assert!(!write_atomically(path, &payload(&[("a", "1"), ("sub/b", "2"), ("sub/c", "3")]), None, at(1)).unwrap());
        assert_eq!(fs::read_link(path.join(DATA)).unwrap(), first, "nothing changed");

        assert!(write_atomically(path, &payload(&[("a", "9"), ("d", "4")]), None, at(1)).unwrap());
        assert_eq!(names(path), ["a", "d"]);
        assert_eq!(fs::read_to_string(path.join("a")).unwrap(), "9");
        assert!(!path.join(first).exists(), "the old directory is gone");

        assert!(write_atomically(path, &Payload::new(), None, at(2)).unwrap());
        assert_eq!(names(path), Vec::<String>::new());
    }

    #[test]
    fn a_change_in_the_same_instant_is_a_change() {
        let dir = tempfile::tempdir().unwrap();
        write_atomically(dir.path(), &payload(&[("a", "1")]), None, at(0)).unwrap();
        assert!(write_atomically(dir.path(), &payload(&[("a", "2")]), None, at(0)).unwrap());
        assert_eq!(fs::read_to_string(dir.path().join("a")).unwrap(), "2");
    }

    #[test]
    fn permissions_are_those_asked_for_and_count_as_content() {
        let dir = tempfile::tempdir().unwrap();
        let mut files = payload(&[("a", "1")]);
        files.get_mut("a").unwrap().mode = 0o666;
        write_atomically(dir.path(), &files, None, at(0)).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode(&dir.path().join("a")), 0o666);
        files.get_mut("a").unwrap().mode = 0o400;
        assert!(write_atomically(dir.path(), &files, None, at(1)).unwrap());
        assert_eq!(mode(&dir.path().join("a")), 0o400);
    }

    #[test]
    fn paths_stay_inside() {
        let dir = tempfile::tempdir().unwrap();
        for path in ["../a", "/a", "a/../../b", "..a", "", "a/./../b"] {
            let refused = write_atomically(dir.path(), &payload(&[(path, "x")]), None, at(0));
            assert!(matches!(refused, Err(VolumeError::Path { .. })), "{path}");
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_crash_in_the_middle_is_repaired() {
        let dir = tempfile::tempdir().unwrap();
        write_atomically(dir.path(), &payload(&[("a", "1")]), None, at(0)).unwrap();
        fs::remove_file(dir.path().join("a")).unwrap();
        symlink("nowhere", dir.path().join(DATA_NEW)).unwrap();
        assert!(!write_atomically(dir.path(), &payload(&[("a", "1")]), None, at(0)).unwrap());
        assert_eq!(fs::read_to_string(dir.path().join("a")).unwrap(), "1");
        assert!(write_atomically(dir.path(), &payload(&[("a", "2")]), None, at(0)).unwrap());
        assert_eq!(fs::read_to_string(dir.path().join("a")).unwrap(), "2");
    }
}
