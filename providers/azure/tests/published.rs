//! The request and response examples that Azure publishes beside its API's definition judge the simulated Azure and what
//! the provider says to it, and the provider reads their answers.
//!
//! They are in the repository azure-rest-api-specs of Azure on GitHub, and are not copied into this one: a sparse clone
//! (`git clone --depth 1 --filter=blob:none --sparse`, then `git sparse-checkout set specification/compute
//! specification/monitor`) gets them. `SKALA_AZURE_EXAMPLES` is the full path of it, or of any folder with such files;
//! without that variable nothing of this runs, and each test says so. Of each call those count whose `api-version` is the
//! one that the provider asks for, so a folder without them is an error.

// A test that cannot go on stops.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod stand;

use azure::Azure;
use contract::native::{NativeChange, NativeKind, NativeMode};
use contract::{Ask, GroupId, InstanceState, Observation, Provider, ProviderError, Suspended, Timestamp};
use serde_json::{Value, json};
use sim_cloud::azure::{Azure as Simulated, SUBSCRIPTION};
use sim_cloud::{Api, Exchange, Reply, Request, Server};
use stand::everything::used;
use stand::published::{Example, Examples, lacking, strange};
use stand::{Bent, clock, cloud, observe, provider, serve};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// A call of the API.
struct Call {
    method: &'static str,
    /// Its path in lower case, where `*` is any one part; all of it, or the end of one that begins with a resource's id.
    path: &'static str,
    /// Its examples' names, in the definition's older and newer layout.
    names: &'static [&'static str],
}

const COMPUTE: &str = "2024-11-01";
const AUTOSCALE: &str = "2022-10-01";
const METRICS: &str = "2023-10-01";

const LIST_SETS: &[&str] = &["VirtualMachineScaleSet_ListAll", "VirtualMachineScaleSets_ListAll"];
const GET_SET: &[&str] = &["VirtualMachineScaleSet_Get", "VirtualMachineScaleSets_Get"];
const UPDATE_SET: &[&str] = &["VirtualMachineScaleSet_Update", "VirtualMachineScaleSets_Update"];
const LIST_MACHINES: &[&str] = &["VirtualMachineScaleSetVM_List", "VirtualMachineScaleSetVMs_List"];
const GET_UPGRADE: &[&str] =
    &["VirtualMachineScaleSetRollingUpgrade_GetLatest", "VirtualMachineScaleSetRollingUpgrades_GetLatest"];
const LIST_SETTINGS: &[&str] = &["listAutoscaleSetting"];
const GET_METRICS: &[&str] = &["GetMetric"];

const CALLS: &[Call] = &[
    Call {
        method: "GET",
        path: "/subscriptions/*/providers/microsoft.compute/virtualmachinescalesets",
        names: LIST_SETS,
    },
    Call {
        method: "GET",
        path: "/subscriptions/*/resourcegroups/*/providers/microsoft.compute/virtualmachinescalesets/*",
        names: GET_SET,
    },
    Call {
        method: "PATCH",
        path: "/subscriptions/*/resourcegroups/*/providers/microsoft.compute/virtualmachinescalesets/*",
        names: UPDATE_SET,
    },
    Call {
        method: "POST",
        path: "/subscriptions/*/resourcegroups/*/providers/microsoft.compute/virtualmachinescalesets/*/delete",
        names: &["VirtualMachineScaleSet_DeleteInstances", "VirtualMachineScaleSets_DeleteInstances"],
    },
    Call {
        method: "GET",
        path: "/subscriptions/*/resourcegroups/*/providers/microsoft.compute/virtualmachinescalesets/*/virtualmachines",
        names: LIST_MACHINES,
    },
    Call {
        method: "GET",
        path: "/subscriptions/*/resourcegroups/*/providers/microsoft.compute/virtualmachinescalesets/*/rollingupgrades/latest",
        names: GET_UPGRADE,
    },
    Call {
        method: "GET",
        path: "/subscriptions/*/providers/microsoft.compute/virtualmachines",
        names: &["VirtualMachine_ListAll", "VirtualMachines_ListAll"],
    },
    Call {
        method: "GET",
        path: "/subscriptions/*/providers/microsoft.insights/autoscalesettings",
        names: LIST_SETTINGS,
    },
    Call {
        method: "GET",
        path: "/subscriptions/*/resourcegroups/*/providers/microsoft.insights/autoscalesettings/*",
        names: &["getAutoscaleSetting"],
    },
    Call {
        method: "PUT",
        path: "/subscriptions/*/resourcegroups/*/providers/microsoft.insights/autoscalesettings/*",
        names: &["createOrUpdateAutoscaleSetting"],
    },
    Call { method: "GET", path: "/providers/microsoft.insights/metrics", names: GET_METRICS },
];

/// What the examples happen not to show, though the API has it: `tests/judges.rs` holds it against the request builders and
/// models of Microsoft's libraries.
const BESIDES: &[&str] = &[
    // The first version with them is 2024-03-01; the examples are older.
    "VirtualMachineScaleSet_ListAll.value[].etag",
    "VirtualMachineScaleSet_Get.etag",
    "VirtualMachineScaleSet_Update.etag",
    "VirtualMachineScaleSetVM_List.value[].etag",
    "VirtualMachine_ListAll.value[].etag",
    "VirtualMachineScaleSet_ListAll.value[].properties.timeCreated",
    "VirtualMachineScaleSet_Get.properties.timeCreated",
    "VirtualMachineScaleSet_Update.properties.timeCreated",
    // Asked for with the filter by scale set.
    "VirtualMachine_ListAll ?$expand",
    "VirtualMachine_ListAll.value[].properties.instanceView",
    // The example asks for three of the five aggregations.
    "GetMetric.value[].timeseries[].data[].count",
    "GetMetric.value[].timeseries[].data[].total",
    // Every answer has it, and the whole setting is written as it was read.
    "createOrUpdateAutoscaleSetting asked.properties.name",
];

fn examples() -> Option<Examples> {
    let Ok(folder) = std::env::var("SKALA_AZURE_EXAMPLES") else {
        eprintln!("not run: SKALA_AZURE_EXAMPLES names no folder; the beginning of this file says how to get one");
        return None;
    };
    let names: Vec<&str> = CALLS.iter().flat_map(|call| call.names).copied().collect();
    Some(Examples::read(Path::new(&folder), &names))
}

fn call_of(exchange: &Exchange) -> Option<&'static Call> {
    let path = exchange.path.to_ascii_lowercase();
    let is_it = |pattern: &str| {
        let (parts, wanted): (Vec<&str>, Vec<&str>) = (path.split('/').collect(), pattern.split('/').collect());
        let same = parts.iter().zip(&wanted).all(|(part, wanted)| *wanted == "*" || part == wanted);
        (parts.len() == wanted.len() && same) || (pattern.starts_with("/providers") && path.ends_with(pattern))
    };
    CALLS.iter().find(|call| call.method == exchange.method && is_it(call.path))
}

/// What an exchange has that the examples of its call do not, and lacks that they have.
fn judge(exchange: &Exchange, call: &Call, all: &Examples) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let version = exchange.query.iter().find(|(key, _)| key == "api-version").map(|(_, version)| version.as_str());
    let version = version.unwrap_or("none");
    let examples = all.of(call.names, version);
    let name = call.names[0];
    for (key, _) in exchange.query.iter().filter(|(key, _)| key != "$skiptoken") {
        if !examples.iter().any(|one| one.parameters.contains_key(key)) {
            found.insert(format!("{name} ?{key}: in no example"));
        }
    }
    if !exchange.body.is_empty() {
        let said = serde_json::from_str(&exchange.body).unwrap();
        let asked: Vec<&Value> = examples.iter().filter_map(|one| one.asked()).collect();
        strange(&said, &asked, &format!("{name} asked"), &mut found);
    }
    let answers: Vec<&&Example> =
        examples.iter().filter(|one| one.responses.contains_key(&exchange.status.to_string())).collect();
    if answers.is_empty() {
        found.insert(format!("{name}: no example is answered with {}", exchange.status));
    }
    for one in &answers {
        let headers = one.responses[&exchange.status.to_string()]["headers"].as_object();
        for key in headers.into_iter().flat_map(|headers| headers.keys()) {
            if !exchange.reply_headers.iter().any(|(known, _)| known.eq_ignore_ascii_case(key)) {
                found.insert(format!("{name}: no header {key}"));
            }
        }
    }
    let mut bodies: Vec<&Value> = answers.iter().filter_map(|one| one.body(exchange.status)).collect();
    if [GET_SET, UPDATE_SET].contains(&call.names) {
        // The same resource, which the list's examples show more of.
        let lists = all.of(LIST_SETS, version).into_iter().filter_map(|one| one.body(200));
        bodies.extend(lists.filter_map(|page| page["value"].as_array()).flatten());
    }
    if !exchange.reply.is_empty() {
        let said = serde_json::from_str(&exchange.reply).unwrap();
        strange(&said, &bodies, name, &mut found);
        for least in answers.iter().filter(|one| one.is_least()).filter_map(|one| one.body(exchange.status)) {
            lacking(&said, least, name, &mut found);
        }
    }
    found
}

#[tokio::test]
async fn the_examples_judge_what_is_said() {
    let Some(examples) = examples() else { return };
    let mut judged: BTreeMap<&str, u32> = BTreeMap::new();
    let mut found = BTreeSet::new();
    for flexible in [false, true] {
        for exchange in used(flexible).await.server.exchanges() {
            // Of logging in, operations and refusals there are no examples.
            let other = exchange.path.ends_with("/token") || exchange.path.contains("/operations/");
            if exchange.broken || exchange.status >= 400 || other {
                continue;
            }
            let call = call_of(&exchange).unwrap_or_else(|| panic!("{} {}", exchange.method, exchange.path));
            found.extend(judge(&exchange, call, &examples));
            *judged.entry(call.names[0]).or_default() += 1;
        }
    }
    let besides = |what: &String| what.strip_suffix(": in no example").is_some_and(|at| BESIDES.contains(&at));
    found.retain(|what| !besides(what));
    assert!(found.is_empty(), "{found:#?}");
    assert_eq!(judged.len(), CALLS.len(), "not everything was judged: {judged:?}");
}

/// A set of the subscription that answers as the examples do.
struct Published {
    /// Answers as long as it is there.
    _server: Server,
    group: GroupId,
    provider: Azure,
}

/// Ids that examples leave open, or that are not this subscription's, are made to be one set's; and a page's way to the next
/// leads nowhere.
fn placed(body: &Value, id: &str) -> Value {
    let mut body = body.clone();
    if let Some(page) = body.as_object_mut() {
        page.remove("nextLink");
    }
    let one = body.get_mut("value").and_then(Value::as_array_mut).map(|items| items.iter_mut().collect());
    let is_list = one.is_some();
    let items: Vec<&mut Value> = one.unwrap_or_default();
    for item in items {
        place(item, id);
    }
    if !is_list {
        place(&mut body, id);
    }
    body
}

fn place(item: &mut Value, id: &str) {
    match item.pointer_mut("/properties/targetResourceUri") {
        Some(target) => {
            let of = target.as_str().unwrap().split('/').nth(2).unwrap().to_owned();
            *target = id.into();
            item["id"] = item["id"].as_str().unwrap().replace(&of, SUBSCRIPTION).into();
        }
        None => item["id"] = id.into(),
    }
}

/// `answers`: the end of a path, and what is answered there.
async fn published(answers: Vec<(&'static str, Value)>) -> Published {
    let (clock, name) = (clock(), "published");
    let id = format!(
        "/subscriptions/{SUBSCRIPTION}/resourceGroups/rg/providers/Microsoft.Compute/virtualMachineScaleSets/{name}"
    );
    let answers: Vec<(&str, Value)> = answers.iter().map(|(end, body)| (*end, placed(body, &id))).collect();
    let api = Bent(Simulated::new(cloud(0, &clock)), move |inner: &Simulated, request: &Request| {
        let path = request.path.to_ascii_lowercase();
        match answers.iter().find(|(end, _)| path.ends_with(end)) {
            Some((_, body)) => Reply::json(200, body),
            None => inner.answer(request),
        }
    });
    let server = serve(api).await;
    let provider = provider(&server.url(), &clock).await;
    Published { _server: server, group: format!("rg/{name}").into(), provider }
}

impl Published {
    async fn look(&self) -> Result<Observation, ProviderError> {
        observe(&self.provider, &Ask::new(self.group.clone())).await
    }
}

const SETS: &str = "/virtualmachinescalesets";
const ONE_SET: &str = "/virtualmachinescalesets/published";
const MACHINES: &str = "/virtualmachines";
const SETTINGS: &str = "/autoscalesettings";
const UPGRADE: &str = "/rollingupgrades/latest";

/// The one example of these names that shows all that there can be.
fn full(examples: &Examples, names: &[&str], version: &str) -> Value {
    let found = examples.of(names, version);
    let one = found.iter().find(|one| !one.is_least()).unwrap_or_else(|| panic!("no full example of {names:?}"));
    one.body(200).unwrap().clone()
}

fn least(examples: &Examples, names: &[&str], version: &str) -> Value {
    let found = examples.of(names, version);
    let one = found.iter().find(|one| one.is_least()).unwrap_or_else(|| panic!("no least example of {names:?}"));
    one.body(200).unwrap().clone()
}

fn changes(kind: &NativeKind) -> Vec<NativeChange> {
    match kind {
        NativeKind::Steps { rows, .. } => rows.iter().map(|row| row.change).collect(),
        _ => Vec::new(),
    }
}

fn at(text: &Value) -> Timestamp {
    let time = azure_core::time::parse_rfc3339(text.as_str().unwrap()).unwrap();
    Timestamp(i64::try_from(time.unix_timestamp_nanos() / 1_000).unwrap())
}

#[tokio::test]
async fn a_published_list_is_read() {
    let Some(examples) = examples() else { return };
    let sets = full(&examples, LIST_SETS, COMPUTE);
    let machines = full(&examples, LIST_MACHINES, COMPUTE);
    let (set, settings) = (full(&examples, GET_SET, COMPUTE), full(&examples, LIST_SETTINGS, AUTOSCALE));
    let stand = published(vec![
        (SETS, sets.clone()),
        (ONE_SET, set),
        (MACHINES, machines.clone()),
        (SETTINGS, settings.clone()),
    ])
    .await;
    let seen = stand.look().await.unwrap();
    assert_eq!(json!(seen.desired), sets["value"][0]["sku"]["capacity"]);
    let (shown, instance) = (&machines["value"][0], &seen.instances[0]);
    assert_eq!(seen.instances.len(), machines["value"].as_array().unwrap().len());
    assert_eq!(json!(instance.id.as_str()), shown["name"]);
    assert_eq!(json!(instance.zone.as_deref()), shown["zones"][0]);
    assert_eq!(json!(instance.outdated), json!(shown["properties"]["latestModelApplied"] == false));
    assert_eq!(json!(instance.protected), shown["properties"]["protectionPolicy"]["protectFromScaleIn"]);
    assert_eq!(instance.launched, Some(at(&shown["properties"]["timeCreated"])));
    // The example's statuses are no words, so nothing says that it has power.
    assert_eq!(instance.state, InstanceState::Pending);
    let controllers: Vec<_> = seen.foreign.iter().map(|one| (one.name.to_string(), one.removes)).collect();
    let name = settings["value"][0]["name"].as_str().unwrap();
    assert_eq!(controllers, [(format!("autoscale setting {name}"), Some(true))]);
    let undo = stand.provider.native().unwrap().prepare(&stand.group).await.unwrap();
    let switches: Vec<_> = undo.switches.iter().map(|one| (&*one.setting, one.was.as_deref())).collect();
    assert_eq!(switches, [("enabled", Some("true"))], "{undo:?}");
    assert_eq!(seen.owner, None);
}

/// What `skala import` makes a policy of.
#[tokio::test]
async fn a_published_autoscale_setting_is_read() {
    let Some(examples) = examples() else { return };
    let mut settings = full(&examples, LIST_SETTINGS, AUTOSCALE);
    let described = async |settings: &Value| {
        let set = full(&examples, GET_SET, COMPUTE);
        let stand = published(vec![(ONE_SET, set), (SETTINGS, settings.clone())]).await;
        stand.provider.native().unwrap().describe(&stand.group).await
    };
    // The definition says that a day is a weekday's name; the example says "1", which may be any.
    let days = settings.pointer_mut("/value/0/properties/profiles/1/recurrence/schedule/days").unwrap();
    if *days == json!(["1"]) {
        *days = json!(["Monday"]);
        let error = described(&full(&examples, LIST_SETTINGS, AUTOSCALE)).await.unwrap_err();
        assert!(error.to_string().contains("is no day of the week"), "{error}");
    }
    let policy = described(&settings).await.unwrap();
    let number = |name: &str| {
        let number = &settings["value"][0]["properties"]["profiles"][1]["capacity"][name];
        number.as_str().and_then(|text| text.parse::<u32>().ok())
    };
    assert_eq!(policy.mode, NativeMode::On);
    assert_eq!((policy.min, policy.max, policy.when_blind), (number("minimum"), number("maximum"), number("default")));
    let changes: Vec<NativeChange> = policy.rules.iter().flat_map(|rule| changes(&rule.kind)).collect();
    assert_eq!(changes, [NativeChange::Instances(1), NativeChange::Instances(-2)], "{policy:?}");
}

/// A set that the list does not show is read by its name; and an upgrade of it. One that does not say how it stands counts
/// as running.
#[tokio::test]
async fn a_published_set_and_its_upgrade_are_read() {
    let Some(examples) = examples() else { return };
    let set = full(&examples, GET_SET, COMPUTE);
    assert_eq!(set["properties"]["upgradePolicy"]["mode"], "Automatic", "only such a set's upgrade is asked for");
    let mut machines = full(&examples, LIST_MACHINES, COMPUTE);
    // A reason to ask for the upgrade.
    machines["value"][0]["properties"]["latestModelApplied"] = false.into();
    let whole = full(&examples, GET_UPGRADE, COMPUTE);
    assert_eq!(whole["properties"]["runningStatus"]["code"], "RollingForward");
    for (upgrade, is_known) in [(whole, true), (least(&examples, GET_UPGRADE, COMPUTE), false)] {
        let nothing = json!({ "value": [] });
        let (set, machines) = (set.clone(), machines.clone());
        let answers = vec![
            (SETS, nothing.clone()),
            (ONE_SET, set.clone()),
            (MACHINES, machines),
            (SETTINGS, nothing),
            (UPGRADE, upgrade),
        ];
        let seen = published(answers).await.look().await.unwrap();
        assert_eq!(json!(seen.desired), set["sku"]["capacity"]);
        assert!(seen.instances[0].outdated, "{seen:?}");
        assert_eq!(seen.suspended[0], Suspended::Refresh);
        assert_eq!(seen.suspended.len() == 1, is_known, "{:?}", seen.suspended);
    }
}

/// The least that the API promises says neither how many machines a set has nor which: an error, never none.
#[tokio::test]
async fn the_least_answer_is_unknown_and_never_empty() {
    let Some(examples) = examples() else { return };
    let (sets, machines) = (full(&examples, LIST_SETS, COMPUTE), full(&examples, LIST_MACHINES, COMPUTE));
    for answers in [
        vec![(SETS, least(&examples, LIST_SETS, COMPUTE)), (MACHINES, machines)],
        vec![(SETS, sets), (MACHINES, least(&examples, LIST_MACHINES, COMPUTE))],
    ] {
        let error = published(answers).await.look().await.unwrap_err();
        assert!(matches!(error, ProviderError::Transport { .. } | ProviderError::Invalid { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn published_metrics_are_read() {
    let Some(examples) = examples() else { return };
    let found = examples.of(GET_METRICS, METRICS);
    let (example, whole) = (found[0], full(&examples, GET_METRICS, METRICS));
    let parameter = |name: &str| example.parameters[name].as_str().unwrap();
    let (dimension, _) = parameter("$filter").split_once(" eq '*'").unwrap();
    let (period, secs) = match whole["interval"].as_str().unwrap() {
        "PT1H" => ("1h", 3_600_000_000),
        other => panic!("an example in periods of {other}"),
    };
    for metric in whole["value"].as_array().unwrap() {
        let mut one = whole.clone();
        one["value"] = json!([metric]);
        let clock = clock();
        let api = Bent(Simulated::new(cloud(0, &clock)), move |inner: &Simulated, request: &Request| {
            if request.path.ends_with("/metrics") { Reply::json(200, &one) } else { inner.answer(request) }
        });
        let server = serve(api).await;
        let provider = provider(&server.url(), &clock).await;
        let name = metric["name"]["value"].as_str().unwrap();
        let of = format!("/{}:{}:{name}", parameter("resourceUri"), parameter("metricnamespace"));
        for aggregation in ["Average", "Minimum", "Maximum"] {
            let query = format!("{of}{{{dimension}=\"*\"}} {aggregation} {period}");
            let points = provider.metrics().unwrap().query(&query, clock.now()).await.unwrap();
            let series = metric["timeseries"].as_array().unwrap();
            assert_eq!(points.len(), series.len(), "{query}");
            for (point, one) in points.iter().zip(series) {
                let last = one["data"].as_array().unwrap().last().unwrap();
                assert_eq!(json!(point.value), last[aggregation.to_ascii_lowercase()], "{query}");
                assert_eq!(point.at, Timestamp(at(&last["timeStamp"]).0 + secs), "the period's end");
                let label = (dimension.into(), one["metadatavalues"][0]["value"].as_str().unwrap().into());
                assert_eq!(*point.labels, [label], "{query}");
            }
        }
    }
}

/// Always run: what the judging says of answers that are bent.
#[test]
fn what_no_example_has_is_found() {
    let example =
        json!({ "value": [{ "id": "a", "capacity": 1, "at": "2021-11-30T13:06:23.362Z", "tags": { "a": "b" } }] });
    let check = |said: Value, expected: &[&str]| {
        let mut found = BTreeSet::new();
        strange(&said, &[&example], "it", &mut found);
        lacking(&said, &json!({ "value": [{ "id": "a" }] }), "it", &mut found);
        assert_eq!(found.iter().map(String::as_str).collect::<Vec<_>>(), expected, "{said}");
    };
    check(example.clone(), &[]);
    check(json!({ "value": [] }), &[]);
    check(json!({ "value": [{ "id": "z", "tags": { "c": "d" } }] }), &[]);
    check(json!({ "value": [{ "id": "a", "capacity": "1" }] }), &["it.value[].capacity: text, and not {\"number\"}"]);
    check(json!({ "value": [{ "id": "a", "at": "today" }] }), &["it.value[].at: text, and not {\"time\"}"]);
    check(json!({ "value": [{ "id": "a", "name": "b" }] }), &["it.value[].name: in no example"]);
    check(json!({ "value": [{ "id": "a", "tags": { "c": 1 } }] }), &["it.value[].tags.c: no text"]);
    check(json!({ "value": [{ "capacity": 1 }] }), &["it.value[].id: not there"]);
    check(json!([]), &["it: list, and not {\"object\"}"]);
    check(json!({}), &["it.value: not there"]);
}
