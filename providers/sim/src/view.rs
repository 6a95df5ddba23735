//! A group as a read shows it. In comes the group's state, out comes the contract's observation; built once after each
//! change and cloned for every read.

use crate::group::{Group, Kind, Rules};
use crate::script::Fault;
use crate::settings::Guard;
use contract::{Foreign, Observation, Suspended, Timestamp};
use std::time::Duration;

/// How far back lagging reads can see.
const PAST: Duration = Duration::from_secs(3600);

impl Group {
    /// Something may have changed at `at`: the next read builds its answer anew.
    pub fn changed(&mut self, at: Timestamp, rules: &Rules) {
        self.seen = None;
        if rules.keeps_past {
            let now = self.shown(at, rules).clone();
            self.past.push_back((at, now));
            while self.past.get(1).is_some_and(|(from, _)| *from <= at.before(PAST)) {
                self.past.pop_front();
            }
        }
    }

    /// The present observation.
    pub fn shown(&mut self, at: Timestamp, rules: &Rules) -> &Observation {
        let fresh = match self.seen.take() {
            Some(seen) => seen,
            None => self.build(at, rules),
        };
        self.seen.insert(fresh)
    }

    /// The observation that held `lag` ago, or the oldest one known.
    pub fn shown_late(&mut self, at: Timestamp, lag: Duration, rules: &Rules) -> Observation {
        let then = at.before(lag);
        let known = self.past.iter().rev().find(|(from, _)| *from <= then).or(self.past.front());
        match known {
            Some((_, observation)) => observation.clone(),
            None => self.shown(at, rules).clone(),
        }
    }

    /// The atomic guard's token.
    pub fn token(&self) -> Box<str> {
        format!("r{}", self.revision).into()
    }

    fn build(&self, at: Timestamp, rules: &Rules) -> Observation {
        let mut suspended = self.suspended.clone();
        let mut foreign = self.foreign.clone();
        for playing in rules.playing(at, &self.id) {
            match &playing.script.fault {
                Fault::Suspend { process } => suspended.push(Suspended::from(*process)),
                Fault::Foreign { name, removes } => {
                    foreign.push(Foreign { name: name.clone(), removes: *removes });
                }
                _ => {}
            }
        }
        let bounded = self.kind == Kind::Group;
        Observation {
            desired: (self.kind != Kind::Servers).then_some(self.desired),
            cloud_min: bounded.then_some(self.min),
            cloud_max: bounded.then_some(self.max),
            instances: self.machines.iter().map(|m| m.shown.clone()).collect(),
            operations: self.operation.iter().cloned().collect(),
            launch_failures: self.failures.iter().cloned().collect(),
            suspended,
            foreign,
            owner: self.owner.clone(),
            abilities: self.kind.abilities(),
            token: (rules.settings.guard == Guard::Atomic).then(|| self.token()),
            at,
        }
    }
}
