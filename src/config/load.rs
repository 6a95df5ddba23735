//! Reads configuration files, bounded in number, size and depth. What cannot be read is a diagnostic, never an empty
//! file: a policy that seems to be gone would let its fleet go.

use policies::policy::{Diagnostic, FILE_BYTES_MAX, FILES_MAX, SourceFile};
use std::collections::BTreeSet;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Directories below each other.
const DEPTH_MAX: usize = 8;
/// Entries looked at, of any name.
const ENTRIES_MAX: usize = 100_000;

/// Reads one file. With a diagnostic its text is empty.
pub fn read_file(path: &Path) -> (SourceFile, Option<Diagnostic>) {
    let name = path.display().to_string().into_boxed_str();
    match read_text(path) {
        Ok(text) => (SourceFile { name, text }, None),
        Err((message, hint)) => {
            let mut trouble = Diagnostic::of_file(0, message);
            trouble.hint = hint;
            (SourceFile { name, text: String::new() }, Some(trouble))
        }
    }
}

fn read_text(path: &Path) -> Result<String, (String, Option<String>)> {
    let unreadable = |error: std::io::Error| (format!("cannot be read: {error}"), None);
    // Opening a pipe would wait for its writer.
    if !std::fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err(("is not a regular file".into(), None));
    }
    let limit = FILE_BYTES_MAX as u64;
    let mut bytes = Vec::new();
    std::fs::File::open(path).map_err(unreadable)?.take(limit + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() > FILE_BYTES_MAX {
        let hint = "split it: a directory may hold many files".to_owned();
        return Err((format!("the file is larger than {} KiB", FILE_BYTES_MAX / 1024), Some(hint)));
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let line = error.as_bytes()[..valid].iter().filter(|byte| **byte == b'\n').count() + 1;
        (format!("the file is not UTF-8 text (line {line})"), Some("save it as UTF-8".to_owned()))
    })
}

/// Reads every `*.toml` below a directory, sorted by path. Names that begin with a dot are left out: editors' copies,
/// and the directories behind a ConfigMap's links, which hold every file a second time.
pub fn read_directory(directory: &Path) -> (Vec<SourceFile>, Vec<Diagnostic>) {
    let walk = Walk::through(directory);
    let (mut files, mut diagnostics) = (Vec::new(), Vec::new());
    // One more than allowed is kept, so that the limit is reported where policies are read.
    for path in walk.found.into_iter().take(FILES_MAX + 1) {
        let (file, trouble) = read_file(&path);
        diagnostics.extend(trouble.map(|trouble| Diagnostic { file: count(&files), ..trouble }));
        files.push(file);
    }
    for (path, message) in walk.troubles {
        diagnostics.push(Diagnostic::of_file(count(&files), message));
        files.push(SourceFile { name: path.display().to_string().into(), text: String::new() });
    }
    (files, diagnostics)
}

/// The paths that [`read_directory`] would read now, sorted, without reading them.
pub fn list_directory(directory: &Path) -> Vec<PathBuf> {
    Walk::through(directory).found
}

fn count(files: &[SourceFile]) -> u32 {
    u32::try_from(files.len()).unwrap_or(u32::MAX)
}

struct Walk {
    found: Vec<PathBuf>,
    troubles: Vec<(PathBuf, String)>,
    /// Directories by their real paths: a link back up ends here.
    seen: BTreeSet<PathBuf>,
    entries: usize,
}

impl Walk {
    fn through(directory: &Path) -> Self {
        let mut walk = Self { found: Vec::new(), troubles: Vec::new(), seen: BTreeSet::new(), entries: 0 };
        walk.directory(directory, 0);
        walk.found.sort();
        walk
    }

    fn directory(&mut self, path: &Path, depth: usize) {
        if let Err((path, message)) = self.try_directory(path, depth) {
            self.troubles.push((path, message));
        }
    }

    fn try_directory(&mut self, path: &Path, depth: usize) -> Result<(), (PathBuf, String)> {
        let fail = |message: String| (path.to_owned(), message);
        let unreadable = |error: std::io::Error| fail(format!("cannot be read: {error}"));
        if depth > DEPTH_MAX {
            return Err(fail(format!("more than {DEPTH_MAX} directories below each other")));
        }
        if !self.seen.insert(path.canonicalize().map_err(unreadable)?) {
            return Ok(());
        }
        let mut paths = Vec::new();
        for entry in std::fs::read_dir(path).map_err(unreadable)? {
            self.entries += 1;
            if self.entries > ENTRIES_MAX {
                return Err(fail(format!("more than {ENTRIES_MAX} files: is this the policy directory?")));
            }
            paths.push(entry.map_err(unreadable)?.path());
        }
        // Sorted, so that of two ways to one directory the same is taken each time.
        paths.sort();
        for path in paths {
            let hidden = path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
            let is_toml = path.extension().is_some_and(|extension| extension == "toml");
            if hidden {
                continue;
            }
            match std::fs::metadata(&path) {
                Ok(meta) if meta.is_dir() => self.directory(&path, depth + 1),
                _ if is_toml => self.found.push(path),
                _ => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_come_sorted_and_hidden_ones_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("b/deeper")).unwrap();
        std::fs::create_dir_all(dir.path().join("..data")).unwrap();
        for name in ["z.toml", "a.toml", "b/m.toml", "b/deeper/x.toml", "..data/a.toml", ".swp.toml", "readme.md"] {
            std::fs::write(dir.path().join(name), "x = 1\n").unwrap();
        }
        std::os::unix::fs::symlink(dir.path(), dir.path().join("b/loop")).unwrap();
        let (files, troubles) = read_directory(dir.path());
        let names: Vec<&str> =
            files.iter().map(|file| file.name.strip_prefix(dir.path().to_str().unwrap()).unwrap()).collect();
        assert_eq!(names, ["/a.toml", "/b/deeper/x.toml", "/b/m.toml", "/z.toml"]);
        assert_eq!(troubles, []);
    }

    #[test]
    fn what_cannot_be_read_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let check = |name: &str, bytes: &[u8], expected: &str| {
            std::fs::write(dir.path().join(name), bytes).unwrap();
            let (files, troubles) = read_directory(dir.path());
            std::fs::remove_file(dir.path().join(name)).unwrap();
            assert_eq!(troubles.len(), 1, "{name}");
            assert_eq!(troubles[0].message, expected);
            assert!(files[troubles[0].file as usize].name.ends_with(name));
        };
        check("latin.toml", b"a = 1\nb = \"\xe9\"\n", "the file is not UTF-8 text (line 2)");
        check("large.toml", &vec![b'#'; FILE_BYTES_MAX + 1], "the file is larger than 256 KiB");
        std::fs::create_dir(dir.path().join("pipe")).unwrap();
        std::os::unix::fs::symlink("nowhere", dir.path().join("gone.toml")).unwrap();
        let (_, troubles) = read_directory(dir.path());
        assert!(troubles[0].message.starts_with("cannot be read"), "{troubles:?}");
        let (_, troubles) = read_directory(&dir.path().join("missing"));
        assert!(troubles[0].message.starts_with("cannot be read"), "{troubles:?}");
    }

    #[test]
    fn a_deep_tree_ends() {
        let dir = tempfile::tempdir().unwrap();
        let mut path = dir.path().to_owned();
        for _ in 0..12 {
            path.push("d");
        }
        std::fs::create_dir_all(&path).unwrap();
        let (_, troubles) = read_directory(dir.path());
        assert_eq!(troubles.len(), 1);
        assert_eq!(troubles[0].message, "more than 8 directories below each other");
    }
}
