//! One simulated group: its instances' lives from launch to end. In come points in time, in order; what changed is
//! kept here. It never looks at the clock, and calls never reach it without the fence in `writes.rs`.
//!
//! ```text
//!  launch --> Pending --boot--> Running --dies--> gone
//!     |           \                \
//!     |            `--terminated----`--> Terminating (held back first, where the group drains) --> gone
//!     `--fails--> failure data (and, where nobody but skala sizes the group, a Failed instance that stays)
//! ```

use crate::dice::Dice;
use crate::script::{Fault, Playing};
use crate::settings::{Boot, GroupSettings, Settings};
use contract::{
    Abilities, Capacity, FailureKind, Foreign, GroupId, Instance, InstanceId, InstanceState, LaunchFailure,
    Observation, OperationInFlight, OwnerTag, Scope, Suspended, Timestamp,
};
use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

/// How long a failed launch is shown.
const FAILURE_SHOWN: Duration = Duration::from_secs(15 * 60);
/// Most failures shown; the newest count.
const FAILURES_MAX: usize = 20;

/// What the cloud does for a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It keeps desired, fills it, and removes instances by name.
    Group,
    /// It keeps no desired: tagged servers (`servers:NAME`).
    Servers,
    /// It keeps desired and picks the victims itself (`deployment:NAME`).
    Deployment,
}

impl Kind {
    /// The kind that a group's name tells.
    pub fn of(group: &str) -> Self {
        match group.split_once(':') {
            Some(("servers", _)) => Kind::Servers,
            Some(("deployment", _)) => Kind::Deployment,
            _ => Kind::Group,
        }
    }

    /// What can be done with such a group.
    pub fn abilities(self) -> Abilities {
        Abilities {
            terminate_named: self != Kind::Deployment,
            lower: self == Kind::Deployment,
            keeps_desired: self != Kind::Servers,
            terminate_batch: 100,
        }
    }
}

/// What holds for the whole cloud while one of its groups moves on.
pub(crate) struct Rules {
    pub settings: Settings,
    pub scripts: Vec<Playing>,
    /// Instances that exist, against the quota.
    pub used: Capacity,
    /// Whether old observations are kept for reads that lag.
    pub keeps_past: bool,
}

impl Rules {
    /// The machines' faults that play now for this group.
    pub fn playing<'a>(&'a self, at: Timestamp, group: &'a GroupId) -> impl Iterator<Item = &'a Playing> {
        self.scripts.iter().filter(move |p| !p.script.fault.meets_calls() && p.on(at) && p.concerns(group))
    }
}

/// An instance and what will become of it.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    pub shown: Instance,
    /// The launch id it was started with, where skala starts instances itself.
    pub launch: Option<Box<str>>,
    boots_at: Timestamp,
    dies_at: Option<Timestamp>,
    leaves_at: Option<Timestamp>,
    /// Until when it is, or was, held back on its way out.
    pub held_until: Option<Timestamp>,
}

impl Machine {
    pub fn alive(&self) -> bool {
        matches!(self.shown.state, InstanceState::Pending | InstanceState::Running)
    }

    fn next_event(&self) -> Option<Timestamp> {
        match self.shown.state {
            InstanceState::Pending => Some(self.dies_at.map_or(self.boots_at, |dies| dies.min(self.boots_at))),
            InstanceState::Running => self.dies_at,
            InstanceState::Terminating => self.leaves_at,
            InstanceState::Failed => None,
        }
    }
}

/// One group.
pub(crate) struct Group {
    pub id: GroupId,
    pub kind: Kind,
    pub min: Capacity,
    pub max: Capacity,
    pub desired: Capacity,
    pub machines: Vec<Machine>,
    pub failures: VecDeque<LaunchFailure>,
    /// Zones that a launch was tried in first, without a machine there, before it got one elsewhere. They make no group
    /// short, so an observation leaves them out; an API that tells of every attempt does not.
    pub passed_over: VecDeque<LaunchFailure>,
    pub operation: Option<OperationInFlight>,
    pub owner: Option<OwnerTag>,
    pub foreign: Vec<Foreign>,
    /// Other controllers that were suspended.
    pub resting: Vec<Foreign>,
    pub suspended: Vec<Suspended>,
    /// How long what is on its way out is held back at most, unless it is let go.
    pub drain: Duration,
    /// Grows with every write by anybody; the atomic guard's token.
    pub revision: u64,
    pub price_per_hour: f64,
    /// Instance time of those that are gone.
    pub billed: Duration,
    /// The present observation, until something changes; reading is far more frequent than change.
    pub seen: Option<Observation>,
    /// Earlier observations with the time from which each held, for reads that lag.
    pub past: VecDeque<(Timestamp, Observation)>,
    /// When something happens by itself next; the cloud's agenda holds the same time.
    pub due: Option<Timestamp>,
    zones: Vec<Box<str>>,
    boot: Boot,
    dice: Dice,
    index: usize,
    made: u32,
    retry_at: Option<Timestamp>,
}

impl Group {
    pub fn new(name: &str, index: usize, settings: &GroupSettings, at: Timestamp, rules: &mut Rules) -> Self {
        let mut group = Self {
            id: name.into(),
            kind: Kind::of(name),
            min: settings.min,
            max: settings.max,
            desired: settings.desired,
            machines: Vec::new(),
            failures: VecDeque::new(),
            passed_over: VecDeque::new(),
            operation: None,
            owner: None,
            foreign: settings.foreign.clone(),
            resting: Vec::new(),
            suspended: Vec::new(),
            drain: Duration::ZERO,
            revision: 1,
            price_per_hour: settings.price_per_hour,
            billed: Duration::ZERO,
            seen: None,
            past: VecDeque::new(),
            due: None,
            zones: settings.zones.clone(),
            boot: settings.boot.unwrap_or(rules.settings.boot),
            dice: Dice::new(rules.settings.seed, name),
            index,
            made: 0,
            retry_at: None,
        };
        for _ in 0..settings.desired {
            group.place(at, rules, None, true);
        }
        group.changed(at, rules);
        group
    }

    pub fn alive(&self) -> Capacity {
        count(self.machines.iter().filter(|m| m.alive()))
    }

    /// Pending, running and failed instances: everything that fills a place of desired.
    pub fn present(&self) -> Capacity {
        count(self.machines.iter().filter(|m| m.shown.state != InstanceState::Terminating))
    }

    pub fn is_suspended(&self, at: Timestamp, rules: &Rules, what: &Suspended) -> bool {
        self.suspended.contains(what)
            || rules
                .playing(at, &self.id)
                .any(|p| matches!(p.script.fault, Fault::Suspend { process } if Suspended::from(process) == *what))
    }

    /// Moves on to `at`: everything that happens by itself at or before that time.
    pub fn step(&mut self, at: Timestamp, rules: &mut Rules) {
        for machine in &mut self.machines {
            if machine.shown.state == InstanceState::Pending && machine.boots_at <= at {
                machine.shown.state = InstanceState::Running;
                machine.shown.running_since = Some(machine.boots_at);
            }
        }
        let stuck = rules.playing(at, &self.id).any(|p| p.script.fault == Fault::StuckTerminating);
        let retry = rules.settings.retry.0;
        self.remove(at, rules, |machine| {
            if stuck && machine.leaves_at.is_some_and(|leaves| leaves <= at) {
                machine.leaves_at = Some(at.after(retry));
            }
            let dies = machine.alive() && machine.dies_at.is_some_and(|dies| dies <= at);
            dies || machine.leaves_at.is_some_and(|leaves| leaves <= at)
        });
        for failures in [&mut self.failures, &mut self.passed_over] {
            while failures.front().is_some_and(|f| f.at.after(FAILURE_SHOWN) <= at) {
                failures.pop_front();
            }
        }
        if self.retry_at.is_some_and(|retry| retry <= at) {
            self.retry_at = None;
        }
        self.balance(at, rules);
    }

    /// Brings the instances to desired where the cloud keeps one, and notes what comes next.
    pub fn balance(&mut self, at: Timestamp, rules: &mut Rules) {
        if self.kind != Kind::Servers {
            while self.present() < self.desired && self.retry_at.is_none() && self.fill_one(at, rules) {}
            self.shrink(at, rules);
        }
        let pending = self.machines.iter().any(|m| m.shown.state == InstanceState::Pending);
        if !pending && (self.kind == Kind::Servers || self.present() >= self.desired) {
            self.operation = None;
        }
        self.changed(at, rules);
    }

    /// Takes out the instances that `gone` says; their time is billed.
    pub fn remove(&mut self, at: Timestamp, rules: &mut Rules, mut gone: impl FnMut(&mut Machine) -> bool) {
        let billed = &mut self.billed;
        self.machines.retain_mut(|machine| {
            let gone = gone(machine);
            if gone {
                *billed += machine.shown.launched.map_or(Duration::ZERO, |launched| at.since(launched));
                rules.used = rules.used.saturating_sub(1);
            }
            !gone
        });
    }

    /// Sends these instances on their way out; the caller has checked that they may go.
    pub fn dismiss(&mut self, at: Timestamp, rules: &Rules, ids: &BTreeSet<InstanceId>) {
        let held_until = at.after(self.drain);
        for machine in self.machines.iter_mut().filter(|m| ids.contains(&m.shown.id)) {
            machine.shown.state = InstanceState::Terminating;
            machine.held_until = Some(held_until).filter(|until| *until > at);
            machine.leaves_at = Some(held_until.after(rules.settings.terminating.0));
        }
    }

    /// Lets go what is held back on its way out; false when it is not.
    pub fn let_go(&mut self, at: Timestamp, rules: &Rules, id: &InstanceId) -> bool {
        let mut held = self.machines.iter_mut().filter(|machine| machine.held_until.is_some_and(|until| until > at));
        let Some(machine) = held.find(|machine| machine.shown.id == *id) else { return false };
        machine.held_until = Some(at);
        machine.leaves_at = Some(at.after(rules.settings.terminating.0));
        true
    }

    /// A share of the instances dies, in a zone or everywhere.
    pub fn kill(&mut self, at: Timestamp, rules: &mut Rules, share: f64, script: &Playing) {
        let mut dice = self.dice.clone();
        self.remove(at, rules, |machine| {
            let there = machine.shown.zone.as_deref().is_none_or(|zone| script.concerns_zone(zone));
            machine.alive() && there && dice.chance(share)
        });
        self.dice = dice;
    }

    /// Tries one launch; false when no zone could and the cloud will try again later.
    fn fill_one(&mut self, at: Timestamp, rules: &mut Rules) -> bool {
        if self.is_suspended(at, rules, &Suspended::Launch) {
            return false;
        }
        match self.launch(at, rules, None) {
            Ok(_) => true,
            Err(failures) => {
                self.note(failures);
                self.retry_at = Some(at.after(rules.settings.retry.0));
                false
            }
        }
    }

    /// Remembers failed launches.
    pub fn note(&mut self, failures: Vec<LaunchFailure>) {
        keep_newest(&mut self.failures, failures);
    }

    /// Launches one instance in the emptiest zone that has room.
    ///
    /// # Errors
    /// The failures, one for each zone that refused.
    pub fn launch(
        &mut self,
        at: Timestamp,
        rules: &mut Rules,
        launch: Option<Box<str>>,
    ) -> Result<InstanceId, Vec<LaunchFailure>> {
        if rules.settings.quota.is_some_and(|quota| rules.used >= quota) {
            let words = "the account's quota is used up";
            return Err(vec![failure(at, FailureKind::QuotaExceeded, Scope::Region, words)]);
        }
        let passed_over = self.first_zone_with_room(at, rules)?;
        keep_newest(&mut self.passed_over, passed_over);
        let scripted = rules.playing(at, &self.id).map(|p| match p.script.fault {
            Fault::LaunchFailures { share } => share,
            _ => 0.0,
        });
        let share = scripted.fold(rules.settings.launch_failures, f64::max);
        if self.dice.chance(share) {
            let failed = failure(at, FailureKind::Other, Scope::Group, "the instance did not start");
            if self.kind != Kind::Servers {
                return Err(vec![failed]);
            }
            // Such a launch is accepted; what comes of it is broken, eats quota and stays until somebody removes it.
            self.note(vec![failed]);
            let id = self.place(at, rules, launch, false);
            if let Some(broken) = self.machines.last_mut() {
                broken.shown.state = InstanceState::Failed;
            }
            return Ok(id);
        }
        Ok(self.place(at, rules, launch, false))
    }

    /// What the zones say that are tried before the first with room, the emptiest first; an error when none has any.
    fn first_zone_with_room(&self, at: Timestamp, rules: &Rules) -> Result<Vec<LaunchFailure>, Vec<LaunchFailure>> {
        let mut zones: Vec<&str> = self.zones.iter().map(AsRef::as_ref).collect();
        zones.sort_by_key(|zone| self.filled(zone));
        let room = zones.iter().position(|zone| !self.is_dry(at, rules, zone));
        let dry = |zone: &&str| {
            failure(at, FailureKind::OutOfCapacity, Scope::Zone((*zone).into()), "no machines in this zone now")
        };
        match room {
            Some(room) => Ok(zones[..room].iter().map(dry).collect()),
            None => Err(zones.iter().map(dry).collect()),
        }
    }

    /// Instances in a zone that fill a place there.
    fn filled(&self, zone: &str) -> Capacity {
        count(self.machines.iter().filter(|m| m.alive() && m.shown.zone.as_deref() == Some(zone)))
    }

    fn is_dry(&self, at: Timestamp, rules: &Rules, zone: &str) -> bool {
        rules.playing(at, &self.id).any(|p| p.script.fault == Fault::OutOfCapacity && p.concerns_zone(zone))
    }

    fn place(&mut self, at: Timestamp, rules: &mut Rules, launch: Option<Box<str>>, ready: bool) -> InstanceId {
        let wet = self.zones.iter().filter(|zone| ready || !self.is_dry(at, rules, zone));
        let zone = wet.min_by_key(|zone| self.filled(zone)).cloned();
        let slower = rules.playing(at, &self.id).map(|p| match p.script.fault {
            Fault::SlowBoot { span } => span.0,
            _ => Duration::ZERO,
        });
        let boot = self.boot.later_by(slower.max().unwrap_or_default());
        let boots_at = if ready { at } else { at.after(self.dice.boot(&boot)) };
        let rate = rules.settings.dies_per_hour;
        let dies_at = (rate > 0.0).then(|| {
            let mean = Duration::try_from_secs_f64(3600.0 / rate).unwrap_or(Duration::MAX);
            at.after(self.dice.life(mean))
        });
        let id = InstanceId::from(format!("i-{:05x}{:06x}", self.index, self.made));
        self.made += 1;
        rules.used += 1;
        let shown = Instance {
            id: id.clone(),
            state: if ready { InstanceState::Running } else { InstanceState::Pending },
            launched: Some(at),
            running_since: ready.then_some(at),
            zone,
            protected: false,
            outdated: false,
        };
        self.machines.push(Machine { shown, launch, boots_at, dies_at, leaves_at: None, held_until: None });
        id
    }

    /// Removes what is too much after desired was lowered: what has not started first, then the newest.
    fn shrink(&mut self, at: Timestamp, rules: &Rules) {
        let surplus = self.alive().saturating_sub(self.desired) as usize;
        if surplus == 0 || self.is_suspended(at, rules, &Suspended::Terminate) {
            return;
        }
        let mut may_go: Vec<&Machine> =
            self.machines.iter().rev().filter(|m| m.alive() && !m.shown.protected).collect();
        may_go.sort_by_key(|m| m.shown.state == InstanceState::Running);
        let ids = may_go.iter().take(surplus).map(|m| m.shown.id.clone()).collect();
        self.dismiss(at, rules, &ids);
    }

    /// When something happens by itself next.
    pub fn next_event(&self) -> Option<Timestamp> {
        let machines = self.machines.iter().filter_map(Machine::next_event).min();
        let failures = self.failures.front().map(|f| f.at.after(FAILURE_SHOWN));
        [machines, failures, self.retry_at].into_iter().flatten().min()
    }
}

fn failure(at: Timestamp, kind: FailureKind, scope: Scope, message: &str) -> LaunchFailure {
    LaunchFailure { kind, scope, at, message: message.into() }
}

fn keep_newest(kept: &mut VecDeque<LaunchFailure>, new: Vec<LaunchFailure>) {
    kept.extend(new);
    let surplus = kept.len().saturating_sub(FAILURES_MAX);
    kept.drain(..surplus);
}

pub(crate) fn count<T>(things: impl Iterator<Item = T>) -> Capacity {
    Capacity::try_from(things.count()).unwrap_or(Capacity::MAX)
}
