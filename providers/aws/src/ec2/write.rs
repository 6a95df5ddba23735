//! Writing tagged groups: launching what is missing, terminating by name.
//!
//! Every write reads the group first, and adds what EC2 said it launched and does not show yet. A call is named by action
//! and index, both in its tag and in its ClientToken: an action tried twice makes the same calls, and EC2 answers the second
//! time with the instances of the first.

use super::tagged::{
    LAUNCH, Launched, STATES_OF_ANY_TIME, TagName, Tagged, carries, controllers, is_protected, state, tag_of,
};
use crate::errors::{Effect, Failure, cut, unanswered};
use aws_sdk_ec2::types::{Instance as Ec2Instance, LaunchTemplateSpecification, ResourceType, Tag, TagSpecification};
use contract::{
    Accepted, ActionId, CAPACITY_MAX, Capacity, FailureKind, InstanceId, InstanceState, LaunchFailure, ProviderError,
    Scope, Target, Timestamp,
};
use futures_util::StreamExt;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use tokio::time::Instant;

/// Calls in the air at once.
const CONCURRENT: usize = 4;
/// Instances in one RunInstances. EC2 takes 5 calls at once and then 2 a second, but a thousand instances at once.
const LAUNCH_BATCH: u32 = 100;
/// Ids in one TerminateInstances; EC2 takes 1000, the contract's abilities say 100.
const TERMINATE_BATCH: usize = 100;

impl Tagged {
    /// Launches as many instances as are missing to `to`.
    pub async fn raise(&self, target: &Target, to: Capacity) -> Result<Accepted, ProviderError> {
        if to > CAPACITY_MAX {
            return Err(ProviderError::Invalid { what: format!("{}: no group can hold {to}", target.group).into() });
        }
        let deadline = Instant::now() + self.lane.deadlines.write;
        let tag = TagName::parse(target.group.as_str())?;
        let shown = self.members(&tag, deadline).await?;
        let missing = |launched: &[Box<str>]| {
            let alive = shown.iter().filter(|i| is_alive(i)).count() + launched.len();
            (to as usize).saturating_sub(alive)
        };
        let launched = self.unseen(target, &shown);
        if missing(&launched) == 0 {
            return Ok(Accepted::default());
        }
        for (index, Taken { most, known }) in taken(&shown, &launched, target.action) {
            // EC2 took this call and shows only a part. Asked again it answers with what came of it, and launches nothing.
            if known < most {
                self.launch(target, &tag, Call { index, most }, deadline).await.map_err(|failure| failure.error)?;
            }
        }
        let launched = self.unseen(target, &shown);
        let calls = new_calls(&taken(&shown, &launched, target.action), missing(&launched));
        let next = AtomicU32::new(calls.last().map_or(0, |call| call.index.saturating_add(1)));
        let refused = AtomicBool::new(false);
        let calls: Vec<_> = calls
            .iter()
            .map(|call| async {
                // What one is refused for the next would be, too.
                if refused.load(Relaxed) {
                    return (0, None);
                }
                self.launch_what_fits(target, &tag, *call, (&next, &refused), deadline).await
            })
            .collect();
        let results: Vec<_> = futures_util::stream::iter(calls).buffered(CONCURRENT).collect().await;
        self.judge(target, results)
    }

    /// The launch tags of what EC2 said it launched and does not show yet.
    fn unseen(&self, target: &Target, shown: &[Ec2Instance]) -> Vec<Box<str>> {
        let now = (self.now)();
        self.group(target.group.as_str(), |group| {
            group.forget_shown(shown, now);
            group.launched.values().map(|launched| launched.launch.clone()).collect()
        })
    }

    /// All refused is an error, a part refused is data: what came is there, and the next observation shows both.
    fn judge(&self, target: &Target, results: Vec<(u32, Option<Trouble>)>) -> Result<Accepted, ProviderError> {
        let came = results.iter().any(|(came, _)| *came > 0);
        let at = (self.now)();
        let (mut refusal, mut said) = (None, Vec::new());
        for trouble in results.into_iter().filter_map(|(_, trouble)| trouble) {
            match trouble {
                Trouble::Refused(failure) if !failure.harmless => return Err(failure.error),
                Trouble::Refused(failure) => {
                    // What was never looked at says nothing of launches; the next raise asks for it.
                    if !was_put_off(&failure.error) {
                        said.push(launch_failure(&failure.error, at));
                    }
                    refusal = refusal.or(Some(failure.error));
                }
                Trouble::Short { came, most } => {
                    let message =
                        format!("RunInstances: {came} of {most} instances came, EC2 had room for no more").into();
                    said.push(LaunchFailure { kind: FailureKind::OutOfCapacity, scope: Scope::Group, at, message });
                }
            }
        }
        self.group(target.group.as_str(), |group| group.failures.extend(said));
        match refusal {
            Some(error) if !came => Err(error),
            _ => Ok(Accepted::default()),
        }
    }

    /// Launches as many instances as a call asks for, or as EC2 gives: after a part it is asked for the rest, so that it says
    /// what is in the way, and where the account's limit refuses all of it, for a half. How many came, and what was said.
    async fn launch_what_fits(
        &self,
        target: &Target,
        tag: &TagName,
        mut call: Call,
        (next, refused): (&AtomicU32, &AtomicBool),
        deadline: Instant,
    ) -> (u32, Option<Trouble>) {
        let (mut came, mut trouble) = (0, None);
        loop {
            let most = match self.launch(target, tag, call, deadline).await {
                Ok(new) => {
                    came += new;
                    if new >= call.most {
                        return (came, trouble);
                    }
                    refused.store(true, Relaxed);
                    trouble = trouble.or(Some(Trouble::Short { came: new, most: call.most }));
                    call.most - new
                }
                Err(failure) => {
                    // Of several that meet the limit at once, the first looks for what is left of it.
                    let other = refused.swap(true, Relaxed) && trouble.is_none();
                    let by_limit = failure.harmless && matches!(failure.error, ProviderError::QuotaExceeded { .. });
                    let halves = by_limit && !other && call.most > 1;
                    let says_more = match &trouble {
                        None => true,
                        Some(Trouble::Short { .. }) => !was_put_off(&failure.error),
                        Some(Trouble::Refused(_)) => false,
                    };
                    if says_more || !failure.harmless {
                        trouble = Some(Trouble::Refused(failure));
                    }
                    if !halves {
                        return (came, trouble);
                    }
                    call.most / 2
                }
            };
            // Another call, so another name.
            call = Call { index: next.fetch_add(1, Relaxed), most };
        }
    }

    /// One RunInstances: any number of instances up to what is asked for. What it answers is kept until EC2 shows it.
    async fn launch(&self, target: &Target, tag: &TagName, call: Call, deadline: Instant) -> Result<u32, Failure> {
        let launch = call.tag(target.action);
        let tags = TagSpecification::builder()
            .resource_type(ResourceType::Instance)
            .tags(Tag::builder().key(&*tag.key).value(&*tag.value).build())
            .tags(Tag::builder().key(LAUNCH).value(&launch).build())
            .build();
        let template = LaunchTemplateSpecification::builder().launch_template_name(&*tag.value).build();
        let most = i32::try_from(call.most).unwrap_or(i32::MAX);
        let request = self.client.run_instances().min_count(1).max_count(most);
        let request = request.client_token(target.action.launch(call.index)).launch_template(template);
        let answer = self.launches.write("RunInstances", deadline, request.tag_specifications(tags).send()).await?;
        let at = (self.now)();
        let new = |instance: &Ec2Instance| {
            let id = instance.instance_id().filter(|id| !id.is_empty())?;
            let time = instance.launch_time().and_then(|t| Timestamp::from_secs_f64(t.as_secs_f64()));
            let zone = instance.placement().and_then(|placement| placement.availability_zone()).map(Into::into);
            Some((InstanceId::from(id), Launched { at, launch: launch.as_str().into(), time, zone }))
        };
        let alive = answer.instances().iter().filter(|instance| is_alive(instance)).filter_map(new);
        self.group(target.group.as_str(), |group| group.launched.extend(alive));
        match u32::try_from(answer.instances().len()).unwrap_or(u32::MAX) {
            0 => Err(unanswered("RunInstances", Effect::Write, "an answer without an instance", None)),
            came => Ok(came),
        }
    }

    /// Terminates named instances of the group.
    pub async fn terminate(&self, target: &Target, ids: &[InstanceId]) -> Result<Accepted, ProviderError> {
        let deadline = Instant::now() + self.lane.deadlines.write;
        let tag = TagName::parse(target.group.as_str())?;
        let ids: BTreeSet<InstanceId> = ids.iter().cloned().collect();
        if ids.is_empty() {
            return Ok(Accepted::default());
        }
        let shown = self.members(&tag, deadline).await?;
        let removable = |id: &InstanceId| {
            shown.iter().any(|i| i.instance_id() == Some(id.as_str()) && is_alive(i) && !is_protected(i))
        };
        let (named, mut skipped): (Vec<InstanceId>, Vec<InstanceId>) = ids.into_iter().partition(removable);
        let (mut went, mut refusal) = (false, None);
        for batch in named.chunks(TERMINATE_BATCH) {
            let mut results = vec![(batch, self.terminate_together(batch, deadline).await)];
            if batch.len() > 1
                && matches!(&results[0].1, Err(failure) if failure.harmless && is_about_one(&failure.error))
            {
                // One bad id fails the whole batch: so each by itself. Each is idempotent by its id.
                let calls: Vec<_> = batch.chunks(1).map(|one| self.terminate_together(one, deadline)).collect();
                let singles: Vec<_> = futures_util::stream::iter(calls).buffered(CONCURRENT).collect().await;
                results = batch.chunks(1).zip(singles).collect();
            }
            for (ids, result) in results {
                match result {
                    Ok(()) => went = true,
                    Err(failure) if failure.harmless => {
                        skipped.extend(ids.iter().cloned());
                        refusal = refusal.or(Some(failure.error));
                    }
                    Err(failure) => return Err(failure.error),
                }
            }
        }
        skipped.sort();
        match refusal {
            Some(error) if !went => Err(error),
            _ => Ok(Accepted { operations: Vec::new(), skipped }),
        }
    }

    async fn terminate_together(&self, ids: &[InstanceId], deadline: Instant) -> Result<(), Failure> {
        let ids = ids.iter().map(|id| id.0.to_string()).collect();
        let call = self.client.terminate_instances().set_instance_ids(Some(ids)).send();
        self.lane.write("TerminateInstances", deadline, call).await.map(|_| ())
    }

    /// A fresh read of the group, instances that are gone included: their launches must not be asked for again.
    ///
    /// # Errors
    /// `Conflict` when something else launches and replaces them.
    async fn members(&self, tag: &TagName, until: Instant) -> Result<Vec<Ec2Instance>, ProviderError> {
        let mut shown = self.read(&tag.key, std::slice::from_ref(&tag.value), &STATES_OF_ANY_TIME, until).await?;
        shown.retain(|instance| carries(instance, tag));
        match controllers(&shown).first() {
            Some(other) => {
                let what = format!("{}={}: {} has instances with this tag", tag.key, tag.value, other.name);
                Err(ProviderError::Conflict { what: what.into() })
            }
            None => Ok(shown),
        }
    }
}

fn is_alive(instance: &Ec2Instance) -> bool {
    matches!(state(instance), Some(InstanceState::Pending | InstanceState::Running))
}

/// One RunInstances of an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Call {
    index: u32,
    most: u32,
}

impl Call {
    /// The launch tag. It also says how many were asked for: whoever asks again has to ask for as many.
    fn tag(&self, action: ActionId) -> String {
        format!("{}/{}", action.launch(self.index), self.most)
    }

    /// Reads the launch tag of an action's own instance; one without a number was launched alone.
    fn of(tag: &str, action: ActionId) -> Option<Self> {
        let (launch, most) = tag.split_once('/').unwrap_or((tag, "1"));
        let index = launch.rsplit_once('-')?.1.parse().ok()?;
        let most = most.parse().ok().filter(|most| (1..=LAUNCH_BATCH).contains(most))?;
        (action.launch(index) == launch).then_some(Self { index, most })
    }
}

/// What came of a call that EC2 is known to have taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Taken {
    most: u32,
    /// How many of its instances are known, those that are gone again included.
    known: u32,
}

/// What was in the way of a launch.
enum Trouble {
    Refused(Failure),
    /// Fewer came than were asked for.
    Short {
        came: u32,
        most: u32,
    },
}

/// The calls of this action that EC2 took, by index.
fn taken(shown: &[Ec2Instance], unseen: &[Box<str>], action: ActionId) -> BTreeMap<u32, Taken> {
    let tags = shown.iter().filter_map(|instance| tag_of(instance, LAUNCH)).chain(unseen.iter().map(AsRef::as_ref));
    let mut calls = BTreeMap::new();
    for Call { index, most } in tags.filter_map(|tag| Call::of(tag, action)) {
        calls.entry(index).or_insert(Taken { most, known: 0 }).known += 1;
    }
    calls
}

/// Calls for what is missing, under the first names that EC2 is not known to have taken. After a call whose answer was lost
/// they are the same names again, as long as EC2 shows none of it; and then its ClientToken holds: for as many it answers
/// with those of the first time, for another number it refuses.
fn new_calls(taken: &BTreeMap<u32, Taken>, missing: usize) -> Vec<Call> {
    let mut left = u32::try_from(missing).unwrap_or(u32::MAX);
    let mut calls = Vec::new();
    for index in (0..CAPACITY_MAX).filter(|index| !taken.contains_key(index)) {
        if left == 0 {
            break;
        }
        let most = left.min(LAUNCH_BATCH);
        calls.push(Call { index, most });
        left -= most;
    }
    calls
}

/// Refusals that one id of a batch can cause.
fn is_about_one(error: &ProviderError) -> bool {
    matches!(error, ProviderError::NotFound { .. } | ProviderError::Invalid { .. } | ProviderError::Conflict { .. })
}

/// The call was not made, or not looked at, for want of time or of leave to call, or because another one has its name.
fn was_put_off(error: &ProviderError) -> bool {
    matches!(error, ProviderError::Throttled { .. } | ProviderError::Transport { .. } | ProviderError::Conflict { .. })
}

fn launch_failure(error: &ProviderError, at: Timestamp) -> LaunchFailure {
    let (kind, scope) = match error {
        ProviderError::OutOfCapacity { scope } => (FailureKind::OutOfCapacity, scope.clone()),
        ProviderError::QuotaExceeded { .. } => (FailureKind::QuotaExceeded, Scope::Region),
        ProviderError::Denied { .. } => (FailureKind::Denied, Scope::Group),
        ProviderError::Invalid { .. } => (FailureKind::Invalid, Scope::Group),
        _ => (FailureKind::Other, Scope::Group),
    };
    LaunchFailure { kind, scope, at, message: cut(&error.to_string(), 200) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_action_tried_again_asks_for_the_launches_that_did_not_come() {
        let of = |action: u128, index: u32, most: u32| Call { index, most }.tag(ActionId(action));
        let shown = |tags: &[String]| -> Vec<Ec2Instance> {
            let one = |tag: &String| Ec2Instance::builder().tags(Tag::builder().key(LAUNCH).value(tag).build()).build();
            tags.iter().map(one).collect()
        };
        let taken = |tags: &[String], unseen: &[Box<str>]| taken(&shown(tags), unseen, ActionId(9));
        let calls = |taken: &BTreeMap<u32, Taken>, missing: usize| {
            new_calls(taken, missing).iter().map(|call| (call.index, call.most)).collect::<Vec<_>>()
        };
        assert_eq!(calls(&BTreeMap::new(), 250), [(0, 100), (1, 100), (2, 50)]);
        assert_eq!(calls(&BTreeMap::new(), 0), []);
        let some = taken(&[of(9, 0, 2), of(9, 2, 100), of(8, 1, 7)], &[of(9, 0, 2).into()]);
        assert_eq!(some, [(0, Taken { most: 2, known: 2 }), (2, Taken { most: 100, known: 1 })].into());
        assert_eq!(calls(&some, 101), [(1, 100), (3, 1)]);
        // As an older skala tagged it.
        assert_eq!(taken(&[ActionId(9).launch(4)], &[]), [(4, Taken { most: 1, known: 1 })].into());
        assert_eq!(
            taken(&["one".into(), "9-x/1".into(), String::new(), of(9, 0, 0), of(9, 0, 101)], &[]),
            BTreeMap::new()
        );
    }
}
