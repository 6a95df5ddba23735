//! The clouds: moto with microburst before it, for faults in the cloud's own words, or a simulated AWS in this process for
//! what moto cannot show; and a boto3 process that reads and changes groups past everything.

use super::http::{Message, tcp};
use super::process::{Process, free_port, leashed, spawn, venv};
use contract::{GroupId, Timestamp, micros};
use serde_json::{Value, json};
use sim::{Boot, Script, Settings, Span};
use sim_cloud::Server;
use sim_cloud::aws::Aws;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const PATIENCE: Duration = Duration::from_secs(20);

/// A running cloud.
pub struct Cloud {
    /// Where skala's calls go: microburst's port, or the simulated AWS'.
    pub port: u16,
    person: Person,
    simulated: Option<Simulated>,
    _processes: Vec<Process>,
    _dir: tempfile::TempDir,
}

/// A simulated AWS that lives in real time.
struct Simulated {
    api: Arc<Aws>,
    machines: sim::Cloud,
    /// The server ends with the runtime that it runs on.
    _server: Server,
    _runtime: tokio::runtime::Runtime,
}

impl Simulated {
    /// Instances boot and go at once, until a test says otherwise.
    fn start(port: u16) -> Self {
        let now = || Timestamp(micros(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()));
        let at_once = Span(Duration::ZERO);
        let retry = Span(Duration::from_secs(5));
        let settings = Settings { boot: Boot::exactly(at_once), terminating: at_once, retry, ..Settings::default() };
        let machines = sim::Cloud::new(settings, Arc::new(now)).unwrap();
        let api = Arc::new(Aws::new(machines.clone()));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let server =
            runtime.block_on(Server::start(Arc::clone(&api) as Arc<_>, ([127, 0, 0, 1], port).into())).unwrap();
        Self { api, machines, _server: server, _runtime: runtime }
    }
}

/// One group as boto3 shows it.
#[derive(Clone, Debug, PartialEq, serde::Deserialize)]
pub struct Group {
    pub desired: u32,
    pub min: u32,
    pub max: u32,
    pub instances: Vec<Instance>,
}

#[derive(Clone, Debug, PartialEq, serde::Deserialize)]
pub struct Instance {
    pub id: String,
    pub state: String,
    pub protected: bool,
}

impl Group {
    /// The ids of its instances.
    pub fn ids(&self) -> Vec<String> {
        self.instances.iter().map(|instance| instance.id.clone()).collect()
    }
}

impl Cloud {
    pub fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (behind, port) = (free_port(), free_port());
        let mut command = Command::new(venv().join("bin/moto_server"));
        command.args(["-H", "127.0.0.1", "-p", &behind.to_string()]);
        let mut moto = Process::start("moto_server", command, &dir.path().join("moto.log"));
        moto.wait_listening(behind);
        let mut command = Command::new(venv().join("bin/microburst"));
        command.args(["--host", "127.0.0.1", "-p", &port.to_string(), "-u", &format!("http://127.0.0.1:{behind}")]);
        let mut microburst = Process::start("microburst", command, &dir.path().join("microburst.log"));
        microburst.wait_listening(port);
        warm_up(port);
        let person = Person::at(&[&format!("http://127.0.0.1:{behind}")]);
        Self { port, person, simulated: None, _processes: vec![microburst, moto], _dir: dir }
    }

    /// The simulated AWS: instances boot slowly, launches fail, processes can be suspended.
    pub fn simulated() -> Self {
        let port = free_port();
        let simulated = Simulated::start(port);
        let person = Person::at(&[&format!("http://127.0.0.1:{port}"), "zones"]);
        Self { port, person, simulated: Some(simulated), _processes: Vec::new(), _dir: tempfile::tempdir().unwrap() }
    }

    fn machines(&self) -> &Simulated {
        self.simulated.as_ref().expect("only the simulated AWS can be told how to behave")
    }

    /// From now on what a simulated group launches takes so long.
    pub fn boot_slowly(&self, name: &str, secs: u64) {
        let slow = sim::Fault::SlowBoot { span: Span(Duration::from_secs(secs)) };
        self.machines().machines.inject(Script { group: Some(name.into()), ..Script::new(slow) });
    }

    /// From now on a simulated group's launches fail, and this is said of it.
    pub fn fail_launches(&self, name: &str, words: &str) {
        let Simulated { api, machines, .. } = self.machines();
        api.say_of_failures(&GroupId::from(name), Some(words));
        machines.inject(Script { group: Some(name.into()), ..Script::new(sim::Fault::OutOfCapacity) });
    }

    /// From now on these zones of the simulated AWS, `a` to `c`, have no machines.
    pub fn empty_zones(&self, zones: &[&str]) {
        for zone in zones {
            let script = Script { zone: Some((*zone).into()), ..Script::new(sim::Fault::OutOfCapacity) };
            self.machines().machines.inject(script);
        }
    }

    /// Machines can be had again everywhere.
    pub fn launch_again(&self, name: &str) {
        let Simulated { api, machines, .. } = self.machines();
        machines.clear_faults();
        api.say_of_failures(&GroupId::from(name), None);
    }

    /// Gives a group a scaling policy of the cloud's own.
    pub fn put_policy(&self, name: &str) {
        self.person.ask(&json!({"op": "put_policy", "name": name}));
    }

    /// Makes a group.
    pub fn create(&self, name: &str, min: u32, max: u32, desired: u32) {
        self.person.ask(&json!({"op": "create", "name": name, "min": min, "max": max, "desired": desired}));
    }

    /// Every group.
    pub fn groups(&self) -> BTreeMap<String, Group> {
        serde_json::from_value(self.person.ask(&json!({"op": "groups"}))).unwrap()
    }

    /// One group.
    pub fn group(&self, name: &str) -> Group {
        self.groups().remove(name).unwrap_or_else(|| panic!("there is no group {name}"))
    }

    /// Changes desired as a person would.
    pub fn set_desired(&self, name: &str, to: u32) {
        self.person.ask(&json!({"op": "desired", "name": name, "to": to}));
    }

    /// Protects instances from scale-in.
    pub fn protect(&self, name: &str, ids: &[String]) {
        self.person.ask(&json!({"op": "protect", "name": name, "ids": ids, "on": true}));
    }

    /// Suspends one of the group's processes, or resumes it.
    pub fn suspend(&self, name: &str, process: &str, on: bool) {
        self.person.ask(&json!({"op": "suspend", "name": name, "process": process, "on": on}));
    }

    /// A group's tags.
    pub fn tags(&self, name: &str) -> BTreeMap<String, String> {
        serde_json::from_value(self.person.ask(&json!({"op": "tags", "name": name}))).unwrap()
    }

    /// Adds a fault to one scene's calls of one operation; `rule` is the rest of microburst's rule.
    pub fn fault(&self, scene: &str, operation: &str, mut rule: Value) {
        rule["service"] = "autoscaling".into();
        rule["operation"] = operation.into();
        rule["headers"] = json!({"x-scene": scene});
        let rules = json!([rule]).to_string();
        let answer = self.control("PATCH", "rules", &rules);
        assert!(answer.is_array() || answer.is_object(), "microburst takes {rules}: {answer}");
    }

    /// How often microburst itself says that it did a scene's present faults.
    pub fn fired(&self, scene: &str) -> u64 {
        let rules = self.control("GET", "rules", "");
        let of_scene = rules.as_array().unwrap().iter().filter(|rule| rule["headers"]["x-scene"] == scene);
        of_scene.map(|rule| rule["fired_count"].as_u64().unwrap()).sum()
    }

    /// Ends a scene's faults; says how often they were done.
    pub fn clear(&self, scene: &str) -> u64 {
        let fired = self.fired(scene);
        self.control("DELETE", "rules", &json!([{"headers": {"x-scene": scene}}]).to_string());
        fired
    }

    fn control(&self, verb: &str, path: &str, body: &str) -> Value {
        let path = format!("/_microburst/{path}");
        let answer = tcp(self.port, verb, &path, "application/json", body, PATIENCE).expect("microburst answers");
        assert_eq!(answer.status() / 100, 2, "{verb} {path} {body}: {}", answer.text());
        serde_json::from_slice(&answer.body).unwrap_or_else(|error| panic!("{path}: {error}: {}", answer.text()))
    }
}

/// The first call of each service takes microburst seconds, in which it reads that service's model.
fn warm_up(port: u16) {
    for (service, call) in [
        ("autoscaling", "Action=DescribeAutoScalingGroups&Version=2011-01-01"),
        ("ec2", "Action=DescribeRegions&Version=2016-11-15"),
    ] {
        let scope = format!("Credential=x/20260101/us-east-1/{service}/aws4_request, SignedHeaders=host, Signature=x");
        let head = format!(
            "POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: AWS4-HMAC-SHA256 {scope}\r\n\
             Content-Type: application/x-www-form-urlencoded"
        );
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(3 * PATIENCE)).unwrap();
        stream.write_all(&Message { head, body: call.into() }.bytes("")).unwrap();
        let answer = Message::read(&mut stream).unwrap_or_else(|| panic!("microburst does not answer {call}"));
        assert_eq!(answer.status(), 200, "{call}: {}", answer.text());
    }
}

/// The boto3 process.
struct Person {
    pipes: Mutex<(ChildStdin, BufReader<ChildStdout>)>,
    child: Child,
}

impl Person {
    fn at(arguments: &[&str]) -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/daemon/backends/asg.py");
        let mut command = Command::new(venv().join("bin/python"));
        command.arg(script).args(arguments);
        let mut command = leashed(&command);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = spawn(command).expect("the venv's python starts");
        let pipes = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        Self { pipes: Mutex::new(pipes), child }
    }

    fn ask(&self, request: &Value) -> Value {
        let mut pipes = self.pipes.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        writeln!(pipes.0, "{request}").unwrap();
        let mut line = String::new();
        pipes.1.read_line(&mut line).unwrap();
        let mut answer: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("asg.py: {error}: {line}"));
        assert!(answer.get("ok").is_some(), "{request}: {answer}");
        answer["ok"].take()
    }
}

impl Drop for Person {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}
