//! Space set aside beside the store, given back to the disk when it is full (safety rule 18).

use nix::fcntl::posix_fallocate;
use nix::sys::statvfs::statvfs;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Less than this left means that the disk is full, whatever the error said: SQLite's map of the log alone grows by 32 KiB.
const FULL_BELOW: u64 = 1 << 20;
/// What has to be left beside the reserve before the disk counts as having room again, or it would flap.
const ROOM: u64 = 16 << 20;

/// The reserve file.
#[derive(Debug)]
pub(super) struct Reserve {
    path: PathBuf,
    bytes: u64,
}

impl Reserve {
    /// The reserve beside a store.
    pub fn beside(store: &Path, bytes: u64) -> Self {
        let mut path = store.as_os_str().to_owned();
        path.push(".reserve");
        Self { path: path.into(), bytes }
    }

    /// Sets the space aside unless it is; false when there is no room for it.
    pub fn make(&mut self) -> io::Result<bool> {
        let there = std::fs::metadata(&self.path).map_or(0, |meta| meta.len());
        if there == self.bytes {
            return Ok(self.left()? >= ROOM);
        }
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&self.path)?;
        if self.allocate(&file).is_err() || self.left()? < ROOM {
            drop(file);
            self.free();
            return Ok(false);
        }
        Ok(true)
    }

    fn allocate(&self, file: &File) -> io::Result<()> {
        let bytes = i64::try_from(self.bytes).map_err(io::Error::other)?;
        if bytes > 0 {
            posix_fallocate(file, 0, bytes)?;
        }
        file.sync_all()
    }

    /// Gives the space back; false when there was none.
    pub fn free(&mut self) -> bool {
        std::fs::remove_file(&self.path).is_ok()
    }

    /// Whether the disk has next to nothing left.
    pub fn disk_is_full(&self) -> bool {
        self.left().is_ok_and(|left| left < FULL_BELOW)
    }

    /// Bytes left on the disk for us.
    fn left(&self) -> io::Result<u64> {
        let directory = self.path.parent().unwrap_or(Path::new("/"));
        let stat = statvfs(directory)?;
        Ok(stat.blocks_available().saturating_mul(stat.fragment_size()))
    }
}
