//! Rules of kind `queue` and `latency`: arrivals and service times, and how long work may wait.

use super::diagnostic::Finding;
use super::metric::Drafts;
use super::reader::{Fault, Reader};
use super::tree::Node;
use super::{Unit, units};
use std::time::Duration;

/// Most workers of one instance: beyond that it is a mistake in the key.
const WORKERS_MAX: u32 = 10_000;
/// The rarest lateness that can be asked for. Below it the arrivals' own randomness is no longer what decides.
const SHARE_MIN: f64 = 1e-6;
/// Service times that vary more than this have no mean worth the name.
const CV_MAX: f64 = 100.0;

/// Drain a backlog in time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Queue {
    /// Jobs that wait.
    pub backlog: u16,
    /// Jobs that come, a second.
    pub arrivals: u16,
    /// What one job takes one worker, in seconds.
    pub service_time: u16,
    /// What waits now is done after this long.
    pub drain_within: Duration,
    /// Jobs that one instance works on at a time.
    pub workers_per_instance: u32,
}

/// Keep the share of requests that wait too long.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Latency {
    /// Requests that come, a second.
    pub arrivals: u16,
    /// What one request takes one worker, in seconds, its waiting not counted.
    pub service_time: u16,
    /// A request that waits longer is late.
    pub max_wait: Duration,
    /// The share of requests that may be late, above 0 and below 1.
    pub share: f64,
    /// Requests that one instance works on at a time.
    pub workers_per_instance: u32,
    /// Standard deviation of the service times, divided by their mean; 1 for exponential ones, 0 for equal ones.
    pub service_cv: f64,
}

pub(super) fn read_queue(r: &mut Reader<'_>, metrics: &Drafts) -> Option<Queue> {
    let backlog = read_metric(r, "backlog", "jobs", metrics);
    let arrivals = read_metric(r, "arrivals", "jobs a second", metrics);
    let service_time = read_service_time(r, metrics);
    let within = units::duration(Duration::from_secs(1)..=units::DAY);
    let drain_within = r.need_or("drain_within", within, Some("what waits now is done by then: \"5m\""));
    let workers_per_instance = read_workers(r);
    Some(Queue {
        backlog: backlog?,
        arrivals: arrivals?,
        service_time: service_time?,
        drain_within: drain_within?,
        workers_per_instance: workers_per_instance?,
    })
}

pub(super) fn read_latency(r: &mut Reader<'_>, metrics: &Drafts) -> Option<Latency> {
    let arrivals = read_metric(r, "arrivals", "requests a second", metrics);
    let service_time = read_service_time(r, metrics);
    let max_wait = r.need_or("max_wait", units::up_to_a_day, Some("a request that waits longer is late: \"20ms\""));
    let share = r.need_or("share", read_share, Some("the share that may be late: share = 0.01"));
    let workers_per_instance = read_workers(r);
    let read = r.take("service_cv", read_cv);
    let service_cv = if r.has("service_cv") { read } else { Some(1.0) };
    Some(Latency {
        arrivals: arrivals?,
        service_time: service_time?,
        max_wait: max_wait?,
        share: share?,
        workers_per_instance: workers_per_instance?,
        service_cv: service_cv?,
    })
}

/// A metric that counts things.
fn read_metric(r: &mut Reader<'_>, key: &'static str, what: &str, metrics: &Drafts) -> Option<u16> {
    let metric = r.need_or(key, |node| metrics.find(node, true), Some(&format!("the metric that counts {what}")))?;
    if let Some((Unit::Ratio | Unit::Percent | Unit::Seconds, true)) = metrics.unit(metric) {
        let found = Finding::new(format!("`{key}` counts {what}, and this metric's `unit` says otherwise"));
        r.findings().error(r.at_of(key), found.hint("give the metric unit = \"count\", or take another one"));
        return None;
    }
    Some(metric)
}

fn read_service_time(r: &mut Reader<'_>, metrics: &Drafts) -> Option<u16> {
    let key = "service_time";
    let hint = "the metric of the seconds that one worker takes for one";
    let metric = r.need_or(key, |node| metrics.find(node, true), Some(hint))?;
    match metrics.unit(metric) {
        Some((Unit::Ratio | Unit::Percent | Unit::Count, true)) => {
            let found = Finding::new("`service_time` is in seconds, and this metric's `unit` says otherwise");
            let hint = "give the metric unit = \"seconds\"; divide milliseconds by 1000 in its query";
            r.findings().error(r.at_of(key), found.hint(hint));
            None
        }
        Some((_, false)) if !r.is_partial() => {
            let found = Finding::new("the metric has no `unit`; it is taken for seconds");
            r.findings().warn(r.at_of(key), found.hint("give the metric unit = \"seconds\""));
            Some(metric)
        }
        _ => Some(metric),
    }
}

fn read_workers(r: &mut Reader<'_>) -> Option<u32> {
    let key = "workers_per_instance";
    let read = r.take(key, units::whole(1..=WORKERS_MAX));
    if r.has(key) { read } else { Some(1) }
}

fn read_share(node: &Node) -> Result<f64, Fault> {
    let number = units::number(node)?;
    if (SHARE_MIN..1.0).contains(&number) {
        return Ok(number);
    }
    let fault = Fault::new(format!("must be a share from {SHARE_MIN} to below 1, not {number}"));
    Err(if number >= 1.0 { fault.hint(format!("for {number} % write {}", number / 100.0)) } else { fault })
}

fn read_cv(node: &Node) -> Result<f64, Fault> {
    let number = units::number(node)?;
    if (0.0..=CV_MAX).contains(&number) {
        return Ok(number);
    }
    let fault = Fault::new(format!("must be a number from 0 to {CV_MAX}, not {number}"));
    Err(fault.hint("the standard deviation of the service times, divided by their mean"))
}
