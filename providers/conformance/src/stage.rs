//! Where a case plays: the provider, the fixture, and the steps that every case is made of. In come short requests of
//! the cases, out come facts or the reason to stop. General laws (ids are unique, abilities are true, no observation
//! from the future) are checked on every look, not in a case of their own alone.

use crate::fixture::{Call, Fault, Fixture, Offers, Spec, Truth, Unsupported, told};
use contract::{
    Accepted, ActionId, Ask, BoxFuture, Capacity, Epoch, GroupId, InstanceId, InstanceState, Observation, Provider,
    ProviderError, Target, Timestamp, Version,
};
use std::collections::{BTreeMap, BTreeSet};

/// Why a case ends early.
#[derive(Debug)]
pub enum Stop {
    NotApplicable(String),
    Failed(String),
}

/// What a case ends with.
pub type Verdict = Result<(), Stop>;

/// One case.
pub type Case = for<'s, 'a> fn(&'s mut Stage<'a>) -> BoxFuture<'s, Verdict>;

/// The lease's epoch that every write of the suite is made under, unless a case is about epochs.
pub const EPOCH: Epoch = Epoch(7);

/// The answer to a write.
pub type Answer = Result<Accepted, ProviderError>;

pub struct Stage<'a> {
    pub provider: &'a dyn Provider,
    pub fixture: &'a mut dyn Fixture,
    pub offers: Offers,
    groups: Vec<GroupId>,
    intents: BTreeMap<GroupId, Capacity>,
    open: BTreeMap<GroupId, (ActionId, Vec<Box<str>>)>,
    actions: u128,
}

/// Fails the case unless this holds.
macro_rules! ensure {
    ($holds:expr, $($text:tt)*) => {
        if !$holds {
            return Err($crate::stage::Stop::Failed(format!($($text)*)));
        }
    };
}
pub(crate) use ensure;

/// Ends a case that says nothing here.
pub fn not_applicable(why: impl Into<String>) -> Stop {
    Stop::NotApplicable(why.into())
}

/// Goes on only when the fixture offers this.
pub fn need(offered: bool, what: &str) -> Verdict {
    if offered { Ok(()) } else { Err(not_applicable(format!("the fixture offers no {what}"))) }
}

/// What was offered and then not done is a fault of the fixture.
pub fn done<T>(answer: Result<T, Unsupported>) -> Result<T, Stop> {
    answer.map_err(|Unsupported(why)| Stop::Failed(format!("the fixture offered this and did not do it: {why}")))
}

impl<'a> Stage<'a> {
    pub fn new(provider: &'a dyn Provider, fixture: &'a mut dyn Fixture) -> Self {
        let offers = fixture.offers();
        Self {
            provider,
            fixture,
            offers,
            groups: Vec::new(),
            intents: BTreeMap::new(),
            open: BTreeMap::new(),
            actions: 0,
        }
    }

    /// Ends what a case left behind.
    pub async fn tidy_up(&mut self) {
        self.fixture.clear().await;
        for group in std::mem::take(&mut self.groups) {
            self.fixture.delete(&group).await;
        }
        self.intents.clear();
        self.open.clear();
    }

    /// A new group, settled.
    pub async fn group(&mut self, spec: Spec) -> Result<GroupId, Stop> {
        let group = self.unsettled_group(spec).await?;
        self.fixture.settle().await;
        Ok(group)
    }

    /// A new group as it is right after it was made.
    pub async fn unsettled_group(&mut self, spec: Spec) -> Result<GroupId, Stop> {
        let group = done(self.fixture.create(spec).await)?;
        self.groups.push(group.clone());
        self.intents.insert(group.clone(), spec.desired);
        Ok(group)
    }

    /// A group that does not exist, and did.
    pub async fn gone_group(&mut self) -> Result<GroupId, Stop> {
        need(self.offers.knows_groups, "cloud that knows which groups exist")?;
        let group = self.group(Spec::full(1)).await?;
        self.lose(&group).await;
        Ok(group)
    }

    /// Somebody deletes the group.
    pub async fn lose(&mut self, group: &GroupId) {
        self.fixture.delete(group).await;
        self.groups.retain(|other| other != group);
        self.fixture.settle().await;
    }

    /// How the shell would ask for this group.
    pub fn ask(&self, group: &GroupId) -> Ask {
        Ask {
            group: group.clone(),
            open_actions: self.open.get(group).iter().map(|(action, _)| *action).collect(),
            operations: self.open.get(group).map(|(_, operations)| operations.clone()).unwrap_or_default(),
            intent: self.intents.get(group).copied(),
        }
    }

    /// One observation, whatever comes.
    pub async fn observe(&mut self, group: &GroupId) -> Result<Observation, ProviderError> {
        let asks = [self.ask(group)];
        let mut answers = self.provider.observe(&asks).await;
        match (answers.pop(), answers.is_empty()) {
            (Some(answer), true) => answer,
            // As an error of ours, so that no case takes it for anything else.
            _ => Err(ProviderError::Invalid { what: "the suite: not exactly one answer to one ask".into() }),
        }
    }

    /// One observation that must succeed, checked against the laws that always hold.
    pub async fn look(&mut self, group: &GroupId) -> Result<Observation, Stop> {
        let observation = self.observe(group).await;
        let Ok(observation) = observation else {
            return Err(Stop::Failed(format!("observe {group}: {}", told(&observation))));
        };
        self.check_laws(group, &observation)?;
        Ok(observation)
    }

    /// What holds for every observation.
    pub fn check_laws(&self, group: &GroupId, seen: &Observation) -> Verdict {
        let now = self.fixture.now();
        ensure!(seen.at <= now, "{group} was observed at {}, and it is only {now}", seen.at);
        ensure!(
            seen.at >= now.before(std::time::Duration::from_secs(600)),
            "{group} was observed at {}, long before {now}: another unit?",
            seen.at
        );
        let ids: BTreeSet<&InstanceId> = seen.instances.iter().map(|instance| &instance.id).collect();
        ensure!(ids.len() == seen.instances.len(), "{group} shows an instance twice");
        let abilities = seen.abilities;
        ensure!(
            !abilities.terminate_named || self.provider.terminator().is_some(),
            "{group} says terminate_named, and there is no terminator"
        );
        ensure!(!abilities.lower || self.provider.lowerer().is_some(), "{group} says lower, and there is no lowerer");
        ensure!(
            abilities.keeps_desired == seen.desired.is_some(),
            "{group} says keeps_desired = {}, and desired is {:?}",
            abilities.keeps_desired,
            seen.desired
        );
        Ok(())
    }

    /// What is really there.
    pub async fn truth(&mut self, group: &GroupId) -> Result<Truth, Stop> {
        let truth = self.fixture.truth(group).await;
        truth.ok_or_else(|| Stop::Failed(format!("the fixture has lost {group}")))
    }

    /// A write aimed at what was seen, as a new action.
    pub fn target(&mut self, group: &GroupId, seen: &Observation) -> Target {
        self.actions += 1;
        Target {
            group: group.clone(),
            // Numbers far apart, so that one action's launch ids never begin like another's.
            action: ActionId(0x5ca1_ab1e_0000_0000_0000_0000_0000_0000 + (self.actions << 32)),
            seen: Version { desired: seen.desired, token: seen.token.clone(), at: seen.at },
            lease: EPOCH,
        }
    }

    /// Raises, and remembers what a daemon would remember.
    pub async fn raise(&mut self, target: &Target, to: Capacity) -> Answer {
        let answer = self.provider.raise(target, to).await;
        self.remember(target, &answer, Some(to));
        answer
    }

    pub async fn cancel(&mut self, target: &Target, to: Capacity) -> Answer {
        let answer = self.provider.cancel_unfilled(target, to).await;
        self.remember(target, &answer, None);
        answer
    }

    /// Terminates by name; a provider that cannot ends the case.
    pub async fn terminate(&mut self, target: &Target, ids: &[InstanceId]) -> Result<Answer, Stop> {
        let Some(terminator) = self.provider.terminator() else {
            return Err(not_applicable("the provider has no terminator"));
        };
        let answer = terminator.terminate(target, ids).await;
        self.remember(target, &answer, None);
        Ok(answer)
    }

    /// Lowers; a provider that cannot ends the case.
    pub async fn lower(&mut self, target: &Target, to: Capacity) -> Result<Answer, Stop> {
        let Some(lowerer) = self.provider.lowerer() else {
            return Err(not_applicable("the provider has no lowerer"));
        };
        let answer = lowerer.lower(target, to).await;
        self.remember(target, &answer, None);
        Ok(answer)
    }

    fn remember(&mut self, target: &Target, answer: &Answer, intent: Option<Capacity>) {
        if !matches!(answer, Ok(_) | Err(ProviderError::Unclear { .. })) {
            return;
        }
        let operations = answer.as_ref().map(|accepted| accepted.operations.clone()).unwrap_or_default();
        self.open.insert(target.group.clone(), (target.action, operations));
        if let Some(intent) = intent {
            self.intents.insert(target.group.clone(), intent);
        }
    }

    /// Goes on only when the fixture offers this fault: asked before a group is made for it, which takes a real cloud
    /// seconds.
    pub fn need_fault(&self, call: Call, fault: &Fault) -> Verdict {
        let offered = self.offers.faults.iter().any(|(on, offered)| *on == call && offered.same_kind(fault));
        need(offered, &format!("{fault:?} on {call:?}"))
    }

    /// From now on calls meet this fault; not offered ends the case.
    pub async fn inject(&mut self, group: &GroupId, call: Call, fault: &Fault) -> Verdict {
        self.need_fault(call, fault)?;
        done(self.fixture.inject(group, call, fault).await)
    }

    /// Ends the fault, and lets what it began end too.
    pub async fn recover(&mut self) {
        self.fixture.clear().await;
        self.fixture.settle().await;
    }

    /// The group is as it was: same desired, same instances, now and when the dust has settled.
    pub async fn ensure_unchanged(&mut self, group: &GroupId, before: &Truth) -> Verdict {
        self.fixture.settle().await;
        let after = self.truth(group).await?;
        ensure!(after == *before, "{group} changed: was {before:?}, is {after:?}");
        Ok(())
    }

    /// The group holds so many now and when the dust has settled; where the cloud keeps no desired, so many instances.
    pub async fn ensure_holds(&mut self, group: &GroupId, wanted: Capacity) -> Result<Truth, Stop> {
        self.fixture.settle().await;
        let truth = self.truth(group).await?;
        ensure!(truth.desired.is_none_or(|desired| desired == wanted), "{group} should hold {wanted}: {truth:?}");
        ensure!(truth.instances.len() == wanted as usize, "{group} should have {wanted} instances: {truth:?}");
        Ok(truth)
    }
}

/// The write was refused as a stale one.
pub fn ensure_conflict(answer: &Answer) -> Verdict {
    ensure!(matches!(answer, Err(ProviderError::Conflict { .. })), "should be a conflict: {}", told(answer));
    Ok(())
}

pub fn ensure_accepted(answer: Answer) -> Result<Accepted, Stop> {
    answer.map_err(|error| Stop::Failed(format!("should be accepted: {}: {error}", error.code())))
}

/// The running and pending instances of an observation.
pub fn alive_ids(seen: &Observation) -> BTreeSet<InstanceId> {
    seen.alive().map(|instance| instance.id.clone()).collect()
}

/// True when all that counts runs.
pub fn all_run(seen: &Observation) -> bool {
    seen.alive().all(|instance| instance.state == InstanceState::Running)
}

/// What holds for a claim at this time.
pub fn is_claim(owner: Option<&contract::OwnerTag>, epoch: Epoch, now: Timestamp) -> bool {
    owner.is_some_and(|tag| tag.epoch == epoch && tag.expiry > now)
}
