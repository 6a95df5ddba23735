//! What skala tells of itself: logs on standard error, and the text of `/metrics`. In come events and what the actor
//! published, out go lines. Nothing here decides, counts or keeps anything.
//!
//! There is no metrics registry, global or other: the actor counts in `published`, as plain values, and a scrape writes
//! them out. Two daemons fit in one process, a test reads only its own numbers, and 10,000 fleets cost a buffer of 32 KiB
//! where a registry keeps a hash entry and its labels for each of 21 series a fleet (measured: 124 MB).

mod exposition;
mod families;
pub mod logs;

pub use exposition::Scrape;
