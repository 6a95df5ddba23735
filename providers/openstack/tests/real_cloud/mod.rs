//! A real OpenStack, as tests/openstack/up makes one, by another path than the provider's: passwords, and an admin.

mod relay;

use super::stand;
use conformance::{Call, Fault, Fixture, Offers, Spec, Truth, Unsupported};
use contract::{BoxFuture, GroupId, InstanceId, OnCall, Owner, Timestamp};
use openstack::{Deadlines, OpenStack, Settings, Template};
use relay::Relay;
use reqwest::Method;
use serde_json::{Value, json};
use sim_cloud::{Server, fixture};
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The calls that a provider made, by name, with what came of each.
pub type Calls = Arc<Mutex<Vec<(&'static str, &'static str)>>>;

/// Tests take turns: some take the cloud's hosts away.
static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
static MADE: AtomicU32 = AtomicU32::new(0);

pub struct RealCloud {
    pub variables: BTreeMap<String, String>,
    client: reqwest::Client,
    admin: String,
    user: String,
    /// Where a provider that is to meet faults goes through.
    pub relay: Server,
    _turn: tokio::sync::MutexGuard<'static, ()>,
}

// The servers live by the machine's clock, so the provider under test has to as well.
#[allow(clippy::disallowed_methods)]
pub fn now() -> Timestamp {
    Timestamp(contract::micros(SystemTime::now().duration_since(UNIX_EPOCH).unwrap()))
}

/// Where a service listens: the ports of tests/openstack/up follow on Keystone's.
fn origin(variables: &BTreeMap<String, String>, service: &str) -> String {
    let (host, port) = variables["OS_AUTH_URL"].trim_end_matches("/v3").rsplit_once(':').unwrap();
    let nth = ["identity", "", "", "compute", "network"].iter().position(|name| *name == service).unwrap();
    format!("{host}:{}", port.parse::<usize>().unwrap() + nth)
}

/// The variables of a file of `export NAME=VALUE ...` lines.
fn exports(path: &str) -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let words = text.split_whitespace().filter_map(|word| word.split_once('='));
    words.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

impl RealCloud {
    /// The cloud that `SKALA_OPENSTACK_RC` names, this test's alone until it ends; without one nothing is tested.
    pub async fn find() -> Option<Self> {
        let Ok(rc) = std::env::var("SKALA_OPENSTACK_RC") else {
            eprintln!("not run: SKALA_OPENSTACK_RC names no OpenStack; tests/openstack/up makes one");
            return None;
        };
        let turn = TURN.lock().await;
        let variables = exports(&rc);
        let admin = exports(&variables["SKALA_TEST_ADMIN"]);
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let [identity, compute, network] = ["identity", "compute", "network"].map(|name| origin(&variables, name));
        let relay = Arc::new(Relay::before(identity, compute, network));
        let relay = Server::start(relay, ([127, 0, 0, 1], 0).into()).await.unwrap();
        let mut cloud = Self { variables, client, admin: String::new(), user: String::new(), relay, _turn: turn };
        let default = json!({ "id": "default" });
        cloud.admin = cloud
            .token(
                json!({ "name": admin["OS_USERNAME"], "domain": default, "password": admin["OS_PASSWORD"] }),
                json!({ "name": "admin", "domain": default }),
            )
            .await;
        cloud.user = cloud
            .token(
                json!({ "name": "skala", "domain": default, "password": "skala" }),
                json!({ "id": cloud.variable("SKALA_TEST_PROJECT") }),
            )
            .await;
        cloud.restore().await;
        Some(cloud)
    }

    pub fn variable(&self, name: &str) -> &str {
        &self.variables[name]
    }

    async fn token(&self, user: Value, project: Value) -> String {
        let body = json!({ "auth": {
            "identity": { "methods": ["password"], "password": { "user": user } }, "scope": { "project": project },
        } });
        let url = format!("{}/auth/tokens", self.variable("OS_AUTH_URL"));
        let answer = self.client.post(url).json(&body).send().await.unwrap().error_for_status().unwrap();
        answer.headers()["x-subject-token"].to_str().unwrap().to_owned()
    }

    /// A fresh token for the user of the tests; what an admin does to the user ends the old one. Keystone tells before from
    /// after by whole seconds, rounded: so close behind, the new token would have ended with the old one.
    pub async fn log_in(&mut self) {
        tokio::time::sleep(Duration::from_secs(2)).await;
        let user = json!({ "name": "skala", "domain": { "id": "default" }, "password": "skala" });
        self.user = self.token(user, json!({ "id": self.variable("SKALA_TEST_PROJECT") })).await;
    }

    /// A request as the admin, or as the tests' user.
    pub async fn ask(&self, as_admin: bool, method: Method, service: &str, path: &str, body: Option<Value>) -> Value {
        let (status, text) = self.send(as_admin, method.clone(), service, path, body).await;
        assert!(status.is_success(), "{method} {path}: {status}: {text}");
        serde_json::from_str(&text).unwrap_or(Value::Null)
    }

    /// Deletes what may have gone by itself since it was listed.
    async fn delete_if_there(&self, service: &str, path: &str) {
        let (status, text) = self.send(true, Method::DELETE, service, path, None).await;
        assert!(status.is_success() || status.as_u16() == 404, "DELETE {path}: {status}: {text}");
    }

    async fn send(
        &self,
        as_admin: bool,
        method: Method,
        service: &str,
        path: &str,
        body: Option<Value>,
    ) -> (reqwest::StatusCode, String) {
        let version = match service {
            "identity" => "v3",
            "compute" => "v2.1",
            "network" => "v2.0",
            other => panic!("{other}"),
        };
        let url = format!("{}/{version}{path}", origin(&self.variables, service));
        let mut request = self.client.request(method, &url).header("OpenStack-API-Version", "compute 2.79");
        request = request.header("X-Auth-Token", if as_admin { &self.admin } else { &self.user });
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await.unwrap();
        (answer.status(), answer.text().await.unwrap())
    }

    /// All servers of the project, in full, past the pages.
    pub async fn servers(&self) -> Vec<Value> {
        let (mut all, mut marker): (Vec<Value>, _) = (Vec::new(), String::new());
        loop {
            let project = self.variable("SKALA_TEST_PROJECT");
            let path = format!("/servers/detail?all_tenants=1&project_id={project}{marker}");
            let page = self.ask(true, Method::GET, "compute", &path, None).await;
            all.extend(page["servers"].as_array().unwrap().iter().cloned());
            match (all.last(), page["servers_links"].is_null()) {
                (Some(last), false) => marker = format!("&marker={}", last["id"].as_str().unwrap()),
                _ => return all,
            }
        }
    }

    /// The servers with a tag.
    pub async fn of(&self, tag: &str) -> Vec<Value> {
        let carries = |server: &Value| server["tags"].as_array().is_some_and(|tags| tags.iter().any(|t| t == tag));
        self.servers().await.into_iter().filter(carries).collect()
    }

    pub async fn ports(&self) -> Vec<Value> {
        let project = self.variable("SKALA_TEST_PROJECT");
        let answer = self.ask(true, Method::GET, "network", &format!("/ports?project_id={project}"), None).await;
        answer["ports"].as_array().unwrap().clone()
    }

    /// A tag that nothing else has, not even in an earlier run.
    pub fn new_tag(&self, stem: &str) -> String {
        let secs = now().0 / 1_000_000;
        format!("{stem}-{secs:x}-{}", MADE.fetch_add(1, Ordering::Relaxed))
    }

    /// How servers are made here.
    pub fn template(&self) -> Template {
        Template {
            image: self.variable("SKALA_TEST_IMAGE").into(),
            flavor: self.variable("SKALA_TEST_SMALL").into(),
            networks: Some(vec![self.variable("SKALA_TEST_NETWORK").into()]),
            ..Template::default()
        }
    }

    /// A provider with the credentials of the rc file, and the calls it makes.
    pub fn provider(&self, template: Template) -> (OpenStack, Calls) {
        self.provider_with(template, &[])
    }

    pub fn provider_with(&self, template: Template, more: &[(&str, &str)]) -> (OpenStack, Calls) {
        let mut variables = self.variables.clone();
        variables.extend(more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let settings = Settings { groups: BTreeMap::from([("*".to_owned(), template)]), ..Settings::default() };
        let calls = Calls::default();
        let heard = Arc::clone(&calls);
        let on_call: OnCall = Arc::new(move |call| heard.lock().unwrap().push((call.operation, call.code)));
        let environment = Arc::new(move |name: &str| variables.get(name).cloned());
        let owner = Owner { id: "daemon-1".into() };
        let provider = OpenStack::connect_in(settings, owner, Arc::new(now), environment).unwrap();
        // The machine may be busy with much else.
        let deadlines = Deadlines { read: Duration::from_secs(60), write: Duration::from_secs(600) };
        (provider.with_deadlines(deadlines).with_on_call(on_call), calls)
    }

    /// Waits until this holds of the project's servers.
    pub async fn wait(&self, what: &str, holds: impl Fn(&[Value]) -> bool) {
        for _ in 0..480 {
            if holds(&self.servers().await) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        panic!("not within four minutes: {what}: {:#?}", self.servers().await);
    }

    /// Waits until nothing is being built or deleted, and why what failed did is told: Nova writes that a moment after the
    /// state, and does not always show it in lists.
    pub async fn rest(&self) {
        // One that was deleted is shown as such for a moment.
        let rests = |server: &Value| {
            server["OS-EXT-STS:task_state"].is_null() && server["status"] != "BUILD" && server["status"] != "DELETED"
        };
        self.wait("everything rests", |servers| servers.iter().all(rests)).await;
        for server in self.servers().await.iter().filter(|server| server["status"] == "ERROR") {
            let path = format!("/servers/{}", server["id"].as_str().unwrap());
            let mut tries = 0;
            while self.ask(true, Method::GET, "compute", &path, None).await["server"]["fault"].is_null() {
                assert!(tries < 60, "it is not told why {path} failed");
                tries += 1;
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        }
    }

    /// Ends what an earlier test did to the hosts and the quota, and all of its servers and ports.
    pub async fn restore(&self) {
        for host in ["fake-1", "fake-2"] {
            self.set_host(host, "enabled").await;
        }
        self.set_quota(-1).await;
        for server in self.servers().await {
            self.delete_if_there("compute", &format!("/servers/{}", server["id"].as_str().unwrap())).await;
        }
        self.wait("all servers are gone", <[Value]>::is_empty).await;
        for port in self.ports().await {
            self.delete_if_there("network", &format!("/ports/{}", port["id"].as_str().unwrap())).await;
        }
    }

    /// Switches scheduling to a host on or off.
    pub async fn set_host(&self, host: &str, status: &str) {
        let services = self.ask(true, Method::GET, "compute", "/os-services?binary=nova-compute", None).await;
        let service = services["services"].as_array().unwrap().iter().find(|service| service["host"] == host).unwrap();
        let path = format!("/os-services/{}", service["id"].as_str().unwrap());
        self.ask(true, Method::PUT, "compute", &path, Some(json!({ "status": status }))).await;
    }

    /// Waits until a host is seen as up or down.
    pub async fn wait_for_host(&self, host: &str, state: &str) {
        for _ in 0..240 {
            let services = self.ask(true, Method::GET, "compute", "/os-services?binary=nova-compute", None).await;
            if services["services"].as_array().unwrap().iter().any(|s| s["host"] == host && s["state"] == state) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        panic!("{host} is not {state} within two minutes");
    }

    /// The project's limit of instances.
    pub async fn set_quota(&self, instances: i64) {
        let path = format!("/os-quota-sets/{}", self.variable("SKALA_TEST_PROJECT"));
        let body = json!({ "quota_set": { "instances": instances, "force": true } });
        self.ask(true, Method::PUT, "compute", &path, Some(body)).await;
    }

    /// Ends a compute host the hard way.
    pub fn kill_host(&self, number: u32) {
        let file = format!("{}/pid/nova-compute-{number}", self.variable("SKALA_TEST_STATE"));
        let pid = std::fs::read_to_string(file).unwrap();
        assert!(Command::new("kill").args(["-9", pid.trim()]).status().unwrap().success());
    }

    /// Starts it again, with this driver.
    pub fn start_host(&self, number: u32, driver: &str) {
        let state = self.variable("SKALA_TEST_STATE");
        let own = format!("{state}/etc/compute-{number}.conf");
        let text = std::fs::read_to_string(&own).unwrap();
        let kept: String =
            text.lines().filter(|l| !l.starts_with("compute_driver")).map(|l| format!("{l}\n")).collect();
        std::fs::write(&own, format!("{kept}compute_driver=fake.{driver}\n")).unwrap();
        // The host outlives this test; tests/openstack/down ends it, by its pid.
        let script = format!(
            "nova-compute --config-file {state}/etc/nova.conf --config-file {own} \
             >{state}/log/nova-compute-{number}-again.out 2>&1 </dev/null & echo $! >{state}/pid/nova-compute-{number}"
        );
        assert!(Command::new("sh").args(["-c", &script]).status().unwrap().success());
    }

    /// Makes servers with a tag as a person would.
    async fn make(&self, tag: &str, count: u32) {
        let template = self.template();
        let one = |index: u32| {
            let body = json!({ "server": {
                "name": format!("{tag}-{index}"), "imageRef": template.image, "flavorRef": template.flavor,
                "networks": "none", "tags": [tag],
            } });
            self.ask(false, Method::POST, "compute", "/servers", Some(body))
        };
        futures_util::future::join_all((0..count).map(one)).await;
    }
}

impl Fixture for RealCloud {
    fn offers(&self) -> Offers {
        let mut offers = fixture::offers(false);
        stand::without_what_tags_lack(&mut offers);
        // The provider would wait for real seconds.
        offers.retry_after = false;
        // What tests/openstack/up sets, and enough groups for a second one.
        Offers { page: Some(20), groups_at_once: 23, ..offers }
    }

    fn now(&self) -> Timestamp {
        now()
    }

    fn create(&mut self, spec: Spec) -> BoxFuture<'_, Result<GroupId, Unsupported>> {
        Box::pin(async move {
            if spec.running != spec.desired {
                return Err(Unsupported("Nova keeps no desired".into()));
            }
            let tag = self.new_tag("suite");
            self.make(&tag, spec.running).await;
            Ok(GroupId::from(tag))
        })
    }

    fn delete<'a>(&'a mut self, group: &'a GroupId) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            for server in self.of(group.as_str()).await {
                self.delete_if_there("compute", &format!("/servers/{}", server["id"].as_str().unwrap())).await;
            }
        })
    }

    fn truth<'a>(&'a mut self, group: &'a GroupId) -> BoxFuture<'a, Option<Truth>> {
        Box::pin(async move {
            let there = |s: &Value| {
                s["OS-EXT-STS:task_state"] != "deleting" && s["status"] != "ERROR" && s["status"] != "DELETED"
            };
            let servers = self.of(group.as_str()).await;
            let ids: BTreeSet<InstanceId> =
                servers.iter().filter(|server| there(server)).map(|s| s["id"].as_str().unwrap().into()).collect();
            Some(Truth { desired: None, instances: ids })
        })
    }

    fn settle(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(self.rest())
    }

    fn protect<'a>(&'a mut self, _: &'a GroupId, instance: &'a InstanceId) -> BoxFuture<'a, Result<(), Unsupported>> {
        Box::pin(async move {
            let path = format!("/servers/{instance}/action");
            self.ask(false, Method::POST, "compute", &path, Some(json!({ "lock": null }))).await;
            Ok(())
        })
    }

    fn fail_launches<'a>(&'a mut self, _: &'a GroupId) -> BoxFuture<'a, Result<(), Unsupported>> {
        Box::pin(async move {
            for host in ["fake-1", "fake-2"] {
                self.set_host(host, "disabled").await;
            }
            Ok(())
        })
    }

    fn inject<'a>(
        &'a mut self,
        _: &'a GroupId,
        call: Call,
        fault: &'a Fault,
    ) -> BoxFuture<'a, Result<(), Unsupported>> {
        let mute = Fault::Throttle { retry_after: None };
        let fault = if matches!(fault, Fault::Throttle { .. }) { &mute } else { fault };
        fixture::inject(&self.relay, call, fault, true);
        Box::pin(async { Ok(()) })
    }

    fn calls(&mut self) -> conformance::Calls {
        let calls = self.relay.calls();
        conformance::Calls { reads: calls.reads, writes: calls.writes }
    }

    fn clear(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            fixture::clear(&self.relay).await;
            for host in ["fake-1", "fake-2"] {
                self.set_host(host, "enabled").await;
            }
        })
    }
}
