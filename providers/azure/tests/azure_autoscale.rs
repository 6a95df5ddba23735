//! Azure's own scaler of a set over the wire: read, suspended and given back, with nothing of the setting lost.

#![allow(clippy::unwrap_used)]

mod stand;

use azure::Azure;
use contract::native::{NativeKind, NativeMode};
use contract::{Ask, Foreign, Native, Provider, ProviderError, Undo};
use serde_json::{Value, json};
use sim_cloud::azure::{Azure as Simulated, RESOURCE_GROUP, SUBSCRIPTION, Settings};
use sim_cloud::fixture::Clock;
use sim_cloud::{Api, Exchange, Fault, Garble, Kind, Refusal, Reply, Request, Server};
use stand::{Bent, clock, cloud, group, observe, provider, serve};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A set with everything that a setting can have, in another resource group than the set.
fn setting(set: &str) -> Value {
    let target = format!(
        "/subscriptions/{SUBSCRIPTION}/resourceGroups/{RESOURCE_GROUP}/providers/Microsoft.Compute/virtualMachineScaleSets/{set}"
    );
    let rule = |direction: &str, operator: &str, threshold: f64| {
        json!({
            "metricTrigger": {
                "metricName": "Percentage CPU", "metricNamespace": "microsoft.compute/virtualmachinescalesets",
                "metricResourceUri": target, "timeGrain": "PT1M", "statistic": "Average", "timeWindow": "PT5M",
                "timeAggregation": "Average", "operator": operator, "threshold": threshold, "dimensions": [],
                "dividePerInstance": false,
            },
            "scaleAction": { "direction": direction, "type": "ChangeCount", "value": "2", "cooldown": "PT5M" },
        })
    };
    json!({
        "id": format!("/subscriptions/{SUBSCRIPTION}/resourceGroups/monitoring/providers/microsoft.insights/autoscalesettings/Web-Load"),
        "name": "Web-Load",
        "type": "Microsoft.Insights/autoscaleSettings",
        "location": "westeurope",
        "tags": { "team": "payments", "$type": "of Azure's own" },
        "properties": {
            "name": "Web-Load",
            "enabled": true,
            "targetResourceUri": target,
            "targetResourceLocation": "westeurope",
            "predictiveAutoscalePolicy": { "scaleMode": "Enabled", "scaleLookAheadTime": "PT10M" },
            "notifications": [{
                "operation": "Scale",
                "email": { "customEmails": ["sre@shop.example"] },
                "webhooks": [{ "serviceUri": "https://hooks.shop.example/scaled", "properties": { "level": "1" } }],
            }],
            "profiles": [
                {
                    "name": "{\"name\":\"Default\",\"for\":\"Weekdays\"}",
                    "capacity": { "minimum": "2", "maximum": "20", "default": "4" },
                    "recurrence": { "frequency": "Week", "schedule": {
                        "timeZone": "W. Europe Standard Time", "days": ["Monday"], "hours": [20], "minutes": [0] } },
                    "rules": [rule("Increase", "GreaterThan", 70.5), rule("Decrease", "LessThan", 30.0)],
                },
                {
                    "name": "Weekdays",
                    "capacity": { "minimum": "6", "maximum": "20", "default": "6" },
                    "recurrence": { "frequency": "Week", "schedule": {
                        "timeZone": "W. Europe Standard Time", "days": ["Monday"], "hours": [8], "minutes": [0] } },
                    "rules": [],
                },
                {
                    "name": "Sale",
                    "capacity": { "minimum": "9", "maximum": "20", "default": "9" },
                    "fixedDate": { "timeZone": "UTC", "start": "2027-11-26T00:00:00Z", "end": "2027-11-27T00:00:00Z" },
                    "rules": [],
                },
            ],
            "whatOnlyALaterVersionHas": { "deep": [1, 2.5, null] },
        },
    })
}

/// The setting as somebody left it with this switch.
fn with(mut setting: Value, enabled: bool) -> Value {
    setting["properties"]["enabled"] = enabled.into();
    setting
}

struct Scene {
    settings: Settings,
    server: Server,
    provider: Azure,
    clock: Clock,
}

impl Scene {
    async fn new() -> Self {
        Self::bent(|api| api).await
    }

    async fn bent<A: Api>(bend: impl FnOnce(Simulated) -> A) -> Self {
        let clock = clock();
        let api = Simulated::new(cloud(2, &clock)).with_page(1);
        let settings = api.settings();
        settings.put(setting("web-0"));
        let server = serve(bend(api)).await;
        let provider = provider(&server.url(), &clock).await;
        Self { settings, server, provider, clock }
    }

    fn native(&self) -> &dyn Native {
        self.provider.native().unwrap()
    }

    fn stands(&self) -> Value {
        self.settings.get("monitoring", "web-load").unwrap()
    }

    fn writes(&self) -> Vec<Exchange> {
        self.server
            .exchanges()
            .into_iter()
            .filter(|e| e.method != "GET" && e.path.starts_with("/subscriptions"))
            .collect()
    }

    async fn foreign(&self) -> Vec<Foreign> {
        observe(&self.provider, &Ask::new(group("web-0"))).await.unwrap().foreign
    }
}

#[tokio::test]
async fn it_is_suspended_and_comes_back_as_it_was() {
    let scene = Scene::new().await;
    let (native, web) = (scene.native(), group("web-0"));
    let acts = [Foreign { name: "autoscale setting Web-Load".into(), removes: Some(true) }];
    assert_eq!(scene.foreign().await, acts);
    let undo = native.prepare(&web).await.unwrap();
    let shown: Vec<String> = undo.switches.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["autoscale setting monitoring/Web-Load: enabled true -> false"]);
    assert_eq!(scene.stands(), setting("web-0"), "preparing reads alone");
    for _ in 0..2 {
        native.suspend(&web, &undo).await.unwrap();
        assert_eq!(scene.stands(), with(setting("web-0"), false), "not a word but the switch has changed");
        assert!(native.prepare(&web).await.unwrap().switches.is_empty(), "nothing is left that may act");
    }
    assert_eq!(scene.writes().len(), 1, "what stands as wanted is not written again");
    // The daemon sees it within a minute.
    scene.clock.pass(Duration::from_secs(60));
    assert_eq!(scene.foreign().await, []);
    for _ in 0..2 {
        native.restore(&web, &undo).await.unwrap();
        assert_eq!(scene.stands(), setting("web-0"));
    }
    assert_eq!(scene.writes().len(), 2);
    scene.clock.pass(Duration::from_secs(600));
    assert_eq!(scene.foreign().await, acts);
    // One that was deleted meanwhile stays deleted, in both directions.
    scene.settings.remove("monitoring", "web-load");
    native.suspend(&web, &undo).await.unwrap();
    native.restore(&web, &undo).await.unwrap();
    assert_eq!((scene.settings.get("monitoring", "web-load"), scene.writes().len()), (None, 2));
}

#[tokio::test]
async fn it_reads_as_the_command_lines_output_does() {
    let scene = Scene::new().await;
    let policy = scene.native().describe(&group("web-0")).await.unwrap();
    assert_eq!((&*policy.name, policy.mode), ("autoscale setting Web-Load", NativeMode::On));
    assert_eq!((policy.min, policy.max, policy.when_blind), (Some(2), Some(20), Some(4)));
    let kinds = |of: fn(&NativeKind) -> bool| policy.rules.iter().filter(|rule| of(&rule.kind)).count();
    assert_eq!(kinds(|kind| matches!(kind, NativeKind::Steps { .. })), 1, "{policy:?}");
    assert_eq!(kinds(|kind| matches!(kind, NativeKind::Schedule(_))), 1, "{policy:?}");
    assert_eq!(kinds(|kind| matches!(kind, NativeKind::Other(_))), 1, "the fixed date: {policy:?}");
    assert!(policy.notes.iter().any(|note| note.contains("Predictive autoscale is on")), "{:?}", policy.notes);
    // The same group by its ARM id, and suspended.
    scene.settings.put(with(setting("web-0"), false));
    let id = setting("WEB-0")["properties"]["targetResourceUri"].as_str().unwrap().to_owned();
    assert_eq!(scene.native().describe(&id.as_str().into()).await.unwrap().mode, NativeMode::Off);
    // A set that nobody scales, and none at all.
    let idle = scene.native().describe(&group("web-1")).await.unwrap();
    assert!(idle.rules.is_empty() && idle.mode == NativeMode::Off, "{idle:?}");
    for answer in [
        scene.native().describe(&group("gone")).await.map(drop),
        scene.native().prepare(&group("gone")).await.map(drop),
    ] {
        assert!(matches!(answer, Err(ProviderError::NotFound { .. })), "{answer:?}");
    }
    let mut second = setting("web-0");
    second["id"] = second["id"].as_str().unwrap().replace("Web-Load", "second").into();
    scene.settings.put(second);
    let error = scene.native().describe(&group("web-0")).await.unwrap_err();
    assert!(matches!(&error, ProviderError::Invalid { what } if what.contains("monitoring/second")), "{error}");
}

#[tokio::test]
async fn what_somebody_has_set_since_is_a_conflict() {
    let scene = Scene::new().await;
    let (native, web) = (scene.native(), group("web-0"));
    let undo = native.prepare(&web).await.unwrap();
    let check = async |what: &str, answer: Result<(), ProviderError>| {
        assert!(matches!(answer, Err(ProviderError::Conflict { .. })), "{what}: {answer:?}");
    };
    // Another setting came.
    let mut second = setting("web-0");
    second["id"] = second["id"].as_str().unwrap().replace("Web-Load", "second").into();
    scene.settings.put(second);
    check("more may act", native.suspend(&web, &undo).await).await;
    scene.settings.remove("monitoring", "second");
    // It was given another set.
    scene.settings.put(setting("web-1"));
    check("suspend elsewhere", native.suspend(&web, &undo).await).await;
    check("restore elsewhere", native.restore(&web, &undo).await).await;
    // A record of another position than any that it can stand in.
    scene.settings.put(setting("web-0"));
    let mut odd = undo.clone();
    odd.switches[0].was = None;
    check("neither", native.suspend(&web, &odd).await).await;
    assert_eq!((scene.stands(), scene.writes().len()), (setting("web-0"), 0), "nothing was written");
    let strange = Undo { switches: vec![contract::native::Switch { what: "x".into(), ..undo.switches[0].clone() }] };
    let error = native.restore(&web, &strange).await.unwrap_err();
    assert!(matches!(error, ProviderError::Invalid { .. }), "{error}");
}

#[tokio::test]
async fn a_change_between_the_list_and_the_write_is_kept() {
    let changed = Arc::new(Mutex::new(false));
    let seen = Arc::clone(&changed);
    let scene = Scene::bent(|api| {
        let settings = api.settings();
        Bent(api, move |inner: &Simulated, request: &Request| {
            // Somebody edits the setting after the list was answered.
            if request.path.ends_with("/Web-Load") && !std::mem::replace(&mut *seen.lock().unwrap(), true) {
                let mut edited = setting("web-0");
                edited["properties"]["profiles"][0]["capacity"]["maximum"] = "40".into();
                settings.put(edited);
            }
            inner.answer(request)
        })
    })
    .await;
    let undo = scene.native().prepare(&group("web-0")).await.unwrap();
    scene.native().suspend(&group("web-0"), &undo).await.unwrap();
    assert!(*changed.lock().unwrap());
    let stands = scene.stands();
    assert_eq!(stands["properties"]["enabled"], false);
    assert_eq!(stands["properties"]["profiles"][0]["capacity"]["maximum"], "40", "read again just before the write");
}

#[tokio::test]
async fn an_etag_that_azure_gives_guards_the_write() {
    let scene = Scene::bent(|api| {
        Bent(api, |inner: &Simulated, request: &Request| {
            if request.method == "PUT" {
                assert_eq!(request.header("if-match"), Some("\"7\""));
                return Reply::json(412, &json!({ "error": { "code": "PreconditionFailed", "message": "changed" } }));
            }
            inner.answer(request).with("etag", "\"7\"")
        })
    })
    .await;
    let undo = scene.native().prepare(&group("web-0")).await.unwrap();
    let answer = scene.native().suspend(&group("web-0"), &undo).await;
    assert!(matches!(answer, Err(ProviderError::Conflict { .. })), "{answer:?}");
    assert_eq!(scene.stands(), setting("web-0"));
}

#[tokio::test]
async fn a_write_without_a_whole_answer_is_unclear_and_asking_again_ends_it() {
    for fault in [Fault::ErrorAfterEffect, Fault::Truncated, Fault::Garbage, Fault::Html, Fault::Hang { effect: true }]
    {
        let scene = Scene::new().await;
        let undo = scene.native().prepare(&group("web-0")).await.unwrap();
        scene.server.inject(Kind::Write, fault);
        let answer = scene.native().suspend(&group("web-0"), &undo).await;
        assert!(matches!(answer, Err(ProviderError::Unclear { .. })), "{fault:?}: {answer:?}");
        scene.server.clear();
        scene.native().suspend(&group("web-0"), &undo).await.unwrap();
        assert_eq!(scene.stands(), with(setting("web-0"), false), "{fault:?}");
    }
    let refused =
        [(Refusal::Denied, "denied"), (Refusal::Throttled { retry_after: Some(Duration::from_secs(7)) }, "throttled")];
    for (refusal, code) in refused {
        let scene = Scene::new().await;
        let undo = scene.native().prepare(&group("web-0")).await.unwrap();
        scene.server.inject(Kind::Write, Fault::Refuse(refusal));
        let error = scene.native().suspend(&group("web-0"), &undo).await.unwrap_err();
        assert_eq!(error.code(), code, "{error}");
        assert_eq!(scene.stands(), setting("web-0"));
    }
    // An answer that says something else than what was written.
    let scene = Scene::bent(|api| {
        Bent(api, |inner: &Simulated, request: &Request| match request.method.as_str() {
            "PUT" => Reply::json(200, &setting("web-0")),
            _ => inner.answer(request),
        })
    })
    .await;
    let undo = scene.native().prepare(&group("web-0")).await.unwrap();
    let answer = scene.native().suspend(&group("web-0"), &undo).await;
    assert!(matches!(answer, Err(ProviderError::Unclear { .. })), "{answer:?}");
}

#[tokio::test]
async fn what_cannot_be_read_is_unknown_and_nothing_is_written() {
    for (fault, code) in [
        (Fault::Html, "transport"),
        (Fault::Truncated, "transport"),
        (Fault::LaterPages, "transport"),
        (Fault::Redirect, "transport"),
        (Fault::Refuse(Refusal::Denied), "denied"),
        (Fault::Refuse(Refusal::Expired), "expired"),
    ] {
        let scene = Scene::new().await;
        let mut other = setting("web-1");
        other["id"] = other["id"].as_str().unwrap().replace("Web-Load", "another").into();
        scene.settings.put(other);
        let undo = scene.native().prepare(&group("web-0")).await.unwrap();
        scene.server.inject(Kind::Read, fault);
        for error in [
            scene.native().describe(&group("web-0")).await.unwrap_err(),
            scene.native().prepare(&group("web-0")).await.unwrap_err(),
            scene.native().suspend(&group("web-0"), &undo).await.unwrap_err(),
            scene.native().restore(&group("web-0"), &undo).await.unwrap_err(),
        ] {
            assert_eq!(error.code(), code, "{fault:?}: {error}");
        }
        assert!(scene.writes().is_empty(), "{fault:?}");
    }
    // Items that come twice are one.
    let scene = Scene::new().await;
    scene.server.inject(Kind::Read, Fault::Garble(Garble::Duplicates));
    assert_eq!(scene.native().prepare(&group("web-0")).await.unwrap().switches.len(), 1);
}
