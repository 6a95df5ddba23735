//! EC2: instances that a tag holds together, and what it knows of every instance.
//!
//! The simulated group `servers:NAME` is what carries the tag `skala:group` = NAME, and `servers:KEY=NAME` what carries that
//! one. A launch with a client token that was used before is answered with the instance of the first, also when that is gone.

use super::query::{Params, time};
use super::{ACCOUNT, Aws, Refused, TYPE, zone};
use contract::{FailureKind, GroupId, Instance, InstanceId, InstanceState, LaunchFailure, Timestamp};
use serde_json::{Value, json};
use sim::{GroupSettings, Removal};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// What the simulated groups of this kind begin with.
pub(super) const PREFIX: &str = "servers:";
const DEFAULT_KEY: &str = "skala:group";
/// The tag that the simulated protection is.
const PROTECTED: &str = "skala:protected";
/// How long EC2 shows what is gone.
const SHOWN: Duration = Duration::from_secs(3600);

/// One launch that EC2 was asked for.
pub(super) struct Launch {
    /// What was asked for, to tell another call with the same token.
    asked: String,
    group: GroupId,
    instance: Instance,
    /// Which of its call's it is.
    index: u32,
    gone: Option<Timestamp>,
}

/// An instance and where it stands.
struct Machine {
    group: GroupId,
    instance: Instance,
    gone: bool,
    /// A hook of its group keeps it running on its way out.
    held: bool,
}

impl Aws {
    pub(super) fn run_instances(&self, params: &Params) -> Result<Value, Refused> {
        let least = params.number("MinCount")?.unwrap_or(1);
        let most = params.number("MaxCount")?.unwrap_or(least);
        if least == 0 || least > most {
            return Err((400, "InvalidParameterValue", "MinCount and MaxCount are not valid".into()));
        }
        let tags = tags_of(params);
        let group = group_of(&tags);
        if self.cloud.truth(&group).is_none() {
            let settings = GroupSettings { desired: 0, ..GroupSettings::default() };
            let wrong = |wrong: sim::InvalidSettings| (400, "InvalidParameterValue", wrong.to_string());
            self.cloud.create(group.as_str(), &settings).map_err(wrong)?;
        }
        let asked = format!("{least} {most} {tags:?}");
        let token = params.text("ClientToken");
        let mut started = token.map_or_else(|| Ok(Vec::new()), |token| self.launched_before(token, &asked))?;
        // What came of the first call with a token is all that ever comes.
        let again = !started.is_empty();
        for index in (0..most).take_while(|_| !again) {
            let name = token.map(|token| format!("{token} {index}"));
            match self.launch(&group, name, index, &asked, &tags) {
                Ok(instance) => started.push(instance),
                Err(refused) if (started.len() as u32) < least => return Err(refused),
                Err(_) => break,
            }
        }
        let machine = |instance| Machine { group: group.clone(), instance, gone: false, held: false };
        let shown: Vec<Value> = started.into_iter().map(|instance| self.shown(&machine(instance))).collect();
        Ok(json!({ "reservationId": format!("r-{:017x}", shown.len()), "ownerId": ACCOUNT, "instancesSet": shown }))
    }

    /// The instances of the first call with this token.
    fn launched_before(&self, token: &str, asked: &str) -> Result<Vec<Instance>, Refused> {
        let (state, mut found) = (self.lock(), Vec::new());
        for before in (0..).map_while(|index| state.launches.get(&format!("{token} {index}"))) {
            if before.asked != asked {
                let words = "The client token was used with other parameters";
                return Err((400, "IdempotentParameterMismatch", words.into()));
            }
            found.push(before.instance.clone());
        }
        Ok(found)
    }

    fn launch(
        &self,
        group: &GroupId,
        name: Option<String>,
        index: u32,
        asked: &str,
        tags: &BTreeMap<String, String>,
    ) -> Result<Instance, Refused> {
        let made = self.lock().launches.len();
        let name = name.unwrap_or_else(|| format!("without a token {made}"));
        let id = self.cloud.start(group, &name).map_err(|refused| match refused {
            sim::Refused::NoMachine(failure) => no_machine(&failure),
            other => (400, "InvalidParameterValue", format!("{other:?}")),
        })?;
        let seen = self.cloud.look(group).map(|seen| seen.instances).unwrap_or_default();
        let found = seen.into_iter().find(|instance| instance.id == id);
        let instance = found.ok_or_else(|| (500, "InternalError", "the instance is gone".to_owned()))?;
        let mut state = self.lock();
        state.machine_tags.insert(id, tags.clone());
        let (asked, kept) = (asked.to_owned(), instance.clone());
        state.launches.insert(name, Launch { asked, group: group.clone(), instance: kept, index, gone: None });
        Ok(instance)
    }

    pub(super) fn describe_machines(&self, params: &Params) -> Result<Value, Refused> {
        let named = params.list("InstanceId");
        if !named.is_empty() && params.text("MaxResults").is_some() {
            return Err((400, "InvalidParameterCombination", "MaxResults cannot be combined with InstanceIds".into()));
        }
        let machines = self.machines();
        if let Some(id) = named.iter().find(|id| !machines.iter().any(|machine| machine.instance.id.as_str() == **id)) {
            return Err((400, "InvalidInstanceID.NotFound", format!("The instance ID '{id}' does not exist")));
        }
        let unseen = self.unseen();
        let machines = machines.into_iter().filter(|machine| !unseen.contains(&machine.instance.id));
        let mut found: Vec<Machine> =
            machines.filter(|m| named.is_empty() || named.contains(&m.instance.id.as_str())).collect();
        for filter in params.structures("Filter") {
            let (name, values) = (filter.need("Name")?.to_owned(), filter_values(&filter));
            let known = name.starts_with("tag:") || ["instance-id", "instance-state-name"].contains(&name.as_str());
            if !known {
                return Err((400, "InvalidParameterValue", format!("The filter '{name}' is invalid")));
            }
            found.retain(|machine| {
                let is = |value: &str| values.iter().any(|wanted| wanted == value);
                match (name.as_str(), name.strip_prefix("tag:")) {
                    ("instance-id", _) => is(machine.instance.id.as_str()),
                    ("instance-state-name", _) => is(state(machine).1),
                    (_, Some(key)) => self.tags_on(machine).get(key).is_some_and(|value| is(value)),
                    _ => false,
                }
            });
        }
        let (shown, next) = params.page_within(found, 1_000, 1_000, self.page)?;
        let reservation = |machine: &Machine| {
            json!({
                "reservationId": machine.instance.id.as_str().replacen("i-", "r-", 1),
                "ownerId": ACCOUNT,
                "instancesSet": [self.shown(machine)],
            })
        };
        Ok(json!({ "reservationSet": shown.iter().map(reservation).collect::<Vec<_>>(), "nextToken": next }))
    }

    pub(super) fn terminate_machines(&self, params: &Params) -> Result<Value, Refused> {
        let machines = self.machines();
        let named: BTreeSet<&str> = params.list("InstanceId").into_iter().collect();
        let mut going = Vec::new();
        for id in named {
            let machine = machines.iter().find(|machine| machine.instance.id.as_str() == id);
            let missing = || (400, "InvalidInstanceID.NotFound", format!("The instance ID '{id}' does not exist"));
            going.push(machine.ok_or_else(missing)?);
        }
        let mut changes = Vec::new();
        for machine in going {
            let before = state(machine);
            if !machine.gone && machine.instance.state != InstanceState::Terminating {
                let removal = Removal { lower: false, protected_too: true, skip_missing: true };
                let ids = [machine.instance.id.clone()];
                let removed = self.cloud.remove(&machine.group, &ids, removal);
                removed.map_err(|refused| (500, "InternalError", format!("{refused:?}")))?;
            }
            // EC2 waits for no hook.
            self.cloud.let_go(&machine.group, &machine.instance.id);
            let after = if machine.gone { before } else { (32, "shutting-down") };
            changes.push(json!({
                "instanceId": machine.instance.id.as_str(),
                "previousState": { "code": before.0, "name": before.1 },
                "currentState": { "code": after.0, "name": after.1 },
            }));
        }
        Ok(json!({ "instancesSet": changes }))
    }

    pub(super) fn tag_machines(&self, params: &Params) -> Result<Value, Refused> {
        let machines = self.machines();
        for id in params.list("ResourceId") {
            let machine = machines.iter().find(|machine| machine.instance.id.as_str() == id && !machine.gone);
            let missing = || (400, "InvalidInstanceID.NotFound", format!("The instance ID '{id}' does not exist"));
            let machine = machine.ok_or_else(missing)?;
            for tag in params.structures("Tag") {
                let (key, value) = (tag.need("Key")?, tag.text("Value").unwrap_or_default());
                if key == PROTECTED {
                    self.cloud.protect(&machine.group, &machine.instance.id, value != "false");
                } else {
                    let mut state = self.lock();
                    let tags = state.machine_tags.entry(machine.instance.id.clone()).or_default();
                    tags.insert(key.to_owned(), value.to_owned());
                }
            }
        }
        Ok(Value::Null)
    }

    /// What was launched and is not shown yet.
    fn unseen(&self) -> BTreeSet<InstanceId> {
        let state = self.lock();
        let shown = state.shown_of_a_launch.unwrap_or(u32::MAX);
        let late = state.launches.values().filter(|launch| launch.index >= shown);
        late.map(|launch| launch.instance.id.clone()).collect()
    }

    /// Everything that EC2 shows: what is there, and what was launched here and is gone for not too long.
    fn machines(&self) -> Vec<Machine> {
        let mut all = Vec::new();
        for group in self.cloud.groups() {
            let Some(seen) = self.cloud.look(&group) else { continue };
            for instance in seen.instances {
                let held = self.cloud.held_until(&group, &instance.id).is_some_and(|until| until > seen.at);
                all.push(Machine { group: group.clone(), instance, gone: false, held });
            }
        }
        let there: BTreeSet<InstanceId> = all.iter().map(|machine| machine.instance.id.clone()).collect();
        let now = self.cloud.now();
        for launch in self.lock().launches.values_mut().filter(|launch| !there.contains(&launch.instance.id)) {
            if now.since(*launch.gone.get_or_insert(now)) < SHOWN {
                let (group, instance) = (launch.group.clone(), launch.instance.clone());
                all.push(Machine { group, instance, gone: true, held: false });
            }
        }
        all
    }

    /// The tags on a machine; the group's own, and protection, are what the machines say.
    fn tags_on(&self, machine: &Machine) -> BTreeMap<String, String> {
        let mut tags = self.lock().machine_tags.get(&machine.instance.id).cloned().unwrap_or_default();
        if let Some(name) = machine.group.as_str().strip_prefix(PREFIX) {
            let (key, value) = name.split_once('=').unwrap_or((DEFAULT_KEY, name));
            tags.insert(key.into(), value.into());
            if machine.instance.protected {
                tags.insert(PROTECTED.into(), "true".into());
            }
        } else {
            tags.insert("aws:autoscaling:groupName".into(), machine.group.as_str().into());
        }
        tags
    }

    fn shown(&self, machine: &Machine) -> Value {
        let (code, name) = state(machine);
        let tags = self.tags_on(machine);
        let tags: Vec<Value> = tags.into_iter().map(|(key, value)| json!({ "key": key, "value": value })).collect();
        json!({
            "instanceId": machine.instance.id.as_str(),
            "imageId": "ami-0123456789abcdef0",
            "instanceType": TYPE,
            "launchTime": machine.instance.launched.map(time),
            "placement": { "availabilityZone": machine.instance.zone.as_deref().map(zone) },
            "instanceState": { "code": code, "name": name },
            "stateReason": reason(machine).map(|(code, message)| json!({ "code": code, "message": message })),
            "tagSet": tags,
        })
    }
}

/// The state in EC2's words, with its number.
fn state(machine: &Machine) -> (u16, &'static str) {
    match machine.instance.state {
        _ if machine.gone => (48, "terminated"),
        InstanceState::Pending => (0, "pending"),
        InstanceState::Running => (16, "running"),
        InstanceState::Terminating if machine.held => (16, "running"),
        InstanceState::Terminating => (32, "shutting-down"),
        // What did not start ends by itself.
        InstanceState::Failed => (48, "terminated"),
    }
}

/// Why an instance ends, in EC2's words.
fn reason(machine: &Machine) -> Option<(&'static str, &'static str)> {
    match machine.instance.state {
        InstanceState::Failed => Some(("Client.InternalError", "Client.InternalError: Client error on launch")),
        InstanceState::Terminating if !machine.held => {
            Some(("Client.UserInitiatedShutdown", "Client.UserInitiatedShutdown: User initiated shutdown"))
        }
        _ => None,
    }
}

/// The tags that instances are launched with.
fn tags_of(params: &Params) -> BTreeMap<String, String> {
    let specifications = params.structures("TagSpecification");
    let of_instances = specifications.iter().filter(|each| each.text("ResourceType") == Some("instance"));
    let mut tags = BTreeMap::new();
    for tag in of_instances.flat_map(|each| nested(each, "Tag")) {
        if let Some(key) = tag.text("Key") {
            tags.insert(key.to_owned(), tag.text("Value").unwrap_or_default().to_owned());
        }
    }
    tags
}

/// `Name.1.`, `Name.2.` below a structure, which does not say any more of which API it is.
fn nested(params: &Params, name: &str) -> Vec<Params> {
    let each = (1..).map(|index| params.below(&format!("{name}.{index}")));
    each.take_while(|each| each.text("Key").is_some()).collect()
}

fn filter_values(filter: &Params) -> Vec<String> {
    (1..).map_while(|index| filter.text(&format!("Value.{index}")).map(str::to_owned)).collect()
}

/// The simulated group of what carries these tags.
fn group_of(tags: &BTreeMap<String, String>) -> GroupId {
    let own = |key: &str| key.starts_with("skala:") && key != DEFAULT_KEY;
    match (tags.get(DEFAULT_KEY), tags.iter().find(|(key, _)| !own(key))) {
        (Some(value), _) => format!("{PREFIX}{value}").into(),
        (None, Some((key, value))) => format!("{PREFIX}{key}={value}").into(),
        (None, None) => format!("{PREFIX}untagged").into(),
    }
}

fn no_machine(failure: &LaunchFailure) -> Refused {
    let place = match &failure.scope {
        contract::Scope::Zone(name) => zone(name),
        _ => zone("a"),
    };
    match failure.kind {
        FailureKind::QuotaExceeded => (
            400,
            "VcpuLimitExceeded",
            "You have requested more vCPU capacity than your current vCPU limit of 32".into(),
        ),
        _ => {
            let words = format!(
                "We currently do not have sufficient {TYPE} capacity in the Availability Zone you requested ({place})."
            );
            (500, "InsufficientInstanceCapacity", words)
        }
    }
}
