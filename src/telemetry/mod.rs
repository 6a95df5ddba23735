//! What skala tells of itself: logs on standard error, and the text of `/metrics`. In come events, counts and what the
//! actor published, out go lines. Nothing here decides.
//!
//! There is no global registry: two daemons fit in one process, and a test reads only its own numbers.

mod exposition;
mod families;
pub mod logs;
mod process;

pub use exposition::Scrape;
pub use process::ProcessMetrics;
