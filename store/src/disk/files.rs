//! What the store needs of a file system, so that tests can put a faulty one in its place.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::blocks::Blocks;

/// One directory of files.
pub(crate) trait Disk: fmt::Debug + Send + Sync {
    /// A file's path, for messages.
    fn path(&self, name: &str) -> PathBuf;
    /// The names of all files.
    fn list(&self) -> io::Result<Vec<String>>;
    /// A new, empty file in the place of any other.
    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>>;
    /// A file that is there.
    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>>;
    /// A file that is there, to write whole blocks straight to the disk; `None` if the file system has no way for that.
    fn open_direct(&self, name: &str) -> Option<Box<dyn DirectFile>>;
    /// Gives a file another name, in the place of any other.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Returns once names that were made, changed and removed are durable.
    fn sync_names(&self) -> io::Result<()>;
}

/// An open file.
pub(crate) trait DiskFile: fmt::Debug + Send {
    fn len(&self) -> io::Result<u64>;
    /// Fills the buffer from `offset` on as far as the file goes.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()>;
    fn set_len(&mut self, length: u64) -> io::Result<()>;
    /// Returns once everything written is durable.
    fn sync(&mut self) -> io::Result<()>;
}

/// A file whose writes are durable when they return, which takes the system about half as long as a write and a sync.
pub(crate) trait DirectFile: fmt::Debug + Send {
    /// Writes blocks over others, at an offset that is a multiple of [`BLOCK`](super::blocks::BLOCK).
    fn write_through(&mut self, offset: u64, blocks: &Blocks) -> io::Result<()>;
}

/// A directory of the operating system.
#[derive(Debug)]
pub(crate) struct Directory(PathBuf);

impl Directory {
    pub(crate) fn new(path: &Path) -> Self {
        Self(path.to_owned())
    }
}

impl Disk for Directory {
    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.0)? {
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true);
        Ok(Box::new(options.open(self.path(name))?))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        Ok(Box::new(options.open(self.path(name))?))
    }

    #[cfg(target_os = "linux")]
    fn open_direct(&self, name: &str) -> Option<Box<dyn DirectFile>> {
        use std::os::unix::fs::OpenOptionsExt;

        let mut options = OpenOptions::new();
        let opened = options.write(true).custom_flags(libc::O_DIRECT | libc::O_DSYNC).open(self.path(name));
        opened.ok().map(|file| Box::new(Straight(file)) as Box<dyn DirectFile>)
    }

    #[cfg(not(target_os = "linux"))]
    fn open_direct(&self, _: &str) -> Option<Box<dyn DirectFile>> {
        None
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        std::fs::rename(self.path(from), self.path(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        std::fs::remove_file(self.path(name))
    }

    fn sync_names(&self) -> io::Result<()> {
        File::open(&self.0)?.sync_all()
    }
}

impl DiskFile for File {
    fn len(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_at(&self, mut offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut done = 0;
        while done < buffer.len() {
            match FileExt::read_at(self, &mut buffer[done..], offset) {
                Ok(0) => break,
                Ok(read) => {
                    done += read;
                    offset += read as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        FileExt::write_all_at(self, bytes, offset)
    }

    fn set_len(&mut self, length: u64) -> io::Result<()> {
        Self::set_len(self, length)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }
}

/// A file that bypasses the system's memory.
#[cfg(target_os = "linux")]
#[derive(Debug)]
struct Straight(File);

#[cfg(target_os = "linux")]
impl DirectFile for Straight {
    fn write_through(&mut self, offset: u64, blocks: &Blocks) -> io::Result<()> {
        FileExt::write_all_at(&self.0, blocks.whole(), offset)
    }
}

/// Whether an error says that the disk, or a share of it, is full.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
