//! A fleet of several groups: from what each holds towards the best layout, one cycle at a time.
//!
//! More is asked of the most preferred group with room; less is taken from the least preferred that has more than the best
//! layout gives it. What a group cannot launch is asked of the next at once and withdrawn there; a group that can launch
//! again gets its capacity back from less preferred ones, slowly: it is given more, and what is then too much leaves by the
//! fleet's own scale-in. What serves never leaves before as much serves elsewhere.

use super::fill::{Slot, fill, limit};
use super::offering::RAISES_MAX;
use super::single::{lost, remove, version};
use super::spread::{Domains, domains};
use super::stand::{Closed, Stand};
use super::{PlaceStep, PlaceWhy, unknown};
use crate::memory::FleetMemory;
use crate::plan::{Action, GroupPlan};
use crate::policy::Policy;
use contract::{Capacity, Observation, Timestamp};

/// A place must be cheaper than this share of another's price for capacity to move between them.
const CHEAPER: f64 = 0.9;
/// The part of desired that returns to a preferred place in one step, at least one instance.
const RETURN_PARTS: Capacity = 10;

/// What is to be laid out.
pub(crate) struct Asked<'a> {
    pub policy: &'a Policy,
    pub stands: &'a [Stand],
    pub now: Timestamp,
    /// The fleet's desired, in its own numbers, like everything here that is not said to be instances.
    pub desired: Capacity,
    /// What the rules ask for, before windows and paces.
    pub need: Capacity,
    /// No rounding goes above this.
    pub ceiling: Capacity,
    /// What serves.
    pub serving: Capacity,
    /// What the brakes leave for moves between groups; `None`: the fleet is held, and nothing moves.
    pub moves: Option<Capacity>,
    /// All that is there serves and is wanted: time to take preferred places back.
    pub settled: bool,
}

/// The groups after this cycle.
pub(crate) struct Layout {
    /// What they hold together; desired, but for rounding and for what has no place.
    pub achieved: Capacity,
    /// What serves was kept until what boots serves.
    pub kept_serving: bool,
    parts: Vec<Part>,
}

/// One group's part, in instances but for `change` and `moved`.
#[derive(Clone, Debug)]
struct Part {
    at: Capacity,
    /// Of what was taken: asked for and never filled.
    withdrawn: Capacity,
    change: i64,
    moved: Capacity,
    probe: Option<Capacity>,
    steps: Vec<PlaceStep>,
}

impl Part {
    fn step(&mut self, after: Capacity, why: PlaceWhy) {
        self.steps.push(PlaceStep { before: self.at, after, why });
        self.at = after;
    }
}

/// How much may be asked of a group that cannot launch.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Trust {
    /// What it has.
    Has,
    /// What it was asked for already.
    Asked,
    /// A probe more.
    Probe,
    /// A probe more where it has been quiet for long enough; and nothing more where launches are good only lately.
    Return,
}

/// The best layout of desired, in instances by group.
struct Best {
    goal: Vec<Capacity>,
    /// Of it, what is within the shares.
    within: Vec<Capacity>,
    /// What has no place in it.
    rest: u64,
}

/// Lays a fleet's desired out over its groups.
pub(crate) fn lay_out(asked: &Asked<'_>) -> Layout {
    let mut planner = Planner::new(asked);
    let current = planner.total();
    let best = match asked.desired.checked_sub(current) {
        Some(more) => planner.grow(more),
        None => planner.shrink(current - asked.desired),
    };
    planner.explain(&best);
    let achieved = planner.total();
    Layout { achieved, kept_serving: planner.kept_serving, parts: planner.parts }
}

struct Planner<'a> {
    asked: &'a Asked<'a>,
    /// Groups, the most preferred first.
    order: Vec<usize>,
    domains: Domains,
    parts: Vec<Part>,
    kept_serving: bool,
}

impl<'a> Planner<'a> {
    fn new(asked: &'a Asked<'a>) -> Self {
        let groups = &asked.policy.groups;
        let price = |at: usize| groups[at].price_per_unit().unwrap_or(f64::INFINITY);
        let mut order: Vec<usize> = (0..groups.len()).collect();
        order.sort_by(|a, b| groups[*a].priority.cmp(&groups[*b].priority).then(price(*a).total_cmp(&price(*b))));
        let part =
            |stand: &Stand| Part { at: stand.base, withdrawn: 0, change: 0, moved: 0, probe: None, steps: Vec::new() };
        let parts = asked.stands.iter().map(part).collect();
        Self { asked, order, domains: domains(asked.policy, asked.stands), parts, kept_serving: false }
    }

    fn weight(&self, at: usize) -> Capacity {
        self.asked.policy.groups[at].weight
    }

    fn total(&self) -> Capacity {
        self.parts
            .iter()
            .enumerate()
            .fold(0, |sum, (at, part)| sum.saturating_add(part.at.saturating_mul(self.weight(at))))
    }

    /// Whether anything may be asked of a group or taken from it.
    fn is_open(&self, at: usize) -> bool {
        self.asked.stands[at].closed.is_none()
    }

    /// A price is worth a move only when it is clearly lower.
    fn is_better(&self, this: usize, other: usize) -> bool {
        let (this, other) = (&self.asked.policy.groups[this], &self.asked.policy.groups[other]);
        let cheaper = match (this.price_per_unit(), other.price_per_unit()) {
            (Some(this), Some(other)) => this < other * CHEAPER,
            _ => false,
        };
        this.priority < other.priority || (this.priority == other.priority && cheaper)
    }

    /// The bounds of a group, in instances.
    fn bounds(&self, at: usize, trust: Trust) -> (Capacity, Capacity) {
        let stand = &self.asked.stands[at];
        if !self.is_open(at) {
            return (stand.base, stand.base);
        }
        let has = stand.base.saturating_sub(stand.unfilled);
        let quiet = stand.offering.may_return(self.asked.now);
        let probe = if stand.in_flight { 0 } else { stand.offering.next_probe() };
        let high = match (stand.offering.is_down(), trust) {
            (false, Trust::Return) if !quiet => self.parts[at].at,
            (false, _) => stand.high,
            (true, Trust::Has) => has,
            (true, Trust::Return) if !quiet => has,
            (true, Trust::Asked) => stand.base.max(has),
            (true, Trust::Probe | Trust::Return) => stand.base.max(has.saturating_add(probe)),
        };
        let high = high.min(stand.high.max(stand.base));
        (stand.low.min(high), high)
    }

    fn best(&self, trust: Trust) -> Best {
        let slot = |at: &usize| {
            let (low, high) = self.bounds(*at, trust);
            let (low, high) = (u64::from(low), u64::from(high));
            Slot { weight: self.weight(*at).into(), low, high, domains: self.domains.of[*at].clone() }
        };
        let slots: Vec<Slot> = self.order.iter().map(slot).collect();
        let layout = fill(&slots, self.asked.desired, &self.domains.shares);
        let by_group = |instances: &[u64]| {
            let mut of = vec![0; self.parts.len()];
            for (at, n) in self.order.iter().zip(instances) {
                of[*at] = Capacity::try_from(*n).unwrap_or(Capacity::MAX);
            }
            of
        };
        Best { goal: by_group(&layout.instances), within: by_group(&layout.within), rest: layout.rest }
    }

    /// What capacity stays or grows to: the fleet's change, what groups cannot launch, then what should return.
    fn grow(&mut self, more: Capacity) -> Best {
        let [has, asked, probe] = [Trust::Has, Trust::Asked, Trust::Probe].map(|trust| self.best(trust));
        let least = has.rest.min(asked.rest).min(probe.rest);
        let best = [has, asked].into_iter().find(|best| best.rest == least).unwrap_or(probe);
        let goal = &best.goal;
        let current = self.total();
        let mut moves = self.asked.moves.unwrap_or(0);
        self.raise_to_minima(&mut moves);
        let given_up: Vec<Capacity> = (0..self.parts.len()).map(|at| self.given_up(at, goal)).collect();
        let stuck: Capacity = given_up.iter().enumerate().map(|(at, n)| n * self.weight(at)).sum();
        // What is there without it may be enough.
        let missing = self.asked.need.min(self.asked.ceiling).saturating_sub(current - stuck.min(current));
        let moving = stuck.min(moves).min(missing);
        let taken_over = self.raise(goal, more, moving);
        self.give_up(&given_up, taken_over);
        if more == 0 && stuck == 0 && self.asked.settled {
            self.take_back(moves);
        }
        best
    }

    /// Says what the plan alone does not tell: where the shares were given up, and which groups were passed over.
    fn explain(&mut self, best: &Best) {
        for at in 0..self.parts.len() {
            let stand = &self.asked.stands[at];
            let why = if self.is_above_share(at, best) {
                PlaceWhy::AboveShare { survives: self.asked.policy.spread.lost_max().is_some() }
            } else if !self.parts[at].steps.is_empty() || !stand.offering.is_down() || stand.in_flight {
                continue;
            } else if stand.fruitless >= RAISES_MAX {
                PlaceWhy::NoEffect(stand.fruitless)
            } else {
                PlaceWhy::CannotLaunch
            };
            let part = &mut self.parts[at];
            part.step(part.at, why);
        }
    }

    /// Whether a group holds at least one instance that the shares would not allow it, and nobody else could take.
    fn is_above_share(&self, at: usize, best: &Best) -> bool {
        let more = self.parts[at].at.min(best.goal[at]) > best.within[at];
        let excess = |(domain, _): &(usize, f64)| self.excess(*domain) >= f64::from(self.weight(at)) - 1e-9;
        more && self.domains.of[at].iter().any(excess)
    }

    /// A group's own minimum is met whatever the fleet's capacity is; what is too much elsewhere then leaves.
    fn raise_to_minima(&mut self, moves: &mut Capacity) {
        for at in self.order.clone() {
            let (stand, weight) = (&self.asked.stands[at], self.weight(at));
            if !self.is_open(at) || stand.offering.is_down() || stand.in_flight {
                continue;
            }
            let n = stand.low.saturating_sub(self.parts[at].at).min(*moves / weight);
            if n > 0 {
                *moves -= n * weight;
                let part = &mut self.parts[at];
                part.moved += n * weight;
                part.step(part.at + n, PlaceWhy::Bounds);
            }
        }
    }

    /// What a group was asked for and cannot launch, in instances.
    fn given_up(&self, at: usize, goal: &[Capacity]) -> Capacity {
        let stand = &self.asked.stands[at];
        if !self.is_open(at) || !stand.offering.is_down() || stand.in_flight {
            return 0;
        }
        stand.base.saturating_sub(goal[at]).min(stand.unfilled)
    }

    /// Asks for the fleet's change and for what others give up, the most preferred first. Returns how much of the latter
    /// found a place.
    fn raise(&mut self, goal: &[Capacity], more: Capacity, moving: Capacity) -> Capacity {
        let (mut change, mut move_left) = (more, moving);
        let order = self.order.clone();
        for &at in &order {
            self.take_back_drained(at, &mut change, &mut move_left);
        }
        for (rank, &at) in order.iter().enumerate() {
            let wanted = change + move_left;
            let room = goal[at].saturating_sub(self.parts[at].at);
            if wanted == 0 {
                break;
            }
            if room == 0 || !self.is_open(at) {
                continue;
            }
            let weight = self.weight(at);
            let mut n = room.min(wanted.div_ceil(weight));
            let too_much = |n: Capacity| (n * weight).saturating_sub(wanted);
            let after = self.total().saturating_sub(move_left);
            if too_much(n) > 0 && after.saturating_add(n * weight) > self.asked.ceiling {
                n -= 1;
            }
            if n == 0 {
                continue;
            }
            let (for_change, for_moves) = share(n * weight, &mut change, &mut move_left);
            let is_down = self.asked.stands[at].offering.is_down();
            let why = match (is_down, for_change > 0, rank) {
                (true, ..) => PlaceWhy::Probe,
                (_, false, _) => PlaceWhy::TakesOver,
                (_, true, 0) => PlaceWhy::Preferred,
                (_, true, _) => PlaceWhy::NextWithRoom,
            };
            let part = &mut self.parts[at];
            part.change += i64::from(for_change);
            part.moved += for_moves;
            part.step(part.at + n, why);
            part.probe = is_down.then_some(part.at);
        }
        moving - move_left
    }

    /// What drains in a group runs there already, and is taken back before anything is launched anywhere: nothing that
    /// stands in the way of a launch stands in its way.
    fn take_back_drained(&mut self, at: usize, change: &mut Capacity, move_left: &mut Capacity) {
        let (stand, weight) = (&self.asked.stands[at], self.weight(at));
        let n = stand.asked_back.min((*change + *move_left) / weight);
        if n == 0 || !self.is_open(at) {
            return;
        }
        let (for_change, for_moves) = share(n * weight, change, move_left);
        let part = &mut self.parts[at];
        part.change += i64::from(for_change);
        part.moved += for_moves;
        part.step(part.at + n, PlaceWhy::TakenBack);
    }

    /// Withdraws from groups that cannot launch what found a place elsewhere, the least preferred first.
    fn give_up(&mut self, given_up: &[Capacity], mut taken_over: Capacity) {
        for at in self.order.clone().into_iter().rev() {
            let n = given_up[at].min(taken_over / self.weight(at));
            if n > 0 {
                taken_over -= n * self.weight(at);
                let part = &mut self.parts[at];
                part.withdrawn += n;
                part.step(part.at - n, PlaceWhy::GivesUp);
            }
        }
    }

    /// Gives a preferred group a part of what less preferred ones have in its place, and any group a part of what has to
    /// leave another. They lose it by the fleet's own scale-in, once it serves.
    fn take_back(&mut self, moves: Capacity) {
        if self.asked.stands.iter().any(|stand| stand.in_flight || stand.closed.is_some()) {
            return;
        }
        let goal = self.best(Trust::Return).goal;
        let step = (self.asked.desired / RETURN_PARTS).max(1);
        let left = moves.min(self.asked.ceiling.saturating_sub(self.total()));
        for &at in &self.order {
            let moves_to = |other: &usize| *other != at && (self.is_better(at, *other) || self.has_to_give(*other));
            let givers: Vec<usize> = (0..self.parts.len()).filter(moves_to).collect();
            let elsewhere: Capacity = givers.iter().map(|other| self.spare(*other, goal[*other])).sum();
            let (room, weight) = (goal[at].saturating_sub(self.parts[at].at), self.weight(at));
            let n = room.min(elsewhere.min(left) / weight).min(step.div_ceil(weight));
            if n > 0 {
                let is_better =
                    givers.iter().any(|other| self.is_better(at, *other) && self.spare(*other, goal[*other]) > 0);
                let why = match (self.asked.stands[at].offering.is_down(), is_better) {
                    (true, _) => PlaceWhy::Probe,
                    (_, true) => PlaceWhy::Returns,
                    (_, false) => PlaceWhy::Spreads,
                };
                let part = &mut self.parts[at];
                part.moved += n * weight;
                part.step(part.at + n, why);
                part.probe = (why == PlaceWhy::Probe).then_some(part.at);
                return;
            }
        }
    }

    /// What is above a group's own bounds, or above its share, has to leave, wherever it goes.
    fn has_to_give(&self, at: usize) -> bool {
        let exceeds = |(domain, _): &(usize, f64)| self.excess(*domain) > 1e-9;
        self.parts[at].at > self.asked.stands[at].high || self.domains.of[at].iter().any(exceeds)
    }

    /// By how much a domain holds more than its share, in the fleet's numbers.
    fn excess(&self, domain: usize) -> f64 {
        let part_of = |of: usize| {
            self.domains.of[of].iter().filter(|(in_domain, _)| *in_domain == domain).map(|(_, part)| part).sum::<f64>()
        };
        let holds = |of: usize| f64::from(self.parts[of].at) * f64::from(self.weight(of));
        let used: f64 = (0..self.parts.len()).map(|of| part_of(of) * holds(of)).sum();
        used - limit(self.domains.shares[domain], self.asked.desired)
    }

    /// What a group has above its part and can let go of, in the fleet's numbers. What cannot leave is replaced nowhere: it
    /// would be the replacement that leaves again.
    fn spare(&self, at: usize, goal: Capacity) -> Capacity {
        let stand = &self.asked.stands[at];
        self.parts[at].at.saturating_sub(goal).min(stand.unfilled.saturating_add(stand.removable)) * self.weight(at)
    }

    /// What capacity shrinks to: first what the best layout would not give a group, then whatever there is, always the
    /// least preferred first and never below a group's own minimum.
    fn shrink(&mut self, less: Capacity) -> Best {
        let best = self.best(Trust::Has);
        let boots = self.asked.stands.iter().any(|stand| {
            let waits = stand.closed.is_none() && stand.offering.waits_since.is_some();
            waits && !stand.offering.is_overdue(self.asked.now)
        });
        // While others boot, no more may leave of what serves than is too much of it.
        let mut may_stop = if boots { self.asked.serving.saturating_sub(self.asked.desired) } else { Capacity::MAX };
        let mut left = less;
        for to_goal in [true, false] {
            for at in self.order.clone().into_iter().rev() {
                let low = self.bounds(at, Trust::Has).0;
                let floor = if to_goal { best.goal[at].max(low) } else { low };
                self.take(at, floor, &mut left, &mut may_stop);
            }
            if self.kept_serving {
                break;
            }
        }
        best
    }

    fn take(&mut self, at: usize, floor: Capacity, left: &mut Capacity, may_stop: &mut Capacity) {
        let (stand, weight) = (&self.asked.stands[at], self.weight(at));
        let n = self.parts[at].at.saturating_sub(floor).min(*left / weight);
        if n == 0 || !self.is_open(at) {
            return;
        }
        let taken = stand.base - self.parts[at].at;
        let withdrawn = n.min(stand.unfilled.saturating_sub(self.parts[at].withdrawn));
        let removed_before = taken.saturating_sub(self.parts[at].withdrawn);
        let removable = stand.removable.saturating_sub(removed_before);
        let instances = (n - withdrawn).min(removable);
        // Those that do not run leave first (`victims`).
        let idle = stand.idle.saturating_sub(removed_before).min(instances);
        let running = (instances - idle).min(*may_stop / weight);
        if running < instances - idle {
            self.kept_serving = true;
        }
        if *may_stop != Capacity::MAX {
            *may_stop -= running * weight;
        }
        let removed = idle + running;
        *left -= (withdrawn + removed) * weight;
        let kept = self.kept_serving && running < instances - idle;
        let part = &mut self.parts[at];
        part.change -= i64::from((withdrawn + removed) * weight);
        part.withdrawn += withdrawn;
        if withdrawn > 0 {
            part.step(part.at - withdrawn, PlaceWhy::Withdrawn);
        }
        if removed > 0 {
            part.step(part.at - removed, PlaceWhy::LeastPreferred);
        }
        if kept {
            part.step(part.at, PlaceWhy::KeptServing);
        }
    }
}

/// How much of so many units is for the fleet's change and how much for moves, and takes both off.
fn share(units: Capacity, change: &mut Capacity, move_left: &mut Capacity) -> (Capacity, Capacity) {
    let for_change = units.saturating_sub((*move_left).min(units.saturating_sub(*change)));
    let for_moves = units - for_change;
    *change = change.saturating_sub(for_change);
    *move_left = move_left.saturating_sub(for_moves);
    (for_change, for_moves)
}

impl Layout {
    /// The groups' plans. `observed` has the groups that could be read.
    pub fn into_plans(
        self,
        asked: &Asked<'_>,
        observed: &[Option<Observation>],
        memory: &FleetMemory,
    ) -> Vec<GroupPlan> {
        let mut plans = unknown(asked.policy);
        let mut moves = asked.moves.map(|moves| {
            let moved: Capacity = self.parts.iter().map(|part| part.moved).sum();
            moves.saturating_sub(moved)
        });
        for (at, (plan, part)) in plans.iter_mut().zip(self.parts).enumerate() {
            let stand = &asked.stands[at];
            if let Some(Closed(reason)) = stand.closed {
                plan.steps = vec![PlaceStep { before: stand.base, after: stand.base, why: PlaceWhy::Closed(reason) }];
            }
            let Some(Some(observation)) = observed.get(at) else { continue };
            plan.desired = Some(part.at);
            plan.seen = Some(version(observation));
            if stand.closed.is_some() {
                continue;
            }
            (plan.change, plan.moved, plan.probe, plan.steps) = (part.change, part.moved, part.probe, part.steps);
            if part.at < stand.base {
                let n = stand.base - part.at;
                remove(plan, asked.policy, observation, stand.base, part.withdrawn, n);
                continue;
            }
            // Safety rule 13, as in a fleet of one group; what cannot be launched is the others' by now.
            let lost = if stand.offering.is_down() { 0 } else { lost(observation, memory, at, stand.base) };
            let weight = asked.policy.groups[at].weight;
            let repairs = moves.map_or(0, |left| lost.min(left / weight));
            moves = moves.map(|left| left - repairs * weight);
            plan.repairs = repairs * weight;
            if part.at > stand.base || repairs > 0 {
                plan.actions.push(Action::Raise { to: part.at - (lost - repairs) });
            }
        }
        plans
    }
}
