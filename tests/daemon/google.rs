//! Google Cloud through the real binary: readings from Cloud Monitoring, the autoscaler imported and handed over. The
//! cloud is a simulated one behind HTTP, on real time.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)] // Tests, and on real time.

use crate::living::{POLICY, Said, run, skala};
use contract::Foreign;
use serde_json::Value;
use sim_cloud::{Api, GcpSeries, Server};
use skala::clock::{Clock, SystemClock};
use std::fs;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

const DEPTH: &str = "pubsub.googleapis.com/subscription/num_undelivered_messages";
const GROUP: &str = "zones/europe-west1-b/web-1";

/// A cloud with one group that has an autoscaler, and a configuration of skala for it.
struct Google {
    _runtime: tokio::runtime::Runtime,
    api: Arc<sim_cloud::Gcp>,
    cloud: sim::Cloud,
    _server: Server,
    url: String,
    directory: tempfile::TempDir,
}

impl Google {
    fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let clock = SystemClock::new();
        let cloud = sim::Cloud::new(sim::Settings::default(), Arc::new(move || clock.now())).unwrap();
        let settings = sim::GroupSettings { desired: 2, ..sim::GroupSettings::default() };
        cloud.create("web-1", &settings).unwrap();
        let scaler = Foreign { name: "autoscaler web-1-k2xq".into(), removes: Some(true) };
        assert!(cloud.set_foreign(&"web-1".into(), vec![scaler]));
        let api = Arc::new(sim_cloud::Gcp::new(cloud.clone(), "shop-prod"));
        let serving = Server::start(Arc::clone(&api) as Arc<dyn Api>, ([127, 0, 0, 1], 0).into());
        let server = runtime.block_on(serving).unwrap();
        let (url, directory) = (server.url(), tempfile::tempdir().unwrap());
        fs::create_dir(directory.path().join("policies")).unwrap();
        let google = Self { _runtime: runtime, api, cloud, _server: server, url, directory };
        google.load(410.0);
        google.configure(&format!("{DEPTH}{{resource.labels.subscription_id=\"jobs\"}} mean 1m sum"));
        google
    }

    /// What the metric has shown for the last minutes.
    fn load(&self, value: f64) {
        let (now, every) = (self.cloud.now(), Duration::from_secs(20));
        let points = (0..30).map(|index| (now.before(every * index), value)).collect();
        let fields = [("resource.labels.subscription_id".to_owned(), "jobs".to_owned())].into();
        let (metric, resource) = (DEPTH.into(), "pubsub_subscription".into());
        self.api.set_series(vec![GcpSeries { metric, kind: "GAUGE", values: "INT64", resource, fields, points }]);
    }

    fn configure(&self, query: &str) {
        let (at, url) = (self.directory.path().display(), &self.url);
        let text = format!(
            "[daemon]\npolicies = \"policies\"\n[store]\nurl = \"sqlite://{at}/skala.db\"\n\
             [api]\nsocket = \"skala.sock\"\nlisten = \"127.0.0.1:0\"\n\
             [provider.cloud]\nkind = \"gcp\"\nproject = \"shop-prod\"\nendpoint_url = \"{url}\"\n\
             monitoring_endpoint_url = \"{url}\"\ncredentials = \"anonymous\"\n\
             [source.load]\nkind = \"cloud-monitoring\"\nprovider = \"cloud\"\n"
        );
        fs::write(self.directory.path().join("skala.toml"), text).unwrap();
        let policy = POLICY.replace("group    = \"web\"", &format!("group = \"{GROUP}\""));
        let policy = policy.replace("query  = \"rps\"", &format!("query = '{query}'\nmax_age = \"5m\""));
        fs::write(self.directory.path().join("policies/web.toml"), policy).unwrap();
    }

    fn run(&self, arguments: &[&str]) -> Said {
        let config = self.directory.path().join("skala.toml").display().to_string();
        run(&[arguments, &["--config", &config]].concat())
    }

    fn mode(&self) -> String {
        self.api.autoscaling_policy("web-1").unwrap()["mode"].as_str().unwrap().to_owned()
    }
}

/// The daemon; stopped and awaited when dropped.
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = Command::new("sh").args(["-c", &format!("kill -TERM {}", self.0.id())]).status();
        let _ = self.0.wait();
    }
}

#[test]
fn cloud_monitoring_is_a_source() {
    let google = Google::start();
    assert_eq!(google.run(&["check"]).code, 0, "{:?}", google.run(&["check"]));
    // Without the autoscaler nothing holds the fleet.
    assert!(google.cloud.set_foreign(&"web-1".into(), Vec::new()));
    let planned = |google: &Google| -> Value { serde_json::from_str(&google.run(&["plan", "--json"]).out).unwrap() };
    assert_eq!(planned(&google)["desired"], 5, "410 of 100 each: {:?}", google.run(&["plan"]));
    // What vanished removes nothing.
    google.api.set_series(Vec::new());
    let blind = planned(&google);
    assert_eq!(blind["desired"], 2, "{blind}");
    assert!(blind.to_string().contains("blind"), "{blind}");
    let allowed = google.run(&["iam", "print", "--provider", "cloud"]).out;
    let lines: Vec<&str> = allowed.lines().collect();
    assert!(lines.contains(&"compute.instanceGroupManagers.update"), "{allowed}");
    assert!(lines.contains(&"monitoring.timeSeries.list"), "{allowed}");
    google.configure("sum(rate(x[1m]))");
    let said = google.run(&["check"]);
    assert!(said.code == 78 && said.out.contains("is not a Cloud Monitoring query"), "{said:?}");
}

#[test]
fn an_autoscaler_is_imported_from_the_cloud_itself() {
    let google = Google::start();
    let said = google.run(&["import", "gcp", GROUP]);
    assert_eq!(said.code, 0, "{said:?}");
    for part in [
        "# autoscaler web-1-k2xq as a policy",
        "[fleet.web-1]",
        "min = 1",
        "max = 10",
        "warmup = \"1m\"",
        "provider = \"cloud\"",
        "group = \"zones/europe-west1-b/web-1\"",
        "kind = \"utilization\"",
        "target = 0.6",
    ] {
        assert!(said.out.contains(part), "{part}: {}", said.out);
    }
    assert!(said.err.contains("probable, check it: metric.cpu"), "{said:?}");
    // The same, from what gcloud prints: the group with its autoscaler within.
    let file = google.directory.path().join("described.json");
    let policy = google.api.autoscaling_policy("web-1").unwrap();
    let text =
        serde_json::json!({ "name": "web-1", "autoscaler": { "name": "web-1-k2xq", "autoscalingPolicy": policy } });
    fs::write(&file, text.to_string()).unwrap();
    let printed = google.run(&["import", "gcp", GROUP, "--from", &file.display().to_string()]);
    assert_eq!((printed.code, printed.out), (0, said.out));
    let said = google.run(&["import", "gcp", "zones/europe-west1-b/never"]);
    assert!(said.code == 1 && said.err.contains("not found"), "{said:?}");
    assert!(google.cloud.set_foreign(&"web-1".into(), Vec::new()));
    let said = google.run(&["import", "gcp", GROUP]);
    assert!(said.code == 78 && said.err.contains("without an autoscaler"), "{said:?}");
}

#[test]
fn an_autoscaler_is_handed_over_and_given_back() {
    let google = Google::start();
    let config = google.directory.path().join("skala.toml").display().to_string();
    let log = fs::File::create(google.directory.path().join("log")).unwrap();
    let daemon = skala(&["run", "--config", &config]).stdout(Stdio::null()).stderr(log).spawn().unwrap();
    let daemon = Daemon(daemon);
    let give_up = Instant::now() + Duration::from_secs(30);
    let switch = "autoscaler web-1-k2xq: mode ON -> OFF";
    // Until the daemon has read the load, a guard refuses.
    while !google.run(&["handover", "web", "--dry-run"]).out.ends_with(&format!("{switch}\n")) {
        let said = google.run(&["handover", "web", "--dry-run"]);
        assert!(
            Instant::now() < give_up,
            "{said:?}\n{}",
            fs::read_to_string(google.directory.path().join("log")).unwrap()
        );
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(google.mode(), "ON", "a dry run changes nothing");
    let said = google.run(&["handover", "web"]);
    assert!(said.code == 0 && said.out.contains(switch), "{said:?}");
    assert_eq!(google.mode(), "OFF");
    // Somebody sets it: a person has to choose.
    let only_out = Foreign { name: "autoscaler web-1-k2xq".into(), removes: Some(false) };
    google.cloud.set_foreign(&"web-1".into(), vec![only_out]);
    let said = google.run(&["handover", "web", "--back"]);
    assert!(said.code == 1 && said.err.contains("somebody has set it since"), "{said:?}");
    google.cloud.set_foreign(&"web-1".into(), Vec::new());
    drop(daemon);
    let said = google.run(&["handover", &format!("cloud/{GROUP}"), "--back"]);
    assert!(said.code == 0 && said.out.contains("mode OFF -> ON"), "{said:?}");
    assert_eq!(google.mode(), "ON");
    assert_eq!(google.run(&["handover", "--list"]).out, "nothing is handed over\n");
}
