//! What a fleet really had, as it was recorded, beside what its policy would have done on the same load: both scored on
//! exactly the same steps, those in which the load and the real capacity are known. Unknown is never zero: a step without
//! either is nobody's shortage and nobody's saving.

use super::world::{Scene, Supply};
use super::{Change, Score, Series};
use contract::{CAPACITY_MAX, Capacity};
use std::cmp::Reverse;
use std::ops::Range;

/// From this utilization on more may have been asked for than was recorded; the core takes such a value for censored too.
const CENSORED: f64 = 0.95;
/// Moments kept of those in which only one was short, and of those in which only the price differs.
const SHORT_MAX: usize = 6;
const PAID_MAX: usize = 4;

/// What was recorded of a fleet's capacity; a series may be empty.
#[derive(Clone, Debug, PartialEq)]
pub struct Observed {
    /// Instances that served.
    pub serving: Series,
    /// What the clouds were asked to hold: what was paid for.
    pub current: Series,
    /// The daemon's decisions of that time.
    pub desired: Series,
    /// What its rules asked for after the stabilization windows, whatever held the decision back.
    pub recommended: Series,
}

/// One side of a comparison.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Side {
    /// Its score.
    pub score: Score,
    /// Steps in which it was short.
    pub short: usize,
}

/// How far what the daemon asked for at the time was from need and from what was there.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Agreement {
    /// Scored steps in which it is known.
    pub steps: usize,
    /// Those in which it was below what the load needed.
    pub below: usize,
    /// The median of it minus the real capacity, in instances.
    pub median_difference: f64,
}

/// In what the two differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Difference {
    /// The real fleet lacked more.
    RealShort,
    /// skala would have lacked more.
    SkalaShort,
    /// They lacked alike, and the real fleet was paid more for.
    RealMore,
    /// They lacked alike, and skala would have been paid more for.
    SkalaMore,
}

impl Difference {
    /// The word in JSON.
    pub fn word(self) -> &'static str {
        match self {
            Difference::RealShort => "real_short",
            Difference::SkalaShort => "skala_short",
            Difference::RealMore => "real_more",
            Difference::SkalaMore => "skala_more",
        }
    }

    fn is_short(self) -> bool {
        matches!(self, Difference::RealShort | Difference::SkalaShort)
    }
}

/// Scored steps on end in which the two differ in the same way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// In what.
    pub difference: Difference,
    /// The first step.
    pub from: usize,
    /// How many steps.
    pub steps: usize,
    /// The step in which they differ most; the earliest of such.
    pub most: usize,
    /// By how much in that step, in instances.
    pub by: Capacity,
    /// By how much over all steps, in instances times steps.
    pub sum: u64,
}

/// A comparison.
#[derive(Clone, Debug, PartialEq)]
pub struct Compared {
    /// The scored steps, as stretches without a gap.
    pub scored: Vec<Range<usize>>,
    /// How many those are.
    pub steps: usize,
    /// Steps of the window in which the load is known and the real capacity is not.
    pub without_supply: usize,
    /// What really was there; zero where it is unknown, which is never scored.
    pub supply: Supply,
    /// How the real fleet did.
    pub real: Side,
    /// How skala would have done.
    pub skala: Side,
    /// The decisions of the time.
    pub desired: Option<Agreement>,
    /// The recommendations of the time.
    pub recommended: Option<Agreement>,
    /// Scored steps in which more is needed than the fleet's max allows.
    pub above_max: usize,
    /// Scored steps in which the load was about all that the real fleet can do: more may have been wanted than was recorded.
    pub censored: usize,
    /// Where they differ most: those with a shortage first, each kind by its sum.
    pub moments: Vec<Moment>,
}

impl Observed {
    /// Compares with what the policy would have supplied, over a window of the scene's steps.
    pub fn compare(&self, scene: &Scene, supply: &Supply, window: Range<usize>) -> Compared {
        let is_loaded = |step: &usize| scene.load.values[*step].is_some();
        let is_supplied = |step: &usize| {
            let at = scene.time(*step);
            self.serving.at(at).is_some() && self.current.at(at).is_some()
        };
        let scored = stretches(window.clone().filter(|step| is_loaded(step) && is_supplied(step)));
        let each = || scored.iter().cloned().flatten();
        let on_grid = |series: &Series| (0..scene.steps()).map(|step| whole(series.at(scene.time(step)))).collect();
        let real = Supply { ready: on_grid(&self.serving), paid: on_grid(&self.current) };
        let side = |supply: &Supply| Side {
            score: Score::over(&scene.demand, supply, &scored, scene.model.step, scene.model.price_per_hour),
            short: each().filter(|step| supply.ready[*step] < scene.demand[*step]).count(),
        };
        let full = |step: &usize| {
            let most = f64::from(real.ready[*step]) * scene.model.capacity_per_instance;
            scene.load.values[*step].is_some_and(|load| load > 0.0 && load >= most * CENSORED)
        };
        Compared {
            steps: each().count(),
            without_supply: window.filter(|step| is_loaded(step) && !is_supplied(step)).count(),
            real: side(&real),
            skala: side(supply),
            desired: agreement(scene, &real, &self.desired, each()),
            recommended: agreement(scene, &real, &self.recommended, each()),
            above_max: each().filter(|step| scene.demand[*step] > scene.max).count(),
            censored: each().filter(full).count(),
            moments: moments(&scene.demand, &real, supply, &scored),
            supply: real,
            scored,
        }
    }
}

/// The change that capacity at this step comes from; `None`: it is as it was at the start.
pub fn last_change(changes: &[Change], step: usize) -> Option<&Change> {
    changes[..changes.partition_point(|change| change.step <= step)].last()
}

fn whole(value: Option<f64>) -> Capacity {
    // The cast saturates, and what is not known is looked at by nobody.
    value.map_or(0, |value| value.round().clamp(0.0, f64::from(CAPACITY_MAX)) as Capacity)
}

/// Steps in order as ranges without a gap.
fn stretches(steps: impl Iterator<Item = usize>) -> Vec<Range<usize>> {
    let mut found: Vec<Range<usize>> = Vec::new();
    for step in steps {
        match found.last_mut().filter(|last| last.end == step) {
            Some(last) => last.end = step + 1,
            None => found.push(step..step + 1),
        }
    }
    found
}

fn agreement(scene: &Scene, real: &Supply, live: &Series, steps: impl Iterator<Item = usize>) -> Option<Agreement> {
    let known = steps.filter_map(|step| Some((step, live.at(scene.time(step))?)));
    let (mut below, mut differences) = (0, Vec::new());
    for (step, value) in known {
        let value = whole(Some(value));
        below += usize::from(value < scene.demand[step]);
        differences.push(i64::from(value) - i64::from(real.paid[step]));
    }
    differences.sort_unstable();
    let middle = differences.len() / 2;
    let upper = *differences.get(middle)? as f64;
    let lower = if differences.len().is_multiple_of(2) { differences[middle - 1] as f64 } else { upper };
    Some(Agreement { steps: differences.len(), below, median_difference: f64::midpoint(lower, upper) })
}

fn moments(demand: &[Capacity], real: &Supply, skala: &Supply, scored: &[Range<usize>]) -> Vec<Moment> {
    let mut found: Vec<Moment> = Vec::new();
    for stretch in scored {
        let mut under_way: Option<Moment> = None;
        for step in stretch.clone() {
            let seen = differs(demand, real, skala, step);
            match (&mut under_way, seen) {
                (Some(moment), Some((difference, by))) if moment.difference == difference => moment.add(step, by),
                _ => {
                    found.extend(under_way.take());
                    under_way = seen.map(|(difference, by)| Moment {
                        difference,
                        from: step,
                        steps: 1,
                        most: step,
                        by,
                        sum: by.into(),
                    });
                }
            }
        }
        found.extend(under_way);
    }
    found.sort_by_key(|moment| (!moment.difference.is_short(), Reverse(moment.sum), moment.from));
    let (mut short, mut paid) = (0, 0);
    found.retain(|moment| {
        let (count, most) = if moment.difference.is_short() { (&mut short, SHORT_MAX) } else { (&mut paid, PAID_MAX) };
        *count += 1;
        *count <= most
    });
    found
}

impl Moment {
    fn add(&mut self, step: usize, by: Capacity) {
        self.steps += 1;
        self.sum += u64::from(by);
        if by > self.by {
            (self.most, self.by) = (step, by);
        }
    }
}

/// In what the two differ in a step, and by how many instances.
fn differs(demand: &[Capacity], real: &Supply, skala: &Supply, step: usize) -> Option<(Difference, Capacity)> {
    let lack = |supply: &Supply| demand[step].saturating_sub(supply.ready[step]);
    let (real_lacks, skala_lacks) = (lack(real), lack(skala));
    let (real_paid, skala_paid) = (real.paid[step], skala.paid[step]);
    let difference = match (real_lacks.cmp(&skala_lacks), real_paid.cmp(&skala_paid)) {
        (std::cmp::Ordering::Greater, _) => Difference::RealShort,
        (std::cmp::Ordering::Less, _) => Difference::SkalaShort,
        (_, std::cmp::Ordering::Greater) => Difference::RealMore,
        (_, std::cmp::Ordering::Less) => Difference::SkalaMore,
        _ => return None,
    };
    let by = if difference.is_short() { real_lacks.abs_diff(skala_lacks) } else { real_paid.abs_diff(skala_paid) };
    Some((difference, by))
}

#[cfg(test)]
mod tests {
    use super::super::tests::model;
    use super::*;
    use contract::Timestamp;

    const START: i64 = 600;

    fn series(values: &[Option<f64>]) -> Series {
        Series { start: Timestamp::from_secs(START), step: model().step, values: values.to_vec() }
    }

    fn known(values: &[u32]) -> Series {
        series(&values.iter().map(|value| Some(f64::from(*value))).collect::<Vec<_>>())
    }

    /// Loads in instances that they need; an instance carries 200.
    fn scene(needs: &[Option<u32>]) -> Scene {
        let load = needs.iter().map(|need| need.map(|need| f64::from(need) * 200.0)).collect::<Vec<_>>();
        Scene::new(model(), series(&load), 1, 6)
    }

    fn supply(ready: &[u32]) -> Supply {
        Supply { ready: ready.to_vec(), paid: ready.to_vec() }
    }

    fn observed(serving: &[Option<f64>]) -> Observed {
        let none = series(&[]);
        Observed { serving: series(serving), current: series(serving), desired: none.clone(), recommended: none }
    }

    #[test]
    fn only_steps_with_load_and_supply_are_scored_and_for_both() {
        // Step 0 is before the window, 3 has no load, 5 no supply.
        let scene = scene(&[Some(9), Some(4), Some(4), None, Some(4), Some(4), Some(5), Some(7)]);
        let some = Some;
        let real = observed(&[some(1.0), some(4.0), some(3.0), some(3.0), some(2.0), None, some(5.0), some(7.0)]);
        let skala = supply(&[1, 3, 4, 1, 4, 1, 6, 6]);
        let compared = real.compare(&scene, &skala, 1..8);
        assert_eq!(compared.scored, [1..3, 4..5, 6..8]);
        assert_eq!((compared.steps, compared.without_supply, compared.above_max), (5, 1, 1));
        assert_eq!((compared.real.short, compared.skala.short), (2, 2));
        let near = |got: f64, expected: f64| assert!((got - expected).abs() < 1e-9, "{got} is not {expected}");
        near(compared.real.score.tau_u, 40.0);
        near(compared.real.score.instance_hours, (4 + 3 + 2 + 5 + 7) as f64 / 60.0);
        near(compared.skala.score.instance_hours, (3 + 4 + 4 + 6 + 6) as f64 / 60.0);
        near(compared.real.score.lack_pct, 100.0 * 3.0 / 24.0);
        near(compared.skala.score.lack_pct, 100.0 * 2.0 / 24.0);
        // Two shortages of a step each, not one of two: nothing is known of the step between them. Changes are those that
        // were seen: 4 to 3 and 5 to 7; 3 to 4.
        assert_eq!((compared.real.score.longest_shortage_s, compared.real.score.changes), (60.0, 2));
        assert_eq!((compared.skala.score.longest_shortage_s, compared.skala.score.changes), (60.0, 1));
        assert_eq!((compared.real.score.instance_starts, compared.real.score.flips), (2, 0));
    }

    #[test]
    fn nothing_known_is_no_score() {
        let scene = scene(&[Some(4); 4]);
        let compared = observed(&[None; 4]).compare(&scene, &supply(&[1; 4]), 0..4);
        assert_eq!((compared.steps, compared.without_supply, compared.scored.len()), (0, 4, 0));
        assert_eq!((compared.real, compared.moments.len(), compared.desired), (Side::default(), 0, None));
        // A window beyond what is there, and one series that is longer than the other.
        let empty = Observed { current: series(&[]), ..observed(&[Some(4.0); 4]) };
        assert_eq!(empty.compare(&scene, &supply(&[1; 4]), 4..4).without_supply, 0);
        assert_eq!(empty.compare(&scene, &supply(&[1; 4]), 0..4).without_supply, 4);
    }

    #[test]
    fn a_stretch_alone_scores_as_the_whole() {
        let scene = scene(&[Some(4), Some(5), Some(2), Some(3)]);
        let skala = supply(&[2, 4, 4, 3]);
        let compared = observed(&[Some(5.0); 4]).compare(&scene, &skala, 0..4);
        assert_eq!(compared.skala.score, Score::of(&scene.demand, &skala, 0, scene.model.step, 0.1));
    }

    #[test]
    fn what_was_asked_for_at_the_time_is_held_against_need_and_capacity() {
        let scene = scene(&[Some(4), Some(4), Some(4), Some(4), Some(4)]);
        let mut real = observed(&[Some(5.0), Some(5.0), Some(5.0), Some(5.0), None]);
        real.desired = known(&[3, 4, 9, 5, 1]);
        real.recommended = series(&[Some(7.0), None, Some(2.0), Some(6.0)]);
        let compared = real.compare(&scene, &supply(&[4; 5]), 0..5);
        // Differences -2, -1, 4 and 0; the last step is not scored.
        assert_eq!(compared.desired, Some(Agreement { steps: 4, below: 1, median_difference: -0.5 }));
        assert_eq!(compared.recommended, Some(Agreement { steps: 3, below: 1, median_difference: 1.0 }));
    }

    #[test]
    fn load_at_the_limit_may_be_more_than_was_recorded() {
        // 4 instances do 1,000 at most; 950 is 95 % of it.
        let mut scene = scene(&[Some(4), Some(4), Some(4)]);
        scene.load.values = vec![Some(949.0), Some(950.0), Some(0.0)];
        let compared = observed(&[Some(4.0), Some(4.0), Some(0.0)]).compare(&scene, &supply(&[4; 3]), 0..3);
        assert_eq!(compared.censored, 1);
    }

    #[test]
    fn moments_are_runs_of_one_difference_and_end_at_gaps() {
        let needs = [4, 6, 6, 4, 4, 4, 4, 5, 5].map(Some);
        let real = [4, 4, 3, 4, 4, 9, 9, 5, 5].map(f64::from).map(Some);
        let skala = supply(&[4, 6, 6, 4, 4, 4, 4, 4, 4]);
        let found = observed(&real).compare(&scene(&needs), &skala, 0..9).moments;
        let short = |difference, from, most, by, sum| Moment { difference, from, steps: 2, most, by, sum };
        let expected = [
            short(Difference::RealShort, 1, 2, 3, 5),
            short(Difference::SkalaShort, 7, 7, 1, 2),
            short(Difference::RealMore, 5, 5, 5, 10),
        ];
        assert_eq!(found, expected);
        let mut gap = real;
        gap[2] = None;
        let found = observed(&gap).compare(&scene(&needs), &skala, 0..9).moments;
        assert_eq!((found[0].difference, found[0].from, found[0].steps), (Difference::RealShort, 1, 1));
        assert_eq!((found[1].difference, found[1].steps), (Difference::SkalaShort, 2));
    }

    #[test]
    fn the_largest_moments_are_kept() {
        // Every other step differs: by 1, 2, 3 ... instances, short or paid.
        let needs: Vec<_> = (0..40).map(|_| Some(20)).collect();
        let real: Vec<_> =
            (0..40).map(|step| Some(if step % 2 == 0 { f64::from(20 - step / 2) } else { 20.0 })).collect();
        let mut scene = scene(&needs);
        scene.max = 50;
        let found = observed(&real).compare(&scene, &supply(&[20; 40]), 0..40).moments;
        assert_eq!(found.iter().map(|moment| moment.by).collect::<Vec<_>>(), [19, 18, 17, 16, 15, 14]);
        let found = observed(&vec![Some(20.0); 40]).compare(
            &scene,
            &supply(&(0..40).map(|step| if step % 2 == 0 { 20 + step / 2 } else { 20 }).collect::<Vec<_>>()),
            0..40,
        );
        assert_eq!(found.moments.iter().map(|moment| moment.by).collect::<Vec<_>>(), [19, 18, 17, 16]);
        assert!(found.moments.iter().all(|moment| moment.difference == Difference::SkalaMore));
    }

    #[test]
    fn the_reason_is_the_last_changes() {
        let change = |step| Change { step, from: 1, to: 2, why: "".into() };
        let changes = [change(3), change(7)];
        let at = |step| last_change(&changes, step).map(|change| change.step);
        assert_eq!([at(2), at(3), at(6), at(7), at(99)], [None, Some(3), Some(3), Some(7), Some(7)]);
    }
}
