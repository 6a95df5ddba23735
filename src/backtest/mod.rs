//! Replays recorded load through the very same core as the daemon's, and scores it beside the alternatives.
//!
//! A [`Model`] and one or more [`Series`] go in; a [`Outcome`] comes out: supply, changes with their reasons, a [`Score`],
//! and the same for each [`Rival`]. No clock and no network: the same input gives the same outcome, byte for byte.

pub mod compare;
mod model;
pub mod observed;
mod replayed;
pub mod report;
mod rivals;
mod score;
mod series;
#[cfg(test)]
mod tests;
pub mod tune;
mod world;

pub use model::Model;
pub use replayed::Change;
pub use rivals::{Rival, TARGET};
pub use score::{Score, shortages};
pub use series::Series;
pub use world::{Scene, Supply};

use contract::Capacity;
use policies::policy::{Mode, Policy, RuleKind, Unit};
use replayed::Replayed;
use std::sync::Arc;
use std::time::Duration;

/// The targets that hindsight chooses from, in percent, and how far they are apart.
const TUNED_PERCENT: std::ops::RangeInclusive<u8> = 20..=98;
const TUNED_STEP: usize = 2;

/// Where a metric's readings come from in a backtest.
#[derive(Debug)]
pub(crate) enum Feed {
    /// It is the load.
    Load,
    /// The load as this policy's own query shows it, where need is judged by another's.
    Own(Series),
    /// Another recorded series.
    Series(Series),
    /// The load over what serves: the metric of a `utilization` rule, or of one that learns from it, that has no series, or
    /// that is the load.
    Utilization,
    /// Nothing: it is missing all the time.
    Nothing,
}

/// One feed for each of the policy's metrics.
#[derive(Debug)]
pub struct Feeds(Vec<Feed>);

impl Feeds {
    pub(crate) fn of(&self, metric: usize) -> &Feed {
        self.0.get(metric).unwrap_or(&Feed::Nothing)
    }
}

/// What stands in the way of a backtest, in one sentence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unusable(pub String);

/// A fleet, its load, and everything else that is recorded of it.
#[derive(Debug)]
pub struct Backtest {
    /// The policy as it is replayed.
    policy: Arc<Policy>,
    /// The load and what it needs.
    scene: Scene,
    feeds: Feeds,
}

/// What came of a backtest.
#[derive(Debug)]
pub struct Outcome {
    /// Supply under the policy.
    pub supply: Supply,
    /// Every change, with its reason; those of the warm-up too.
    pub changes: Vec<Change>,
    /// The score, after the warm-up.
    pub score: Score,
    /// The alternatives.
    pub rivals: Vec<RivalOutcome>,
}

/// What came of an alternative.
#[derive(Debug)]
pub struct RivalOutcome {
    /// Which.
    pub rival: Rival,
    /// The utilization that it was told to keep; `None`: it has no such setting.
    pub target: Option<f64>,
    /// That target was chosen in hindsight: the cheapest one with which it is short no more often than the policy.
    pub tuned: bool,
    /// Its supply.
    pub supply: Supply,
    /// Its score, after the warm-up.
    pub score: Score,
}

impl Backtest {
    /// A backtest of a policy; `series` are by the metric's index, the load's among them.
    ///
    /// The policy is replayed as it would run: `mode = "observe"` counts as `on`, since what it would do is the question.
    /// Where the model's metric is one that rules take for an average over instances, its series is still the fleet's total,
    /// and the rules see it divided by what serves.
    ///
    /// A series whose step is longer than the gap that the policy takes for an outage is decided at its own step.
    ///
    /// # Errors
    /// When the load has no series or no value, another series has no value while there is load, or every reading would be
    /// too old for the policy.
    pub fn new(policy: &Policy, model: Model, series: Vec<(u16, Series)>) -> Result<Self, Unusable> {
        let mut feeds: Vec<Feed> = policy.metrics.iter().map(|_| Feed::Nothing).collect();
        let mut load = None;
        for (metric, series) in series {
            if metric == model.metric {
                load = Some(series);
            } else if let Some(feed) = feeds.get_mut(usize::from(metric)) {
                *feed = Feed::Series(series);
            }
        }
        let name = |metric: usize| policy.metrics.get(metric).map_or("?", |metric| &metric.name);
        let load = load.ok_or_else(|| {
            let name = name(usize::from(model.metric));
            Unusable(format!("the model's metric `{name}` has no series: give --series {name}=FILE.csv"))
        })?;
        for (index, feed) in feeds.iter_mut().enumerate() {
            if index == usize::from(model.metric) {
                *feed = if is_averaged(policy, index) { Feed::Utilization } else { Feed::Load };
            } else if matches!(feed, Feed::Nothing) && is_utilization(policy, index) {
                *feed = Feed::Utilization;
            }
        }
        let mut policy = policy.for_replay();
        if policy.mode == Mode::Observe {
            policy.mode = Mode::On;
        }
        if policy.gap_max() < model.step {
            policy.interval = model.step;
        }
        let scene = Scene::new(model, load, policy.min, policy.max);
        check_ages(&policy, &scene)?;
        let backtest = Self { policy: Arc::new(policy), scene, feeds: Feeds(feeds) };
        backtest.check_overlap()?;
        Ok(backtest)
    }

    /// The same, from a capacity that is known to have been there at the first step.
    pub fn starting_with(mut self, capacity: Capacity) -> Self {
        self.scene.start = Some(capacity);
        self
    }

    /// The same, where the policy sees this of the load, and need is judged by the load's series all the same.
    pub fn seeing(mut self, own: Series) -> Self {
        if let Some(feed) = self.feeds.0.get_mut(usize::from(self.scene.model.metric)) {
            *feed = Feed::Own(own);
        }
        self
    }

    /// The policy as it is replayed.
    pub fn policy(&self) -> &Arc<Policy> {
        &self.policy
    }

    /// The load and what it needs.
    pub fn scene(&self) -> &Scene {
        &self.scene
    }

    /// The metrics that nothing feeds: their rules have no reading all the time.
    pub fn unfed(&self) -> Vec<&str> {
        let metrics = self.policy.metrics.iter().enumerate();
        let unfed = metrics.filter(|(index, _)| matches!(self.feeds.of(*index), Feed::Nothing));
        unfed.map(|(_, metric)| metric.name.as_ref()).collect()
    }

    /// The metrics whose series lack a value where the load has one, each with the share of those steps, above 0 up to 1.
    pub fn patchy(&self) -> Vec<(&str, f64)> {
        let loads = self.scene.known(0..self.scene.steps());
        let count = loads.iter().map(ExactSizeIterator::len).sum::<usize>();
        let share = |series: &Series| {
            let without = loads.iter().cloned().flatten().filter(|step| series.at(self.scene.time(*step)).is_none());
            without.count() as f64 / count.max(1) as f64
        };
        let metrics = self.policy.metrics.iter().enumerate();
        let patchy = metrics.filter_map(|(index, metric)| match self.feeds.of(index) {
            Feed::Series(series) | Feed::Own(series) => Some((metric.name.as_ref(), share(series))),
            Feed::Load | Feed::Utilization | Feed::Nothing => None,
        });
        patchy.filter(|(_, share)| *share > 0.0).collect()
    }

    /// A series from another time is a slip, and its rules would never have a reading.
    fn check_overlap(&self) -> Result<(), Unusable> {
        let scene = &self.scene;
        let (from, to) = (scene.time(0), scene.time(scene.steps()));
        let (from, to) = (policies::text::Time(from), policies::text::Time(to));
        if scene.load.missing() == scene.steps() {
            return Err(Unusable(format!("the load has no value from {from} to {to}")));
        }
        match self.patchy().iter().find(|(_, share)| *share >= 1.0) {
            None => Ok(()),
            Some((metric, _)) => Err(Unusable(format!(
                "the series of metric `{metric}` has no value while there is load, from {from} to {to}: give one of that \
                 time, or none"
            ))),
        }
    }

    /// Replays the policy and the alternatives: those that keep a utilization once with `target`, and once with the
    /// target that hindsight chooses, where there is one. `progress` is told of each step of the policy's replay before
    /// it begins.
    pub fn run(&self, target: f64, progress: &mut dyn FnMut(usize)) -> Outcome {
        let (supply, changes) = self.replay(self.scene.steps(), progress);
        let score = self.score(&supply);
        let mut rivals = Vec::new();
        for rival in Rival::ALL {
            rivals.push(self.rival(rival, target, false));
            rivals.extend(rival.has_target().then(|| self.tuned(rival, score.tau_u)).flatten());
        }
        Outcome { score, supply, changes, rivals }
    }

    /// Replays the policy alone, up to before the step `end`. What comes later changes nothing of it.
    pub fn replay(&self, end: usize, progress: &mut dyn FnMut(usize)) -> (Supply, Vec<Change>) {
        let mut fleet = Replayed::new(&self.scene, &self.policy, &self.feeds);
        let supply = world::replay_until(&self.scene, &mut fleet, end, progress);
        (supply, fleet.into_changes())
    }

    fn rival(&self, rival: Rival, target: f64, tuned: bool) -> RivalOutcome {
        let supply = rival.replay(&self.scene, target);
        let score = self.score(&supply);
        RivalOutcome { rival, target: rival.has_target().then_some(target), tuned, supply, score }
    }

    /// The cheapest of the targets with which an alternative is short no more often than this.
    fn tuned(&self, rival: Rival, tau_u: f64) -> Option<RivalOutcome> {
        let all = TUNED_PERCENT.step_by(TUNED_STEP).map(|percent| self.rival(rival, f64::from(percent) / 100.0, true));
        let able = all.filter(|one| one.score.tau_u <= tau_u);
        able.min_by(|a, b| a.score.instance_hours.total_cmp(&b.score.instance_hours))
    }

    /// Scores a supply that may end early, from the step `first` on.
    pub fn score_from(&self, supply: &Supply, first: usize) -> Score {
        let (scene, end) = (&self.scene, supply.ready.len());
        Score::of(&scene.demand[..end], supply, first.min(end), scene.model.step, scene.model.price_per_hour)
    }

    /// Scores the steps of a supply in which the load is known.
    pub fn score_known(&self, supply: &Supply, steps: std::ops::Range<usize>) -> Score {
        let (scene, end) = (&self.scene, supply.ready.len());
        let known = scene.known(steps.start.min(end)..steps.end.min(end));
        Score::over(&scene.demand[..end], supply, &known, scene.model.step, scene.model.price_per_hour)
    }

    fn score(&self, supply: &Supply) -> Score {
        self.score_from(supply, self.scene.first_scored())
    }
}

/// Whether a metric is worked out from load and capacity: a recorded utilization is one of another capacity.
pub fn is_utilization(policy: &Policy, index: usize) -> bool {
    let ratio = policy.metrics.get(index).is_some_and(|metric| matches!(metric.unit, Unit::Ratio | Unit::Percent));
    ratio && is_averaged(policy, index)
}

/// Whether rules take a metric for the average over instances, and none for the fleet's total.
pub fn is_averaged(policy: &Policy, index: usize) -> bool {
    let average = |kind: &RuleKind| match kind {
        RuleKind::Utilization { metric, .. } => usize::from(*metric) == index,
        RuleKind::Objective(objective) => objective.learn_from().is_some_and(|from| usize::from(from) == index),
        _ => false,
    };
    let total = |kind: &RuleKind| {
        let metric = match kind {
            RuleKind::PerInstance { metric, .. } => *metric,
            RuleKind::Objective(objective) => objective.metric,
            RuleKind::Queue(queue) => queue.arrivals,
            RuleKind::Latency(latency) => latency.arrivals,
            _ => return false,
        };
        usize::from(metric) == index
    };
    policy.rules.iter().any(|rule| average(&rule.kind)) && !policy.rules.iter().any(|rule| total(&rule.kind))
}

/// A metric whose newest visible reading is always too old would never be used.
fn check_ages(policy: &Policy, scene: &Scene) -> Result<(), Unusable> {
    let probe = scene.steps().saturating_sub(1);
    let Some(newest) = scene.newest(probe) else { return Ok(()) };
    let age = scene.time(probe).since(scene.time(newest + 1));
    let too_old = |max_age: Duration, offset: Duration| age.saturating_sub(offset) > max_age;
    match policy.metrics.iter().find(|metric| too_old(metric.max_age, metric.offset)) {
        None => Ok(()),
        Some(metric) => Err(Unusable(format!(
            "the newest visible reading is always {} old, and metric `{}` takes none older than {}: raise max_age, or \
             use a series with a smaller step",
            policies::policy::units::duration_text(age),
            metric.name,
            policies::policy::units::duration_text(metric.max_age),
        ))),
    }
}
