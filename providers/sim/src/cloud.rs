//! The cloud as a whole: its groups, its timetable of what happens next, and the way in for everybody who is not a
//! daemon (tests, the demo's load, a person). Every call first moves the cloud on to "now", event by event in the order
//! of their times; no task runs in between. Nothing is awaited while the lock is held.

use crate::audit::{Audit, Calls, Entry};
use crate::gate::Bucket;
use crate::group::{Group, Kind, Rules};
use crate::script::{Fault, Playing, Script};
use crate::settings::{GroupSettings, InvalidSettings, Settings, wrong_unless};
use contract::{Capacity, Foreign, GroupId, Instance, InstanceId, OwnerTag, Suspended, Timestamp};
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Says what time it is in the cloud. It must not call the cloud.
pub type Now = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// A handle on one simulated cloud; clones share it.
#[derive(Clone)]
pub struct Cloud {
    state: Arc<Mutex<State>>,
    now: Now,
}

/// What is really there, whatever calls answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Truth {
    /// Desired; `None` where the cloud keeps none.
    pub desired: Option<Capacity>,
    /// All instances, those on their way out too.
    pub instances: Vec<Instance>,
}

/// What the lock holds.
pub(crate) struct State {
    pub rules: Rules,
    pub groups: Vec<Option<Group>>,
    pub index: HashMap<GroupId, usize>,
    pub audit: Audit,
    pub calls: Calls,
    pub bucket: Option<Bucket>,
    /// The cloud has moved on to this time.
    pub at: Timestamp,
    start: Timestamp,
    agenda: BTreeSet<(Timestamp, Due)>,
}

/// What the agenda holds. Scripts come first, so that a launch at the very time sees the fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    Script(usize),
    Group(usize),
}

impl Cloud {
    /// Builds a cloud that starts now, its groups full and running.
    ///
    /// # Errors
    /// Settings that make no sense, with the key.
    pub fn new(mut settings: Settings, now: Now) -> Result<Self, InvalidSettings> {
        settings.check()?;
        let start = now();
        let (groups, scripts) = (std::mem::take(&mut settings.groups), std::mem::take(&mut settings.faults));
        let mut state = State::new(settings, start);
        for script in scripts {
            state.play(script);
        }
        for (name, group) in &groups {
            state.add(name, group, start);
        }
        Ok(Self { state: Arc::new(Mutex::new(state)), now })
    }

    /// The cloud's time.
    pub fn now(&self) -> Timestamp {
        (self.now)()
    }

    /// The state, moved on to now. A panic elsewhere leaves a cloud that is still good for reading.
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        let now = (self.now)();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.advance(now);
        state
    }

    /// The names of all groups, sorted.
    pub fn groups(&self) -> Vec<GroupId> {
        let mut names: Vec<GroupId> = self.lock().groups.iter().flatten().map(|group| group.id.clone()).collect();
        names.sort();
        names
    }

    /// Adds a group, full and running.
    ///
    /// # Errors
    /// Settings that make no sense, or a name that is taken.
    pub fn create(&self, name: &str, settings: &GroupSettings) -> Result<(), InvalidSettings> {
        settings.check(name)?;
        let mut state = self.lock();
        wrong_unless(!state.index.contains_key(&GroupId::from(name)), || format!("groups.{name}: already there"))?;
        let at = state.at;
        state.add(name, settings, at);
        state.person("create", &name.into(), 0, settings.desired, Vec::new());
        Ok(())
    }

    /// Deletes a group with all that is in it; false when there is none.
    pub fn delete(&self, group: &GroupId) -> bool {
        let mut state = self.lock();
        let (at, Some(index)) = (state.at, state.index.remove(group)) else { return false };
        let before = state.with(index, |group, rules| {
            let before = group.desired;
            group.remove(at, rules, |_| true);
            before
        });
        if let Some(gone) = state.groups[index].take().and_then(|group| group.due) {
            state.agenda.remove(&(gone, Due::Group(index)));
        }
        state.person("delete", group, before.unwrap_or_default(), 0, Vec::new());
        true
    }

    /// What is really there; `None` when the group does not exist.
    pub fn truth(&self, group: &GroupId) -> Option<Truth> {
        self.change(group, |group, _, _| Truth {
            desired: (group.kind != Kind::Servers).then_some(group.desired),
            instances: group.machines.iter().map(|machine| machine.shown.clone()).collect(),
        })
    }

    /// A person sets desired, past every fence; false when there is no such number to set.
    pub fn set_desired(&self, group: &GroupId, to: Capacity) -> bool {
        let mut state = self.lock();
        let at = state.at;
        let Some(&index) = state.index.get(group) else { return false };
        state.person_sets(index, at, to)
    }

    /// A person changes the cloud's own bounds; desired follows into them. False when there is no such group.
    pub fn set_bounds(&self, group: &GroupId, min: Capacity, max: Capacity) -> bool {
        self.change(group, |group, at, rules| {
            (group.min, group.max) = (min, max.max(min));
            group.desired = group.desired.clamp(group.min, group.max);
            group.revision += 1;
            group.balance(at, rules);
        })
        .is_some()
    }

    /// Protects an instance from scale-in, or no longer; false when it is not there.
    pub fn protect(&self, group: &GroupId, instance: &InstanceId, protected: bool) -> bool {
        self.change(group, |group, at, rules| {
            let machine = group.machines.iter_mut().find(|machine| machine.shown.id == *instance);
            let found = machine.map(|machine| machine.shown.protected = protected).is_some();
            group.balance(at, rules);
            found
        })
        .unwrap_or(false)
    }

    /// An instance dies; the cloud replaces it where it keeps desired. False when it is not there.
    pub fn kill(&self, group: &GroupId, instance: &InstanceId) -> bool {
        self.change(group, |group, at, rules| {
            let before = group.machines.len();
            group.remove(at, rules, |machine| machine.shown.id == *instance);
            let found = group.machines.len() < before;
            group.balance(at, rules);
            found
        })
        .unwrap_or(false)
    }

    /// Switches functions of a group off, and all others on; false when there is no such group.
    pub fn set_suspended(&self, group: &GroupId, suspended: Vec<Suspended>) -> bool {
        self.change(group, |group, at, rules| {
            group.suspended = suspended;
            group.balance(at, rules);
        })
        .is_some()
    }

    /// Sets up other controllers on a group, and removes all others; false when there is no such group.
    pub fn set_foreign(&self, group: &GroupId, foreign: Vec<Foreign>) -> bool {
        self.change(group, |group, at, rules| {
            group.foreign = foreign;
            group.changed(at, rules);
        })
        .is_some()
    }

    /// The group's other controllers: those that act and those that are suspended.
    pub(crate) fn scalers(&self, group: &GroupId) -> Option<(Vec<Foreign>, Vec<Foreign>)> {
        self.change(group, |group, _, _| (group.foreign.clone(), group.resting.clone()))
    }

    /// Suspends another controller of a group by its name, or lets it act again.
    pub(crate) fn rest(&self, group: &GroupId, name: &str, suspend: bool) {
        self.change(group, |group, at, rules| {
            let (from, to) = match suspend {
                true => (&mut group.foreign, &mut group.resting),
                false => (&mut group.resting, &mut group.foreign),
            };
            to.extend(from.extract_if(.., |foreign| *foreign.name == *name));
            group.changed(at, rules);
        });
    }

    /// Writes the owner tag of a group past every fence; false when there is no such group.
    pub fn set_owner(&self, group: &GroupId, owner: Option<OwnerTag>) -> bool {
        self.change(group, |group, at, rules| {
            group.owner = owner;
            group.changed(at, rules);
        })
        .is_some()
    }

    /// Adds a fault to the timetable; a beginning that is past means now.
    pub fn inject(&self, script: Script) {
        let mut state = self.lock();
        state.play(script);
        // A fault that begins now is felt by the next call, whatever the clock does.
        let at = state.at;
        state.advance(at);
    }

    /// Ends every fault that plays or would play.
    pub fn clear_faults(&self) {
        let mut state = self.lock();
        let at = state.at;
        for index in 0..state.rules.scripts.len() {
            let playing = &mut state.rules.scripts[index];
            if playing.until.is_none_or(|until| until > at) {
                playing.until = Some(at);
                state.agenda.insert((at, Due::Script(index)));
            }
        }
        state.advance(at);
    }

    /// The writes that took effect, oldest first; the newest hundred thousand.
    pub fn audit(&self) -> Vec<Entry> {
        self.lock().audit.entries()
    }

    /// How often each operation was called so far.
    pub fn calls(&self) -> Calls {
        self.lock().calls
    }

    /// How long instances of a group have been billed so far, all together; zero when there is no such group.
    pub fn billed(&self, group: &GroupId) -> Duration {
        self.change(group, |group, at, _| {
            let running = group.machines.iter().filter_map(|machine| machine.shown.launched);
            running.map(|launched| at.since(launched)).fold(group.billed, |sum, time| sum + time)
        })
        .unwrap_or_default()
    }

    /// How many of daemons' calls changed something.
    pub fn changes(&self) -> u64 {
        self.lock().audit.changes()
    }

    /// What a group has cost so far; zero when there is no such group.
    pub fn cost(&self, group: &GroupId) -> f64 {
        let price = self.change(group, |group, _, _| group.price_per_hour).unwrap_or_default();
        self.billed(group).as_secs_f64() / 3600.0 * price
    }

    pub(crate) fn change<T>(
        &self,
        group: &GroupId,
        f: impl FnOnce(&mut Group, Timestamp, &mut Rules) -> T,
    ) -> Option<T> {
        let mut state = self.lock();
        let at = state.at;
        let index = state.index.get(group).copied()?;
        state.with(index, |group, rules| f(group, at, rules))
    }
}

impl State {
    fn new(settings: Settings, start: Timestamp) -> Self {
        let keeps_past = settings.stale.0 > Duration::ZERO;
        let bucket = settings.rate.map(|rate| Bucket::full(rate, start));
        Self {
            rules: Rules { settings, scripts: Vec::new(), used: 0, keeps_past },
            groups: Vec::new(),
            index: HashMap::new(),
            audit: Audit::default(),
            calls: Calls::default(),
            bucket,
            at: start,
            start,
            agenda: BTreeSet::new(),
        }
    }

    fn add(&mut self, name: &str, settings: &GroupSettings, at: Timestamp) {
        let index = self.groups.len();
        let group = Group::new(name, index, settings, at, &mut self.rules);
        self.index.insert(group.id.clone(), index);
        self.groups.push(Some(group));
        // A fault may play already: a suspension must show from the first read on.
        self.with(index, |group, rules| group.step(at, rules));
    }

    fn play(&mut self, script: Script) {
        let mut playing = Playing::new(script, self.start);
        playing.from = playing.from.max(self.at);
        if let Fault::Stale { .. } = playing.script.fault
            && !self.rules.keeps_past
        {
            // From here on the past is kept; what came before is as it is now.
            self.rules.keeps_past = true;
            let at = self.at;
            for index in 0..self.groups.len() {
                self.with(index, |group, rules| group.changed(at, rules));
            }
        }
        let index = self.rules.scripts.len();
        if !playing.script.fault.meets_calls() {
            self.agenda.insert((playing.from, Due::Script(index)));
            self.agenda.extend(playing.until.map(|until| (until, Due::Script(index))));
        }
        self.rules.scripts.push(playing);
    }

    /// Moves the cloud on; a clock that went back moves nothing.
    pub fn advance(&mut self, now: Timestamp) {
        while let Some(&(at, due)) = self.agenda.first().filter(|(at, _)| *at <= now) {
            self.agenda.remove(&(at, due));
            match due {
                Due::Script(script) => self.cue(script, at),
                Due::Group(index) => {
                    if let Some(group) = self.groups[index].as_mut() {
                        group.due = None;
                    }
                    self.with(index, |group, rules| group.step(at, rules));
                }
            }
        }
        self.at = self.at.max(now);
    }

    /// A fault of the machines begins or ends.
    fn cue(&mut self, script: usize, at: Timestamp) {
        let playing = self.rules.scripts[script].clone();
        for index in 0..self.groups.len() {
            if !self.groups[index].as_ref().is_some_and(|group| playing.concerns(&group.id)) {
                continue;
            }
            // One that was cleared at its very beginning has not begun.
            let begins = at == playing.from && playing.on(at);
            match playing.script.fault {
                Fault::Kill { share } if begins => {
                    self.with(index, |group, rules| group.kill(at, rules, share, &playing));
                }
                Fault::SetDesired { to } if begins => {
                    self.person_sets(index, at, to);
                }
                _ => {}
            }
            self.with(index, |group, rules| group.step(at, rules));
        }
    }

    /// Changes a group and keeps the agenda true.
    pub fn with<T>(&mut self, index: usize, f: impl FnOnce(&mut Group, &mut Rules) -> T) -> Option<T> {
        let group = self.groups.get_mut(index)?.as_mut()?;
        let answer = f(group, &mut self.rules);
        let due = group.next_event();
        if due != group.due {
            if let Some(old) = group.due {
                self.agenda.remove(&(old, Due::Group(index)));
            }
            self.agenda.extend(due.map(|due| (due, Due::Group(index))));
            group.due = due;
        }
        Some(answer)
    }

    fn person_sets(&mut self, index: usize, at: Timestamp, to: Capacity) -> bool {
        let changed = self.with(index, |group, rules| {
            let before = group.desired;
            (group.kind != Kind::Servers).then(|| {
                group.desired = if group.kind == Kind::Group { to.clamp(group.min, group.max) } else { to };
                group.revision += 1;
                group.balance(at, rules);
                (group.id.clone(), before, group.desired)
            })
        });
        let Some((id, before, after)) = changed.flatten() else { return false };
        self.person("set_desired", &id, before, after, Vec::new());
        true
    }

    fn person(
        &mut self,
        what: &'static str,
        group: &GroupId,
        before: Capacity,
        after: Capacity,
        instances: Vec<InstanceId>,
    ) {
        let (at, group) = (self.at, group.clone());
        self.audit.push(Entry { at, by: "person".into(), group, what, action: None, before, after, instances });
    }
}
