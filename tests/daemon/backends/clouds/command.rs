//! `skala sim-cloud` as its users have it: a process, what it prints, a daemon with exactly that, and faults on demand.

use super::super::http::{Message, tcp};
use super::super::process::{Process, free_port};
use super::stand::Load;
use crate::living::{readme_block, run};
use serde_json::Value;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);

/// A running `skala sim-cloud`.
struct SimCloud {
    dir: tempfile::TempDir,
    process: Process,
    control: u16,
}

impl SimCloud {
    fn start(arguments: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("out");
        let mut command = Command::new(env!("CARGO_BIN_EXE_skala"));
        command.arg("sim-cloud").args(arguments);
        let mut process = Process::start("skala sim-cloud", command, &log);
        let deadline = Instant::now() + PATIENCE;
        let control = loop {
            assert!(process.ended().is_none() && Instant::now() < deadline, "{}", process.tail());
            let text = std::fs::read_to_string(&log).unwrap();
            let ready = text.lines().find(|line| line.starts_with("# ready"));
            let port = ready.and_then(|line| line.rsplit(':').next()?.split('/').next()?.parse().ok());
            match port {
                Some(port) => break port,
                None => std::thread::sleep(Duration::from_millis(20)),
            }
        };
        Self { dir, process, control }
    }

    fn printed(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("out")).unwrap()
    }

    /// The variables that it says to set.
    fn variables(&self) -> Vec<(String, String)> {
        let text = self.printed();
        let exports = text.lines().filter_map(|line| line.strip_prefix("# export ")?.split_once('='));
        exports.map(|(name, value)| (name.to_owned(), value.trim_matches('\'').to_owned())).collect()
    }

    fn ask(&self, verb: &str, path: &str, body: &str) -> Message {
        tcp(self.control, verb, path, "text/plain", body, Duration::from_secs(5)).expect("an answer")
    }

    fn look(&self) -> Value {
        serde_json::from_slice(&self.ask("GET", "/", "").body).unwrap()
    }

    fn until(&self, what: &str, is: impl Fn(&Value) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is(&self.look()) {
            assert!(Instant::now() < deadline, "{what}: {:#}", self.look());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// A signal ends it well.
    fn end(mut self, signal: &str) {
        self.process.signal(signal);
        let status = self.process.wait(Duration::from_secs(10));
        assert_eq!(status.code(), Some(0), "{}", self.process.tail());
    }
}

/// A daemon; its log is shown when a test fails.
struct Skala(Process);

impl Drop for Skala {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the daemon's log ends with\n{}", self.0.tail());
        }
    }
}

/// A daemon with what was printed, and a fleet in each of these clouds.
fn daemon(dir: &Path, clouds: &SimCloud, fleets: &[&str]) -> (Skala, Load) {
    let load = Load::start();
    let text = clouds.printed();
    let mut policies = String::new();
    for fleet in fleets {
        let of = text.split(&format!("[provider.{fleet}]\n")).nth(1).expect("its table");
        let group = of.split("group = \"").nth(1).and_then(|rest| rest.split('"').next()).expect("its group");
        policies += &format!(
            "[fleet.{fleet}]\nmode = \"on\"\nmin = 1\nmax = 20\nwarmup = \"0s\"\n\
             [[fleet.{fleet}.group]]\nprovider = \"{fleet}\"\ngroup = \"{group}\"\n\
             [fleet.{fleet}.metric.rps]\nsource = \"load\"\nquery = \"$.{fleet}\"\nunit = \"count\"\n\
             [[fleet.{fleet}.rule]]\nkind = \"per-instance\"\nmetric = \"rps\"\ntarget = 100\n\
             [fleet.{fleet}.scale_out]\nrate = [{{ instances = 20, per = \"1s\" }}]\n"
        );
        load.set(fleet, 200.0);
    }
    let config = format!(
        "[daemon]\npolicies = \"policies\"\ninterval = \"1s\"\n[store]\nurl = \"sqlite://{}\"\n[api]\n\
         socket = \"skala.sock\"\nlisten = \"127.0.0.1:{}\"\n[source.load]\nkind = \"http-json\"\n\
         url = \"http://127.0.0.1:{}/\"\ntrust_time = \"fetch\"\n{text}",
        dir.join("skala.db").display(),
        free_port(),
        load.port,
    );
    std::fs::create_dir(dir.join("policies")).unwrap();
    std::fs::write(dir.join("policies/fleets.toml"), policies).unwrap();
    std::fs::write(dir.join("skala.toml"), config).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_skala"));
    command.arg("run").arg("--config").arg(dir.join("skala.toml"));
    command.env("HOME", dir).envs(clouds.variables());
    (Skala(Process::start("skala run", command, &dir.join("skala.log"))), load)
}

/// What a cloud's one group holds and runs.
fn held(look: &Value, cloud: &str) -> (u64, u64) {
    let group = &look[cloud]["groups"][0];
    (group["desired"].as_u64().unwrap_or(0), group["running"].as_u64().unwrap_or(0))
}

#[test]
fn a_daemon_with_what_it_prints_scales_every_cloud() {
    let all = ["aws", "gcp", "azure", "kubernetes", "alibaba", "openstack"];
    let clouds =
        SimCloud::start(&[&all[..], &["--listen", "127.0.0.1:0", "--group", "web=2:0..9", "--boot", "1s"]].concat());
    let dir = tempfile::tempdir().unwrap();
    let (mut skala, load) = daemon(dir.path(), &clouds, &all);
    clouds
        .until("every cloud is read", |look| all.iter().all(|cloud| look[cloud]["calls"]["reads"].as_u64() > Some(2)));
    all.iter().for_each(|fleet| load.set(fleet, 500.0));
    clouds.until("five run in each", |look| all.iter().all(|cloud| held(look, cloud).1 == 5));

    // Faults while it runs: here no machines, there nothing at all.
    let said = clouds.ask("POST", "/aws/faults", "out-of-capacity,group=web");
    assert_eq!(said.status(), 200, "{}", said.text());
    assert_eq!(clouds.ask("POST", "/gcp/faults", "down,for=3s").status(), 200);
    let reads = clouds.look()["gcp"]["calls"]["reads"].as_u64();
    all.iter().for_each(|fleet| load.set(fleet, 700.0));
    clouds.until("seven run where nothing is wrong", |look| {
        ["azure", "kubernetes", "alibaba", "openstack"].iter().all(|cloud| held(look, cloud).1 == 7)
    });
    assert_eq!(held(&clouds.look(), "aws").1, 5, "no machines");
    let mut status = Command::new(env!("CARGO_BIN_EXE_skala"));
    let status = status.args(["status", "--config"]).arg(dir.path().join("skala.toml")).output().unwrap();
    let status = String::from_utf8(status.stdout).unwrap();
    assert!(status.contains("aws: 2 of the 7 asked of web are not there"), "{status}");
    clouds.until("the one that was down is back", |look| held(look, "gcp").1 == 7);
    assert!(clouds.look()["gcp"]["calls"]["reads"].as_u64() > reads);
    assert_eq!(clouds.look()["aws"]["faults"][0]["fault"], "out-of-capacity,group=web");
    assert_eq!(clouds.ask("DELETE", "/aws/faults", "").status(), 204);
    assert_eq!(clouds.look()["aws"]["faults"], serde_json::json!([]));

    // What is no fault is said, and what is not there.
    for (path, text, status, why) in [
        ("/aws/faults", "earthquake", 400, "`earthquake` is no fault"),
        ("/aws/faults", "out-of-capacity,group=nobody", 400, "no group `nobody`"),
        ("/ibm/faults", "hang", 404, "no cloud `ibm`"),
    ] {
        let said = clouds.ask("POST", path, text);
        assert!(said.status() == status && said.text().contains(why), "{path} {text}: {}", said.text());
    }
    skala.0.signal("TERM");
    assert!(skala.0.wait(Duration::from_secs(40)).success(), "{}", skala.0.tail());
    clouds.end("TERM");
}

#[test]
fn faults_from_the_start_and_clouds_by_name() {
    let clouds = SimCloud::start(&[
        "aws",
        "aws",
        "--listen",
        "127.0.0.1:0",
        "--group",
        "web=4@aws-2",
        "--fault",
        "set-desired=7,group=web,from=1s@aws-2",
        "--fault",
        "throttle,for=1h@aws",
    ]);
    let look = clouds.look();
    assert_eq!(look["aws"]["groups"], serde_json::json!([]));
    assert_eq!(look["aws"]["faults"][0]["fault"], "throttle,for=1h");
    assert_eq!(held(&look, "aws-2").0, 4);
    clouds.until("somebody set desired by hand", |look| held(look, "aws-2").0 == 7);
    let aws = look["aws"]["url"].as_str().unwrap().rsplit(':').next().unwrap().parse().unwrap();
    let form = "application/x-www-form-urlencoded";
    let ask = "Action=DescribeAutoScalingGroups&Version=2011-01-01";
    let refused = tcp(aws, "POST", "/", form, ask, Duration::from_secs(5)).unwrap();
    assert!(refused.status() == 400 && refused.text().contains("Throttling"), "{}", refused.text());
    clouds.end("INT");
}

#[test]
fn what_cannot_be_served_is_said() {
    let check = |arguments: &[&str], code: i32, err: &str| {
        let said = run(&[&["sim-cloud"], arguments].concat());
        assert!(said.code == code && said.out.is_empty() && said.err.contains(err), "{arguments:?}: {said:?}");
    };
    check(&[], 64, "CLOUD");
    check(&["ibm"], 64, "`ibm` is none of alibaba, aws");
    check(&["aws", "--listen", "here"], 64, "here");
    check(&["aws", "--listen", "0.0.0.0:0"], 64, "--expose allows it");
    check(&["aws", "--listen", "127.0.0.1:0", "--control", "[::]:0"], 64, "--control [::]:0 is not a loopback address");
    check(&["aws", "gcp", "--listen", "127.0.0.1:65535"], 64, "no port is left after it");
    check(&["aws", "--group", "web"], 64, "web=3:1..20");
    check(&["aws", "--group", "web=5:1..3", "--listen", "127.0.0.1:0"], 64, "out of order");
    check(&["aws", "--group", "web=5@gcp"], 64, "@gcp: none of the clouds here, which are aws");
    check(&["aws", "--group", "web=5", "--group", "web=6", "--listen", "127.0.0.1:0"], 64, "already there");
    check(&["aws", "--fault", "earthquake"], 64, "is no fault");
    check(&["aws", "--fault", "kill=1,group=nobody", "--listen", "127.0.0.1:0"], 64, "no group `nobody`");
    check(&["aws", "--boot", "soon"], 64, "write \"90s\"");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = taken.local_addr().unwrap().to_string();
    check(&["aws", "--listen", &at], 1, &format!("cannot listen on {at}: Address already in use"));
    check(&["aws", "--listen", "127.0.0.1:0", "--control", &at], 1, &format!("cannot listen on {at}"));
}

#[test]
fn the_readmes_lines_are_taken() {
    let block = readme_block("sh", "skala sim-cloud");
    let mut lines = block.lines().filter(|line| line.starts_with("skala sim-cloud "));
    let line = lines.next().expect("a line").split('#').next().unwrap();
    let mut arguments: Vec<&str> = line.split_whitespace().skip(2).collect();
    // Its ports may be taken here.
    arguments.extend(["--listen", "127.0.0.1:0"]);
    let clouds = SimCloud::start(&arguments);
    let faults = block.lines().filter_map(|line| line.strip_prefix("curl -d '")?.split_once('\''));
    let mut played = 0;
    for (fault, rest) in faults {
        let path = rest.split_whitespace().next().unwrap().splitn(4, '/').nth(3).unwrap();
        let said = clouds.ask("POST", &format!("/{path}"), fault);
        assert_eq!(said.status(), 200, "{fault}: {}", said.text());
        played += 1;
    }
    assert!(played > 0, "{block}");
    clouds.end("TERM");
}
