//! The load generator: the metrics endpoint of every instance of every fleet in these tests. The load is a number that a
//! test sets; it is shared out over the instances that show themselves, which they do only so long after they were first
//! seen, as machines that boot.

use super::http::Message;
use super::now;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What a fleet's instances show.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Show {
    /// Everything.
    All,
    /// Nothing at all.
    Nothing,
    /// This instead of each instance's load.
    Value(f64),
    /// What they showed last, under its old time: a gateway that repeats what it was once told.
    Frozen,
    /// Only the first half of them.
    Half,
}

struct Member {
    /// In seconds since the epoch.
    seen: f64,
    /// Requests served.
    total: f64,
}

struct Fleet {
    boot: f64,
    /// Requests a second.
    load: f64,
    show: Show,
    /// Every sample carries its time, as what comes through a gateway does.
    stamped: bool,
    members: BTreeMap<String, Member>,
    /// Until when the counters have been carried on.
    until: f64,
    /// What was last shown, for [`Show::Frozen`].
    page: String,
    /// Every load that was set, and when.
    history: Vec<(f64, f64)>,
}

impl Fleet {
    /// Carries the counters on to a time.
    fn run(&mut self, now: f64) {
        let visible: Vec<String> = self.visible(self.until);
        let share = self.load / visible.len().max(1) as f64 * (now - self.until).max(0.0);
        for id in visible {
            if let Some(member) = self.members.get_mut(&id) {
                member.total += share;
            }
        }
        self.until = now;
    }

    fn visible(&self, at: f64) -> Vec<String> {
        let booted = self.members.iter().filter(|(_, member)| at - member.seen >= self.boot);
        booted.map(|(id, _)| id.clone()).collect()
    }

    fn render(&mut self, name: &str, now: f64) -> String {
        if self.show == Show::Frozen {
            return self.page.clone();
        }
        self.run(now);
        let visible = self.visible(now);
        let shown = match self.show {
            Show::Nothing => 0,
            Show::Half => visible.len().div_ceil(2),
            _ => visible.len(),
        };
        let stamp = if self.stamped { format!(" {}", (now * 1000.0) as i64) } else { String::new() };
        let mut page = String::new();
        for id in &visible[..shown] {
            let labels = format!(r#"fleet="{name}",instance_id="{id}""#);
            let total = self.members[id].total;
            let share = match self.show {
                Show::Value(value) => value,
                _ => self.load / visible.len() as f64,
            };
            let share = if share.is_infinite() { "+Inf".into() } else { share.to_string() };
            _ = writeln!(page, "requests_total{{{labels}}} {total}{stamp}\nrps{{{labels}}} {share}{stamp}");
        }
        if shown > 0 {
            _ = writeln!(page, "offered{{fleet=\"{name}\"}} {}{stamp}", self.load);
        }
        self.page = page.clone();
        page
    }
}

#[derive(Default)]
struct Inner {
    fleets: Mutex<BTreeMap<String, Fleet>>,
    ended: AtomicBool,
}

/// The running endpoint.
pub struct Exporter {
    pub port: u16,
    inner: Arc<Inner>,
}

impl Exporter {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let inner = Arc::new(Inner::default());
        let shared = Arc::clone(&inner);
        std::thread::spawn(move || {
            listener.set_nonblocking(true).unwrap();
            while !shared.ended.load(Ordering::SeqCst) {
                let Ok((mut stream, _)) = listener.accept() else {
                    std::thread::sleep(Duration::from_millis(5));
                    continue;
                };
                stream.set_nonblocking(false).unwrap();
                stream.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
                if Message::read(&mut stream).is_some() {
                    let answer = Message::answer(200, "text/plain; version=0.0.4", shared.page());
                    _ = stream.write_all(&answer.bytes(""));
                }
            }
        });
        Self { port, inner }
    }

    /// A fleet from now on; its instances show themselves `boot` after they are first seen, the first ones at once.
    pub fn add(&self, fleet: &str, boot: Duration, load: f64, instances: &[String], stamped: bool) {
        let at = now();
        let member = |id: &String| (id.clone(), Member { seen: at - boot.as_secs_f64(), total: 0.0 });
        let fresh = Fleet {
            boot: boot.as_secs_f64(),
            load,
            show: Show::All,
            stamped,
            members: instances.iter().map(member).collect(),
            until: at,
            page: String::new(),
            history: vec![(at, load)],
        };
        self.inner.fleets.lock().unwrap().insert(fleet.into(), fresh);
    }

    /// A fleet's instances are these now: those that are gone stop showing themselves, new ones begin to boot.
    pub fn members(&self, fleet: &str, instances: &[String]) {
        self.with(fleet, |fleet| {
            let at = now();
            fleet.run(at);
            fleet.members.retain(|id, _| instances.contains(id));
            for id in instances {
                fleet.members.entry(id.clone()).or_insert(Member { seen: at, total: 0.0 });
            }
        });
    }

    /// The fleet's load from now on, in requests a second.
    pub fn set_load(&self, fleet: &str, load: f64) {
        self.with(fleet, |fleet| {
            let at = now();
            fleet.run(at);
            fleet.load = load;
            fleet.history.push((at, load));
        });
    }

    /// What the fleet's instances show from now on.
    pub fn show(&self, fleet: &str, show: Show) {
        self.with(fleet, |fleet| fleet.show = show);
    }

    /// The largest load within a time.
    pub fn most(&self, fleet: &str, from: f64, to: f64) -> f64 {
        let most = self.with(fleet, |fleet| {
            let ends = fleet.history.iter().skip(1).map(|(at, _)| *at).chain([f64::MAX]);
            let spans = fleet.history.iter().zip(ends);
            spans.filter(|((at, _), end)| *at <= to && *end > from).map(|((_, load), _)| *load).fold(0.0, f64::max)
        });
        most.unwrap_or(0.0)
    }

    /// The names of the fleets.
    pub fn fleets(&self) -> Vec<String> {
        self.inner.fleets.lock().unwrap().keys().cloned().collect()
    }

    pub fn remove(&self, fleet: &str) {
        self.inner.fleets.lock().unwrap().remove(fleet);
    }

    fn with<T>(&self, fleet: &str, look: impl FnOnce(&mut Fleet) -> T) -> Option<T> {
        self.inner.fleets.lock().unwrap().get_mut(fleet).map(look)
    }
}

impl Inner {
    fn page(&self) -> String {
        let at = now();
        self.fleets.lock().unwrap().iter_mut().map(|(name, fleet)| fleet.render(name, at)).collect()
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        self.inner.ended.store(true, Ordering::SeqCst);
    }
}
