//! Answers that are short, busy or unreadable: what they say of one thing is taken for nothing else.

#![allow(clippy::unwrap_used)]

mod stand;

use azure::Azure;
use contract::{Ask, FailureKind, InstanceState, Observation, Provider, ProviderError, Suspended};
use serde_json::{Value, json};
use sim_cloud::azure::{Azure as Simulated, RESOURCE_GROUP, SUBSCRIPTION};
use sim_cloud::fixture::Clock;
use sim_cloud::{Api, Refusal, Reply, Request, Server};
use stand::{Bent, clock, cloud, group, observe, provider, serve, target};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

/// The list of all virtual machines, which a filter narrows.
const FILTERED: &str = "/providers/Microsoft.Compute/virtualMachines";

struct Scene {
    cloud: sim::Cloud,
    server: Server,
    provider: Azure,
    clock: Clock,
    /// Whether the bend is in effect.
    bent: Arc<AtomicBool>,
}

impl Scene {
    /// Two sets of three machines; a bend that says nothing of a request leaves it as it is.
    async fn new(flexible: bool, bend: impl Fn(&Simulated, &Request) -> Option<Reply> + Send + Sync + 'static) -> Self {
        let clock = clock();
        let cloud = cloud(0, &clock);
        for name in ["web-0", "web-1"] {
            cloud.create(name, &sim::GroupSettings { desired: 3, ..sim::GroupSettings::default() }).unwrap();
        }
        let api = Simulated::new(cloud.clone());
        let bent: Arc<AtomicBool> = Arc::default();
        let api = Bent(if flexible { api.flexible() } else { api }, {
            let bent = Arc::clone(&bent);
            move |inner: &Simulated, request: &Request| {
                let reply = bent.load(SeqCst).then(|| bend(inner, request)).flatten();
                reply.unwrap_or_else(|| inner.answer(request))
            }
        });
        let server = serve(api).await;
        let provider = provider(&server.url(), &clock).await;
        Self { cloud, server, provider, clock, bent }
    }

    fn bend(&self, on: bool) {
        self.bent.store(on, SeqCst);
    }

    async fn look(&self, name: &str) -> Result<Observation, ProviderError> {
        observe(&self.provider, &Ask::new(group(name))).await
    }

    async fn raise(&self, name: &str, seen: &Observation, to: u32) -> Result<contract::Accepted, ProviderError> {
        self.provider.raise(&target(name, seen, u128::from(to)), to).await
    }

    fn asked(&self, method: &str, end: &str) -> usize {
        self.server.exchanges().iter().filter(|one| one.method == method && one.path.ends_with(end)).count()
    }
}

/// A busy answer with this code.
fn busy(code: &str, wait: u64) -> Reply {
    Reply::json(429, &json!({ "error": { "code": code, "message": "wait" } })).with("retry-after", wait.to_string())
}

fn states(seen: &Observation) -> Vec<InstanceState> {
    seen.instances.iter().map(|one| one.state).collect()
}

fn waits<T: std::fmt::Debug>(answer: Result<T, ProviderError>, secs: Option<u64>) {
    let wait = secs.map(Duration::from_secs);
    assert!(matches!(&answer, Err(ProviderError::Throttled { retry_after }) if *retry_after == wait), "{answer:?}");
}

#[tokio::test]
async fn machines_are_filtered_by_the_id_that_azure_gave() {
    let scene = Scene::new(true, |_, _| None).await;
    let seen = observe(&scene.provider, &Ask::new("RG-Skala/WEB-0")).await.unwrap();
    assert_eq!(states(&seen), [InstanceState::Running; 3]);
    let asked = scene.server.exchanges().into_iter().find(|one| one.path.ends_with(FILTERED)).unwrap();
    let (_, filter) = asked.query.iter().find(|(key, _)| key == "$filter").unwrap();
    assert!(
        filter.ends_with(&format!(
            "/resourceGroups/{RESOURCE_GROUP}/providers/Microsoft.Compute/virtualMachineScaleSets/web-0'"
        )),
        "{filter}"
    );
}

#[tokio::test]
async fn a_machine_that_the_filtered_list_lacks_is_there_all_the_same() {
    let scene = Scene::new(true, |_, request| {
        request.path.ends_with(FILTERED).then(|| Reply::json(200, &json!({ "value": [] })))
    })
    .await;
    assert_eq!(states(&scene.look("web-0").await.unwrap()), [InstanceState::Running; 3]);
    scene.bend(true);
    scene.clock.pass(Duration::from_secs(301));
    let seen = scene.look("web-0").await.unwrap();
    assert_eq!(states(&seen), [InstanceState::Running; 3], "as they were last seen");
    // Somebody who has never seen them run.
    let fresh = provider(&scene.server.url(), &scene.clock).await;
    let seen = observe(&fresh, &Ask::new(group("web-0"))).await.unwrap();
    assert_eq!((states(&seen), seen.unfilled()), (vec![InstanceState::Pending; 3], 0));
    for to in 0..3 {
        let answer = fresh.cancel_unfilled(&target("web-0", &seen, 1), to).await;
        assert!(matches!(answer, Err(ProviderError::Conflict { .. })), "{to}: {answer:?}");
    }
    assert_eq!(scene.cloud.truth(&"web-0".into()).unwrap().desired, Some(3));
    // The list is whole again at the next look.
    scene.bend(false);
    let seen = observe(&fresh, &Ask::new(group("web-0"))).await.unwrap();
    assert_eq!(states(&seen), [InstanceState::Running; 3]);
}

#[tokio::test]
async fn protection_that_is_not_read_is_not_none() {
    let own = |request: &Request| request.path.ends_with("/web-0/virtualMachines");
    for status in [400, 404] {
        let scene = Scene::new(true, move |_, request| {
            own(request)
                .then(|| Reply::json(status, &json!({ "error": { "code": "Nothing", "message": "like this" } })))
        })
        .await;
        scene.bend(true);
        let answer = scene.look("web-0").await;
        assert!(answer.is_err(), "{answer:?}");
    }
    // A list that does not have all of them yet.
    let scene = Scene::new(true, move |inner, request| {
        let reply = own(request).then(|| inner.answer(request))?;
        let mut body = reply.to_json();
        body["value"].as_array_mut()?.pop();
        Some(reply.with_json(&body))
    })
    .await;
    scene.bend(true);
    let seen = scene.look("web-0").await.unwrap();
    assert_eq!(seen.instances.iter().map(|one| one.protected).collect::<Vec<_>>(), [false, false, true]);
    let last = seen.instances[2].id.clone();
    let terminator = scene.provider.terminator().unwrap();
    let accepted = terminator.terminate(&target("web-0", &seen, 1), std::slice::from_ref(&last)).await.unwrap();
    assert_eq!(accepted.skipped, [last]);
    assert_eq!(scene.cloud.truth(&"web-0".into()).unwrap().instances.len(), 3);
    scene.bend(false);
    assert!(scene.look("web-0").await.unwrap().instances.iter().all(|one| !one.protected));
}

#[tokio::test]
async fn what_one_set_is_told_to_wait_keeps_no_other_waiting() {
    let scene = Scene::new(false, |_, request| {
        request.path.ends_with("/web-0/virtualMachines").then(|| busy("TooManyRequests", 60))
    })
    .await;
    scene.bend(true);
    let both = async || {
        let asks = ["web-0", "web-1"].map(|name| Ask::new(group(name)));
        let [first, second] = <[_; 2]>::try_from(scene.provider.observe(&asks).await).unwrap();
        (first, second.unwrap())
    };
    let (first, second) = both().await;
    waits(first, Some(60));
    scene.raise("web-1", &second, 4).await.unwrap();
    scene.clock.pass(Duration::from_secs(59));
    waits(both().await.0, Some(1));
    assert_eq!(scene.asked("GET", "/web-0/virtualMachines"), 1, "not before its time");
    scene.clock.pass(Duration::from_secs(1));
    scene.bend(false);
    assert_eq!(both().await.0.unwrap().instances.len(), 3);
}

#[tokio::test]
async fn one_locked_set_stops_no_other_raise() {
    let scene = Scene::new(false, |_, request| {
        let locked = request.method == "PATCH" && request.path.ends_with("/web-0");
        locked.then(|| busy("RetryableErrorDueToAnotherOperation", 60))
    })
    .await;
    scene.bend(true);
    let (first, second) = (scene.look("web-0").await.unwrap(), scene.look("web-1").await.unwrap());
    // How long is not told: whoever knows would keep all sets waiting.
    waits(scene.raise("web-0", &first, 5).await, None);
    scene.raise("web-1", &second, 5).await.unwrap();
    scene.clock.pass(Duration::from_secs(59));
    let first = scene.look("web-0").await.unwrap();
    waits(scene.raise("web-0", &first, 5).await, None);
    assert_eq!(scene.asked("PATCH", "/web-0"), 1, "not before its time");
    scene.bend(false);
    scene.clock.pass(Duration::from_secs(1));
    let first = scene.look("web-0").await.unwrap();
    scene.raise("web-0", &first, 5).await.unwrap();
}

#[tokio::test]
async fn what_the_subscription_is_told_to_wait_holds_for_everything() {
    for of_header in [false, true] {
        let scene = Scene::new(false, move |inner, request| {
            let reply = if of_header {
                busy("TooManyRequests", 17).with("x-ms-ratelimit-remaining-subscription-reads", "0")
            } else {
                inner.refusal(&Refusal::Throttled { retry_after: Some(Duration::from_secs(17)) }, request)
            };
            request.path.ends_with("/web-0/virtualMachines").then_some(reply)
        })
        .await;
        let seen = scene.look("web-1").await.unwrap();
        scene.bend(true);
        waits(scene.look("web-0").await, Some(17));
        scene.clock.pass(Duration::from_secs(7));
        let before = scene.server.calls();
        waits(scene.look("web-1").await, Some(10));
        waits(scene.raise("web-1", &seen, 4).await, Some(10));
        assert_eq!(scene.server.calls(), before);
    }
}

#[tokio::test]
async fn a_wait_for_autoscale_settings_keeps_no_set_waiting() {
    let scene = Scene::new(false, |_, request| {
        request.path.ends_with("/autoscaleSettings").then(|| busy("TooManyRequests", 3_600))
    })
    .await;
    let seen = scene.look("web-0").await.unwrap();
    scene.raise("web-0", &seen, 4).await.unwrap();
    scene.bend(true);
    let before = scene.asked("GET", "/autoscaleSettings");
    for _ in 0..3 {
        scene.clock.pass(Duration::from_secs(601));
        let seen = scene.look("web-0").await.unwrap();
        assert_eq!(seen.foreign, []);
    }
    let seen = scene.look("web-0").await.unwrap();
    scene.raise("web-0", &seen, 5).await.unwrap();
    assert_eq!(scene.asked("GET", "/autoscaleSettings") - before, 1, "not before its time");
}

/// A raise of `web-0` and what an observation is asked with afterwards, when the operation may be asked for the first time.
async fn raised(scene: &Scene) -> Ask {
    let seen = scene.look("web-0").await.unwrap();
    let accepted = scene.raise("web-0", &seen, 4).await.unwrap();
    scene.clock.pass(Duration::from_secs(60));
    Ask { operations: accepted.operations, ..Ask::new(group("web-0")) }
}

fn of_operation(request: &Request) -> bool {
    request.path.contains("/operations/")
}

#[tokio::test]
async fn an_operation_whose_answer_cannot_be_read_has_not_ended() {
    for body in [json!({ "status": null }), json!({ "status": ["Failed"] }), json!("a page")] {
        let scene = Scene::new(false, move |_, request| of_operation(request).then(|| Reply::json(200, &body))).await;
        scene.bend(true);
        let open = raised(&scene).await;
        assert_eq!(observe(&scene.provider, &open).await.unwrap().operations.len(), 1);
        scene.bend(false);
        scene.clock.pass(Duration::from_secs(15));
        assert_eq!(observe(&scene.provider, &open).await.unwrap().operations, []);
    }
    let scene = Scene::new(false, |_, request| {
        let error = json!({ "code": "AllocationFailed", "message": "no", "details": null });
        of_operation(request).then(|| Reply::json(200, &json!({ "status": "Failed", "error": error })))
    })
    .await;
    scene.bend(true);
    let open = raised(&scene).await;
    let seen = observe(&scene.provider, &open).await.unwrap();
    let kinds: Vec<_> = seen.launch_failures.iter().map(|failure| failure.kind).collect();
    assert_eq!((seen.operations, kinds), (vec![], vec![FailureKind::OutOfCapacity]));
}

#[tokio::test]
async fn an_operation_that_may_not_be_asked_is_not_asked_for_ever() {
    let polls = |scene: &Scene| scene.server.exchanges().iter().filter(|one| one.path.contains("/operations/")).count();
    let scene =
        Scene::new(false, |inner, request| of_operation(request).then(|| inner.refusal(&Refusal::Denied, request)))
            .await;
    scene.bend(true);
    let open = raised(&scene).await;
    for _ in 0..3 {
        assert_eq!(observe(&scene.provider, &open).await.unwrap().operations, []);
        scene.clock.pass(Duration::from_secs(60));
    }
    assert_eq!(polls(&scene), 1);
    // One that never answers well is asked for a day.
    let scene =
        Scene::new(false, |inner, request| of_operation(request).then(|| inner.refusal(&Refusal::Internal, request)))
            .await;
    scene.bend(true);
    let open = raised(&scene).await;
    scene.clock.pass(Duration::from_secs(43_200));
    assert_eq!(observe(&scene.provider, &open).await.unwrap().operations.len(), 1);
    scene.clock.pass(Duration::from_secs(43_200));
    // The token has ended by then.
    let _ = observe(&scene.provider, &open).await;
    assert_eq!(observe(&scene.provider, &open).await.unwrap().operations, []);
    let before = polls(&scene);
    scene.clock.pass(Duration::from_secs(60));
    assert_eq!(observe(&scene.provider, &open).await.unwrap().operations, []);
    assert_eq!(polls(&scene), before);
}

/// The autoscale setting of `web-0` with one profile that only adds, within this capacity.
fn adding(capacity: &Value) -> Value {
    let rule =
        json!({ "scaleAction": { "direction": "Increase", "type": "ChangeCount", "value": "1", "cooldown": "PT5M" } });
    let of = format!("/subscriptions/{SUBSCRIPTION}/resourceGroups/{RESOURCE_GROUP}/providers");
    json!({
        "id": format!("{of}/microsoft.insights/autoscalesettings/out"),
        "name": "out",
        "location": "westeurope",
        "properties": {
            "enabled": true,
            "targetResourceUri": format!("{of}/Microsoft.Compute/virtualMachineScaleSets/web-0"),
            "profiles": [{ "name": "always", "capacity": capacity, "rules": [rule] }],
        },
    })
}

#[tokio::test]
async fn the_bounds_of_a_setting_that_only_adds_are_the_sets() {
    let none = (None, None, None);
    for (capacity, expected) in [
        (json!({ "minimum": "2", "maximum": "6", "default": "2" }), (Some(2), Some(6), Some(false))),
        (json!({ "minimum": "2", "maximum": "some", "default": "2" }), none),
    ] {
        let setting = adding(&capacity);
        let scene = Scene::new(false, move |_, request| {
            let page = json!({ "value": [setting] });
            request.path.ends_with("/autoscaleSettings").then(|| Reply::json(200, &page))
        })
        .await;
        scene.bend(true);
        let seen = scene.look("web-0").await.unwrap();
        assert_eq!(seen.foreign.len(), 1);
        assert_eq!((seen.cloud_min, seen.cloud_max, seen.foreign[0].removes), expected);
        let other = scene.look("web-1").await.unwrap();
        assert_eq!((other.cloud_min, other.cloud_max, other.foreign.len()), (None, None, 0));
    }
}

#[tokio::test]
async fn settings_that_have_not_been_read_for_long_are_shown_and_stop_nothing() {
    let scene = Scene::new(false, |inner, request| {
        request.path.ends_with("/autoscaleSettings").then(|| inner.refusal(&Refusal::Denied, request))
    })
    .await;
    let seen = scene.look("web-0").await.unwrap();
    scene.raise("web-0", &seen, 4).await.unwrap();
    scene.bend(true);
    for _ in 0..3 {
        scene.clock.pass(Duration::from_secs(600));
        assert_eq!(scene.look("web-0").await.unwrap().suspended, []);
    }
    scene.clock.pass(Duration::from_secs(15));
    let seen = scene.look("web-0").await.unwrap();
    let [Suspended::Other(what)] = seen.suspended.as_slice() else { panic!("{:?}", seen.suspended) };
    assert!(what.starts_with("autoscale settings last read 2027-01-15T08:00:00Z: denied"), "{what}");
    assert_eq!(seen.foreign, []);
    scene.raise("web-0", &seen, 5).await.unwrap();
    scene.bend(false);
    scene.clock.pass(Duration::from_secs(15));
    assert_eq!(scene.look("web-0").await.unwrap().suspended, []);
}
