//! Amazon's Auto Scaling (2011-01-01) and the part of EC2 (2016-11-15) that goes with it, both Query APIs: parameters come
//! as a form, answers go as XML. Beside them CloudWatch's alarms, in JSON.
//!
//! Groups are Auto Scaling groups; simulated groups that keep no desired (`servers:NAME`) are EC2 instances with a tag,
//! which skala's users call `ec2:NAME`. Scaling activities are noted as they are seen: every request first looks at what has
//! happened to the machines since the last one. Signatures are not verified.

mod activities;
mod alarms;
mod controllers;
mod garble;
mod groups;
mod machines;
mod query;
mod scale;

use crate::api::{Api, Kind};
use crate::faults::{Garble, Refusal};
use crate::request::{Reply, Request};
use contract::{Foreign, GroupId, InstanceId};
use query::{Params, Service};
use serde_json::Value;
use sim::Cloud;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The region that this API serves.
pub const REGION: &str = "us-east-1";
const ACCOUNT: &str = "123456789012";
/// The type of every machine.
const TYPE: &str = "m5.large";

/// Auto Scaling and EC2 over simulated machines.
pub struct Aws {
    cloud: Cloud,
    /// Most groups or machines in one answer.
    page: usize,
    state: Mutex<State>,
}

/// What the machines do not know.
#[derive(Default)]
struct State {
    activities: Vec<activities::Activity>,
    /// What was seen of each group's machines.
    noted: BTreeMap<GroupId, activities::Noted>,
    hooks: BTreeMap<GroupId, activities::Hook>,
    /// The names of the hooks on ends.
    drains: BTreeMap<GroupId, String>,
    /// Instances that a hook has let go.
    released: BTreeSet<InstanceId>,
    /// What failed launches say, where it is not what the machines say.
    words: BTreeMap<GroupId, String>,
    tags: BTreeMap<GroupId, BTreeMap<String, String>>,
    policies: BTreeMap<GroupId, Vec<Value>>,
    schedules: BTreeMap<GroupId, Vec<Value>>,
    refreshes: BTreeMap<GroupId, Vec<Value>>,
    alarms: Vec<Value>,
    /// Actions that the caller has no permission for.
    forbidden: BTreeSet<String>,
    /// Launches that EC2 was asked for, by client token or by their instance.
    launches: BTreeMap<String, machines::Launch>,
    /// How many instances of one RunInstances are shown at most.
    shown_of_a_launch: Option<u32>,
    /// The zones that groups were made with here.
    zones: BTreeMap<GroupId, Vec<Box<str>>>,
    /// Tags of instances.
    machine_tags: BTreeMap<InstanceId, BTreeMap<String, String>>,
    requests: u64,
}

/// A refusal: status, code, words.
type Refused = (u16, &'static str, String);

impl Aws {
    /// Serves this cloud's groups.
    pub fn new(cloud: Cloud) -> Self {
        Self { cloud, page: usize::MAX, state: Mutex::default() }
    }

    /// Answers at most so many groups, or machines, at once: AWS may send fewer than it was asked for.
    #[must_use]
    pub fn with_page(self, page: usize) -> Self {
        Self { page, ..self }
    }

    /// From now on what fails to launch in this group says this, whatever the machines' reason is.
    pub fn say_of_failures(&self, group: &GroupId, words: Option<&str>) {
        let mut state = self.lock();
        match words {
            Some(words) => _ = state.words.insert(group.clone(), words.to_owned()),
            None => _ = state.words.remove(group),
        }
    }

    /// From now on DescribeInstances shows so many instances of each RunInstances, as EC2 may for a while; `None`: all.
    pub fn show_of_launches(&self, most: Option<u32>) {
        self.lock().shown_of_a_launch = most;
    }

    /// From now on the caller has no permission for this action.
    pub fn forbid(&self, action: &str) {
        self.lock().forbidden.insert(action.to_owned());
    }

    /// The newest instance refresh of a group is in this state from now on. False when there is none.
    pub fn set_refresh(&self, group: &GroupId, status: &str) -> bool {
        let mut state = self.lock();
        let newest = state.refreshes.get_mut(group).and_then(|all| all.first_mut());
        newest.map(|refresh| refresh["Status"] = status.into()).is_some()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The answer as a tree, or a refusal. `Null`: the operation answers nothing but that it is done.
    fn perform(&self, params: &Params) -> Result<Value, Refused> {
        self.note_all();
        let done = match params.service() {
            Service::AutoScaling => self.auto_scaling(params),
            Service::Ec2 => self.ec2(params),
        };
        self.note_all();
        done
    }

    fn auto_scaling(&self, params: &Params) -> Result<Value, Refused> {
        match params.action() {
            "CreateAutoScalingGroup" => self.create_group(params),
            "UpdateAutoScalingGroup" => self.update_group(params),
            "DeleteAutoScalingGroup" => self.delete_group(params),
            "DescribeAutoScalingGroups" => self.describe_groups(params),
            "SetDesiredCapacity" => self.set_desired(params),
            "TerminateInstanceInAutoScalingGroup" => self.terminate(params),
            "SetInstanceProtection" => self.protect(params),
            "SuspendProcesses" => self.suspend(params),
            "ResumeProcesses" => self.resume(params),
            "CreateOrUpdateTags" => self.tag_groups(params),
            "DescribeScalingActivities" => self.describe_activities(params),
            "PutLifecycleHook" => self.put_hook(params),
            "CompleteLifecycleAction" => self.complete_hook(params),
            "PutScalingPolicy" => self.put_policy(params),
            "DescribePolicies" => self.describe_policies(params),
            "PutScheduledUpdateGroupAction" => self.put_schedule(params),
            "DescribeScheduledActions" => self.describe_schedules(params),
            "StartInstanceRefresh" => self.start_refresh(params),
            "DescribeInstanceRefreshes" => self.describe_refreshes(params),
            other => Err(unknown(other)),
        }
    }

    fn ec2(&self, params: &Params) -> Result<Value, Refused> {
        match params.action() {
            "RunInstances" => self.run_instances(params),
            "DescribeInstances" => self.describe_machines(params),
            "TerminateInstances" => self.terminate_machines(params),
            "CreateTags" => self.tag_machines(params),
            other => Err(unknown(other)),
        }
    }

    /// The Auto Scaling group of this name.
    fn group(&self, name: &str) -> Result<GroupId, Refused> {
        let group = GroupId::from(name);
        if is_group(&group) && self.cloud.truth(&group).is_some() {
            return Ok(group);
        }
        Err(invalid(format!("AutoScalingGroup name not found - AutoScalingGroup {name} not found")))
    }

    /// The group that a call names.
    fn group_of(&self, params: &Params) -> Result<GroupId, Refused> {
        self.group(params.need("AutoScalingGroupName")?)
    }

    /// All Auto Scaling groups.
    fn groups(&self) -> Vec<GroupId> {
        self.cloud.groups().into_iter().filter(is_group).collect()
    }

    /// The groups that a listing is of: the one it names, or all.
    fn groups_of(&self, params: &Params) -> Result<Vec<GroupId>, Refused> {
        params.text("AutoScalingGroupName").map_or_else(|| Ok(self.groups()), |name| Ok(vec![self.group(name)?]))
    }

    fn request_id(&self) -> String {
        let mut state = self.lock();
        state.requests += 1;
        format!("{:08x}-0000-4000-8000-{:012x}", state.requests, state.requests)
    }

    fn trouble(&self, service: Service, (status, code, words): &Refused) -> Reply {
        Reply::text(*status, "text/xml", query::refusal(service, *status, code, words, &self.request_id()))
    }

    fn reply(&self, params: &Params, answer: Result<Value, Refused>) -> Reply {
        match answer {
            Ok(tree) => Reply::text(200, "text/xml", query::answer(params, &tree, &self.request_id())),
            Err(refused) => self.trouble(params.service(), &refused),
        }
    }
}

impl Api for Aws {
    fn answer(&self, request: &Request) -> Reply {
        let params = Params::of(request);
        let cloudwatch = alarms::action(request);
        if self.lock().forbidden.contains(cloudwatch.unwrap_or(params.action())) {
            return self.refusal(&Refusal::Denied, request);
        }
        if let Some(action) = cloudwatch {
            return self.cloudwatch(action, request);
        }
        let answer = self.perform(&params);
        self.reply(&params, answer)
    }

    fn kind(&self, request: &Request) -> Option<Kind> {
        if let Some(action) = alarms::action(request) {
            return action.starts_with("Describe").then_some(Kind::Read);
        }
        match Params::of(request).action() {
            "SetDesiredCapacity" | "TerminateInstanceInAutoScalingGroup" | "RunInstances" | "TerminateInstances" => {
                Some(Kind::Write)
            }
            // What sets the scene, and tags: they neither read nor change what a group holds.
            action => action.starts_with("Describe").then_some(Kind::Read),
        }
    }

    fn is_later_page(&self, request: &Request) -> bool {
        match alarms::action(request) {
            Some(_) => alarms::is_later_page(request),
            None => Params::of(request).text("NextToken").is_some(),
        }
    }

    fn refusal(&self, refusal: &Refusal, request: &Request) -> Reply {
        let service = Params::of(request).service();
        let of = |asg: (u16, &'static str), ec2: (u16, &'static str)| match service {
            Service::AutoScaling => asg,
            Service::Ec2 => ec2,
        };
        let ((status, code), words) = match refusal {
            Refusal::Throttled { .. } => (of((400, "Throttling"), (503, "RequestLimitExceeded")), "Rate exceeded"),
            Refusal::Internal => {
                (of((500, "InternalFailure"), (500, "InternalError")), "An internal error has occurred")
            }
            Refusal::Denied => (
                of((403, "AccessDenied"), (403, "UnauthorizedOperation")),
                "You are not authorized to perform this operation",
            ),
            Refusal::Expired => (of((403, "ExpiredToken"), (400, "RequestExpired")), "The security token has expired"),
            Refusal::WrongCredentials => {
                (of((403, "InvalidClientTokenId"), (401, "AuthFailure")), "The credentials are not valid")
            }
            Refusal::ClockOff => (
                of((403, "SignatureDoesNotMatch"), (403, "SignatureDoesNotMatch")),
                "Signature expired: it is now later",
            ),
            Refusal::OutOfCapacity => {
                let words = "We currently do not have sufficient m5.large capacity in the Availability Zone you requested \
                             (us-east-1a).";
                ((500, "InsufficientInstanceCapacity"), words)
            }
            Refusal::QuotaExceeded => {
                ((400, "VcpuLimitExceeded"), "more vCPU capacity than your current vCPU limit of 32")
            }
        };
        let refused = (status, code, words.into());
        let reply = match alarms::action(request) {
            Some(_) => alarms::trouble(&refused),
            None => self.trouble(service, &refused),
        };
        match refusal {
            Refusal::Throttled { retry_after: Some(wait) } => reply.with("retry-after", wait.as_secs().to_string()),
            _ => reply,
        }
    }

    fn garble(&self, garble: Garble, request: &Request, _: &Reply) -> Option<Reply> {
        if alarms::action(request).is_some() {
            return None;
        }
        let params = Params::of(request);
        let (params, tree) = garble::garble(garble, params, |params| self.perform(params).ok())?;
        Some(self.reply(&params, Ok(tree)))
    }

    fn group_id(&self, group: &str) -> GroupId {
        group.strip_prefix(machines::PREFIX).map_or_else(|| group.into(), |tag| format!("ec2:{tag}").into())
    }

    fn foreign(&self) -> Foreign {
        Foreign { name: "scaling policy cpu50".into(), removes: Some(true) }
    }
}

/// Not a tag on machines, and not what removes what it likes.
fn is_group(group: &GroupId) -> bool {
    sim::Kind::of(group.as_str()) == sim::Kind::Group
}

/// A zone as this region calls it.
fn zone(zone: &str) -> String {
    if zone.len() == 1 { format!("{REGION}{zone}") } else { zone.to_owned() }
}

fn invalid(words: impl Into<String>) -> Refused {
    (400, "ValidationError", words.into())
}

fn unknown(action: &str) -> Refused {
    (400, "InvalidAction", format!("The action {action} is not valid for this web service."))
}
