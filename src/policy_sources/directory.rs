//! A directory of `*.toml` files, with all directories below it. In: file names, times and texts. It is read, within
//! limits, and never written.

use super::{PolicySource, Unreadable};
use crate::config::{Report, diagnostics, list_directory, read_directory};
use policies::policy::SourceFile;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

/// A directory of policy files.
#[derive(Clone, Debug)]
pub struct Directory {
    root: PathBuf,
}

impl Directory {
    /// The directory at this path; it is looked at only when asked.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }
}

impl PolicySource for Directory {
    fn load(&self) -> Result<Vec<SourceFile>, Unreadable> {
        match read_directory(&self.root) {
            (files, troubles) if troubles.is_empty() => Ok(files),
            (files, diagnostics) => Err(Unreadable(diagnostics::render(&Report { files, diagnostics }))),
        }
    }

    fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        for path in list_directory(&self.root) {
            path.hash(&mut hasher);
            // A file that has just gone changes the list the next time.
            if let Ok(about) = std::fs::metadata(&path) {
                (about.ino(), about.len(), about.mtime(), about.mtime_nsec()).hash(&mut hasher);
            }
        }
        hasher.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_change_changes_the_fingerprint() {
        let root = tempfile::tempdir().expect("a directory");
        let file = root.path().join("a.toml");
        let directory = Directory::new(root.path());
        let mut seen = vec![directory.fingerprint()];
        let mut look = |changed: bool| {
            let now = directory.fingerprint();
            assert_eq!(seen.contains(&now), !changed);
            seen.push(now);
        };
        std::fs::write(&file, "1").expect("a new file");
        look(true);
        look(false);
        std::fs::write(&file, "22").expect("an edit");
        look(true);
        // What an editor or a package manager does: another file takes the name, with the same length.
        std::fs::write(root.path().join("b.tmp"), "33").expect("a draft");
        std::fs::rename(root.path().join("b.tmp"), &file).expect("a replacement");
        look(true);
        std::fs::write(root.path().join("notes.md"), "x").expect("another file");
        look(false);
    }

    #[test]
    fn what_cannot_be_read_spoils_the_whole_set() {
        let root = tempfile::tempdir().expect("a directory");
        let directory = Directory::new(root.path());
        std::fs::write(root.path().join("good.toml"), "").expect("a file");
        assert_eq!(directory.load().expect("readable").len(), 1);
        std::fs::write(root.path().join("bad.toml"), b"a\n\xff").expect("a file");
        let error = directory.load().expect_err("an error");
        assert!(error.0.contains("bad.toml") && error.0.contains("UTF-8"), "{error}");
        assert!(Directory::new("/nonexistent").load().is_err(), "a directory that is gone is not an empty set");
    }
}
