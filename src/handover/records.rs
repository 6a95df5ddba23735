//! Which groups were handed over and how to undo it: a file beside the store, as the hold of everything is. It outlives
//! the daemon, and a store that is lost, damaged or locked by a running daemon takes nothing away from it.
//!
//! A file that cannot be read is an error, never an empty list: a handover that is forgotten cannot be undone.

use contract::Undo;
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Ten thousand groups fit; more is a mistake.
const LARGEST: u64 = 16 << 20;

/// One group whose own scaler was suspended, or is about to be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Handover {
    /// The fleet.
    pub fleet: String,
    /// The provider's name.
    pub provider: String,
    /// The group's name there.
    pub group: String,
    /// Who asked.
    pub by: String,
    /// When, in seconds since the epoch.
    pub at: f64,
    /// How far it has come.
    pub stage: Stage,
    /// How to undo it.
    pub undo: Undo,
}

/// How far a handover has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Recorded; some of it may be switched.
    Suspending,
    /// The scaler may not act.
    Suspended,
    /// Being undone; some of it may be switched back.
    Restoring,
}

impl Stage {
    /// For people.
    pub fn word(self) -> &'static str {
        match self {
            Stage::Suspending => "suspending",
            Stage::Suspended => "suspended",
            Stage::Restoring => "restoring",
        }
    }
}

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    handovers: Vec<Handover>,
}

/// The records, open for one process at a time.
#[derive(Debug)]
pub struct Records {
    path: PathBuf,
    all: Vec<Handover>,
    _lock: File,
}

/// Where the records of a store lie: `skala.db` has `skala.handover`.
pub fn path(store: &Path) -> PathBuf {
    store.with_extension("handover")
}

/// Reads the records without keeping others from them.
///
/// # Errors
/// When there is a file that is none, or cannot be read.
pub fn read(path: &Path) -> io::Result<Vec<Handover>> {
    let mut text = String::new();
    match File::open(path) {
        Ok(file) => file.take(LARGEST + 1).read_to_string(&mut text)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    if text.len() as u64 > LARGEST {
        return Err(io::Error::other("it is longer than 16 MiB"));
    }
    let form: Form = serde_json::from_str(&text)?;
    Ok(form.handovers)
}

impl Records {
    /// Opens the records beside a store, and keeps other processes from them meanwhile.
    ///
    /// # Errors
    /// `WouldBlock` while another process has them open; when they cannot be read or their directory not be written.
    pub fn open(path: &Path) -> io::Result<Self> {
        let lock = path.with_extension("handover.lock");
        // The lock file stays: removing it would let two processes lock two files of one name.
        let lock = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&lock)?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => {
                io::Error::new(io::ErrorKind::WouldBlock, "another `skala handover` is at work; wait for it")
            }
            TryLockError::Error(error) => error,
        })?;
        Ok(Self { path: path.to_owned(), all: read(path)?, _lock: lock })
    }

    /// Where they are.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// All of them, in the order in which they came.
    pub fn all(&self) -> &[Handover] {
        &self.all
    }

    /// The record of a group.
    pub fn find(&self, provider: &str, group: &str) -> Option<&Handover> {
        self.all.iter().find(|one| one.provider == provider && one.group == group)
    }

    /// Keeps a record in place of the group's last; it is on disk when this returns.
    ///
    /// # Errors
    /// When it cannot be written; then the last one stands.
    pub fn put(&mut self, record: Handover) -> io::Result<()> {
        let mut all = self.all.clone();
        match all.iter_mut().find(|one| one.provider == record.provider && one.group == record.group) {
            Some(known) => *known = record,
            None => all.push(record),
        }
        self.write(all)
    }

    /// Drops the record of a group; false when there was none.
    ///
    /// # Errors
    /// When it cannot be written; then it stands.
    pub fn remove(&mut self, provider: &str, group: &str) -> io::Result<bool> {
        let all: Vec<Handover> =
            self.all.iter().filter(|one| one.provider != provider || one.group != group).cloned().collect();
        if all.len() == self.all.len() {
            return Ok(false);
        }
        self.write(all).map(|()| true)
    }

    /// The file, whole or not at all.
    fn write(&mut self, all: Vec<Handover>) -> io::Result<()> {
        let form = Form { handovers: all };
        let mut text = serde_json::to_string_pretty(&form)?;
        text.push('\n');
        let draft = self.path.with_extension("handover.new");
        let mut file = File::create(&draft)?;
        file.write_all(text.as_bytes())?;
        // Whoever looks may read it; there is nothing secret in it.
        file.set_permissions(std::fs::Permissions::from_mode(0o644))?;
        file.sync_all()?;
        std::fs::rename(&draft, &self.path)?;
        File::open(self.path.parent().unwrap_or(Path::new("/")))?.sync_all()?;
        self.all = form.handovers;
        Ok(())
    }
}
