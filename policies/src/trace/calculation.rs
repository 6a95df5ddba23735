//! How each rule found its value, in the numbers that it used.

use super::{Bound, Forecaster, Inputs};
use contract::Capacity;
use std::time::Duration;

/// How a value was found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Calculation {
    /// total / target.
    PerInstance {
        /// The fleet's total.
        total: f64,
        /// One instance's share.
        target: f64,
        /// Within tolerance: current is kept.
        tolerated: bool,
    },
    /// value x serving / target.
    Utilization {
        /// The average.
        value: f64,
        /// Instances serving at the reading's time.
        serving: Capacity,
        /// The target.
        target: f64,
        /// Within tolerance: current is kept.
        tolerated: bool,
    },
    /// The average over members, with substitutes for missing ones.
    Members {
        /// The average over ready members.
        ready_mean: f64,
        /// Ready members.
        ready: Capacity,
        /// Members without a value.
        missing: Capacity,
        /// Members not ready yet.
        unready: Capacity,
        /// The target.
        target: f64,
        /// Nothing changes: within tolerance, or the substitutes turned the direction.
        kept: bool,
    },
    /// A forecast with head-room.
    Objective {
        /// Where the forecast comes from.
        forecaster: Forecaster,
        /// The load it expects.
        load: f64,
        /// When it expects it, from the newest known load on.
        ahead: Duration,
        /// The head-room on top of it, as load.
        headroom: f64,
        /// One instance's share of the load at the highest allowed utilization.
        share: f64,
        /// The newest load.
        now: f64,
        /// What made the answer this much.
        bound: Bound,
        /// Indices of the rule and of its event of the calendar that changes the load.
        event: Option<(u16, u8)>,
        /// What the event multiplies the forecast with; 1 without one.
        factor: f64,
        /// What was learned of one instance, where that is learned.
        sizing: Option<Sizing>,
    },
    /// value x serving / limit, until it is known what one instance can do.
    Learning {
        /// The average utilization.
        busy: f64,
        /// Instances serving at the reading's time.
        serving: Capacity,
        /// The highest allowed utilization.
        limit: f64,
        /// It is so high that more may be wanted than was measured: twice as many.
        full: bool,
        /// Windows learned from so far.
        windows: u32,
    },
    /// A step of the table.
    Step {
        /// The metric's value.
        value: f64,
        /// Index of the row.
        row: u16,
        /// Instances of earlier steps that still warm up and count against this one.
        warming: Capacity,
    },
    /// What comes and what waits, in workers.
    Queue {
        /// Jobs that wait.
        backlog: f64,
        /// Jobs that come, a second.
        arrivals: f64,
        /// Seconds that a job takes a worker.
        service_secs: f64,
        /// The time to drain.
        drain_within: Duration,
        /// Workers of an instance.
        workers: u32,
        /// Instances serving, when they cannot do it in time and others have to boot first.
        serving: Option<Capacity>,
        /// The workers were busy, so that the load may be larger than what was measured: not less than current.
        saturated: bool,
    },
    /// An expression.
    Expression {
        /// Its value, before it is rounded up.
        value: f64,
        /// What it was computed from.
        inputs: Inputs,
        /// One of them may be larger than what was measured: not less than current.
        saturated: bool,
    },
    /// Erlang's formula.
    Latency {
        /// Workers that are busy on average.
        load: f64,
        /// Workers that are needed.
        workers: u64,
        /// What counts as too long.
        max_wait: Duration,
        /// The share that waits too long with so many workers.
        late: f64,
        /// The workers were busy, so that the load may be larger than what was measured: not less than current.
        saturated: bool,
    },
}

/// What was learned of the work that one instance can do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sizing {
    /// The work at 100 %, as it is counted with.
    pub capacity: f64,
    /// The utilization without any work; `None`: it could not be told, and is taken for 0.
    pub background: Option<f64>,
    /// Windows that it was learned from.
    pub windows: u32,
    /// What made it this much.
    pub bound: SizingBound,
    /// The utilization is unknown now, so that nothing is removed.
    pub unknown: bool,
}

/// What made a learned capacity what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SizingBound {
    /// The law that was learned.
    Law,
    /// No more than 1.25 times what an instance was seen to carry.
    Sustained,
    /// The law says more, and it may only rise so fast.
    Rising,
}
