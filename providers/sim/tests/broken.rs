//! The suite itself is tested: each flaw below is a provider that somebody could have written, and the suite must say
//! no to it, by the case that is about it. Together the flaws make every case of the suite fail at least once.
#![allow(clippy::unwrap_used, reason = "a test")]

mod stand;

use contract::{
    Accepted, ActionId, Ask, BoxFuture, Capacity, Epoch, GuardKind, InstanceId, Lowerer, Observation, Provider,
    ProviderError, Target, Terminator,
};
use sim::{Cloud, GroupSettings, Guard, Sim};
use stand::{Clock, Stand};
use std::collections::BTreeSet;
use std::sync::Mutex;
use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flaw {
    // Reads.
    AnswersInAnotherOrder,
    AsksOneByOne,
    LosesTheSecondPage,
    TakesNoNamesForAllNames,
    AnswersADoubleOnce,
    OneUnknownSpoilsAll,
    UnknownIsEmpty,
    ErrorIsEmpty,
    ErrorIsNotFound,
    StampsLate,
    StampsTheFuture,
    StampsMillis,
    HidesProtection,
    HidesForeign,
    HidesSuspensions,
    HidesLaunchFailures,
    HidesToken,
    ShowsNothing,
    ShowsOnlyWhatRuns,
    // Writes.
    RaiseIsRelative,
    RaiseLowers,
    RaiseReplaces,
    RaiseCutsAtMax,
    RaiseCreates,
    RaiseAgainAddsOne,
    IgnoresTheView,
    IgnoresTheToken,
    CancelRemoves,
    CancelIsIgnored,
    CancelRaises,
    LowerRaises,
    LowerIsRelative,
    LowersAnything,
    // Removals.
    TerminateKeepsDesired,
    TerminateTakesTheOldest,
    TerminateCountsNames,
    TerminateStopsAtTen,
    TerminateTakesTheProtected,
    TerminateTakesAnybodys,
    TerminateOfNothingTakesOne,
    TerminateTellsNoSkipped,
    TerminateIgnoresMin,
    TerminatesAnything,
    LacksTheTerminator,
    // Errors and owners.
    UnclearIsTransport,
    UnclearIsOk,
    UnclearIsConflict,
    RefusalsAreAllInvalid,
    RefusalsAreAllOk,
    LosesRetryAfter,
    ConflictIsOk,
    NotFoundIsTransport,
    WritesWithoutClaim,
    TakesClaimsOver,
    RefusesEveryClaim,
    IgnoresEpochs,
}
use Flaw::*;

struct Broken {
    flaw: Flaw,
    sim: Sim,
    cloud: Cloud,
    clock: Clock,
    known: Mutex<BTreeSet<ActionId>>,
}

type Answer = Result<Accepted, ProviderError>;

impl Broken {
    fn any_observation(&self) -> Observation {
        Observation::empty(self.clock.now())
    }

    async fn read(&self, asks: &[Ask]) -> Vec<Result<Observation, ProviderError>> {
        let mut answers = match self.flaw {
            AsksOneByOne => {
                let mut answers = Vec::new();
                for ask in asks {
                    answers.append(&mut self.sim.observe(std::slice::from_ref(ask)).await);
                }
                answers
            }
            TakesNoNamesForAllNames if asks.is_empty() => {
                let all: Vec<Ask> = self.cloud.groups().into_iter().map(Ask::new).collect();
                self.sim.observe(&all).await
            }
            _ => self.sim.observe(asks).await,
        };
        match self.flaw {
            AnswersInAnotherOrder => answers.reverse(),
            AnswersADoubleOnce => {
                let mut seen = BTreeSet::new();
                let mut fresh = asks.iter().map(|ask| seen.insert(ask.group.clone()));
                answers.retain(|_| fresh.next().unwrap());
            }
            LosesTheSecondPage => answers.truncate(100),
            OneUnknownSpoilsAll if answers.iter().any(Result::is_err) => {
                for answer in &mut answers {
                    *answer = Err(ProviderError::NotFound { what: "one of them".into() });
                }
            }
            _ => {}
        }
        answers.into_iter().map(|answer| self.bend(answer)).collect()
    }

    fn bend(&self, answer: Result<Observation, ProviderError>) -> Result<Observation, ProviderError> {
        let mut seen = match (answer, self.flaw) {
            (Ok(seen), _) => seen,
            (Err(ProviderError::NotFound { .. }), UnknownIsEmpty) => return Ok(self.any_observation()),
            (Err(error), UnknownIsEmpty) => return Err(error),
            (Err(_), ErrorIsEmpty) => return Ok(self.any_observation()),
            (Err(_), ErrorIsNotFound) => return Err(ProviderError::NotFound { what: "it".into() }),
            (Err(error), _) => return Err(self.bend_error(error)),
        };
        match self.flaw {
            StampsLate => seen.at = self.clock.now(),
            StampsTheFuture => seen.at = self.clock.now().after(Duration::from_secs(1)),
            StampsMillis => seen.at.0 /= 1000,
            HidesProtection => seen.instances.iter_mut().for_each(|instance| instance.protected = false),
            HidesForeign => seen.foreign.clear(),
            HidesSuspensions => seen.suspended.clear(),
            HidesLaunchFailures => seen.launch_failures.clear(),
            HidesToken => seen.token = None,
            ShowsOnlyWhatRuns => seen.desired = seen.desired.map(|_| seen.alive().count() as u32),
            ShowsNothing => {
                seen.instances.clear();
                seen.desired = seen.desired.map(|_| 0);
            }
            _ => {}
        }
        Ok(seen)
    }

    fn bend_error(&self, error: ProviderError) -> ProviderError {
        match (self.flaw, error) {
            (UnclearIsTransport, ProviderError::Unclear { what, source }) => ProviderError::Transport { what, source },
            (NotFoundIsTransport, ProviderError::NotFound { what }) => ProviderError::Transport { what, source: None },
            (LosesRetryAfter, ProviderError::Throttled { .. }) => ProviderError::Throttled { retry_after: None },
            (RefusalsAreAllInvalid, error) => ProviderError::Invalid { what: error.to_string().into() },
            (_, error) => error,
        }
    }

    fn bend_answer(&self, answer: Answer) -> Answer {
        match (self.flaw, answer) {
            (_, Ok(mut accepted)) => {
                if self.flaw == TerminateTellsNoSkipped {
                    accepted.skipped.clear();
                }
                Ok(accepted)
            }
            (UnclearIsOk, Err(ProviderError::Unclear { .. })) => Ok(Accepted::default()),
            (ConflictIsOk, Err(ProviderError::Conflict { .. })) => Ok(Accepted::default()),
            (RefusalsAreAllOk, Err(_)) => Ok(Accepted::default()),
            (_, Err(error)) => Err(self.bend_error(error)),
        }
    }

    /// The target as this provider would send it.
    async fn bend_target(&self, target: &Target) -> Target {
        let mut target = target.clone();
        match self.flaw {
            IgnoresTheView => {
                if let Ok(fresh) = self.sim.observe(&[Ask::new(target.group.clone())]).await.remove(0) {
                    (target.seen.desired, target.seen.token) = (fresh.desired, fresh.token);
                }
            }
            IgnoresTheToken => target.seen.token = None,
            IgnoresEpochs => {
                let known = self.sim.observe(&[Ask::new(target.group.clone())]).await.remove(0);
                let epoch = known.ok().and_then(|seen| seen.owner).map_or(Epoch(0), |owner| owner.epoch);
                target.lease = target.lease.max(epoch);
            }
            TakesClaimsOver => {
                self.cloud.set_owner(&target.group, None);
            }
            _ => {}
        }
        target
    }

    fn really(&self, target: &Target) -> (Option<Capacity>, Vec<InstanceId>) {
        let truth = self.cloud.truth(&target.group);
        truth.map_or((None, Vec::new()), |truth| {
            (truth.desired, truth.instances.into_iter().map(|instance| instance.id).collect())
        })
    }

    /// What some flaws do after every write.
    async fn finish(&self, target: &Target, answer: Answer) -> Answer {
        if self.flaw == WritesWithoutClaim {
            self.cloud.set_owner(&target.group, None);
        }
        self.bend_answer(answer)
    }

    fn is_known(&self, target: &Target) -> bool {
        !self.known.lock().unwrap().insert(target.action)
    }
}

impl Provider for Broken {
    fn observe<'a>(&'a self, asks: &'a [Ask]) -> BoxFuture<'a, Vec<Result<Observation, ProviderError>>> {
        Box::pin(self.read(asks))
    }

    fn raise<'a>(&'a self, target: &'a Target, to: Capacity) -> BoxFuture<'a, Answer> {
        Box::pin(async move {
            let sent = self.bend_target(target).await;
            let (desired, instances) = self.really(target);
            let known = self.is_known(target);
            let mut to = to;
            match self.flaw {
                RaiseLowers if desired.is_some_and(|desired| to < desired) => {
                    self.cloud.set_desired(&target.group, to);
                    return Ok(Accepted::default());
                }
                RaiseIsRelative => to += target.seen.desired.unwrap_or(0),
                RaiseCutsAtMax => to = to.min(4),
                RaiseReplaces => {
                    instances.first().map(|id| self.cloud.kill(&target.group, id));
                }
                RaiseCreates if instances.is_empty() => {
                    self.cloud.create(target.group.as_str(), &GroupSettings::default()).unwrap();
                }
                RaiseAgainAddsOne if known => {
                    let seen = self.sim.observe(&[Ask::new(target.group.clone())]).await.remove(0)?;
                    let mut again = sent.clone();
                    (again.seen.desired, again.seen.token) = (seen.desired, seen.token);
                    again.action = ActionId(target.action.0 + 1_000);
                    return self.sim.raise(&again, to + 1).await;
                }
                _ => {}
            }
            let answer = self.sim.raise(&sent, to).await;
            if self.flaw == UnclearIsConflict && matches!(answer, Err(ProviderError::Unclear { .. })) {
                return Err(ProviderError::Conflict { what: "desired is not what was seen".into() });
            }
            if self.flaw == RefusesEveryClaim && answer.is_ok() {
                return Err(ProviderError::Owned { by: "somebody, some time".into() });
            }
            self.finish(&sent, answer).await
        })
    }

    fn cancel_unfilled<'a>(&'a self, target: &'a Target, to: Capacity) -> BoxFuture<'a, Answer> {
        Box::pin(async move {
            let sent = self.bend_target(target).await;
            let (desired, _) = self.really(target);
            let lowers = desired.is_some_and(|desired| to < desired);
            match self.flaw {
                CancelRemoves if lowers => {
                    self.cloud.set_desired(&target.group, to);
                    return Ok(Accepted::default());
                }
                CancelRaises if !lowers => {
                    self.cloud.set_desired(&target.group, to);
                    return Ok(Accepted::default());
                }
                CancelIsIgnored => return Ok(Accepted::default()),
                _ => {}
            }
            let answer = self.sim.cancel_unfilled(&sent, to).await;
            self.finish(&sent, answer).await
        })
    }

    fn guard(&self) -> GuardKind {
        self.sim.guard()
    }

    fn terminator(&self) -> Option<&dyn Terminator> {
        (self.flaw != LacksTheTerminator).then_some(self)
    }

    fn lowerer(&self) -> Option<&dyn Lowerer> {
        Some(self)
    }
}

impl Terminator for Broken {
    fn terminate<'a>(&'a self, target: &'a Target, ids: &'a [InstanceId]) -> BoxFuture<'a, Answer> {
        Box::pin(async move {
            let mut sent = self.bend_target(target).await;
            let (desired, instances) = self.really(target);
            let mut named = ids.to_vec();
            match self.flaw {
                TerminateKeepsDesired => {
                    named.retain(|id| self.cloud.kill(&target.group, id));
                    return Ok(Accepted::default());
                }
                TerminateTakesTheOldest => named = instances.into_iter().take(ids.len()).collect(),
                TerminateStopsAtTen => named.truncate(10),
                TerminateTakesTheProtected => named.iter().for_each(|id| {
                    self.cloud.protect(&target.group, id, false);
                }),
                TerminateTakesAnybodys => {
                    for group in self.cloud.groups() {
                        named.iter().for_each(|id| {
                            self.cloud.kill(&group, id);
                        });
                    }
                }
                TerminateOfNothingTakesOne if ids.is_empty() => named = instances.into_iter().take(1).collect(),
                TerminateIgnoresMin => {
                    self.cloud.set_bounds(&target.group, 0, 100);
                    let fresh = self.sim.observe(&[Ask::new(target.group.clone())]).await.remove(0)?;
                    sent.seen.token = fresh.token;
                }
                TerminatesAnything if target.group.as_str().starts_with("deployment:") => {
                    self.cloud.set_desired(&target.group, desired.unwrap_or(1) - 1);
                    return Ok(Accepted::default());
                }
                _ => {}
            }
            let answer = self.sim.terminator().unwrap().terminate(&sent, &named).await;
            if self.flaw == TerminateCountsNames && answer.is_ok() {
                self.cloud.set_desired(&target.group, desired.unwrap_or(0).saturating_sub(ids.len() as u32));
            }
            self.finish(&sent, answer).await
        })
    }
}

impl Lowerer for Broken {
    fn lower<'a>(&'a self, target: &'a Target, to: Capacity) -> BoxFuture<'a, Answer> {
        Box::pin(async move {
            let sent = self.bend_target(target).await;
            let (desired, _) = self.really(target);
            let desired = desired.unwrap_or(0);
            let to = match self.flaw {
                LowerIsRelative => desired.saturating_sub(1),
                _ => to,
            };
            let lawless = self.flaw == LowersAnything && !target.group.as_str().starts_with("deployment:");
            if lawless || (self.flaw == LowerRaises && to > desired) {
                self.cloud.set_desired(&target.group, to);
                return Ok(Accepted::default());
            }
            let answer = self.sim.lowerer().unwrap().lower(&sent, to).await;
            self.finish(&sent, answer).await
        })
    }
}

const GROUP: &str = "";
const SERVERS: &str = "servers:";
const DEPLOYMENT: &str = "deployment:";

/// Each flaw with the kind of group it is shown on and the case that is about it.
const TABLE: &[(Flaw, &str, &str)] = &[
    (AnswersInAnotherOrder, GROUP, "many_groups_are_observed_at_once"),
    (AsksOneByOne, GROUP, "many_groups_are_observed_at_once"),
    (LosesTheSecondPage, GROUP, "many_groups_are_observed_at_once"),
    (TakesNoNamesForAllNames, GROUP, "nothing_asked_is_nothing_answered"),
    (AnswersADoubleOnce, GROUP, "a_group_asked_twice_is_answered_twice"),
    (OneUnknownSpoilsAll, GROUP, "an_unknown_group_is_not_found_and_spoils_nobody"),
    (UnknownIsEmpty, GROUP, "an_unknown_group_is_not_found_and_spoils_nobody"),
    (ErrorIsEmpty, GROUP, "a_failed_read_is_unknown"),
    (ErrorIsEmpty, GROUP, "a_lost_later_page_is_unknown"),
    (ErrorIsNotFound, GROUP, "a_read_that_times_out_is_unknown"),
    (StampsLate, GROUP, "a_slow_answer_is_stamped_before_it"),
    (StampsTheFuture, GROUP, "observation_shows_the_truth"),
    (StampsMillis, GROUP, "observation_shows_the_truth"),
    (HidesProtection, GROUP, "protection_is_shown"),
    (HidesForeign, GROUP, "a_foreign_controller_is_shown"),
    (HidesSuspensions, GROUP, "suspension_is_shown"),
    (HidesLaunchFailures, GROUP, "launch_failures_are_data"),
    (HidesToken, GROUP, "an_atomic_guard_shows_a_token"),
    (ShowsNothing, GROUP, "observation_shows_the_truth"),
    (ShowsOnlyWhatRuns, GROUP, "unfilled_capacity_is_shown"),
    (RaiseIsRelative, GROUP, "raise_is_absolute"),
    (RaiseLowers, GROUP, "raise_never_lowers"),
    (RaiseReplaces, GROUP, "raise_to_the_same_changes_nothing"),
    (RaiseCutsAtMax, GROUP, "raise_beyond_the_clouds_max_is_refused"),
    (RaiseCreates, GROUP, "raise_of_an_unknown_group_is_not_found"),
    (RaiseAgainAddsOne, GROUP, "raise_twice_is_one"),
    (RaiseAgainAddsOne, SERVERS, "raise_twice_is_one"),
    (IgnoresTheView, GROUP, "raise_from_a_stale_view_is_a_conflict"),
    (IgnoresTheView, GROUP, "two_raises_from_one_view_are_one"),
    (IgnoresTheView, GROUP, "cancel_from_a_stale_view_is_a_conflict"),
    (IgnoresTheView, GROUP, "terminate_from_a_stale_view_is_a_conflict"),
    (IgnoresTheView, DEPLOYMENT, "lower_from_a_stale_view_is_a_conflict"),
    (IgnoresTheToken, GROUP, "raise_with_an_old_token_is_a_conflict"),
    (CancelRemoves, GROUP, "cancel_never_removes_an_instance"),
    (CancelIsIgnored, GROUP, "cancel_withdraws_only_what_is_unfilled"),
    (CancelRaises, GROUP, "cancel_never_raises"),
    (LowerRaises, DEPLOYMENT, "lower_never_raises"),
    (LowerIsRelative, DEPLOYMENT, "lower_is_absolute"),
    (LowersAnything, GROUP, "lower_without_the_ability_changes_nothing"),
    (TerminateKeepsDesired, GROUP, "terminate_removes_exactly_the_named"),
    (TerminateTakesTheOldest, GROUP, "terminate_removes_exactly_the_named"),
    (TerminateCountsNames, GROUP, "terminate_of_a_name_twice_removes_one"),
    (TerminateStopsAtTen, GROUP, "terminate_of_many_removes_them_all"),
    (TerminateTakesTheProtected, GROUP, "terminate_spares_the_protected"),
    (TerminateTakesAnybodys, GROUP, "terminate_spares_another_groups_instance"),
    (TerminateOfNothingTakesOne, GROUP, "terminate_of_nothing_changes_nothing"),
    (TerminateTellsNoSkipped, GROUP, "terminate_skips_an_instance_that_is_gone"),
    (TerminateIgnoresMin, GROUP, "terminate_stops_at_the_clouds_min"),
    (TerminatesAnything, DEPLOYMENT, "terminate_without_the_ability_changes_nothing"),
    (LacksTheTerminator, GROUP, "observation_shows_the_truth"),
    (UnclearIsTransport, GROUP, "an_error_after_the_effect_is_unclear"),
    (UnclearIsTransport, GROUP, "an_unreadable_answer_to_a_write_is_unclear"),
    (UnclearIsTransport, GROUP, "an_error_after_a_termination_is_unclear"),
    (UnclearIsOk, GROUP, "an_error_before_the_effect_is_not_a_success"),
    (UnclearIsOk, GROUP, "a_write_that_times_out_is_unclear"),
    (UnclearIsOk, GROUP, "a_termination_that_times_out_is_unclear"),
    (UnclearIsConflict, GROUP, "an_error_after_the_effect_is_unclear"),
    (RefusalsAreAllInvalid, GROUP, "a_denied_write_changes_nothing"),
    (RefusalsAreAllInvalid, GROUP, "an_expired_read_is_typed"),
    (RefusalsAreAllInvalid, GROUP, "a_raise_without_machines_is_typed"),
    (RefusalsAreAllOk, GROUP, "a_throttled_write_changes_nothing"),
    (RefusalsAreAllOk, GROUP, "an_unsent_write_changes_nothing"),
    (LosesRetryAfter, GROUP, "a_throttled_read_is_typed_and_unknown"),
    (LosesRetryAfter, GROUP, "a_throttled_termination_changes_nothing"),
    (ConflictIsOk, GROUP, "raise_from_a_stale_view_is_a_conflict"),
    (NotFoundIsTransport, GROUP, "an_unknown_group_is_not_found_and_spoils_nobody"),
    (WritesWithoutClaim, GROUP, "a_write_claims_the_group"),
    (TakesClaimsOver, GROUP, "anothers_claim_refuses_every_write"),
    (RefusesEveryClaim, GROUP, "anothers_expired_claim_is_taken_over"),
    (IgnoresEpochs, GROUP, "an_older_epoch_is_refused"),
];

async fn failed_cases(flaw: Flaw, prefix: &'static str) -> BTreeSet<&'static str> {
    let mut stand = Stand::new(prefix, Guard::Atomic, false);
    let (sim, cloud, clock) = (stand.sim.clone(), stand.cloud.clone(), stand.clock.clone());
    let broken = Broken { flaw, sim, cloud, clock, known: Mutex::default() };
    let report = conformance::run(&broken, &mut stand).await;
    report.err().map(|failure| failure.failed.into_iter().map(|(name, _)| name).collect()).unwrap_or_default()
}

#[tokio::test]
async fn every_flaw_is_found_and_every_case_can_fail() {
    let mut failed = BTreeSet::new();
    let mut missed = Vec::new();
    for (flaw, prefix, case) in TABLE {
        let found = failed_cases(*flaw, prefix).await;
        if !found.contains(case) {
            missed.push(format!("{flaw:?} should fail {case}, and failed {found:?}"));
        }
        failed.extend(found);
    }
    assert!(missed.is_empty(), "{missed:#?}");
    let never: Vec<_> = conformance::case_names().into_iter().filter(|name| !failed.contains(name)).collect();
    assert!(never.is_empty(), "no flaw makes these cases fail: {never:?}");
}
