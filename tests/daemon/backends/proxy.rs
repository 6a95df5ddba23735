//! The recorder between skala and the cloud: it sees every call, and does what microburst cannot: slow effects, slow
//! answers, answers lost after the effect, and a port that nobody listens on.

use super::http::{Message, decoded};
use super::now;
use std::collections::BTreeMap;
use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Longer than the accepting thread takes to notice that it is to stop or to begin.
const NOTICED: Duration = Duration::from_millis(100);

/// One call as it was seen.
#[derive(Clone, Debug)]
pub struct Call {
    /// When it came, in seconds since the epoch.
    pub at: f64,
    pub action: String,
    /// The form's other parameters.
    pub params: BTreeMap<String, String>,
    /// What came back from behind the recorder; `None`: nothing (yet).
    pub status: Option<u16>,
    /// When that came.
    pub effect_at: f64,
    /// What the caller got; `None`: nothing (yet).
    pub answered: Option<u16>,
    /// When that went.
    pub answered_at: f64,
}

impl Call {
    /// The group it is about, where it says so.
    pub fn group(&self) -> Option<&str> {
        self.params.get("AutoScalingGroupName").map(String::as_str)
    }

    /// The instances that it names.
    pub fn instances(&self) -> Vec<&str> {
        let is_id = |key: &str| key == "InstanceId" || key.starts_with("InstanceIds.member.");
        self.params.iter().filter(|(key, _)| is_id(key)).map(|(_, id)| id.as_str()).collect()
    }

    /// Whether it changes how many instances there are.
    pub fn is_write(&self) -> bool {
        ["SetDesiredCapacity", "TerminateInstanceInAutoScalingGroup", "RunInstances", "TerminateInstances"]
            .contains(&self.action.as_str())
    }
}

/// What happens to a call.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// It takes effect so much later, whether or not the caller still waits.
    SlowEffect(Duration),
    /// It takes effect at once and is answered so much later.
    SlowAnswer(Duration),
    /// It takes effect, and the connection ends without an answer.
    LostAnswer,
    /// It takes effect, and an error is answered.
    ErrorAfterEffect,
    /// It is answered, and from then on nobody listens.
    ThenDown,
}

struct Rule {
    action: String,
    fault: Fault,
    times: usize,
}

#[derive(Default)]
struct Inner {
    calls: Mutex<Vec<Call>>,
    rules: Mutex<Vec<Rule>>,
    /// Nobody listens while it is set.
    down: AtomicBool,
    ended: AtomicBool,
}

/// A running recorder.
pub struct Proxy {
    pub port: u16,
    inner: Arc<Inner>,
}

impl Proxy {
    /// Before a server on loopback. Each request carries `X-Scene`, so that one microburst can tell scenarios apart.
    pub fn before(upstream: u16, scene: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let inner = Arc::new(Inner::default());
        let (shared, scene) = (Arc::clone(&inner), scene.to_owned());
        std::thread::spawn(move || accept(listener, address, upstream, &scene, &shared));
        Self { port: address.port(), inner }
    }

    /// Does this to the next `times` calls of an action.
    pub fn fault(&self, action: &str, fault: Fault, times: usize) {
        self.inner.rules.lock().unwrap().push(Rule { action: action.into(), fault, times });
    }

    /// Refuses connections, or takes them again.
    pub fn set_down(&self, down: bool) {
        self.inner.down.store(down, Ordering::SeqCst);
        std::thread::sleep(NOTICED);
    }

    /// Whether it refuses connections.
    pub fn is_down(&self) -> bool {
        self.inner.down.load(Ordering::SeqCst)
    }

    /// Every call so far.
    pub fn calls(&self) -> Vec<Call> {
        self.inner.calls.lock().unwrap().clone()
    }

    /// The calls that change a group: those that name it, and those that name one of its instances.
    pub fn writes(&self, group: &str, instances: &[String]) -> Vec<Call> {
        let is_about = |call: &Call| {
            call.group() == Some(group) || call.instances().iter().any(|id| instances.iter().any(|known| known == id))
        };
        self.calls().into_iter().filter(|call| call.is_write() && is_about(call)).collect()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.inner.ended.store(true, Ordering::SeqCst);
    }
}

fn accept(listener: TcpListener, address: SocketAddr, upstream: u16, scene: &str, inner: &Arc<Inner>) {
    let mut listener = Some(listener);
    while !inner.ended.load(Ordering::SeqCst) {
        if inner.down.load(Ordering::SeqCst) {
            listener = None;
        } else if listener.is_none() {
            listener = TcpListener::bind(address).ok();
        }
        let accepted = listener.as_ref().and_then(|listener| {
            listener.set_nonblocking(true).unwrap();
            listener.accept().ok()
        });
        match accepted {
            Some((stream, _)) => {
                stream.set_nonblocking(false).unwrap();
                let (inner, scene) = (Arc::clone(inner), scene.to_owned());
                std::thread::spawn(move || serve(stream, upstream, &scene, &inner));
            }
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}

fn serve(mut client: TcpStream, upstream: u16, scene: &str, inner: &Inner) {
    let Some(request) = Message::read(&mut client) else { return };
    let mut params: BTreeMap<String, String> = request
        .text()
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(key, value)| (decoded(key), decoded(value)))
        .collect();
    let action = params.remove("Action").unwrap_or_default();
    let fault = inner.take_fault(&action);
    let at = {
        let mut calls = inner.calls.lock().unwrap();
        calls.push(Call { at: now(), action, params, status: None, effect_at: 0.0, answered: None, answered_at: 0.0 });
        calls.len() - 1
    };
    if let Some(Fault::SlowEffect(time)) = fault {
        std::thread::sleep(time);
    }
    let Some(answer) = forward(upstream, &request, scene) else { return };
    {
        let mut calls = inner.calls.lock().unwrap();
        (calls[at].status, calls[at].effect_at) = (Some(answer.status()), now());
    }
    let answer = match fault {
        Some(Fault::LostAnswer) => return,
        Some(Fault::ErrorAfterEffect) => {
            let error = "<Error><Code>InternalFailure</Code><Message>An internal error has occurred.</Message></Error>";
            let body = format!("<ErrorResponse>{error}<RequestId>r</RequestId></ErrorResponse>");
            Message::answer(500, "text/xml", body)
        }
        Some(Fault::SlowAnswer(time)) => {
            std::thread::sleep(time);
            answer
        }
        _ => answer,
    };
    if let Some(Fault::ThenDown) = fault {
        inner.down.store(true, Ordering::SeqCst);
        std::thread::sleep(NOTICED);
    }
    if client.write_all(&answer.bytes("")).is_ok() {
        let mut calls = inner.calls.lock().unwrap();
        (calls[at].answered, calls[at].answered_at) = (Some(answer.status()), now());
    }
}

fn forward(upstream: u16, request: &Message, scene: &str) -> Option<Message> {
    let mut stream = TcpStream::connect(("127.0.0.1", upstream)).ok()?;
    stream.write_all(&request.bytes(&format!("X-Scene: {scene}\r\n"))).ok()?;
    Message::read(&mut stream)
}

impl Inner {
    fn take_fault(&self, action: &str) -> Option<Fault> {
        let mut rules = self.rules.lock().unwrap();
        let rule = rules.iter_mut().find(|rule| rule.action == action && rule.times > 0)?;
        rule.times -= 1;
        Some(rule.fault)
    }
}
