//! Reading and writing files of keys and certificates.

use std::io::{ErrorKind, Write};
use std::path::Path;

use super::PkiError;

fn fault(path: &Path) -> impl FnOnce(std::io::Error) -> PkiError + '_ {
    move |source| PkiError::File { path: path.to_owned(), source }
}

/// The text of a file, or `None` where there is none.
pub(super) fn read(path: &Path) -> Result<Option<String>, PkiError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(fault(path)(error)),
    }
}

/// Writes a file that everyone may read.
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<(), PkiError> {
    replace(path, bytes, 0o644)
}

/// Writes a file that its owner alone may read.
pub(super) fn write_private(path: &Path, bytes: &[u8]) -> Result<(), PkiError> {
    replace(path, bytes, 0o600)
}

/// Makes a directory that its owner alone may enter.
pub(super) fn create_private_directory(path: &Path) -> Result<(), PkiError> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path).map_err(fault(path))
}

/// A reader sees the old file or the new one, never half of one: also after a crash.
fn replace(path: &Path, bytes: &[u8], mode: u32) -> Result<(), PkiError> {
    let temporary = path.with_added_extension("tmp");
    // A leftover of a crash may have other permissions.
    let _ = std::fs::remove_file(&temporary);
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
    #[cfg(not(unix))]
    let _ = mode;
    let mut file = options.open(&temporary).map_err(fault(&temporary))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(fault(&temporary))?;
    std::fs::rename(&temporary, path).map_err(fault(path))
}
