//! `latency`: the least capacity at which few enough requests wait too long, by Erlang's formula (decisions.md 3, row 4).
//!
//! It takes all workers of the fleet for one group behind one queue. Requests that are handed out blindly wait longer
//! than that: `max_wait` is then to be chosen smaller.

use super::erlang::least_workers;
use super::{Context, SATURATED, input};
use crate::policy::Latency;
use crate::trace::{Answer, Calculation, UnknownWhy};
use contract::{CAPACITY_MAX, Capacity};

pub(super) fn recommend(context: &Context<'_>, rule: &Latency) -> Answer {
    let (arrivals, service) = match (input(context, rule.arrivals), input(context, rule.service_time)) {
        (Ok(arrivals), Ok(service)) => (arrivals, service),
        (Err(unknown), _) | (_, Err(unknown)) => return unknown,
    };
    if service.value <= 0.0 && arrivals.value > 0.0 {
        return Context::unknown(rule.service_time, UnknownWhy::TakesNoTime);
    }
    let load = arrivals.value * service.value;
    let per_instance = u64::from(rule.workers_per_instance);
    let wait = rule.max_wait.as_secs_f64() / service.value;
    let most = u64::from(CAPACITY_MAX) * per_instance;
    let sized = least_workers(load, wait, rule.service_cv, rule.share, most);
    let raw = Capacity::try_from(sized.workers.div_ceil(per_instance)).unwrap_or(CAPACITY_MAX);
    // Requests that are counted when they are done cannot exceed what can be done (safety.md: censored).
    let served_then = u64::from(context.serving_at(arrivals.at)) * per_instance;
    let saturated = served_then > 0 && load >= SATURATED * served_then as f64;
    let value = if saturated { raw.max(context.current) } else { raw };
    let calculation =
        Calculation::Latency { load, workers: sized.workers, max_wait: rule.max_wait, late: sized.late, saturated };
    if arrivals.covers && service.covers {
        Answer::Value(value, calculation)
    } else {
        Answer::OutOnly(value.max(context.current), calculation)
    }
}
