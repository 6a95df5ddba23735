//! A report as JSON for programs.

use super::super::Found;
use super::{below, notes};
use contract::Capacity;
use serde::Serialize;
use skala::backtest::Score;
use skala::backtest::observed::{Agreement, Moment, Side, last_change};
use std::collections::BTreeMap;

/// The report for programs. Its keys are stable.
#[derive(Debug, Serialize)]
pub struct Json<'a> {
    fleet: &'a str,
    /// The window, in seconds.
    from: f64,
    to: f64,
    step_s: f64,
    /// Steps of the window; each is scored, or lacks the load, or lacks the real capacity alone.
    steps: usize,
    steps_scored: usize,
    steps_without_load: usize,
    steps_without_capacity: usize,
    /// Scored steps in which more is needed than the fleet's max.
    steps_above_max: usize,
    /// Scored steps in which the load was about all that the real fleet can do.
    steps_at_the_limit: usize,
    /// Load before the window, from which the replay learned.
    history_s: f64,
    model: JsonModel<'a>,
    real: JsonSide,
    skala: JsonSide,
    /// What the daemon said at the time; null when it said nothing.
    live: JsonLive,
    moments: Vec<JsonMoment<'a>>,
    notes: Vec<String>,
}

#[derive(Debug, Serialize)]
struct JsonModel<'a> {
    metric: &'a str,
    capacity_per_instance: f64,
    slo_utilization: f64,
    boot_delay_s: f64,
    metric_lag_s: f64,
    price_per_hour: f64,
    /// It is the objective rule's.
    derived: bool,
}

#[derive(Debug, Serialize)]
struct JsonSide {
    short_s: f64,
    #[serde(flatten)]
    score: Score,
}

#[derive(Debug, Serialize)]
struct JsonLive {
    desired: Option<JsonAgreement>,
    recommended: Option<JsonAgreement>,
    /// Steps of the window by mode, and by the reason of a hold.
    modes: BTreeMap<String, usize>,
    holds: BTreeMap<String, usize>,
}

#[derive(Debug, Serialize)]
struct JsonAgreement {
    steps: usize,
    below_demand_pct: f64,
    median_difference: f64,
}

#[derive(Debug, Serialize)]
struct JsonMoment<'a> {
    /// When it begins, and when they differ most.
    from: f64,
    at: f64,
    lasts_s: f64,
    what: &'static str,
    by: Capacity,
    load: Option<f64>,
    demand: Capacity,
    real_serving: Capacity,
    real_current: Capacity,
    skala_serving: Capacity,
    skala_current: Capacity,
    /// skala's last change before, when that was, and its reason; null when it has kept what was there.
    skala_since: Option<f64>,
    why: Option<&'a str>,
}

impl<'a> Json<'a> {
    /// A report.
    pub fn new(found: &'a Found<'_>) -> Self {
        let (scene, compared) = (found.backtest.scene(), &found.compared);
        let step = scene.model.step.as_secs_f64();
        let side = |side: &Side| JsonSide { short_s: step * side.short as f64, score: side.score };
        let agreement = |one: &Agreement| JsonAgreement {
            steps: one.steps,
            below_demand_pct: below(one),
            median_difference: one.median_difference,
        };
        Self {
            fleet: &found.policy.id,
            from: found.window.start.as_secs_f64(),
            to: found.window.end.as_secs_f64(),
            step_s: step,
            steps: found.window_steps(),
            steps_scored: compared.steps,
            steps_without_load: found.without_load(),
            steps_without_capacity: compared.without_supply,
            steps_above_max: compared.above_max,
            steps_at_the_limit: compared.censored,
            history_s: step * found.history_steps() as f64,
            model: JsonModel {
                metric: found.load_name(),
                capacity_per_instance: scene.model.capacity_per_instance,
                slo_utilization: scene.model.slo_utilization,
                boot_delay_s: scene.model.boot_delay.as_secs_f64(),
                metric_lag_s: scene.model.metric_lag.as_secs_f64(),
                price_per_hour: scene.model.price_per_hour,
                derived: found.derived,
            },
            real: side(&compared.real),
            skala: side(&compared.skala),
            live: JsonLive {
                desired: compared.desired.as_ref().map(agreement),
                recommended: compared.recommended.as_ref().map(agreement),
                modes: found.asked.modes.clone(),
                holds: found.asked.holds.clone(),
            },
            moments: compared.moments.iter().map(|moment| json_moment(found, moment)).collect(),
            notes: notes(found),
        }
    }
}

fn json_moment<'a>(found: &'a Found<'_>, moment: &Moment) -> JsonMoment<'a> {
    let (scene, at) = (found.backtest.scene(), moment.most);
    let (real, skala) = (&found.compared.supply, &found.supply);
    let change = last_change(&found.changes, at);
    JsonMoment {
        from: scene.time(moment.from).as_secs_f64(),
        at: scene.time(at).as_secs_f64(),
        lasts_s: scene.model.step.as_secs_f64() * moment.steps as f64,
        what: moment.difference.word(),
        by: moment.by,
        load: scene.load.values[at],
        demand: scene.demand[at],
        real_serving: real.ready[at],
        real_current: real.paid[at],
        skala_serving: skala.ready[at],
        skala_current: skala.paid[at],
        skala_since: change.map(|change| scene.time(change.step).as_secs_f64()),
        why: change.map(|change| change.why.as_ref()),
    }
}
