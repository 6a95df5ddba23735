//! The alternatives on the same load: the Kubernetes HPA, AWS target tracking, and the plan of someone who knows the
//! future. The rules are those of the reference simulator (its fluid model of both controllers).

use super::world::{Scaler, Scene, Seen, Supply, replay};
use contract::{CAPACITY_MAX, Capacity};
use std::collections::VecDeque;
use std::time::Duration;

/// The utilization that both controllers are told to keep; the usual advice where 0.8 is the limit.
pub const TARGET: f64 = 0.65;
/// The HPA's band in which nothing changes.
const HPA_TOLERANCE: f64 = 0.1;
/// The HPA's scale-down stabilization.
const HPA_WINDOW: Duration = Duration::from_secs(300);
/// The alarm that scales out sees as many minutes above the target.
const AWS_HIGH: Duration = Duration::from_secs(180);
/// The alarm that scales in sees as many minutes below nine tenths of it.
const AWS_LOW: Duration = Duration::from_secs(900);
/// The low alarm's share of the target.
const AWS_LOW_SHARE: f64 = 0.9;
/// After a scale-out nothing is removed for so long.
const AWS_WARMUP: Duration = Duration::from_secs(300);
/// Forgives the last digit of a division that should have come out whole.
const WHOLE_SLACK: f64 = 1e-9;

/// An alternative.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rival {
    /// Kubernetes autoscaling/v2 on utilization, with its defaults.
    Hpa,
    /// EC2 target tracking on utilization.
    AwsTargetTracking,
    /// Knows the load and is never short; booting instances are billed all the same.
    Clairvoyant,
}

impl Rival {
    /// All of them.
    pub const ALL: [Rival; 3] = [Rival::Hpa, Rival::AwsTargetTracking, Rival::Clairvoyant];

    /// The name in tables and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Rival::Hpa => "kubernetes-hpa",
            Rival::AwsTargetTracking => "aws-target-tracking",
            Rival::Clairvoyant => "clairvoyant",
        }
    }

    /// Whether it is told a utilization to keep.
    pub fn has_target(self) -> bool {
        self != Rival::Clairvoyant
    }

    /// Its supply; `target` is the utilization that it is told to keep, where it has such a setting.
    pub fn replay(self, scene: &Scene, target: f64) -> Supply {
        let per_instance = scene.model.capacity_per_instance * target;
        let quiet = &mut |_| {};
        match self {
            Rival::Hpa => replay(scene, &mut Hpa { scene, per_instance, recent: VecDeque::new() }, quiet),
            Rival::AwsTargetTracking => replay(scene, &mut Aws { scene, per_instance, last_out: None }, quiet),
            Rival::Clairvoyant => replay(scene, &mut Clairvoyant { scene }, quiet),
        }
    }
}

fn whole(needed: f64) -> Capacity {
    (needed - WHOLE_SLACK).ceil().clamp(0.0, f64::from(CAPACITY_MAX)) as Capacity
}

fn bounded(scene: &Scene, wanted: Capacity) -> Capacity {
    wanted.min(scene.max).max(scene.min)
}

/// Periods of the controller's own minutes in steps.
fn periods(scene: &Scene, span: Duration) -> usize {
    let steps = span.as_micros().div_ceil(scene.model.step.as_micros().max(1));
    usize::try_from(steps).unwrap_or(usize::MAX).max(1)
}

/// `ceil(current * ratio)` outside the tolerance, instances that do not serve yet counted as the HPA counts unready and
/// missing pods, scale-in to the largest recommendation of the window.
struct Hpa<'a> {
    scene: &'a Scene,
    per_instance: f64,
    recent: VecDeque<Capacity>,
}

impl Hpa<'_> {
    fn recommends(&self, load: f64, seen: Capacity, current: Capacity) -> Capacity {
        let total = load / self.per_instance;
        let ratio = total / f64::from(seen);
        if (ratio - 1.0).abs() <= HPA_TOLERANCE {
            return current;
        }
        let missing = current.saturating_sub(seen);
        if missing == 0 {
            return whole(ratio * f64::from(seen));
        }
        let filled = if ratio > 1.0 { total } else { total + f64::from(missing) };
        let again = filled / f64::from(current);
        if (again > 1.0) != (ratio > 1.0) || (again - 1.0).abs() <= HPA_TOLERANCE {
            return current;
        }
        whole(again * f64::from(current))
    }
}

impl Scaler for Hpa<'_> {
    fn wanted(&mut self, seen: &Seen<'_>) -> Capacity {
        let current = seen.current();
        let Some((newest, load)) = seen.newest.and_then(|newest| Some((newest, seen.visible[newest]?))) else {
            return current;
        };
        let recommended = self.recommends(load, seen.served[newest].max(1), current);
        self.recent.push_back(recommended);
        if self.recent.len() > periods(self.scene, HPA_WINDOW) {
            self.recent.pop_front();
        }
        let largest = self.recent.iter().copied().max().unwrap_or(recommended);
        bounded(self.scene, if recommended >= current { recommended } else { current.min(largest) })
    }
}

/// Out when all minutes of the high alarm are above the target; in when all of the low alarm are below, sized for the
/// worst of them. A minute without a value keeps an alarm quiet.
struct Aws<'a> {
    scene: &'a Scene,
    per_instance: f64,
    last_out: Option<usize>,
}

impl Aws<'_> {
    /// The largest load of a window of which every step's utilization is so.
    fn alarm(&self, seen: &Seen<'_>, newest: usize, span: Duration, is: impl Fn(f64) -> bool) -> Option<f64> {
        let first = (newest + 1).checked_sub(periods(self.scene, span))?;
        let mut largest: f64 = 0.0;
        for step in first..=newest {
            let load = seen.visible[step]?;
            if !is(load / (f64::from(seen.served[step].max(1)) * self.per_instance)) {
                return None;
            }
            largest = largest.max(load);
        }
        Some(largest)
    }
}

impl Scaler for Aws<'_> {
    fn wanted(&mut self, seen: &Seen<'_>) -> Capacity {
        let current = seen.current();
        let Some(newest) = seen.newest else { return current };
        if self.alarm(seen, newest, AWS_HIGH, |utilization| utilization > 1.0).is_some() {
            let needed = whole(seen.visible[newest].unwrap_or(0.0) / self.per_instance);
            if needed > current {
                self.last_out = Some(seen.step);
                return bounded(self.scene, needed);
            }
        }
        let warm = self.last_out.is_none_or(|last| seen.step - last >= periods(self.scene, AWS_WARMUP));
        let low = self.alarm(seen, newest, AWS_LOW, |utilization| utilization < AWS_LOW_SHARE).filter(|_| warm);
        low.map_or(current, |largest| bounded(self.scene, current.min(whole(largest / self.per_instance))))
    }
}

/// Asks for instances as long before they are needed as they boot, and gives up only what will not be needed meanwhile.
struct Clairvoyant<'a> {
    scene: &'a Scene,
}

impl Scaler for Clairvoyant<'_> {
    fn wanted(&mut self, seen: &Seen<'_>) -> Capacity {
        let demand = &self.scene.demand;
        let then = seen.step.saturating_add(self.scene.boot_steps()).min(demand.len() - 1);
        let needed = demand[then];
        let wanted = if needed >= seen.current() {
            needed
        } else {
            demand[seen.step..=then].iter().copied().max().unwrap_or(needed)
        };
        bounded(self.scene, wanted)
    }
}
