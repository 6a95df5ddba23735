//! Events of the calendar around an objective: what they make of the load now, and of the one that is decided for.

use super::schedule::occurrence;
use super::whole;
use crate::forecast::{Grid, Learned, Occasion, Outlook, Terms};
use crate::policy::{Amount, CalendarEvent, Objective, Policy, Rate, Select};
use crate::trace::Bound;
use contract::{Capacity, Timestamp};
use std::time::Duration;

/// Never looks farther ahead than this for what the pace of scale-out takes.
const LEAD_MAX: Duration = Duration::from_secs(3600);
/// How finely it looks.
const LOOK: Duration = Duration::from_secs(60);

/// What events make of the load.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Factors {
    /// Of the newest load.
    pub now: f64,
    /// Of the one that is decided for.
    pub ahead: f64,
    /// Index of the event that changes it, by the policy.
    pub event: Option<u8>,
}

const NONE: Factors = Factors { now: 1.0, ahead: 1.0, event: None };

/// The middle of the step that a reading ends.
fn middle(at: Timestamp, grid: &Grid) -> Timestamp {
    at.before(Duration::from_secs(grid.step.unsigned_abs() / 2))
}

/// The events' memory, in the policy's order.
fn keep(occasions: &mut Vec<Occasion>, events: &[CalendarEvent]) {
    if occasions.len() == events.len() && occasions.iter().zip(events).all(|(kept, event)| kept.name == event.name) {
        return;
    }
    let mut old = std::mem::take(occasions);
    let known = |event: &CalendarEvent, old: &mut Vec<Occasion>| {
        let at = old.iter().position(|kept| kept.name == event.name)?;
        Some(old.swap_remove(at))
    };
    let new = |event: &CalendarEvent| Occasion::new(&event.name);
    *occasions = events.iter().map(|event| known(event, &mut old).unwrap_or_else(|| new(event))).collect();
}

/// Takes a load into what was learned of the rule's load and its events.
pub(super) fn take(
    objective: &Objective,
    occasions: &mut Vec<Occasion>,
    learned: &mut Learned,
    (value, at): (f64, Timestamp),
    (terms, grid): (Terms, Grid),
) {
    keep(occasions, &objective.events);
    let then = middle(at, &grid);
    for (occasion, event) in occasions.iter_mut().zip(&objective.events) {
        occasion.follow(then, event.defined, |at| occurrence(event, at));
    }
    // Of events that are open together the first one counts.
    let Some(open) = occasions.iter_mut().find(|occasion| occasion.covers(then)) else {
        learned.take(value, at, &terms, &grid);
        return;
    };
    let terms = Terms { unusual: true, ..terms };
    open.take(value, then, learned, &terms, &grid);
    let steps = learned.steps();
    learned.take(value / open.multiplies(then), at, &terms, &grid);
    if learned.steps() != steps
        && let Some((forecast, ahead)) = learned.foretold(&grid)
    {
        open.judge(value, then, ahead, forecast);
    }
}

/// What events make of the newest load, and of what a decision of now is for: the most from when instances that are asked
/// for now can serve until the pace has let as many in as that takes.
pub(super) fn factors(
    policy: &Policy,
    occasions: &[Occasion],
    current: Capacity,
    at: Timestamp,
    grid: &Grid,
) -> Factors {
    let now = middle(at, grid);
    let first = now.after(Duration::from_secs(grid.step.unsigned_abs() * grid.ahead as u64));
    if !occasions.iter().any(|occasion| occasion.is_near(now, first.after(LEAD_MAX))) {
        return NONE;
    }
    let of = |at: Timestamp| {
        let open = occasions.iter().enumerate().find(|(_, occasion)| occasion.covers(at));
        open.map_or((1.0, None), |(index, occasion)| (occasion.multiplies(at), u8::try_from(index).ok()))
    };
    let ((now, by_now), (mut ahead, mut event)) = (of(now), of(first));
    let rates = (policy.scale_out.rate.as_ref(), policy.scale_out.select);
    let mut later = Duration::ZERO;
    while later < LEAD_MAX {
        later += LOOK;
        let (factor, by) = of(first.after(later));
        if factor > ahead && later <= policy.scale_out.stabilization + pace(rates, current, factor / now) + LOOK {
            (ahead, event) = (factor, by);
        }
    }
    match event.or(by_now) {
        Some(event) if now != 1.0 || ahead != 1.0 => Factors { now, ahead, event: Some(event) },
        _ => NONE,
    }
}

/// How long the rates take to let in `factor` as many.
fn pace((rates, select): (&[Rate], Select), current: Capacity, factor: f64) -> Duration {
    let wanted = f64::from(current) * factor;
    let alone = rates.iter().map(|rate| {
        let (mut capacity, mut periods) = (f64::from(current), 0_u32);
        while capacity < wanted && rate.per * periods < LEAD_MAX {
            capacity += match rate.amount {
                Amount::Percent(percent) => (capacity * percent / 100.0).ceil().max(1.0),
                Amount::Instances(instances) => f64::from(instances),
            };
            periods += 1;
        }
        rate.per * periods.saturating_sub(1)
    });
    let longest = match select {
        Select::Max => alone.min(),
        Select::Min => alone.max(),
        Select::Off => None,
    };
    longest.unwrap_or_default().min(LEAD_MAX)
}

impl Factors {
    /// An outlook at the load without events, as it is with them; `present` is what is needed now. Its capacity is the
    /// one without events times the factor: its head-room was learned of a load at which rounding up to whole instances
    /// is worth so much, and would not do for ten times the load.
    pub fn apply(self, outlook: Outlook, present: Capacity) -> Outlook {
        if self.event.is_none() {
            return outlook;
        }
        let (load, headroom) = (outlook.load * self.ahead, outlook.headroom * self.ahead);
        let capacity = whole(f64::from(outlook.capacity) * self.ahead);
        let bound = if capacity < present { Bound::Present } else { outlook.bound };
        Outlook { capacity: capacity.max(present), load, headroom, bound, ..outlook }
    }
}
