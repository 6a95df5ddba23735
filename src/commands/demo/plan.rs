//! What is shown: the texts and times of a whole day on clouds in this process, and of an evening on clouds behind HTTP.

use super::load::{WIRED, WORKLOADS, Workload};
use sim_cloud::CloudKind;
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3_600);

/// One showing.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// What it is, for the first line.
    pub title: &'static str,
    /// The fleets, in the order of the table.
    pub workloads: &'static [Workload],
    /// The clouds' settings.
    pub clouds: &'static str,
    /// The fleets' policies.
    pub policies: &'static str,
    /// When it begins, after midnight.
    pub begins: Duration,
    /// How long it lasts.
    pub lasts: Duration,
    /// While this lasts, the source of all readings does not answer: hours of the day.
    pub blackout: (f64, f64),
    /// How much faster than the wall clock it passes when nobody says.
    pub speed: u32,
    /// What the clouds are behind HTTP; nothing: they are in this process.
    pub wire: &'static [(&'static str, CloudKind)],
    /// What goes wrong behind HTTP, beside what the clouds' settings say.
    pub troubles: &'static [(&'static str, &'static str)],
}

/// A day, quick and without any cloud's SDK.
pub const DAY: Plan = Plan {
    title: "Four simulated clouds, the real daemon, and a day that takes",
    workloads: &WORKLOADS,
    clouds: include_str!("clouds.toml"),
    policies: include_str!("policies.toml"),
    begins: Duration::ZERO,
    lasts: HOUR.saturating_mul(24),
    blackout: (13.0, 13.2),
    speed: 300,
    wire: &[],
    troubles: &[],
};

/// An evening over HTTP. A cycle waits five seconds of its clock for its inputs, and an answer over HTTP takes real
/// milliseconds: that is what bounds how fast it can pass, and so it is no whole day.
pub const EVENING: Plan = Plan {
    title: "Three simulated clouds behind their HTTP APIs, the providers and SDKs of production, the real daemon, and an \
            evening that takes",
    workloads: &WIRED,
    clouds: include_str!("wire/clouds.toml"),
    policies: include_str!("wire/policies.toml"),
    begins: Duration::from_secs(17 * 3_600 + 1_800),
    lasts: HOUR.saturating_mul(5),
    blackout: (19.0, 19.2),
    speed: 60,
    wire: &[("cirrus", CloudKind::Gcp), ("stratus", CloudKind::Azure), ("cellar", CloudKind::Kubernetes)],
    troubles: &[
        ("stratus", "down,from=40m,for=8m"),
        ("cellar", "hang,calls=reads,from=1h,for=5m"),
        ("cirrus", "error-after,calls=writes,from=2h35m,for=10m"),
        ("stratus", "throttle=20s,from=3h30m,for=5m"),
    ],
};
