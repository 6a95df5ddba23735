//! The clouds: moto with microburst before it, for faults in the cloud's own words, or the project's stateful fake for what
//! moto cannot show; and a boto3 process that reads and changes groups past everything.

use super::http::{Message, tcp};
use super::process::{Process, free_port, leashed, spawn, venv};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(20);

/// A running cloud.
pub struct Cloud {
    /// Where skala's calls go: microburst's port, or the fake's.
    pub port: u16,
    person: Person,
    _processes: Vec<Process>,
    _dir: tempfile::TempDir,
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
        Self { port, person, _processes: vec![microburst, moto], _dir: dir }
    }

    /// The stateful fake: instances boot slowly, launches fail, processes can be suspended.
    pub fn fake() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let port = free_port();
        let mut command = Command::new(venv().join("bin/python"));
        command.args([concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fakes/asg_fake.py"), "--port", &port.to_string()]);
        let mut fake = Process::start("asg_fake.py", command, &dir.path().join("fake.log"));
        fake.wait_listening(port);
        let person = Person::at(&[&format!("http://127.0.0.1:{port}"), "fake"]);
        Self { port, person, _processes: vec![fake], _dir: dir }
    }

    /// Tells the fake how a group behaves.
    pub fn behave(&self, name: &str, how: &Value) {
        let path = format!("/_fake/groups/{name}");
        let answer = tcp(self.port, "POST", &path, "application/json", &how.to_string(), PATIENCE).unwrap();
        assert_eq!(answer.status(), 200, "{how}: {}", answer.text());
    }

    /// Tells the fake which zones have no room, `out`, and which have some again, `ok`.
    pub fn zones(&self, states: &Value) {
        let answer = tcp(self.port, "POST", "/_fake/zones", "application/json", &states.to_string(), PATIENCE).unwrap();
        assert_eq!(answer.status(), 200, "{states}: {}", answer.text());
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
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
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
