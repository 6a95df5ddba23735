//! The day's load: a function of the time of day, the same each time. What a fleet's readings show of it also depends on
//! how many of its instances serve.

use super::plan::Plan;
use contract::Timestamp;
use policies::facts::MissingWhy;
use skala::sources::Answer;
use skala::sources::sim::SimSource;
use std::sync::Arc;

/// One fleet of the demo.
#[derive(Clone, Copy, Debug)]
pub struct Workload {
    /// The fleet.
    pub fleet: &'static str,
    /// Its groups, each with its cloud, the most preferred first.
    pub places: &'static [Place],
    /// What its load is counted in.
    pub unit: &'static str,
    /// How much of it one instance can do.
    pub capacity: f64,
    curve: fn(f64) -> f64,
}

/// One group of a fleet.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// The cloud.
    pub cloud: &'static str,
    /// The group's name among the simulated machines.
    pub group: &'static str,
}

const fn at(cloud: &'static str, group: &'static str) -> Place {
    Place { cloud, group }
}

const CHECKOUT: Workload = Workload {
    fleet: "checkout",
    places: &[at("cirrus", "checkout")],
    unit: "req/s",
    capacity: 100.0,
    curve: checkout,
};
const VIDEO: Workload =
    Workload { fleet: "video", places: &[at("stratus", "video")], unit: "streams", capacity: 100.0, curve: video };

/// The fleets of the day, in the order of the table.
pub const WORKLOADS: [Workload; 4] = [
    CHECKOUT,
    Workload { fleet: "search", places: &[at("nimbus", "search")], unit: "req/s", capacity: 100.0, curve: search },
    VIDEO,
    Workload {
        fleet: "billing",
        places: &[at("cellar", "servers:billing")],
        unit: "jobs",
        capacity: 65.0,
        curve: billing,
    },
];

/// The fleets of the evening over the wire.
pub const WIRED: [Workload; 3] = [
    CHECKOUT,
    VIDEO,
    Workload {
        fleet: "reports",
        places: &[at("cellar", "deployment:default/reports"), at("cirrus", "reports")],
        unit: "jobs",
        capacity: 65.0,
        curve: reports,
    },
];

impl Workload {
    /// The load at an hour of the day, 0 to 24.
    pub fn load(&self, hour: f64) -> f64 {
        let noise = noise((hour * 120.0) as u64 ^ (self.fleet.len() as u64) << 32);
        ((self.curve)(hour) * (1.0 + 0.04 * noise)).max(0.0)
    }

    /// The fewest instances that can do the load.
    pub fn needed(&self, hour: f64) -> u32 {
        (self.load(hour) / self.capacity).ceil() as u32
    }

    /// Its clouds, for the table.
    pub fn clouds(&self) -> String {
        self.places.iter().map(|place| place.cloud).collect::<Vec<_>>().join("+")
    }

    /// What a query about this fleet shows.
    fn reading(&self, query: &str, hour: f64, serving: u32) -> f64 {
        let load = self.load(hour);
        let busy = load / (f64::from(serving.max(1)) * self.capacity);
        if query.contains("cpu_busy") {
            busy.min(1.0)
        } else if query.contains("errors") {
            // What cannot be served fails.
            (1.0 - 1.0 / busy).max(0.0)
        } else {
            load
        }
    }
}

/// Answers a query of the demo's policies. `serving` tells how many instances of a fleet run.
pub fn answer(plan: &Plan, query: &str, at: Timestamp, hour: f64, serving: impl Fn(&Workload) -> u32) -> Answer {
    if (plan.blackout.0..plan.blackout.1).contains(&hour) {
        return Err(MissingWhy::Unreachable);
    }
    let about = plan.workloads.iter().find(|workload| query.contains(&format!("fleet=\"{}\"", workload.fleet)));
    let Some(workload) = about else { return Err(MissingWhy::Empty) };
    Ok(Arc::new([SimSource::point(&[], workload.reading(query, hour, serving(workload)), at)]))
}

/// Busy by day, quiet at four in the morning.
fn checkout(hour: f64) -> f64 {
    let day = 300.0 + 1700.0 * wave(hour, 16.0);
    // A sale that begins at eight sharp.
    day + 2200.0 * ramp(hour, 20.0, 20.1) * (1.0 - ramp(hour, 20.6, 21.2))
}

fn search(hour: f64) -> f64 {
    500.0 + 1500.0 * wave(hour, 13.0) + 400.0 * wave(hour * 3.0, 10.0)
}

fn video(hour: f64) -> f64 {
    200.0 + 3500.0 * ramp(hour, 17.5, 20.5) * (1.0 - ramp(hour, 22.0, 24.0)) + 600.0 * wave(hour, 12.0)
}

fn billing(hour: f64) -> f64 {
    40.0 + 680.0 * ramp(hour, 1.0, 1.5) * (1.0 - ramp(hour, 4.0, 5.5))
}

/// The day's reports, all asked for at once when the offices close.
fn reports(hour: f64) -> f64 {
    60.0 + 840.0 * ramp(hour, 17.55, 17.65) * (1.0 - ramp(hour, 21.0, 21.5))
}

/// A day's wave between 0 and 1 with its top at an hour.
fn wave(hour: f64, top: f64) -> f64 {
    0.5 + 0.5 * ((hour - top) / 24.0 * std::f64::consts::TAU).cos()
}

/// 0 before `from`, 1 after `to`, smooth between.
fn ramp(hour: f64, from: f64, to: f64) -> f64 {
    let x = ((hour - from) / (to - from)).clamp(0.0, 1.0);
    x * x * (3.0 - 2.0 * x)
}

/// Something between -1 and 1 that looks like chance and is none (a multiplicative hash).
fn noise(seed: u64) -> f64 {
    let mixed = (seed ^ (seed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    ((mixed ^ (mixed >> 32)) >> 11) as f64 / (1_u64 << 52) as f64 - 1.0
}

#[cfg(test)]
mod tests {
    use super::super::plan::DAY;
    use super::*;

    #[test]
    fn every_hour_has_a_load_that_the_clouds_could_serve() {
        for workload in WORKLOADS.into_iter().chain(WIRED) {
            let hours = || (0..24 * 60).map(|minute| f64::from(minute) / 60.0);
            assert!(hours().all(|hour| workload.load(hour).is_finite() && workload.load(hour) >= 0.0));
            let needed: Vec<u32> = hours().map(|hour| workload.needed(hour)).collect();
            let (least, most) = (needed.iter().min().unwrap(), needed.iter().max().unwrap());
            assert!(*most >= 3 * least, "{}: {least} to {most} is no day", workload.fleet);
            assert!(*most <= 60, "{}: {most}", workload.fleet);
        }
    }

    #[test]
    fn readings_follow_from_load_and_serving() {
        let reading = |query: &str, serving| {
            answer(&DAY, query, Timestamp::default(), 12.0, |_| serving).map(|points| points[0].value)
        };
        let load = reading("sum(rate(requests_total{fleet=\"search\"}[1m]))", 1).unwrap();
        let cpu = reading("avg(cpu_busy_ratio{fleet=\"search\"})", 100).unwrap();
        assert!((cpu - load / 10_000.0).abs() < 1e-9);
        assert_eq!(reading("avg(cpu_busy_ratio{fleet=\"search\"})", 1), Ok(1.0));
        assert!(reading("errors{fleet=\"search\"}", 1).unwrap() > 0.5);
        assert_eq!(reading("up", 1), Err(MissingWhy::Empty));
        assert_eq!(answer(&DAY, "up", Timestamp::default(), 13.1, |_| 1), Err(MissingWhy::Unreachable));
    }
}
