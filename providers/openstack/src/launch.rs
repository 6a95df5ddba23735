//! Scale-out: as many servers as are missing, one request each.
//!
//! Every raise reads the group first. A launch is named by action and index in a tag, in the name and in the metadata,
//! set in the very request that makes the server: an action tried twice finds the launches of the first time, whatever
//! became of its answers, and asks for the others only. Nova shows a server in lists from the moment it accepted it.
//!
//! Between that look and the requests another daemon could start servers too: Nova has no precondition. The store's lease
//! keeps two daemons of one store apart; nothing in Nova keeps others out, for there is no group to put a claim on.

use crate::errors::{Effect, Failure, launch_failure};
use crate::group::Groups;
use crate::names;
use crate::nova::server::Server;
use crate::session::{Call, Service, json};
use crate::settings::Template;
use contract::{Accepted, CAPACITY_MAX, Capacity, FailureKind, Owner, ProviderError, Scope, Target, Timestamp};
use futures_util::StreamExt;
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// Requests in the air at once.
pub(crate) const CONCURRENT: usize = 4;
/// A zone that was out of machines so lately is the last choice.
const ZONE_RESTS: Duration = Duration::from_secs(600);

/// One server to make.
struct Launch {
    id: String,
    zone: Option<String>,
}

impl Groups {
    /// Starts as many servers as are missing to `to`.
    pub async fn raise(&self, target: &Target, to: Capacity, owner: &Owner) -> Result<Accepted, ProviderError> {
        if to > CAPACITY_MAX {
            return Err(ProviderError::Invalid { what: format!("{}: no group can hold {to}", target.group).into() });
        }
        let deadline = Instant::now() + self.session.wire.deadlines.write;
        let tag = names::tag(&target.group)?;
        let Some(template) = self.settings.template(tag) else {
            let what = format!("no groups.{tag:?} says how a server with this tag is made");
            return Err(ProviderError::Invalid { what: what.into() });
        };
        let shown = self.members(tag).await?;
        let left = self.leavers();
        // They hold quota that the launches need.
        self.clear_stillborn(tag, &shown, deadline).await;
        let alive = shown.iter().filter(|server| server.is_alive()).count();
        let missing = (to as usize).saturating_sub(alive);
        let done = match missing {
            0 => Ok(Accepted::default()),
            _ => {
                let zones = self.zones(tag, template, &shown, missing);
                let ids = free_launches(&shown, target, missing);
                let launches: Vec<Launch> = ids.into_iter().zip(zones).map(|(id, zone)| Launch { id, zone }).collect();
                self.start(tag, template, &launches, owner, deadline).await
            }
        };
        self.sweep(tag, left, deadline).await;
        done
    }

    async fn start(
        &self,
        tag: &str,
        template: &Template,
        launches: &[Launch],
        owner: &Owner,
        deadline: Instant,
    ) -> Result<Accepted, ProviderError> {
        let user_data = template.user_data()?;
        // One zone's name may be wrong and the next one's right; any other refusal would meet every launch alike.
        let pointless =
            |error: &ProviderError| !matches!(error, ProviderError::Invalid { .. }) || template.zones.len() < 2;
        let ended = AtomicBool::new(false);
        let (ended, pointless, user_data) = (&ended, &pointless, user_data.as_deref());
        let calls: Vec<_> = launches
            .iter()
            .map(|launch| async move {
                if ended.load(Ordering::Relaxed) {
                    return None;
                }
                let result = self.create(&body(tag, template, launch, owner, user_data), deadline).await;
                if result.as_ref().is_err_and(|failure| pointless(&failure.error)) {
                    ended.store(true, Ordering::Relaxed);
                }
                Some((launch, result))
            })
            .collect();
        let results: Vec<_> = futures_util::stream::iter(calls).buffered(CONCURRENT).collect().await;
        let results = results.into_iter().flatten().map(|(launch, result)| {
            (launch, result.map_err(|failure| closed_zone(failure, launch.zone.as_deref(), template)))
        });
        self.judge(tag, results.collect())
    }

    /// One launch refused is an error, a part refused is data: what came is there, and the next observation shows both.
    fn judge(&self, tag: &str, results: Vec<(&Launch, Result<(), Failure>)>) -> Result<Accepted, ProviderError> {
        let at = (self.now)();
        let came = results.iter().filter(|(_, result)| result.is_ok()).count();
        let mut failures: Vec<(&Launch, Failure)> =
            results.into_iter().filter_map(|(launch, result)| Some((launch, result.err()?))).collect();
        if let Some(unclear) = failures.iter().position(|(_, failure)| !failure.harmless) {
            return Err(failures.swap_remove(unclear).1.error);
        }
        let noted =
            failures.iter().map(|(launch, failure)| (launch.id.as_str().into(), launch_failure(&failure.error, at)));
        self.note_failures(tag, noted);
        match failures.into_iter().next() {
            Some((_, failure)) if came == 0 => Err(match failure.error {
                ProviderError::OutOfCapacity { .. } if self.has_no_other_zone(tag, at) => {
                    ProviderError::OutOfCapacity { scope: Scope::Group }
                }
                error => error,
            }),
            _ => Ok(Accepted::default()),
        }
    }

    async fn create(&self, body: &Value, deadline: Instant) -> Result<(), Failure> {
        #[derive(Deserialize)]
        struct Made {
            #[serde(rename = "server")]
            _server: Id,
        }
        #[derive(Deserialize)]
        struct Id {
            #[serde(rename = "id")]
            _id: String,
        }
        let call = Call {
            operation: "create_server",
            effect: Effect::Write,
            service: Service::Compute,
            method: Method::POST,
            path: "/servers".into(),
            body: Some(body),
        };
        let answer = self.session.send(&call, deadline).await.map_err(of_a_launch)?;
        json::<Made>(&call, &answer).map(|_| ())
    }

    /// A zone for each launch: the emptiest, those that were out of machines lately last.
    fn zones(&self, tag: &str, template: &Template, shown: &[Server], count: usize) -> Vec<Option<String>> {
        if template.zones.is_empty() {
            return vec![None; count];
        }
        let out = self.dry_zones(tag, (self.now)());
        let mut filled: BTreeMap<&str, usize> = template.zones.iter().map(|zone| (zone.as_str(), 0)).collect();
        for zone in shown.iter().filter(|server| server.is_alive()).filter_map(Server::zone) {
            if let Some(filled) = filled.get_mut(zone) {
                *filled += 1;
            }
        }
        spread(&mut filled, &out, count)
    }

    /// What one zone has no room for no other one can take: there is none, or each was out of machines lately.
    pub fn has_no_other_zone(&self, tag: &str, now: Timestamp) -> bool {
        let zones = self.settings.template(tag).map(|template| template.zones.as_slice()).unwrap_or_default();
        let dry = if zones.len() < 2 { BTreeSet::new() } else { self.dry_zones(tag, now) };
        zones.len() < 2 || zones.iter().all(|zone| dry.contains(zone.as_str()))
    }

    fn dry_zones(&self, tag: &str, now: Timestamp) -> BTreeSet<Box<str>> {
        let failures = self.failures(tag);
        let recent = failures
            .into_iter()
            .filter(|failure| failure.kind == FailureKind::OutOfCapacity && failure.at >= now.before(ZONE_RESTS));
        recent.filter_map(|failure| if let Scope::Zone(zone) = failure.scope { Some(zone) } else { None }).collect()
    }
}

/// Chooses the emptiest zone again and again.
fn spread(filled: &mut BTreeMap<&str, usize>, out: &BTreeSet<Box<str>>, count: usize) -> Vec<Option<String>> {
    let mut chosen = Vec::with_capacity(count);
    for _ in 0..count {
        let best = filled.iter_mut().min_by_key(|(zone, filled)| (out.contains(**zone), **filled));
        chosen.push(best.map(|(zone, filled)| {
            *filled += 1;
            (*zone).to_owned()
        }));
    }
    chosen
}

/// The first launches of this action that no server carries yet. After an answer that was lost they are the same ones
/// again, as long as Nova does not show the server.
fn free_launches(shown: &[Server], target: &Target, count: usize) -> Vec<String> {
    let used: BTreeSet<&str> = shown.iter().filter_map(Server::launch).collect();
    (0..CAPACITY_MAX)
        .map(|index| target.action.launch(index))
        .filter(|launch| !used.contains(launch.as_str()))
        .take(count)
        .collect()
}

/// What Nova refuses at a launch with 404 or 409 (a server group that is gone, several networks to choose from) is wrong
/// with the request, and will be again.
fn of_a_launch(failure: Failure) -> Failure {
    let error = match failure.error {
        ProviderError::NotFound { what } | ProviderError::Conflict { what } => ProviderError::Invalid { what },
        error => error,
    };
    Failure { error, ..failure }
}

/// Nova says of a zone in which every host is switched off what it says of one that never was. Beside others it is a zone
/// without room, so that the others are asked first from now on; alone it is for whoever wrote its name.
fn closed_zone(failure: Failure, zone: Option<&str>, template: &Template) -> Failure {
    match (&failure.error, zone) {
        (ProviderError::Invalid { what }, Some(zone))
            if template.zones.len() > 1 && what.contains("availability zone is not available") =>
        {
            tracing::warn!(zone, what = %what, "no server can be made in this zone");
            Failure { error: ProviderError::OutOfCapacity { scope: Scope::Zone(zone.into()) }, ..failure }
        }
        _ => failure,
    }
}

/// The body of `POST /servers`.
fn body(tag: &str, template: &Template, launch: &Launch, owner: &Owner, user_data: Option<&str>) -> Value {
    let mut metadata = template.metadata.clone();
    metadata.insert("skala_launch".into(), launch.id.clone());
    metadata.insert("skala_owner".into(), owner.id.chars().take(255).collect());
    let mut server = json!({
        "name": names::server_name(template.name.as_deref().unwrap_or(tag), &launch.id),
        "flavorRef": template.flavor,
        "tags": [tag, names::launch_tag(&launch.id)],
        "metadata": metadata,
        "networks": match template.networks.as_deref() {
            None => json!("auto"),
            Some([]) => json!("none"),
            Some(ids) => ids.iter().map(|id| json!({ "uuid": id })).collect(),
        },
    });
    match template.volume_gb {
        None => server["imageRef"] = json!(template.image),
        Some(gib) => {
            server["block_device_mapping_v2"] = json!([{
                "boot_index": 0, "uuid": template.image, "source_type": "image", "destination_type": "volume",
                "volume_size": gib, "delete_on_termination": true,
            }]);
        }
    }
    if !template.security_groups.is_empty() {
        server["security_groups"] = template.security_groups.iter().map(|name| json!({ "name": name })).collect();
    }
    let texts = [
        ("key_name", template.key_name.as_deref()),
        ("user_data", user_data),
        ("availability_zone", launch.zone.as_deref()),
    ];
    for (key, text) in texts {
        if let Some(text) = text {
            server[key] = json!(text);
        }
    }
    if let Some(drive) = template.config_drive {
        server["config_drive"] = json!(drive);
    }
    match &template.server_group {
        None => json!({ "server": server }),
        Some(group) => json!({ "server": server, "os:scheduler_hints": { "group": group } }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use contract::{ActionId, Epoch, Version};

    fn server(launch: &str) -> Server {
        let tags = json!(["web", names::launch_tag(launch)]);
        serde_json::from_value(json!({ "id": launch, "status": "BUILD", "tags": tags })).unwrap()
    }

    #[test]
    fn an_action_tried_again_asks_for_the_launches_that_did_not_come() {
        let seen = Version { desired: None, token: None, at: Timestamp(0) };
        let target = Target { group: "web".into(), action: ActionId(9), seen, lease: Epoch(1) };
        let of = |action: u128, index: u32| ActionId(action).launch(index);
        assert_eq!(free_launches(&[], &target, 2), [of(9, 0), of(9, 1)]);
        let shown = [server(&of(9, 0)), server(&of(9, 2)), server(&of(8, 1))];
        assert_eq!(free_launches(&shown, &target, 2), [of(9, 1), of(9, 3)]);
        assert!(free_launches(&shown, &target, 0).is_empty());
    }

    #[test]
    fn the_emptiest_zone_is_next_and_one_without_machines_the_last() {
        let check = |filled: &[(&'static str, usize)], out: &[&str], expected: &[&str]| {
            let mut filled = filled.iter().copied().collect();
            let out = out.iter().map(|zone| Box::from(*zone)).collect();
            let chosen = spread(&mut filled, &out, expected.len());
            assert_eq!(chosen.iter().flatten().collect::<Vec<_>>(), expected);
        };
        check(&[("a", 2), ("b", 0)], &[], &["b", "b", "a"]);
        check(&[("a", 2), ("b", 0)], &["b"], &["a", "a"]);
        check(&[("a", 0), ("b", 0)], &["a", "b"], &["a", "b"]);
    }

    #[test]
    fn a_request_says_all_of_the_template() {
        let template = Template {
            image: "img".into(),
            flavor: "small".into(),
            networks: Some(vec!["n1".into()]),
            security_groups: vec!["sg".into()],
            key_name: Some("ops".into()),
            server_group: Some("spread".into()),
            volume_gb: Some(20),
            config_drive: Some(true),
            metadata: BTreeMap::from([("tier".into(), "web".into())]),
            ..Template::default()
        };
        let launch = Launch { id: "00ff-3".into(), zone: Some("az-1".into()) };
        let owner = Owner { id: "daemon-1".into() };
        let expected = json!({
            "server": {
                "name": "web-00ff-3",
                "flavorRef": "small",
                "tags": ["web", "skala-launch=00ff-3"],
                "metadata": {"tier": "web", "skala_launch": "00ff-3", "skala_owner": "daemon-1"},
                "networks": [{"uuid": "n1"}],
                "block_device_mapping_v2": [{
                    "boot_index": 0, "uuid": "img", "source_type": "image", "destination_type": "volume",
                    "volume_size": 20, "delete_on_termination": true,
                }],
                "security_groups": [{"name": "sg"}],
                "key_name": "ops",
                "user_data": "I2Nsb3Vk",
                "availability_zone": "az-1",
                "config_drive": true,
            },
            "os:scheduler_hints": {"group": "spread"},
        });
        assert_eq!(body("web", &template, &launch, &owner, Some("I2Nsb3Vk")), expected);
        let plain = Template { image: "img".into(), flavor: "small".into(), ..Template::default() };
        let body = body("web", &plain, &Launch { id: "0-0".into(), zone: None }, &owner, None);
        assert_eq!((&body["server"]["networks"], &body["server"]["imageRef"]), (&json!("auto"), &json!("img")));
        assert_eq!(body.get("os:scheduler_hints"), None);
    }
}
