//! Where policy files come from. A [`PolicySource`] gives texts and a cheap sign that they may have changed; whether a
//! set is good is decided by the core's parser, whether it is taken by `cycle::reload`.

pub mod directory;

use policies::policy::SourceFile;
use thiserror::Error;

/// Policy files that cannot be read.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{0}")]
pub struct Unreadable(pub String);

/// Something that holds policy files.
pub trait PolicySource: Send + Sync {
    /// All files, sorted by name.
    ///
    /// # Errors
    /// When any of them cannot be read: half a set is no set.
    fn load(&self) -> Result<Vec<SourceFile>, Unreadable>;

    /// A number that changes when the files may have changed. Asked every 2 s, so it must be cheap; it may change without
    /// need, since the content decides.
    fn fingerprint(&self) -> u64;
}
