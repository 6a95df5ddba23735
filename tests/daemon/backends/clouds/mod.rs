//! The daemon in front of several clouds at once: simulated ones, each served over HTTP in its own API by this process, with
//! the providers and SDKs that a user has. What happened when is measured at the servers.

mod command;
mod demo;
mod hook;
mod outage;
mod spill;
mod stand;
