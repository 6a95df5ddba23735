//! The world of a backtest: load passes step by step, instances boot, whoever scales is asked once a step and sees only
//! what a metric of that age shows. The fluid model of supply is the reference simulator's.
//!
//! Step k begins at `start + k * step`. Whoever scales decides at its beginning; what is asked for then serves `boot_delay`
//! later and is billed at once; what is given up goes at once, booting instances first.

use super::model::Model;
use super::series::Series;
use contract::{CAPACITY_MAX, Capacity, Timestamp, micros};
use std::collections::VecDeque;
use std::ops::Range;

/// The load and what it needs, the same for whoever scales.
#[derive(Debug)]
pub struct Scene {
    /// The model.
    pub model: Model,
    /// The load.
    pub load: Series,
    /// Least instances that keep the objective, for each step. Where the load is unknown, what it was before.
    pub demand: Vec<Capacity>,
    /// The fleet's bounds.
    pub min: Capacity,
    /// The fleet's bounds.
    pub max: Capacity,
    /// Capacity at the first step, where it is known.
    pub start: Option<Capacity>,
}

/// What whoever scales can see at the beginning of a step.
#[derive(Debug)]
pub struct Seen<'a> {
    /// The step.
    pub step: usize,
    /// The newest step whose metric is visible; `None`: none yet.
    pub newest: Option<usize>,
    /// Instances that serve.
    pub ready: Capacity,
    /// Instances asked for that boot.
    pub booting: Capacity,
    /// The visible load of the steps so far; `None`: a missing reading.
    pub visible: &'a [Option<f64>],
    /// Instances that served in the steps so far.
    pub served: &'a [Capacity],
}

impl Seen<'_> {
    /// Instances that serve or boot.
    pub fn current(&self) -> Capacity {
        self.ready + self.booting
    }
}

/// Whoever scales.
pub trait Scaler {
    /// The capacity wanted from this step on.
    fn wanted(&mut self, seen: &Seen<'_>) -> Capacity;
}

/// Supply over time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Supply {
    /// Instances that serve, for each step.
    pub ready: Vec<Capacity>,
    /// Instances billed, for each step.
    pub paid: Vec<Capacity>,
}

impl Scene {
    /// A scene within these bounds.
    pub fn new(model: Model, load: Series, min: Capacity, max: Capacity) -> Self {
        let mut last = min;
        let demand = load.values.iter().map(|value| {
            last = value.map_or(last, |value| model.demand(value, min));
            last
        });
        let demand = demand.collect();
        Self { model, load, demand, min, max, start: None }
    }

    /// How many steps there are.
    pub fn steps(&self) -> usize {
        self.demand.len()
    }

    /// When a step begins.
    pub fn time(&self, step: usize) -> Timestamp {
        let offset = micros(self.model.step).saturating_mul(i64::try_from(step).unwrap_or(i64::MAX));
        Timestamp(self.load.start.0.saturating_add(offset))
    }

    /// The first step that is scored: after the warm-up, which takes at most a tenth of the series.
    pub fn first_scored(&self) -> usize {
        let warmup = self.model.warmup.as_micros() / self.model.step.as_micros().max(1);
        usize::try_from(warmup).unwrap_or(usize::MAX).min(self.steps() / 10)
    }

    /// Scored steps in which more is needed than the fleet's max allows: no scaler can help there.
    pub fn above_max(&self) -> usize {
        self.demand[self.first_scored()..].iter().filter(|demand| **demand > self.max).count()
    }

    /// The stretches of these steps in which the load is known: what is needed in the others is a guess.
    pub fn known(&self, steps: Range<usize>) -> Vec<Range<usize>> {
        let mut found: Vec<Range<usize>> = Vec::new();
        for step in steps.filter(|step| self.load.values.get(*step).is_some_and(Option::is_some)) {
            match found.last_mut().filter(|last| last.end == step) {
                Some(last) => last.end = step + 1,
                None => found.push(step..step + 1),
            }
        }
        found
    }

    /// How many of these steps have no load.
    pub fn unknown(&self, steps: Range<usize>) -> usize {
        steps.len() - self.known(steps).iter().map(ExactSizeIterator::len).sum::<usize>()
    }

    /// The newest step that is over and whose metric is visible when a step begins.
    pub fn newest(&self, step: usize) -> Option<usize> {
        step.checked_sub(1 + steps_of(self.model.metric_lag, self))
    }

    /// Capacity at the first step: what is known of it, or what its load needs, as far as the bounds allow.
    pub fn first(&self) -> Capacity {
        let first = self.demand.first().copied().unwrap_or(self.min);
        self.start.unwrap_or_else(|| first.max(self.min).min(self.max))
    }

    /// Steps that an instance boots for.
    pub fn boot_steps(&self) -> usize {
        steps_of(self.model.boot_delay, self)
    }
}

/// A duration in whole steps, rounded up: late rather than early.
fn steps_of(span: std::time::Duration, scene: &Scene) -> usize {
    usize::try_from(span.as_micros().div_ceil(scene.model.step.as_micros().max(1))).unwrap_or(usize::MAX)
}

/// Lets the load pass. `progress` is told of every step before it begins.
pub fn replay(scene: &Scene, scaler: &mut dyn Scaler, progress: &mut dyn FnMut(usize)) -> Supply {
    replay_until(scene, scaler, scene.steps(), progress)
}

/// Lets the load pass up to before the step `end`.
pub fn replay_until(scene: &Scene, scaler: &mut dyn Scaler, end: usize, progress: &mut dyn FnMut(usize)) -> Supply {
    let steps = scene.steps().min(end);
    let boot = scene.boot_steps();
    let mut supply = Supply { ready: Vec::with_capacity(steps), paid: Vec::with_capacity(steps) };
    let mut visible: Vec<Option<f64>> = Vec::with_capacity(steps);
    let mut ready = scene.first();
    // When they serve, and how many; oldest first.
    let mut boots: VecDeque<(usize, Capacity)> = VecDeque::new();
    let mut booting = 0;
    for step in 0..steps {
        progress(step);
        arrive(&mut boots, &mut ready, &mut booting, step);
        let newest = scene.newest(step);
        let seen = Seen { step, newest, ready, booting, visible: &visible, served: &supply.ready };
        let current = seen.current();
        let wanted = scaler.wanted(&seen).min(CAPACITY_MAX);
        if wanted > current {
            boots.push_back((step.saturating_add(boot), wanted - current));
            booting += wanted - current;
        } else {
            ready -= withdraw(&mut boots, &mut booting, current - wanted);
        }
        arrive(&mut boots, &mut ready, &mut booting, step);
        supply.ready.push(ready);
        supply.paid.push(ready + booting);
        let most = f64::from(ready) * scene.model.capacity_per_instance;
        visible.push(scene.load.values[step].map(|load| if scene.model.saturate { load.min(most) } else { load }));
    }
    supply
}

/// What has booted serves.
fn arrive(boots: &mut VecDeque<(usize, Capacity)>, ready: &mut Capacity, booting: &mut Capacity, step: usize) {
    while let Some((_, count)) = boots.pop_front_if(|(at, _)| *at <= step) {
        *ready += count;
        *booting -= count;
    }
}

/// Cancels booting instances, the newest first; gives how many are left to take from those that serve.
fn withdraw(boots: &mut VecDeque<(usize, Capacity)>, booting: &mut Capacity, mut count: Capacity) -> Capacity {
    while count > 0
        && let Some(newest) = boots.back_mut()
    {
        let cancelled = newest.1.min(count);
        newest.1 -= cancelled;
        *booting -= cancelled;
        count -= cancelled;
        if newest.1 == 0 {
            boots.pop_back();
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::super::tests::model;
    use super::*;
    use std::time::Duration;

    /// Wants what a list says, step by step, and notes what it saw.
    struct Script(Vec<Capacity>, Vec<(Option<usize>, Capacity, Capacity)>);

    impl Scaler for Script {
        fn wanted(&mut self, seen: &Seen<'_>) -> Capacity {
            self.1.push((seen.newest, seen.ready, seen.booting));
            self.0[seen.step]
        }
    }

    fn scene(loads: &[f64], saturate: bool) -> Scene {
        let model = Model { saturate, ..model() };
        let values = loads.iter().copied().map(Some).collect();
        let load = Series { start: Timestamp::from_secs(0), step: model.step, values };
        Scene::new(model, load, 1, 50)
    }

    #[test]
    fn instances_boot_before_they_serve_and_go_at_once() {
        let scene = scene(&[200.0; 8], false);
        let mut script = Script(vec![3, 3, 5, 4, 4, 4, 2, 2], Vec::new());
        let supply = replay(&scene, &mut script, &mut |_| {});
        // Two steps of boot: asked for at 0, serving from 2; of two asked for at 2 one is cancelled at 3.
        assert_eq!(supply.ready, [1, 1, 3, 3, 4, 4, 2, 2]);
        assert_eq!(supply.paid, [3, 3, 5, 4, 4, 4, 2, 2]);
        // One step of lag: nothing is visible before step 2, when step 0 is.
        let newest: Vec<_> = script.1.iter().map(|seen| seen.0).collect();
        assert_eq!(newest[..4], [None, None, Some(0), Some(1)]);
        assert_eq!(script.1[3], (Some(1), 3, 2));
    }

    #[test]
    fn a_boot_longer_than_whole_steps_is_late_not_early() {
        let mut scene = scene(&[200.0; 5], false);
        scene.model.boot_delay = Duration::from_secs(61);
        let supply = replay(&scene, &mut Script(vec![2; 5], Vec::new()), &mut |_| {});
        assert_eq!(supply.ready, [1, 1, 2, 2, 2]);
        scene.model.boot_delay = Duration::ZERO;
        let supply = replay(&scene, &mut Script(vec![2; 5], Vec::new()), &mut |_| {});
        assert_eq!(supply.ready, [2; 5]);
    }

    #[test]
    fn a_saturated_metric_shows_no_more_than_is_served() {
        struct Look(Vec<Option<f64>>);
        impl Scaler for Look {
            fn wanted(&mut self, seen: &Seen<'_>) -> Capacity {
                self.0.extend(seen.visible.last());
                1
            }
        }
        for (saturate, shown) in [(true, 250.0), (false, 900.0)] {
            let mut look = Look(Vec::new());
            replay(&scene(&[100.0, 900.0, 900.0], saturate), &mut look, &mut |_| {});
            assert_eq!(look.0, [Some(100.0), Some(shown)]);
        }
    }

    #[test]
    fn demand_over_a_gap_is_what_it_was_before() {
        let model = model();
        let load = Series {
            start: Timestamp::from_secs(0),
            step: model.step,
            values: vec![None, Some(900.0), None, Some(100.0)],
        };
        let scene = Scene::new(model, load, 2, 50);
        assert_eq!(scene.demand, [2, 5, 5, 2]);
    }

    #[test]
    fn what_is_known_comes_in_stretches() {
        let mut scene = scene(&[200.0; 9], false);
        for gap in [0, 3, 4, 8] {
            scene.load.values[gap] = None;
        }
        assert_eq!((scene.known(0..9), scene.unknown(0..9)), (vec![1..3, 5..8], 4));
        assert_eq!((scene.known(2..6), scene.unknown(2..6)), (vec![2..3, 5..6], 2));
        assert_eq!((scene.known(3..5), scene.unknown(3..5)), (vec![], 2));
    }

    #[test]
    fn the_warm_up_is_at_most_a_tenth() {
        let mut scene = scene(&[200.0; 100], false);
        assert_eq!(scene.first_scored(), 10);
        scene.model.warmup = Duration::from_secs(240);
        assert_eq!(scene.first_scored(), 4);
        (scene.demand[3], scene.demand[4], scene.demand[9]) = (51, 50, 51);
        assert_eq!(scene.above_max(), 1);
    }
}
