//! Secrets that are read from files at each use, so that a rotated one is in force at the next request. A secret
//! never shows in a log, an error or a `Debug`; only its file's name does.

use reqwest::header::{HeaderName, HeaderValue};
use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Longer than any token in use; a larger file is the wrong file.
const SECRET_MAX: u64 = 16 * 1024;

/// How a request says who it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Auth {
    /// Not at all.
    #[default]
    None,
    /// A bearer token, read from this file.
    Bearer {
        /// The file that holds the token and nothing else.
        file: PathBuf,
    },
    /// A name, and a password read from this file.
    Basic {
        /// The user's name.
        username: String,
        /// The file that holds the password and nothing else.
        file: PathBuf,
    },
}

/// A header that goes with every request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Its name.
    pub name: HeaderName,
    /// What it says.
    pub value: HeaderText,
}

/// What a header says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderText {
    /// This.
    Plain(HeaderValue),
    /// What this file holds, and nothing else: a secret.
    Secret(PathBuf),
}

impl Header {
    /// Its value, and the secret that must not be shown of it.
    pub(super) fn read(&self) -> Result<(HeaderValue, Option<Secret>), SecretError> {
        let file = match &self.value {
            HeaderText::Plain(value) => return Ok((value.clone(), None)),
            HeaderText::Secret(file) => file,
        };
        let secret = Secret::read(file, false)?;
        let not_text = |_| SecretError { file: file.clone(), why: SecretFault::NotText };
        let mut value = HeaderValue::from_str(secret.reveal()).map_err(not_text)?;
        value.set_sensitive(true);
        Ok((value, Some(secret)))
    }
}

impl Auth {
    /// Reads the secret, if there is one.
    pub(super) fn read(&self) -> Result<Option<Secret>, SecretError> {
        match self {
            Auth::None => Ok(None),
            Auth::Bearer { file } => Secret::read(file, true).map(Some),
            Auth::Basic { file, .. } => Secret::read(file, false).map(Some),
        }
    }
}

/// A secret's text. Its `Debug` shows nothing of it.
pub(super) struct Secret(String);

impl Secret {
    fn read(path: &Path, is_token: bool) -> Result<Self, SecretError> {
        let fail = |why: SecretFault| SecretError { file: path.to_owned(), why };
        let unreadable = |error: std::io::Error| fail(SecretFault::Unreadable(error.kind()));
        // Opening a pipe would wait for its writer.
        if !std::fs::metadata(path).map_err(unreadable)?.is_file() {
            return Err(fail(SecretFault::NotAFile));
        }
        let mut text = String::new();
        let read = std::fs::File::open(path).and_then(|file| file.take(SECRET_MAX + 1).read_to_string(&mut text));
        if let Err(error) = read {
            let not_text = error.kind() == std::io::ErrorKind::InvalidData;
            return Err(if not_text { fail(SecretFault::NotText) } else { unreadable(error) });
        }
        if text.len() as u64 > SECRET_MAX {
            return Err(fail(SecretFault::TooLong));
        }
        let secret = text.trim_end_matches(['\r', '\n']);
        if secret.trim().is_empty() {
            return Err(fail(SecretFault::Empty));
        }
        let fits = |c: char| if is_token { c.is_ascii_graphic() } else { !c.is_control() };
        if !secret.chars().all(fits) {
            return Err(fail(SecretFault::NotText));
        }
        Ok(Self(secret.to_owned()))
    }

    /// The secret itself, for the header alone.
    pub(super) fn reveal(&self) -> &str {
        &self.0
    }

    /// The text without the secret: a proxy's error page may repeat the request's headers.
    pub(super) fn redact(&self, text: &str) -> String {
        text.replace(&self.0, "[secret]")
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

/// A secret's file that cannot be used. It names the file and never what is in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("secret file {}: {why}", file.display())]
pub struct SecretError {
    /// The file.
    pub file: PathBuf,
    /// What is wrong with it.
    pub why: SecretFault,
}

/// What is wrong with a secret's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretFault {
    /// It cannot be read.
    #[error("cannot be read ({0})")]
    Unreadable(std::io::ErrorKind),
    /// It is a directory, a pipe or a device.
    #[error("is not a regular file")]
    NotAFile,
    /// There is nothing in it.
    #[error("is empty")]
    Empty,
    /// It is longer than 16 KiB.
    #[error("is longer than 16 KiB")]
    TooLong,
    /// It holds more than one line, or what no header can carry.
    #[error("must hold the secret alone, on one line, in printable characters")]
    NotText,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_holds_no_secret_is_named_and_never_quoted() {
        let dir = tempfile::tempdir().unwrap();
        let check = |name: &str, content: &[u8], expected: SecretFault| {
            let file = dir.path().join(name);
            std::fs::write(&file, content).unwrap();
            let error = Auth::Bearer { file: file.clone() }.read().unwrap_err();
            assert_eq!(error, SecretError { file, why: expected });
            assert!(error.to_string().contains(name) && !error.to_string().contains("hunter2"), "{error}");
        };
        check("empty", b"", SecretFault::Empty);
        check("newline", b"\n", SecretFault::Empty);
        check("two-lines", b"hunter2\nhunter2\n", SecretFault::NotText);
        check("binary", b"hunter2\xff", SecretFault::NotText);
        check("blank-inside", b"hunter2 hunter2", SecretFault::NotText);
        check("long", &vec![b'a'; 16 * 1024 + 1], SecretFault::TooLong);
        let missing = Auth::Bearer { file: dir.path().join("missing") }.read().unwrap_err();
        assert_eq!(missing.why, SecretFault::Unreadable(std::io::ErrorKind::NotFound));
        let directory = Auth::Bearer { file: dir.path().to_owned() }.read().unwrap_err();
        assert_eq!(directory.why, SecretFault::NotAFile);
    }

    #[test]
    fn a_secret_is_its_line_and_shows_nowhere() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("password");
        std::fs::write(&file, "hunter 2\r\n").unwrap();
        let secret = Auth::Basic { username: "u".into(), file }.read().unwrap().unwrap();
        assert_eq!(secret.reveal(), "hunter 2");
        assert_eq!(format!("{secret:?}"), "[secret]");
        assert_eq!(secret.redact("you sent hunter 2."), "you sent [secret].");
    }
}
