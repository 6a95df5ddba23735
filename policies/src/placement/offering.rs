//! What is remembered of each place that a fleet of several groups may be in: what it held when it was last seen, and
//! whether it can launch. One that cannot is asked again by probes: one at a time, small at first and doubling while they
//! come, so that a cloud in trouble is not stormed (a cache alone only filters: peers.md).

use crate::memory::FleetMemory;
use crate::policy::{LAUNCH_DEADLINE, Policy};
use contract::{Capacity, Timestamp};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A probe that came counts as good after this long without a failure: launches fail within a minute.
const PROBE_PROVEN: Duration = Duration::from_secs(60);
/// With a probe of this size come, the place can launch again.
const PROBE_ENOUGH: Capacity = 8;
/// Nothing was heard of a failure for this long: the next attempt tells (the longest backoff of clouds.md 2.5).
const FORGOTTEN: Duration = Duration::from_secs(30 * 60);
/// A place has to be able to launch for this long before capacity is taken back to it.
const RETURN_AFTER: Duration = Duration::from_secs(10 * 60);

/// One group of a fleet of several, in instances.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Offering {
    /// Instances pending or running when it was last seen.
    pub alive: Capacity,
    /// Instances serving when it was last seen.
    pub serving: Capacity,
    /// Since when something that was asked for does not run.
    pub waits_since: Option<Timestamp>,
    /// Launches fail: the newest sign of it. `None`: it can launch.
    pub failed_at: Option<Timestamp>,
    /// The next probe's size.
    pub probe: Capacity,
    /// The probe under way: when it began, and how many instances there are once it has come.
    pub probing: Option<(Timestamp, Capacity)>,
    /// Signs of failure that are older than this mean nothing any more.
    pub good_at: Option<Timestamp>,
}

/// What an observation says of a group's launches.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sight {
    pub alive: Capacity,
    pub serving: Capacity,
    /// Everything that was asked for runs.
    pub complete: bool,
    /// The newest launch that failed for want of machines or quota, when it says something of the whole group.
    pub failed_at: Option<Timestamp>,
}

impl Offering {
    /// Launches fail.
    pub fn is_down(&self) -> bool {
        self.failed_at.is_some()
    }

    /// Something that was asked for has not come for so long that it no longer counts on its way (safety rule 5).
    pub(crate) fn is_overdue(&self, now: Timestamp) -> bool {
        self.waits_since.is_some_and(|since| now.since(since) >= LAUNCH_DEADLINE)
    }

    /// How much more may be asked of a place that cannot launch, to see whether it can.
    pub(crate) fn next_probe(&self) -> Capacity {
        if self.probing.is_some() { 0 } else { self.probe.max(1) }
    }

    /// Whether capacity may be taken back to it.
    pub(crate) fn may_return(&self, now: Timestamp) -> bool {
        [self.failed_at, self.good_at].into_iter().flatten().all(|at| now.since(at) >= RETURN_AFTER)
    }

    /// Takes in what was seen.
    pub(crate) fn see(&mut self, sight: Sight, now: Timestamp) {
        (self.alive, self.serving) = (sight.alive, sight.serving);
        self.waits_since = if sight.complete { None } else { self.waits_since.or(Some(now)) };
        let sign = sight.failed_at.filter(|at| self.good_at.is_none_or(|good| *at > good));
        let overdue = self.is_overdue(now).then_some(now);
        let tells = |at: &Timestamp| {
            let ends_probe = self.probing.is_some_and(|(from, _)| *at >= from);
            ends_probe || self.failed_at.is_none_or(|known| *at > known)
        };
        if let Some(at) = sign.max(overdue).filter(tells) {
            self.fail(at);
        } else if let Some((from, to)) = self.probing {
            if sight.alive >= to && now.since(from) >= PROBE_PROVEN {
                self.succeed(from);
            }
        } else if self.failed_at.is_some_and(|at| now.since(at) >= FORGOTTEN) {
            (self.failed_at, self.good_at) = (None, Some(now));
        }
    }

    /// A launch has failed, or was refused for want of machines, quota or patience.
    pub(crate) fn fail(&mut self, at: Timestamp) {
        let is_news = self.failed_at.is_none_or(|known| at > known);
        let ends_probe = self.probing.is_some_and(|(from, _)| at >= from);
        if is_news || ends_probe {
            self.probe = 1;
        }
        if ends_probe {
            self.probing = None;
        }
        self.failed_at = self.failed_at.max(Some(at));
    }

    /// The probe came.
    fn succeed(&mut self, from: Timestamp) {
        self.probing = None;
        self.good_at = Some(from);
        if self.probe >= PROBE_ENOUGH {
            (self.failed_at, self.probe) = (None, 0);
        } else {
            self.probe = self.probe.max(1) * 2;
        }
    }

    /// A probe is asked for.
    pub(crate) fn ask(&mut self, now: Timestamp, to: Capacity) {
        self.probe = self.probe.max(1);
        self.probing = Some((now, to));
    }
}

/// What is remembered of a group, by its index.
pub(crate) fn of<'m>(memory: &'m FleetMemory, group: usize) -> Option<&'m Offering> {
    memory.offerings.get(&memory.groups.get(group)?.key)
}

/// The same, to write to; made when it is not there. Only fleets with a choice of places need one.
pub(crate) fn of_mut<'m>(policy: &Policy, memory: &'m mut FleetMemory, group: usize) -> Option<&'m mut Offering> {
    if !policy.has_choice() {
        return None;
    }
    let key = memory.groups.get(group)?.key.clone();
    Some(memory.offerings.entry(key).or_default())
}

/// Forgets groups that the policy no longer has.
pub(crate) fn keep(policy: &Policy, memory: &mut FleetMemory) {
    if !policy.has_choice() {
        memory.offerings.clear();
        return;
    }
    let groups = &memory.groups;
    memory.offerings.retain(|key, _| groups.iter().any(|group| group.key == *key));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(1_700_000_000 + secs)
    }

    fn sight(alive: Capacity, failed: Option<i64>) -> Sight {
        Sight { alive, serving: alive, complete: true, failed_at: failed.map(at) }
    }

    #[test]
    fn probes_double_while_they_come_and_begin_anew_when_one_fails() {
        let mut offering = Offering::default();
        offering.see(sight(4, Some(0)), at(1));
        assert!(offering.is_down() && offering.next_probe() == 1);
        let (mut now, mut alive) = (10, 4);
        for size in [1, 2, 4] {
            assert_eq!(offering.next_probe(), size);
            offering.ask(at(now), alive + size);
            assert_eq!(offering.next_probe(), 0, "one at a time");
            alive += size;
            offering.see(sight(alive, Some(0)), at(now + 30));
            assert_eq!(offering.next_probe(), 0, "not proven yet");
            offering.see(sight(alive, Some(0)), at(now + 60));
            now += 100;
        }
        offering.ask(at(now), alive + 8);
        offering.see(sight(alive, Some(now + 5)), at(now + 10));
        assert_eq!((offering.next_probe(), offering.is_down()), (1, true), "it failed: small again");
        for size in [1, 2, 4, 8] {
            now += 100;
            offering.ask(at(now), alive + size);
            alive += size;
            offering.see(sight(alive, None), at(now + 70));
        }
        assert!(!offering.is_down(), "a large probe came");
    }

    #[test]
    fn an_old_sign_of_failure_means_nothing_after_a_success() {
        let mut offering = Offering { failed_at: Some(at(50)), probe: 8, ..Offering::default() };
        offering.ask(at(100), 12);
        offering.see(sight(12, Some(50)), at(170));
        assert!(!offering.is_down());
        offering.see(sight(12, Some(50)), at(185));
        assert!(!offering.is_down(), "still shown by the cloud, and older than what came");
        offering.see(sight(12, Some(190)), at(200));
        assert!(offering.is_down(), "a new one counts");
    }

    #[test]
    fn what_does_not_come_within_the_deadline_is_a_failure() {
        let mut offering = Offering::default();
        let waiting = Sight { alive: 2, serving: 2, complete: false, failed_at: None };
        offering.see(waiting, at(0));
        offering.see(waiting, at(899));
        assert!(!offering.is_down());
        offering.see(waiting, at(900));
        assert!(offering.is_down());
    }

    #[test]
    fn nothing_heard_for_half_an_hour_is_tried_again() {
        let mut offering = Offering { failed_at: Some(at(0)), ..Offering::default() };
        offering.see(sight(2, None), at(1799));
        assert!(offering.is_down());
        offering.see(sight(2, None), at(1800));
        assert!(!offering.is_down());
        assert!(!offering.may_return(at(1801)) && offering.may_return(at(2400)), "taken back only when it lasts");
    }
}
