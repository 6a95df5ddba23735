//! A directory of `*.toml` files, with all directories below it. In: file names, times and texts. It is read and never
//! written, and limits keep a file or a tree from being a bomb.

use super::{PolicySource, Unreadable};
use policies::policy::SourceFile;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Largest file.
pub const FILE_BYTES_MAX: u64 = 256 * 1024;
/// Most files.
pub const FILES_MAX: usize = 1_000;
/// Deepest directory below the first.
const DEPTH_MAX: usize = 16;

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

    /// All policy files, sorted by path. A name that begins with a dot is passed over: editors leave such files behind.
    fn files(&self) -> Result<Vec<PathBuf>, Unreadable> {
        let mut found = Vec::new();
        list(&self.root, 0, &mut found)?;
        found.sort();
        Ok(found)
    }
}

fn list(directory: &Path, depth: usize, found: &mut Vec<PathBuf>) -> Result<(), Unreadable> {
    if depth > DEPTH_MAX {
        return Err(Unreadable(format!("{}: more than {DEPTH_MAX} directories deep", directory.display())));
    }
    let wrong = |error: std::io::Error| Unreadable(format!("{}: {error}", directory.display()));
    for entry in std::fs::read_dir(directory).map_err(wrong)? {
        let path = entry.map_err(wrong)?.path();
        if path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b".")) {
            continue;
        }
        // Links are followed: configuration management and Kubernetes mount files through them.
        let kind = std::fs::metadata(&path).map_err(|error| Unreadable(format!("{}: {error}", path.display())))?;
        if kind.is_dir() {
            list(&path, depth + 1, found)?;
        } else if kind.is_file() && path.extension().is_some_and(|extension| extension == "toml") {
            if found.len() == FILES_MAX {
                return Err(Unreadable(format!("{}: more than {FILES_MAX} policy files", directory.display())));
            }
            found.push(path);
        }
    }
    Ok(())
}

fn read(path: &Path) -> Result<SourceFile, Unreadable> {
    use std::io::Read;
    let wrong = |what: &dyn std::fmt::Display| Unreadable(format!("{}: {what}", path.display()));
    let file = std::fs::File::open(path).map_err(|error| wrong(&error))?;
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|error| wrong(&error))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(wrong(&format!("larger than {} KiB", FILE_BYTES_MAX / 1024)));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let line = 1 + error.as_bytes()[..error.utf8_error().valid_up_to()].iter().filter(|b| **b == b'\n').count();
        wrong(&format!("line {line} is not UTF-8"))
    })?;
    Ok(SourceFile { name: path.to_string_lossy().into(), text })
}

impl PolicySource for Directory {
    fn load(&self) -> Result<Vec<SourceFile>, Unreadable> {
        self.files()?.iter().map(|path| read(path)).collect()
    }

    fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        match self.files() {
            Err(error) => error.0.hash(&mut hasher),
            Ok(files) => {
                for path in files {
                    path.hash(&mut hasher);
                    if let Ok(about) = std::fs::metadata(&path) {
                        (about.ino(), about.len(), about.mtime(), about.mtime_nsec()).hash(&mut hasher);
                    }
                }
            }
        }
        hasher.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(files: &[(&str, &str)]) -> (tempfile::TempDir, Directory) {
        let root = tempfile::tempdir().expect("a directory for the test");
        for (name, text) in files {
            let path = root.path().join(name);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("directories");
            std::fs::write(path, text).expect("a file");
        }
        let directory = Directory::new(root.path());
        (root, directory)
    }

    #[test]
    fn every_toml_file_below_is_read_in_order_and_nothing_else() {
        let (_root, directory) = written(&[("b.toml", "2"), ("a/z.toml", "1"), ("x.txt", "3"), (".#b.toml", "4")]);
        let texts: Vec<String> = directory.load().expect("readable").into_iter().map(|file| file.text).collect();
        assert_eq!(texts, ["1", "2"]);
    }

    #[test]
    fn a_change_changes_the_fingerprint() {
        let (root, directory) = written(&[("a.toml", "1")]);
        let before = directory.fingerprint();
        assert_eq!(before, directory.fingerprint());
        std::fs::write(root.path().join("a.toml"), "22").expect("a file");
        let edited = directory.fingerprint();
        std::fs::remove_file(root.path().join("a.toml")).expect("a file");
        assert!(before != edited && edited != directory.fingerprint());
    }

    #[test]
    fn what_cannot_be_read_spoils_the_whole_set() {
        let large = "#".repeat(FILE_BYTES_MAX as usize + 1);
        for (text, wanted) in [(large.as_bytes(), "larger than 256 KiB"), (b"a\n\xff", "line 2 is not UTF-8")] {
            let (root, directory) = written(&[("good.toml", "")]);
            std::fs::write(root.path().join("bad.toml"), text).expect("a file");
            let error = directory.load().expect_err("an error");
            assert!(error.0.contains(wanted) && error.0.contains("bad.toml"), "{error}");
        }
        assert!(Directory::new("/nonexistent").load().is_err());
    }
}
