//! The Auto Scaling group's own scaler: what it is set to, and how its right to act is suspended.
//!
//! Alarms and schedules are suspended as processes of the group (`AlarmNotification`, `ScheduledActions`), not by
//! disabling each policy. Three reasons: the policies themselves are not written, so what comes back is exactly what was
//! there (a disabled target tracking policy loses its alarms and gets new ones); launching, terminating, health checks and
//! the load balancer go on; and the group shows it in the very call that observes it, so a daemon sees it at once. A
//! predictive policy waits for no alarm: it is set to forecast only, with all else as it was just read.

use super::foreign::{ALARMS, SCHEDULES, policy, schedule};
use super::{Asg, document, shape};
use crate::CloudWatch;
use crate::errors::Failure;
use aws_sdk_autoscaling::types::{AutoScalingGroup, PredictiveScalingMode, ScalingPolicy, ScheduledUpdateGroupAction};
use contract::native::{NativePolicy, Needed, Switch};
use contract::{ProviderError, Suspended, Timestamp, Undo};
use tokio::time::Instant;

const PROCESS: &str = "process ";
const PREDICTIVE: &str = "predictive scaling policy ";
const SUSPENDED: &str = "suspended";
const MODE: &str = "mode";

/// Everything that can size a group besides its desired capacity, as it was just read.
struct Standing {
    group: AutoScalingGroup,
    policies: Vec<ScalingPolicy>,
    actions: Vec<ScheduledUpdateGroupAction>,
}

impl Standing {
    fn rests(&self, process: &str) -> bool {
        let is_it = |one: &Suspended| matches!(one, Suspended::Other(name) if **name == *process);
        shape::suspended(&self.group).iter().any(is_it)
    }

    fn predictive(&self, name: &str) -> Option<&ScalingPolicy> {
        self.policies.iter().find(|policy| is_predictive(policy) && policy.policy_name() == Some(name))
    }

    /// What has to be switched so that nothing of it may act.
    fn undo(&self, now: Timestamp) -> Undo {
        let mut switches = Vec::new();
        let mut process = |name: &str, acts: bool| {
            if acts && !self.rests(name) {
                switches.push(switch(format!("{PROCESS}{name}"), SUSPENDED, "false", "true"));
            }
        };
        let by_alarm = |one: &&ScalingPolicy| !is_predictive(one) && policy(one).is_some();
        process(ALARMS, self.policies.iter().any(|one| by_alarm(&one)));
        process(SCHEDULES, self.actions.iter().any(|action| schedule(action, now).is_some()));
        for one in self.policies.iter().filter(|one| is_predictive(one) && policy(one).is_some()) {
            let what = format!("{PREDICTIVE}{}", one.policy_name().unwrap_or_default());
            let (was, becomes) = (PredictiveScalingMode::ForecastAndScale, PredictiveScalingMode::ForecastOnly);
            switches.push(switch(what, MODE, was.as_str(), becomes.as_str()));
        }
        Undo { switches }
    }

    /// How a switch stands now; `None` when what it was on is gone.
    fn stands(&self, switch: &Switch) -> Result<Option<String>, ProviderError> {
        if let Some(process) = switch.what.strip_prefix(PROCESS) {
            return Ok(Some(self.rests(process).to_string()));
        }
        let Some(name) = switch.what.strip_prefix(PREDICTIVE) else {
            let what = format!("{} is no switch of an Auto Scaling group: was the record edited?", switch.what);
            return Err(ProviderError::Invalid { what: what.into() });
        };
        let mode = self.predictive(name).map(|policy| policy.predictive_scaling_configuration().and_then(|c| c.mode()));
        // A policy that says no mode forecasts only.
        Ok(mode.map(|mode| mode.unwrap_or(&PredictiveScalingMode::ForecastOnly).as_str().to_owned()))
    }
}

fn is_predictive(policy: &ScalingPolicy) -> bool {
    policy.policy_type() == Some("PredictiveScaling")
}

fn switch(what: String, setting: &str, was: &str, becomes: &str) -> Switch {
    Switch { what: what.into(), setting: setting.into(), was: Some(was.into()), becomes: Some(becomes.into()) }
}

impl Asg {
    async fn standing(&self, name: &str) -> Result<Standing, ProviderError> {
        let group = self.describe_one(name).await?;
        let own = |of: Option<&str>| of == Some(name);
        let mut policies = self.scaling_policies(Some(name)).await.map_err(|failure: Failure| failure.error)?;
        policies.retain(|policy| own(policy.auto_scaling_group_name()));
        let mut actions = self.scheduled_actions(Some(name)).await.map_err(|failure| failure.error)?;
        actions.retain(|action| own(action.auto_scaling_group_name()));
        Ok(Standing { group, policies, actions })
    }

    pub async fn native_policy(&self, name: &str, metrics: &CloudWatch) -> Result<NativePolicy, ProviderError> {
        let Standing { group, policies, actions } = self.standing(name).await?;
        let alarms = metrics.alarms(&document::alarms_needed(&policies)).await?;
        let document = document::of(&group, &policies, &actions, alarms);
        // What AWS answered and nobody here understands is no policy.
        native::aws::policy(name, &[document])
            .map_err(|error| ProviderError::Transport { what: error.to_string().into(), source: None })
    }

    pub async fn native_undo(&self, name: &str) -> Result<Undo, ProviderError> {
        Ok(self.standing(name).await?.undo((self.now)()))
    }

    pub async fn suspend_native(&self, name: &str, undo: &Undo) -> Result<(), ProviderError> {
        let standing = self.standing(name).await?;
        let known = |wanted: &Switch| undo.switches.iter().any(|one| one.what == wanted.what);
        if let Some(new) = standing.undo((self.now)()).switches.iter().find(|switch| !known(switch)) {
            let what = format!("{name}: {} may act and was not when this was prepared", new.what);
            return Err(ProviderError::Conflict { what: what.into() });
        }
        let mut needed = Vec::new();
        for switch in &undo.switches {
            let now = standing.stands(switch)?;
            // A policy that is gone has no right to act left.
            if now.is_some() && switch.to_suspend(now.as_deref())? == Needed::Change {
                needed.push(switch);
            }
        }
        self.make(name, &standing, &needed, true).await
    }

    pub async fn restore_native(&self, name: &str, undo: &Undo) -> Result<(), ProviderError> {
        let standing = self.standing(name).await?;
        let mut needed = Vec::new();
        for switch in undo.switches.iter().rev() {
            let now = standing.stands(switch)?;
            if now.is_some() && switch.to_restore(now.as_deref())? == Needed::Change {
                needed.push(switch);
            }
        }
        self.make(name, &standing, &needed, false).await
    }

    /// Makes switches, toward suspended or back.
    async fn make(
        &self,
        name: &str,
        standing: &Standing,
        needed: &[&Switch],
        suspend: bool,
    ) -> Result<(), ProviderError> {
        let processes: Vec<String> =
            needed.iter().filter_map(|one| one.what.strip_prefix(PROCESS)).map(str::to_owned).collect();
        // Both calls take an empty list for *all* processes, launching and terminating too.
        if !processes.is_empty() {
            self.set_processes(name, processes, suspend).await?;
        }
        for switch in needed {
            let policy = switch.what.strip_prefix(PREDICTIVE).and_then(|policy| standing.predictive(policy));
            let mode = if suspend { &switch.becomes } else { &switch.was };
            if let (Some(policy), Some(mode)) = (policy, mode.as_deref()) {
                self.set_mode(name, policy, PredictiveScalingMode::from(mode)).await?;
            }
        }
        Ok(())
    }

    async fn set_processes(&self, name: &str, processes: Vec<String>, suspend: bool) -> Result<(), ProviderError> {
        let deadline = Instant::now() + self.lane.deadlines.write;
        let done = if suspend {
            let call =
                self.client.suspend_processes().auto_scaling_group_name(name).set_scaling_processes(Some(processes));
            self.lane.write("SuspendProcesses", deadline, call.send()).await.map(drop)
        } else {
            let call =
                self.client.resume_processes().auto_scaling_group_name(name).set_scaling_processes(Some(processes));
            self.lane.write("ResumeProcesses", deadline, call.send()).await.map(drop)
        };
        done.map_err(|failure| failure.error)
    }

    /// Writes a predictive policy with another mode and all else as it was just read.
    async fn set_mode(
        &self,
        name: &str,
        policy: &ScalingPolicy,
        mode: PredictiveScalingMode,
    ) -> Result<(), ProviderError> {
        let mut config = policy.predictive_scaling_configuration().cloned();
        if let Some(config) = &mut config {
            config.mode = Some(mode);
        }
        let call = self
            .client
            .put_scaling_policy()
            .auto_scaling_group_name(name)
            .set_policy_name(policy.policy_name().map(str::to_owned))
            .policy_type("PredictiveScaling")
            .set_predictive_scaling_configuration(config)
            .set_enabled(policy.enabled());
        let deadline = Instant::now() + self.lane.deadlines.write;
        let done = self.lane.write("PutScalingPolicy", deadline, call.send()).await;
        done.map(drop).map_err(|failure| failure.error)
    }
}

#[cfg(test)]
#[path = "native_tests.rs"]
mod tests;
