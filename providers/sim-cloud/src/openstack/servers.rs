//! Nova's servers: listed page by page, made one by one, removed by id.

use super::view::Shown;
use super::{FLAVOR, IMAGE, NETWORK, NOTHING_YET, OpenStack, PREFIX, Record, Stillborn, base, uuid, words};
use crate::request::{Reply, Request};
use contract::{CAPACITY_MAX, FailureKind, GroupId, InstanceId, InstanceState, LaunchFailure};
use serde_json::{Map, Value, json};
use sim::{GroupSettings, Refused, Removal};
use std::collections::BTreeSet;

const OLDEST: u32 = 1;
/// What a request for a server may say, besides what newer microversions add.
const KEYS: &[&str] = &[
    "name",
    "imageRef",
    "flavorRef",
    "metadata",
    "networks",
    "availability_zone",
    "security_groups",
    "key_name",
    "user_data",
    "config_drive",
    "block_device_mapping_v2",
    "OS-DCF:diskConfig",
    "min_count",
    "max_count",
    "return_reservation_id",
];

impl OpenStack {
    /// What Nova says of its versions.
    pub(super) fn version(&self, request: &Request) -> Reply {
        let href = format!("{}/compute/v2.1/", base(request));
        let newest = format!("2.{}", self.lock().setup.newest);
        let body = json!({ "version": {
            "id": "v2.1", "status": "CURRENT", "version": newest, "min_version": "2.1", "updated": "2013-07-23T11:33:21Z",
            "links": [{ "rel": "self", "href": href }],
            "media-types": [{ "base": "application/json", "type": "application/vnd.openstack.compute+json;version=2.1" }],
        } });
        Reply::json(200, &body)
    }

    pub(super) fn compute(&self, request: &Request, parts: &[&str]) -> Reply {
        let minor = match self.minor(request) {
            Ok(minor) => minor,
            Err(message) => return words::fault(406, "computeFault", &message),
        };
        let reply = match (request.method.as_str(), parts) {
            ("GET", ["servers"]) => self.list(request, minor, false),
            ("GET", ["servers", "detail"]) => self.list(request, minor, true),
            ("GET", ["servers", id]) => self.show(request, minor, id),
            ("POST", ["servers"]) => self.create(request, minor),
            ("DELETE", ["servers", id]) => self.delete(id),
            _ => words::not_found("The resource could not be found."),
        };
        reply.with("openstack-api-version", format!("compute 2.{minor}")).with("vary", "OpenStack-API-Version")
    }

    /// The microversion that the request asks for.
    fn minor(&self, request: &Request) -> Result<u32, String> {
        let setup = self.lock().setup;
        let asked = request.header("openstack-api-version").filter(|_| !setup.drops_version);
        let Some(asked) = asked.and_then(|header| header.trim().strip_prefix("compute ")) else { return Ok(OLDEST) };
        let minor =
            if asked == "latest" { Some(setup.newest) } else { asked.strip_prefix("2.").and_then(|n| n.parse().ok()) };
        minor.filter(|minor| (OLDEST..=setup.newest).contains(minor)).ok_or_else(|| {
            let newest = setup.newest;
            format!("Version {asked} is not supported by the API. Minimum is 2.1 and maximum is 2.{newest}.")
        })
    }

    /// Every server, newest first; and whether its cell answers.
    fn all(&self) -> Vec<(Shown, bool)> {
        let at = self.cloud.now();
        let groups = self.cloud.groups();
        let looks: Vec<_> = groups
            .iter()
            .filter_map(|group| Some((group.as_str().strip_prefix(PREFIX)?, self.cloud.look(group)?)))
            .collect();
        let state = self.lock();
        let mut all = Vec::new();
        for (number, (group, look)) in looks.iter().enumerate() {
            let answers = !(state.setup.cell_down && number % 2 == 0);
            all.extend(look.instances.iter().map(|instance| (Shown::machine(instance, group, &state, at), answers)));
        }
        all.extend(state.stillborn.iter().map(|(id, stillborn)| (Shown::stillborn(id, stillborn, at), true)));
        all.sort_by(|(a, _), (b, _)| b.created.cmp(&a.created).then_with(|| b.id.cmp(&a.id)));
        all
    }

    fn list(&self, request: &Request, minor: u32, detail: bool) -> Reply {
        let base = base(request);
        let wanted = |shown: &Shown| {
            let carries = |tag: &str| shown.tags.iter().any(|carried| carried == tag);
            let tags = |name: &str| request.param(name).filter(|_| minor >= 26);
            tags("tags").is_none_or(|tags| tags.split(',').all(carries))
                && tags("tags-any").is_none_or(|tags| tags.split(',').any(carries))
                && request.param("status").is_none_or(|status| status.eq_ignore_ascii_case(shown.status))
        };
        let all = self.all();
        // Servers of a cell that is down are told of only when nothing at all was asked for besides.
        let unknown: Vec<Value> = all
            .iter()
            .filter(|(_, answers)| !answers && minor >= 69 && request.query.is_empty())
            .map(|(shown, _)| shown.unknown(&base))
            .collect();
        let known: Vec<&Shown> =
            all.iter().filter(|(_, answers)| *answers).map(|(shown, _)| shown).filter(|s| wanted(s)).collect();
        let (page, hands_over) = {
            let setup = self.lock().setup;
            (setup.page, setup.hands_over)
        };
        let limit = request.param("limit").and_then(|limit| limit.parse().ok()).unwrap_or(page).clamp(1, page);
        // First those that are only asked for, then what the cells have.
        let requests = known.iter().copied().filter(|shown| hands_over && shown.is_request());
        let rows: Vec<&Shown> = requests.chain(known.iter().copied()).collect();
        let from = match request.param("marker") {
            None | Some(NOTHING_YET) => 0,
            Some(marker) => match rows.iter().position(|shown| shown.id == marker) {
                Some(at) => at + 1,
                None => return words::bad_request(&format!("marker [{marker}] not found")),
            },
        };
        let mut ids = BTreeSet::new();
        let shown: Vec<&Shown> =
            rows.iter().copied().skip(from).take(limit).filter(|shown| ids.insert(&shown.id)).collect();
        let mut servers = unknown;
        servers.extend(shown.iter().map(|s| if detail { s.detail(minor, &base) } else { s.brief(&base) }));
        if self.lock().setup.hides_faults {
            for server in servers.iter_mut().filter_map(Value::as_object_mut) {
                server.remove("fault");
            }
        }
        let mut body = json!({ "servers": servers });
        // Nova counts what it shows.
        if let Some(last) = shown.last().filter(|_| shown.len() == limit && from + limit < rows.len()) {
            let others =
                request.query.iter().filter(|(key, _)| key != "marker").map(|(key, value)| format!("{key}={value}&"));
            let href = format!("{base}{}?{}marker={}", request.path, others.collect::<String>(), last.id);
            body["servers_links"] = json!([{ "rel": "next", "href": href }]);
        }
        Reply::json(200, &body)
    }

    fn show(&self, request: &Request, minor: u32, id: &str) -> Reply {
        let base = base(request);
        let found = self.all().into_iter().find(|(shown, _)| shown.id == id);
        match found {
            Some((shown, true)) => Reply::json(200, &json!({ "server": shown.detail(minor, &base) })),
            Some((shown, false)) if minor >= 69 => Reply::json(200, &json!({ "server": shown.unknown(&base) })),
            Some(_) => words::fault(500, "computeFault", "Unexpected API Error."),
            None => {
                let state = self.lock();
                match state.deleted.get(id).filter(|_| state.setup.soft_deletes) {
                    Some(record) => {
                        let kept = Shown::deleted(id, record, self.cloud.now());
                        Reply::json(200, &json!({ "server": kept.detail(minor, &base) }))
                    }
                    None => words::not_found(&format!("Instance {id} could not be found.")),
                }
            }
        }
    }

    fn create(&self, request: &Request, minor: u32) -> Reply {
        let body = request.json();
        let record = match check(&body["server"], minor) {
            Ok(record) => record,
            Err(message) => return words::bad_request(&message),
        };
        let zone = body["server"]["availability_zone"].as_str();
        if zone.is_some() && zone == self.lock().setup.closed_zone {
            return words::bad_request("The requested availability zone is not available");
        }
        let group = self.group_of(&record.tags);
        let number = {
            let mut state = self.lock();
            state.made += 1;
            state.made
        };
        let at = self.cloud.now();
        // Nova knows no launch ids: the same request twice makes two servers.
        let id = match self.cloud.start(&group, &format!("request-{number}")) {
            Ok(instance) => {
                self.lock().records.insert(instance.clone(), record);
                uuid(&instance)
            }
            Err(Refused::NoMachine(LaunchFailure { kind: FailureKind::QuotaExceeded, .. })) => return words::quota(),
            Err(Refused::NoMachine(_)) => {
                let id = format!("00000000-0000-4000-9000-{number:012x}");
                let fault = "No valid host was found. There are not enough hosts available.".to_owned();
                let stillborn = Stillborn { record, zone: zone.map(Into::into), at, fault };
                self.lock().stillborn.insert(id.clone(), stillborn);
                id
            }
            Err(refused) => return words::fault(403, "forbidden", &format!("{refused:?}")),
        };
        let href = format!("{}/compute/v2.1/servers/{id}", base(request));
        let links = json!([{ "rel": "self", "href": href }]);
        let made = json!({ "id": id, "links": links, "OS-DCF:diskConfig": "MANUAL", "security_groups": [{ "name": "default" }] });
        Reply::json(202, &json!({ "server": made })).with("location", href)
    }

    /// The group that one of these tags is; when none is, one is made.
    fn group_of(&self, tags: &[String]) -> GroupId {
        let name = |tag: &String| GroupId::from(format!("{PREFIX}{tag}"));
        if let Some(group) = tags.iter().map(name).find(|group| self.cloud.truth(group).is_some()) {
            return group;
        }
        let group = tags.first().map_or_else(|| GroupId::from(PREFIX), name);
        let settings = GroupSettings { max: CAPACITY_MAX, desired: 0, ..GroupSettings::default() };
        // It cannot be there already, and the settings are good: nothing can be refused.
        let _ = self.cloud.create(group.as_str(), &settings);
        group
    }

    fn delete(&self, id: &str) -> Reply {
        if self.lock().stillborn.remove(id).is_some() {
            return Reply::empty(204);
        }
        let Some((group, instance)) = self.find(id) else {
            return words::not_found(&format!("Instance {id} could not be found."));
        };
        if instance.1 == InstanceState::Terminating {
            return Reply::empty(204);
        }
        let removal = Removal { lower: false, protected_too: false, skip_missing: false };
        match self.cloud.remove(&group, &[instance.0], removal) {
            Ok(_) => {
                let mut state = self.lock();
                let tag = group.as_str().trim_start_matches(PREFIX).to_owned();
                let record = Record { name: id.to_owned(), tags: vec![tag], metadata: json!({}) };
                state.deleted.insert(id.to_owned(), record);
                Reply::empty(204)
            }
            Err(Refused::Protected(_)) => words::conflict(&format!("Instance {id} is locked")),
            Err(_) => words::not_found(&format!("Instance {id} could not be found.")),
        }
    }

    fn find(&self, id: &str) -> Option<(GroupId, (InstanceId, InstanceState))> {
        let groups = self.cloud.groups();
        groups.into_iter().filter(|group| group.as_str().starts_with(PREFIX)).find_map(|group| {
            let truth = self.cloud.truth(&group)?;
            let found = truth.instances.iter().find(|instance| uuid(&instance.id) == id)?;
            let found = (found.id.clone(), found.state);
            Some((group, found))
        })
    }
}

/// Checks a request for a server as Nova's schema does.
fn check(server: &Value, minor: u32) -> Result<Record, String> {
    let Value::Object(server) = server else { return Err("'server' is a required property".into()) };
    let newer = [("description", 19), ("tags", 52), ("trusted_image_certificates", 63), ("host", 74), ("hostname", 90)];
    for key in server.keys() {
        let known = KEYS.contains(&key.as_str()) || newer.iter().any(|(name, since)| name == key && minor >= *since);
        if !known {
            return Err(format!("Additional properties are not allowed ('{key}' was unexpected)"));
        }
    }
    let name = text(server, "name")?;
    if name.is_empty() || name.chars().count() > 255 {
        return Err(format!("Invalid input for field/attribute name. Value: {name}."));
    }
    if text(server, "flavorRef")? != FLAVOR {
        return Err("Flavor could not be found.".into());
    }
    let image = server
        .get("imageRef")
        .and_then(Value::as_str)
        .or_else(|| server.get("block_device_mapping_v2")?[0]["uuid"].as_str());
    if image != Some(IMAGE) {
        return Err("Can not find requested image".into());
    }
    match server.get("networks") {
        None if minor >= 37 => return Err("'networks' is a required property".into()),
        None => {}
        Some(Value::String(word)) if minor >= 37 && matches!(word.as_str(), "auto" | "none") => {}
        Some(Value::Array(networks)) if networks.iter().all(|network| network["uuid"] == NETWORK) => {}
        Some(_) => return Err("Network could not be found.".into()),
    }
    let tags: Vec<String> = match server.get("tags") {
        None => Vec::new(),
        Some(tags) => serde_json::from_value(tags.clone()).map_err(|_| "tags: not a list of texts".to_owned())?,
    };
    let good = |tag: &String| (1..=60).contains(&tag.chars().count()) && !tag.contains(['/', ',']);
    if tags.len() > 50 || !tags.iter().all(good) {
        return Err("Invalid input for field/attribute tags.".into());
    }
    let metadata = server.get("metadata").cloned().unwrap_or_else(|| json!({}));
    let short = |value: &Value| value.as_str().is_some_and(|text| text.chars().count() <= 255);
    if !metadata.as_object().is_some_and(|metadata| metadata.values().all(short)) {
        return Err("Invalid input for field/attribute metadata.".into());
    }
    Ok(Record { name: name.to_owned(), tags, metadata })
}

fn text<'a>(server: &'a Map<String, Value>, key: &str) -> Result<&'a str, String> {
    server.get(key).and_then(Value::as_str).ok_or_else(|| format!("'{key}' is a required property"))
}
