//! What is asked of Nova: its version, its servers.

pub(crate) mod list;
pub(crate) mod server;
pub(crate) mod version;
