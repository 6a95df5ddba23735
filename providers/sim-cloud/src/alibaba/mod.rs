//! Alibaba Cloud's Elastic Scaling Service (ESS, version 2022-02-22), with the token service and the metadata service
//! that credentials come from.
//!
//! In come signed RPC calls; out come JSON answers. Every signature is verified, so that a wrong one fails here as it does
//! there. Groups keep an expected number of instances; lowering or raising it is one activity that ends at once, and what
//! it takes to get there another, of ESS' own.

mod activities;
mod auth;
mod controllers;
mod garble;
mod groups;
mod scale;
mod sessions;

use crate::api::{Api, Kind};
use crate::faults::{Garble, Refusal};
use crate::request::{Reply, Request};
use contract::{Foreign, GroupId, Timestamp};
use serde_json::{Value, json};
use sim::Cloud;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The region that this API serves.
pub const REGION: &str = "cn-hangzhou";
/// The access key that this API knows.
pub const KEY_ID: &str = "LTAI-simulated";
/// Its secret.
pub const KEY_SECRET: &str = "a secret that guards nothing";
/// The RAM role of the simulated ECS instance.
pub const ROLE: &str = "skala";

const VERSION: &str = "2022-02-22";

/// ESS over simulated machines.
pub struct Alibaba {
    cloud: Cloud,
    state: Mutex<State>,
}

/// What the machines do not know.
#[derive(Default)]
struct State {
    nonces: BTreeMap<String, Timestamp>,
    sessions: Vec<sessions::Session>,
    activities: Vec<activities::Activity>,
    /// Client tokens with what they asked for and what was answered.
    tokens: BTreeMap<String, (String, Value)>,
    /// Tags beside the owner's, by group.
    tags: BTreeMap<GroupId, BTreeMap<String, String>>,
    hooks: BTreeMap<GroupId, Duration>,
    /// A group that removes instances takes no further removal.
    one_removal: bool,
    requests: u64,
}

/// A refusal: status, code, words.
type Refused = (u16, &'static str, String);

impl Alibaba {
    /// Serves this cloud's groups.
    pub fn new(cloud: Cloud) -> Self {
        Self { cloud, state: Mutex::default() }
    }

    /// From now on a launch hook holds each instance of the group back for so long after its boot.
    pub fn hook(&self, group: &GroupId, holds: Duration) {
        self.lock().hooks.insert(group.clone(), holds);
    }

    /// From now on a group takes no removal while another one goes on.
    pub fn allow_one_removal(&self) {
        self.lock().one_removal = true;
    }

    /// How long credentials from the metadata service and the token service hold is up to the caller: from now on until
    /// then at the latest.
    pub fn end_sessions(&self, at: Timestamp) {
        for session in &mut self.lock().sessions {
            session.until = session.until.min(at);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn dispatch(&self, request: &Request) -> Result<Value, Refused> {
        match action(request) {
            "DescribeScalingGroups" => self.describe_groups(request),
            "DescribeScalingInstances" => self.describe_instances(request),
            "DescribeScalingActivities" => self.describe_activities(request),
            "DescribeScalingRules" => self.describe_rules(request),
            "DescribeScheduledTasks" => self.describe_tasks(request),
            "DescribeAlarms" => self.describe_alarms(request),
            "DescribeInstanceRefreshes" => self.describe_refreshes(request),
            "ScaleWithAdjustment" => self.scale(request),
            "RemoveInstances" => self.remove(request),
            "TagResources" => self.tag(request),
            other => Err((404, "InvalidAction.NotFound", format!("there is no action {other:?}"))),
        }
    }

    /// The simulated group of an id.
    fn by_id(&self, id: &str) -> Result<GroupId, Refused> {
        let found = self.cloud.groups().into_iter().find(|group| group_id(group.as_str()) == id);
        found.ok_or_else(|| (404, "InvalidScalingGroupId.NotFound", format!("there is no scaling group {id}")))
    }

    fn request_id(&self) -> String {
        let mut state = self.lock();
        state.requests += 1;
        format!("{:08X}-0000-5000-8000-{:012X}", state.requests, state.requests)
    }

    fn trouble(&self, (status, code, message): Refused) -> Reply {
        let body = json!({
            "RequestId": self.request_id(),
            "HostId": format!("ess.{REGION}.aliyuncs.com"),
            "Code": code,
            "Message": message,
        });
        Reply::json(status, &body)
    }
}

impl Api for Alibaba {
    fn answer(&self, request: &Request) -> Reply {
        if request.path.starts_with("/latest/") {
            return self.metadata(request);
        }
        if request.param("Action") == Some("AssumeRoleWithOIDC") {
            return self.assume_role(request).unwrap_or_else(|refused| self.trouble(refused));
        }
        match self.verify(request).and_then(|()| self.dispatch(request)) {
            Ok(mut body) => {
                body["RequestId"] = self.request_id().into();
                Reply::json(200, &body)
            }
            Err(refused) => self.trouble(refused),
        }
    }

    fn kind(&self, request: &Request) -> Option<Kind> {
        match action(request) {
            "ScaleWithAdjustment" | "RemoveInstances" => Some(Kind::Write),
            // A tag is no capacity: it neither reads nor changes what a group holds.
            action => action.starts_with("Describe").then_some(Kind::Read),
        }
    }

    fn is_later_page(&self, request: &Request) -> bool {
        request.param("PageNumber").is_some_and(|number| number != "1") || request.param("NextToken").is_some()
    }

    fn refusal(&self, refusal: &Refusal, _: &Request) -> Reply {
        let (status, code, words) = match refusal {
            Refusal::Throttled { .. } => (400, "Throttling.User", "too many requests of this account"),
            Refusal::Internal => (500, "InternalError", "something went wrong inside"),
            Refusal::Denied => (403, "Forbidden.RAM", "the RAM user may not do this"),
            Refusal::Expired => (400, "InvalidSecurityToken.Expired", "the security token has expired"),
            Refusal::WrongCredentials => (404, "InvalidAccessKeyId.NotFound", "there is no such access key"),
            Refusal::ClockOff => (400, "InvalidTimeStamp.Expired", "the request's time is not now"),
            Refusal::OutOfCapacity => (403, "OperationDenied.NoStock", "sold out in zone cn-hangzhou-a"),
            Refusal::QuotaExceeded => (400, "QuotaExceed.ElasticQuota", "the account's quota is used up"),
        };
        let reply = self.trouble((status, code, words.into()));
        match refusal {
            Refusal::Throttled { retry_after: Some(wait) } => {
                reply.with("x-acs-retry-after", wait.as_millis().to_string())
            }
            _ => reply,
        }
    }

    fn garble(&self, garble: Garble, _: &Request, reply: &Reply) -> Option<Reply> {
        garble::garble(garble, reply)
    }

    fn group_id(&self, group: &str) -> GroupId {
        group_id(group).into()
    }

    fn foreign(&self) -> Foreign {
        Foreign { name: "scaling rule cpu50".into(), removes: Some(true) }
    }
}

/// What a call asks for.
fn action(request: &Request) -> &str {
    request.header("x-acs-action").unwrap_or_default()
}

/// The id of a group, as the cloud would have given it.
fn group_id(group: &str) -> String {
    format!("asg-{}", &auth::hash(group.as_bytes())[..20])
}

/// A zone as this region calls it.
fn zone(zone: &str) -> String {
    format!("{REGION}-{zone}")
}

/// A point in time as the API writes it.
fn time(at: Timestamp) -> String {
    jiff::Timestamp::from_second(at.0.div_euclid(1_000_000)).map(|at| at.to_string()).unwrap_or_default()
}

/// The values of `Name.1`, `Name.2` ...
fn list<'a>(request: &'a Request, name: &str) -> Vec<&'a str> {
    (1..).map_while(|index| request.param(&format!("{name}.{index}"))).collect()
}

/// Those of these items that one page holds, with what the answer says of the paging.
fn page<T>(
    request: &Request,
    name: &str,
    most: usize,
    items: Vec<T>,
    show: impl Fn(T) -> Value,
) -> Result<Value, Refused> {
    let number = |key: &str, default: usize| match request.param(key) {
        Some(text) => text.parse::<usize>().ok().filter(|n| *n > 0),
        None => Some(default),
    };
    let invalid = |key: &str| (400, "InvalidParameter", format!("{key} is not valid"));
    if request.param("RegionId") != Some(REGION) {
        return Err((400, "InvalidParameter", "RegionId: not this region".into()));
    }
    let number_of = number("PageNumber", 1).ok_or_else(|| invalid("PageNumber"))?;
    let size = number("PageSize", 10).filter(|size| *size <= most).ok_or_else(|| invalid("PageSize"))?;
    let total = items.len();
    let shown: Vec<Value> = items.into_iter().skip((number_of - 1) * size).take(size).map(show).collect();
    Ok(json!({ "TotalCount": total, "PageNumber": number_of, "PageSize": size, name: shown }))
}
