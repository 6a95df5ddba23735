//! The daemon on software that nobody here wrote: moto serves the Auto Scaling API with microburst before it, Prometheus
//! scrapes a load generator, boto3 reads the groups independently, and the real binary scales them. Real processes live in
//! real time, so this is the one place in the tests that waits for it.
#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

mod audit;
mod cloud;
mod clouds;
mod daemon;
mod exporter;
mod http;
mod policy;
mod process;
mod prometheus;
mod proxy;
mod scene;
mod stand;

mod api;
mod calls;
mod crash;
mod load;
mod metric;
mod people;
mod second;
mod simulated;

/// Seconds since the epoch.
fn now() -> f64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.unwrap_or_default().as_secs_f64()
}
