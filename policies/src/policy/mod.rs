//! Policy files: text in, a [`PolicySet`] and every problem found out. Nothing here reads a file or asks a clock.

mod model;

pub use model::*;

/// One policy file.
#[derive(Clone, Debug)]
pub struct SourceFile {
    /// Its name as diagnostics show it.
    pub name: Box<str>,
    /// Its text.
    pub text: String,
}
