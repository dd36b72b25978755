use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

/// A log file that both outputs of a container append to, and that can be opened anew for rotation.
///
/// Its calls block on the disk for as long as an append takes.
#[derive(Debug)]
pub struct LogFile {
    path: PathBuf,
    file: Mutex<File>,
}

impl LogFile {
    /// Opens a log for appending, making it and its directories where needed.
    ///
    /// # Errors
    /// When the file or a directory cannot be made.
    pub fn open(path: impl Into<PathBuf>) -> io::Result<Self> {
        let path = path.into();
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory)?;
        }
        let file = Mutex::new(open(&path)?);
        Ok(Self { path, file })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appends whole lines.
    ///
    /// # Errors
    /// When the disk does not take them; some may have been written.
    pub fn append(&self, lines: &[u8]) -> io::Result<()> {
        // A panic cannot leave the file in a bad state, so a poisoned lock is as good as any.
        self.file.lock().unwrap_or_else(PoisonError::into_inner).write_all(lines)
    }

    /// Opens the path anew, after the file was moved away: later lines go to the new file.
    ///
    /// # Errors
    /// When the new file cannot be made; later lines then still go to the old one.
    pub fn reopen(&self) -> io::Result<()> {
        let new = open(&self.path)?;
        *self.file.lock().unwrap_or_else(PoisonError::into_inner) = new;
        Ok(())
    }
}

fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o640);
    options.open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moved_log_keeps_its_lines_and_the_new_one_gets_the_next() {
        let dir = tempfile::tempdir().unwrap();
        let log = LogFile::open(dir.path().join("a/0.log")).unwrap();
        log.append(b"one\n").unwrap();
        fs::rename(log.path(), dir.path().join("a/0.log.1")).unwrap();
        log.append(b"two\n").unwrap();
        log.reopen().unwrap();
        log.append(b"three\n").unwrap();
        assert_eq!(fs::read(dir.path().join("a/0.log.1")).unwrap(), b"one\ntwo\n");
        assert_eq!(fs::read(log.path()).unwrap(), b"three\n");
    }
}
