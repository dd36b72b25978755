use std::fs;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use super::VolumeError;

/// Checks a path of the node against the type it should have, making it where the type says so.
pub(super) fn check(path: &Path, wanted: &str) -> Result<PathBuf, VolumeError> {
    let io = || VolumeError::io(path);
    let of = |what: &'static str, is: fn(&fs::Metadata) -> bool| match fs::metadata(path) {
        Ok(meta) if is(&meta) => Ok(()),
        _ => Err(VolumeError::HostPath { path: path.to_owned(), wanted: what }),
    };
    match wanted {
        "DirectoryOrCreate" => {
            if !path.exists() {
                fs::create_dir_all(path).map_err(io())?;
                fs::set_permissions(path, fs::Permissions::from_mode(0o755)).map_err(io())?;
            }
            of("directory", fs::Metadata::is_dir)?;
        }
        "FileOrCreate" => {
            if !path.exists() {
                fs::File::create(path).map_err(io())?;
                fs::set_permissions(path, fs::Permissions::from_mode(0o644)).map_err(io())?;
            }
            of("file", fs::Metadata::is_file)?;
        }
        "Directory" => of("directory", fs::Metadata::is_dir)?,
        "File" => of("file", fs::Metadata::is_file)?,
        "Socket" => of("socket", |meta| meta.file_type().is_socket())?,
        "CharDevice" => of("character device", |meta| meta.file_type().is_char_device())?,
        "BlockDevice" => of("block device", |meta| meta.file_type().is_block_device())?,
        _ => {}
    }
    Ok(path.to_owned())
}
