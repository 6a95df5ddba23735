//! `skala hold --all`: a file beside the store that freezes the world, also with the daemon down (safety rule 20). Paths and
//! a time in, a hold or none out. What cannot be read holds: a person who reached for the brake must not be misread as
//! having let go.

use contract::Timestamp;
use nix::fcntl::OFlag;
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// A hold is a few lines; more is a mistake, and reading it could block or exhaust.
const LARGEST: u64 = 64 << 10;

/// What the file says.
#[derive(Clone, Debug, PartialEq)]
pub struct HoldAll {
    /// Who asked.
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// When it ends by itself.
    pub until: Timestamp,
    /// The person's reason.
    pub reason: String,
    /// Only scale-in is held.
    pub scale_in_only: bool,
}

/// The file's form: times are seconds since the Unix epoch, as everywhere in skala's JSON.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    by: String,
    at: f64,
    until: f64,
    reason: String,
    #[serde(default)]
    scale_in_only: bool,
}

/// What lies beside the store.
#[derive(Clone, Debug, PartialEq)]
pub enum HoldFile {
    /// Nothing.
    Absent,
    /// A hold, perhaps past.
    Hold(HoldAll),
    /// Something that cannot be read: it holds everything until it is removed.
    Unreadable {
        /// Why, and which file.
        why: String,
    },
}

/// A hold of everything that is in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InForce {
    /// Only scale-in is held.
    pub scale_in_only: bool,
    /// What `status` and `explain` say: who, why, until when; or why the file cannot be read.
    pub reason: String,
    /// When it ends by itself; `None`: when the file is removed.
    pub until: Option<Timestamp>,
}

impl HoldFile {
    /// What is in force at a time.
    pub fn in_force(&self, now: Timestamp) -> Option<InForce> {
        match self {
            HoldFile::Absent => None,
            HoldFile::Hold(hold) if now >= hold.until => None,
            HoldFile::Hold(hold) => Some(InForce {
                scale_in_only: hold.scale_in_only,
                reason: format!("{}, by {}", hold.reason, hold.by),
                until: Some(hold.until),
            }),
            HoldFile::Unreadable { why } => {
                let reason = format!("{why}; `skala release --all` removes it");
                Some(InForce { scale_in_only: false, reason, until: None })
            }
        }
    }
}

/// Where the file of a store lies: `skala.db` has `skala.hold`.
pub fn path(store: &Path) -> PathBuf {
    store.with_extension("hold")
}

/// Reads the file. It blocks for no longer than a small local file takes.
pub fn read(path: &Path) -> HoldFile {
    let text = match text(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return HoldFile::Absent,
        Err(error) => return HoldFile::Unreadable { why: format!("{} cannot be read: {error}", path.display()) },
    };
    match parse(&text) {
        Ok(hold) => HoldFile::Hold(hold),
        Err(why) => HoldFile::Unreadable { why: format!("{} is no hold: {why}", path.display()) },
    }
}

fn text(path: &Path) -> io::Result<String> {
    // Opening a pipe would wait for its other end.
    let file = OpenOptions::new().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    let mut text = String::new();
    file.take(LARGEST + 1).read_to_string(&mut text)?;
    if text.len() as u64 > LARGEST {
        return Err(io::Error::other("it is longer than 64 KiB"));
    }
    Ok(text)
}

fn parse(text: &str) -> Result<HoldAll, String> {
    if text.trim().is_empty() {
        return Err("it is empty".into());
    }
    let form: Form = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let time = |name: &str, secs: f64| Timestamp::from_secs_f64(secs).ok_or(format!("`{name}` is not a time: {secs}"));
    let (at, until) = (time("at", form.at)?, time("until", form.until)?);
    Ok(HoldAll { by: form.by, at, until, reason: form.reason, scale_in_only: form.scale_in_only })
}

/// Writes the file, whole or not at all, in place of the last; it is on disk when this returns.
///
/// # Errors
/// When the directory cannot be written.
pub fn write(path: &Path, hold: &HoldAll) -> io::Result<()> {
    let form = Form {
        by: hold.by.clone(),
        at: hold.at.as_secs_f64(),
        until: hold.until.as_secs_f64(),
        reason: hold.reason.clone(),
        scale_in_only: hold.scale_in_only,
    };
    let mut text = serde_json::to_string_pretty(&form)?;
    text.push('\n');
    if text.len() as u64 > LARGEST {
        return Err(io::Error::other("the reason is longer than a hold can carry"));
    }
    let draft = path.with_extension(format!("hold.{}", std::process::id()));
    let done = publish(path, &draft, &text);
    if done.is_err() {
        // What is left of a failed draft is in nobody's way; the error to report is the first.
        let _ = std::fs::remove_file(&draft);
    }
    done
}

fn publish(path: &Path, draft: &Path, text: &str) -> io::Result<()> {
    let mut file = File::create(draft)?;
    file.write_all(text.as_bytes())?;
    // Root writes it and the daemon reads it: unreadable, it would hold past its end. There is nothing secret in it.
    file.set_permissions(std::fs::Permissions::from_mode(0o644))?;
    file.sync_all()?;
    std::fs::rename(draft, path)?;
    sync_directory(path)
}

/// Removes the file; false when there was none.
///
/// # Errors
/// When it is there and cannot be removed.
pub fn remove(path: &Path) -> io::Result<bool> {
    match std::fs::remove_file(path) {
        Ok(()) => sync_directory(path).map(|()| true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hold() -> HoldAll {
        HoldAll {
            by: "uid 0 (root)".into(),
            at: Timestamp::from_secs(1_700_000_000),
            until: Timestamp::from_secs(1_700_003_600),
            reason: "incident \"42\"\nü".into(),
            scale_in_only: true,
        }
    }

    #[test]
    fn it_is_written_read_replaced_and_removed() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = path(&directory.path().join("skala.db"));
        assert_eq!(path.file_name().and_then(|name| name.to_str()), Some("skala.hold"));
        assert_eq!(read(&path), HoldFile::Absent);
        assert!(!remove(&path).expect("nothing to remove"));
        write(&path, &hold()).expect("writes");
        assert_eq!(read(&path), HoldFile::Hold(hold()));
        let other = HoldAll { scale_in_only: false, ..hold() };
        write(&path, &other).expect("replaces");
        assert_eq!(read(&path), HoldFile::Hold(other));
        let mode = std::fs::metadata(&path).expect("is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o644, "the daemon reads what root wrote");
        assert_eq!(std::fs::read_dir(directory.path()).expect("lists").count(), 1, "no draft is left");
        assert!(remove(&path).expect("removes"));
        assert_eq!(read(&path), HoldFile::Absent);
    }

    #[test]
    fn it_ends_by_itself() {
        let file = HoldFile::Hold(hold());
        let until = hold().until;
        for (now, held) in [(Timestamp(0), true), (Timestamp(until.0 - 1), true), (until, false)] {
            assert_eq!(file.in_force(now).is_some(), held, "at {now}");
        }
        let force = file.in_force(hold().at).expect("in force");
        assert!(force.scale_in_only && force.until == Some(until));
        assert!(force.reason.contains("incident") && force.reason.contains("uid 0"), "{}", force.reason);
        assert_eq!(HoldFile::Absent.in_force(Timestamp(0)), None);
    }

    #[test]
    fn what_cannot_be_read_holds_everything() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("skala.hold");
        let check = |what: &str, want: &str| {
            let found = read(&file);
            let force = found.in_force(Timestamp(i64::MAX)).unwrap_or_else(|| panic!("{what}: {found:?}"));
            assert!(!force.scale_in_only && force.until.is_none(), "{what}");
            assert!(force.reason.contains(want) && force.reason.contains("skala.hold"), "{what}: {}", force.reason);
        };
        let good = r#"{"by":"a","at":1,"until":2,"reason":"r","scale_in_only":true}"#;
        let texts: [(&[u8], &str); 8] = [
            (b"", "empty"),
            (b" \n", "empty"),
            (b"frozen", "line 1"),
            (&good.as_bytes()[..30], "EOF"),
            (br#"{"by":"a","at":1,"until":1e300,"reason":"r"}"#, "until"),
            (br#"{"by":"a","at":1,"reason":"r"}"#, "until"),
            (br#"{"by":"a","at":1,"until":2,"reason":"r","scale-in-only":true}"#, "unknown field"),
            (b"\xff\xfe", "UTF-8"),
        ];
        for (text, want) in texts {
            std::fs::write(&file, text).expect("writes");
            check(&String::from_utf8_lossy(text), want);
        }
        std::fs::write(&file, format!("{good}{}", " ".repeat(LARGEST as usize))).expect("writes");
        check("too long", "64 KiB");
        std::fs::remove_file(&file).expect("removes");
        std::fs::create_dir(&file).expect("a directory in its place");
        check("a directory", "not a file");
        std::fs::remove_dir(&file).expect("removes");
        nix::unistd::mkfifo(&file, nix::sys::stat::Mode::S_IRWXU).expect("a pipe in its place");
        check("a pipe", "not a file");
        std::fs::write(directory.path().join("good"), good).expect("writes");
        let HoldFile::Hold(read) = read(&directory.path().join("good")) else { panic!("a good one is read") };
        assert!(read.scale_in_only);
    }
}
