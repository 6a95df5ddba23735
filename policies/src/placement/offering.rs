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
/// So many raises in a row without effect are a failure, whatever each of them was refused for: a cloud whose writes fail
/// would be asked for ever, and the fleet would stay short.
pub(crate) const RAISES_MAX: u8 = 3;
/// A place has to be able to launch for this long before capacity is taken back to it.
const RETURN_AFTER: Duration = Duration::from_secs(10 * 60);

/// One group of a fleet of several, in instances.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Offering {
    /// Instances pending or running when it was last seen.
    pub alive: Capacity,
    /// Instances serving when it was last seen.
    pub serving: Capacity,
    /// Something that was asked for does not run, and since when nothing of it has come.
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
    /// Instances that are there in any state, pending and broken ones too: a launch that fails does so within a minute.
    pub there: Capacity,
    /// Everything that was asked for runs.
    pub complete: bool,
    /// A write has not shown yet.
    pub in_flight: bool,
    /// When the newest instance came that runs.
    pub newest: Option<Timestamp>,
    /// The cloud replaces instances one by one: some are always missing, and none of them is late.
    pub refreshes: bool,
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

    /// Since when the group waits without that anything comes: one that grows, or loses and replaces some, can launch.
    fn waits(&self, sight: &Sight, now: Timestamp) -> Option<Timestamp> {
        let has_come = sight.refreshes || sight.serving > self.serving;
        let since = if has_come { Some(now) } else { self.waits_since.or(Some(now)).max(sight.newest) };
        since.filter(|_| !sight.complete)
    }

    /// Takes in what was seen.
    pub(crate) fn see(&mut self, sight: Sight, now: Timestamp) {
        self.waits_since = self.waits(&sight, now);
        (self.alive, self.serving) = (sight.alive, sight.serving);
        let sign = sight.failed_at.filter(|at| self.good_at.is_none_or(|good| *at > good));
        let overdue = self.is_overdue(now).then_some(now);
        let tells = |at: &Timestamp| {
            let ends_probe = self.probing.is_some_and(|(from, _)| *at >= from);
            ends_probe || self.failed_at.is_none_or(|known| *at > known)
        };
        if let Some(at) = sign.max(overdue).filter(tells) {
            self.fail(at);
        } else if let Some((from, to)) = self.probing {
            // It had no effect, or the group is meant to be smaller by now: nothing is under way that could still come.
            let is_over = !sight.in_flight && sight.complete && sight.there < to;
            if sight.there >= to && now.since(from) >= PROBE_PROVEN {
                self.succeed(from);
            } else if is_over || now.since(from) >= LAUNCH_DEADLINE {
                self.probing = None;
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

    /// What was asked for at that time was refused: if it was the probe, there is none.
    pub(crate) fn refused(&mut self, asked: Timestamp) {
        self.probing = self.probing.filter(|(from, _)| *from != asked);
    }

    /// A probe is asked for.
    pub(crate) fn ask(&mut self, now: Timestamp, to: Capacity) {
        self.probe = self.probe.max(1);
        self.probing = Some((now, to));
    }
}

/// What is remembered of a group, by its index.
pub(crate) fn of(memory: &FleetMemory, group: usize) -> Option<&Offering> {
    memory.offerings.get(&memory.groups.get(group)?.key)
}

/// How many raises in a row a group has had without effect.
pub(crate) fn fruitless(memory: &FleetMemory, group: usize) -> u8 {
    memory.groups.get(group).and_then(|group| memory.fruitless.get(&group.key)).copied().unwrap_or(0)
}

/// An offering, to write to; made when it is not there. Only fleets with a choice of places need one.
pub(crate) fn of_mut<'m>(policy: &Policy, memory: &'m mut FleetMemory, group: usize) -> Option<&'m mut Offering> {
    if !policy.has_choice() {
        return None;
    }
    let key = memory.groups.get(group)?.key.clone();
    Some(memory.offerings.entry(key).or_default())
}

/// A raise of a group has shown, or ended without effect.
pub(crate) fn note_raise(policy: &Policy, memory: &mut FleetMemory, group: usize, took_effect: bool, now: Timestamp) {
    let Some(key) = memory.groups.get(group).map(|group| group.key.clone()).filter(|_| policy.has_choice()) else {
        return;
    };
    if took_effect {
        memory.fruitless.remove(&key);
        return;
    }
    let raises = memory.fruitless.entry(key).or_default();
    *raises = raises.saturating_add(1);
    if *raises >= RAISES_MAX
        && let Some(offering) = of_mut(policy, memory, group)
    {
        offering.fail(now);
    }
}

/// Forgets groups that the policy no longer has.
pub(crate) fn keep(policy: &Policy, memory: &mut FleetMemory) {
    if !policy.has_choice() {
        memory.offerings.clear();
        memory.fruitless.clear();
        return;
    }
    let groups = &memory.groups;
    let is_there = |key: &str| groups.iter().any(|group| *group.key == *key);
    memory.offerings.retain(|key, _| is_there(key));
    memory.fruitless.retain(|key, _| is_there(key));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(1_700_000_000 + secs)
    }

    fn sight(alive: Capacity, failed: Option<i64>) -> Sight {
        Sight { alive, serving: alive, there: alive, complete: true, failed_at: failed.map(at), ..NOTHING }
    }

    const NOTHING: Sight = Sight {
        alive: 0,
        serving: 0,
        there: 0,
        complete: false,
        in_flight: false,
        newest: None,
        refreshes: false,
        failed_at: None,
    };

    /// Asked for more than these, which is all there is.
    fn waiting(alive: Capacity) -> Sight {
        Sight { alive, serving: alive, there: alive, ..NOTHING }
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
        offering.see(waiting(2), at(0));
        offering.see(waiting(2), at(899));
        assert!(!offering.is_down());
        offering.see(waiting(2), at(900));
        assert!(offering.is_down());
    }

    #[test]
    fn a_group_to_which_instances_come_can_launch() {
        let mut offering = Offering::default();
        offering.see(waiting(2), at(0));
        // One goes and one comes: the number stays.
        for secs in (60..3600).step_by(60) {
            offering.see(Sight { newest: Some(at(secs - 30)), ..waiting(2) }, at(secs));
            assert!(!offering.is_down(), "{secs}");
        }
        // It grows, and its cloud says of each when it was asked for.
        for secs in (3600..7200).step_by(600) {
            offering.see(Sight { newest: Some(at(0)), ..waiting((secs / 60) as Capacity) }, at(secs));
            assert!(!offering.is_down(), "{secs}");
        }
        // It grew for the last time at 6,600.
        offering.see(waiting(110), at(7499));
        assert!(!offering.is_down());
        offering.see(waiting(110), at(7500));
        assert!(offering.is_down());
    }

    #[test]
    fn what_the_cloud_replaces_is_not_late() {
        let mut offering = Offering::default();
        for secs in (0..7200).step_by(60) {
            offering.see(Sight { refreshes: true, ..waiting(9) }, at(secs));
            assert!(!offering.is_down() && offering.waits_since.is_some(), "{secs}");
        }
        offering.see(waiting(9), at(7140 + 899));
        assert!(!offering.is_down());
        offering.see(waiting(9), at(7140 + 900));
        assert!(offering.is_down(), "it is over, and nothing comes");
    }

    #[test]
    fn a_probe_that_cannot_come_any_more_is_not_waited_for() {
        let probing = || {
            let mut offering = Offering { failed_at: Some(at(-10)), ..Offering::default() };
            offering.ask(at(0), 5);
            offering
        };
        // Its call was the one that was refused, or another's.
        let mut offering = probing();
        offering.refused(at(-15));
        assert_eq!(offering.next_probe(), 0);
        offering.refused(at(0));
        assert_eq!(offering.next_probe(), 1);
        // It had time to show, and has not; or the group shrank.
        let mut offering = probing();
        offering.see(Sight { in_flight: true, ..sight(4, None) }, at(45));
        assert_eq!(offering.next_probe(), 0, "it may still show");
        offering.see(sight(4, None), at(60));
        assert_eq!((offering.next_probe(), offering.is_down()), (1, true));
        // Some come all the time, and it is never among them.
        let mut offering = probing();
        for secs in (0..900).step_by(60) {
            offering.see(Sight { newest: Some(at(secs)), ..waiting(4) }, at(secs));
            assert_eq!(offering.next_probe(), 0, "{secs}");
        }
        offering.see(Sight { newest: Some(at(880)), ..waiting(4) }, at(900));
        assert_eq!((offering.next_probe(), offering.is_down()), (1, true));
        offering.see(sight(4, None), at(1800));
        assert!(!offering.is_down(), "and half an hour is not waited for in vain");
    }

    #[test]
    fn a_broken_instance_is_there_for_a_probe_too() {
        let mut offering = Offering { failed_at: Some(at(-10)), ..Offering::default() };
        offering.ask(at(0), 5);
        offering.see(Sight { there: 5, ..sight(4, None) }, at(60));
        assert_eq!(offering.next_probe(), 2, "{offering:?}");
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
