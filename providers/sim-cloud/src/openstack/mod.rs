//! OpenStack: Keystone's tokens, the part of Nova's compute API that makes, lists and removes servers, and Neutron's
//! ports of those servers.
//!
//! The simulated group `servers:web` is all servers with the tag `web`; a server made with a tag that no group has makes
//! the group. As in Nova, a request that is sent twice makes two servers, and a launch for which there is no host is
//! accepted: a server in ERROR is what comes of it, and it stays until it is deleted. Nova refuses nothing at once for want
//! of machines. The zone that a request names is checked for being there; the simulated cloud chooses by itself.
//!
//! ```text
//! /identity/v3   /compute/v2.1   /network/v2.0
//! ```

mod keystone;
mod ports;
mod servers;
mod view;
mod words;

use crate::api::{Api, Kind};
use crate::faults::{Garble, Refusal};
use crate::request::{Reply, Request};
use contract::{Foreign, GroupId, InstanceId, Timestamp};
use serde_json::{Value, json};
use sim::Cloud;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The start of a simulated group's name that makes it one of tagged servers.
pub const PREFIX: &str = "servers:";
/// The one image.
pub const IMAGE: &str = "9f86d081-884c-4d65-9a2f-eaa0c55ad015";
/// The one flavor.
pub const FLAVOR: &str = "m1.small";
/// The one network.
pub const NETWORK: &str = "6b86b273-ff34-4ce1-9d6b-804eff5a3f57";
/// The project that everything is in.
pub const PROJECT: &str = "4e07408562bedb8b60ce05c1decfe3ad";
/// The application credential that is good.
pub const CREDENTIAL: (&str, &str) = ("d4735e3a265e16eee03f59718b9b5d03", "let-me-in");
/// The user whose password is good.
pub const USER: (&str, &str) = ("skala", "let-me-in");
/// After this marker, which no server has, comes the first page: what a page without servers points to.
pub const NOTHING_YET: &str = "nothing-yet";

/// How a simulated OpenStack is set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setup {
    /// Servers in a page, at most.
    pub page: usize,
    /// How long a token lasts.
    pub token: Duration,
    /// The newest microversion of compute, without the `2.` before it.
    pub newest: u32,
    /// Ports outlive their servers.
    pub leaves_ports: bool,
    /// A server that was deleted is kept for a while: it is in no list, and asked for by its id it is there.
    pub soft_deletes: bool,
    /// Something on the way drops the microversion's header.
    pub drops_version: bool,
    /// Lists do not say why a server is in ERROR, as where Nova's API has the database of another cell.
    pub hides_faults: bool,
    /// One of Nova's cells does not answer: the one with servers of every second group.
    pub cell_down: bool,
    /// Servers that boot are just being handed to a cell: Nova has each twice, and shows it once.
    pub hands_over: bool,
    /// Every host of this zone is switched off.
    pub closed_zone: Option<&'static str>,
    /// Nobody's credentials are good any more.
    pub locked_out: bool,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            page: 1_000,
            token: Duration::from_secs(3_600),
            newest: 93,
            leaves_ports: false,
            soft_deletes: false,
            drops_version: false,
            hides_faults: false,
            cell_down: false,
            hands_over: false,
            closed_zone: None,
            locked_out: false,
        }
    }
}

/// A simulated OpenStack of one project in one region, `RegionOne`.
pub struct OpenStack {
    cloud: Cloud,
    state: Mutex<State>,
}

/// What the machines themselves do not know.
#[derive(Default)]
struct State {
    setup: Setup,
    /// Tokens and their ends.
    tokens: BTreeMap<String, Timestamp>,
    /// What a request said of the server that it made.
    records: BTreeMap<InstanceId, Record>,
    /// Servers for which there was no host.
    stillborn: BTreeMap<String, Stillborn>,
    /// Machines that were deleted, by their servers' ids.
    deleted: BTreeMap<String, Record>,
    /// Ports by id, with the server each belongs to.
    ports: BTreeMap<String, String>,
    /// Requests so far: what ids are made of.
    made: u64,
}

#[derive(Clone, Default)]
struct Record {
    name: String,
    tags: Vec<String>,
    metadata: Value,
}

#[derive(Clone)]
struct Stillborn {
    record: Record,
    zone: Option<String>,
    at: Timestamp,
    fault: String,
}

impl OpenStack {
    /// An OpenStack over these machines.
    pub fn new(cloud: Cloud) -> Self {
        Self { cloud, state: Mutex::default() }
    }

    /// Changes how it is set up.
    pub fn set_up(&self, change: impl FnOnce(&mut Setup)) {
        change(&mut self.lock().setup);
    }

    /// Every token that was handed out is refused from now on.
    pub fn revoke_tokens(&self) {
        self.lock().tokens.clear();
    }

    /// How many ports there are.
    pub fn ports(&self) -> usize {
        self.settle_ports();
        self.lock().ports.len()
    }

    /// How many servers there are for which there was no host.
    pub fn stillborn(&self) -> usize {
        self.lock().stillborn.len()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn route(&self, request: &Request) -> Reply {
        let parts = request.parts();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        match parts.as_slice() {
            ["identity", rest @ ..] => self.identity(request, rest),
            ["compute", "v2.1"] => self.version(request),
            ["compute"] => Reply::json(300, &json!({ "versions": [self.version(request).to_json()["version"]] })),
            ["compute", "v2.1", rest @ ..] => self.authorised(request, |here| here.compute(request, rest)),
            ["network"] => ports::versions(&base(request)),
            ["network", "v2.0", rest @ ..] => self.authorised(request, |here| here.network(request, rest)),
            _ => words::not_found("The resource could not be found."),
        }
    }

    fn authorised(&self, request: &Request, answer: impl FnOnce(&Self) -> Reply) -> Reply {
        let now = self.cloud.now();
        let token = request.header("x-auth-token").unwrap_or_default();
        let good = self.lock().tokens.get(token).is_some_and(|until| now < *until);
        if good { answer(self) } else { words::unauthorized() }
    }
}

/// The URL that the request was sent to, as links repeat it.
fn base(request: &Request) -> String {
    format!("http://{}", request.header("host").unwrap_or("127.0.0.1"))
}

/// Nova's id of a machine: a UUID of the machine's own number.
fn uuid(id: &InstanceId) -> String {
    let number: String = id.as_str().chars().filter(char::is_ascii_hexdigit).collect();
    format!("00000000-0000-4000-8000-{number:0>12}")
}

impl Api for OpenStack {
    fn answer(&self, request: &Request) -> Reply {
        self.settle_ports();
        self.route(request)
    }

    fn kind(&self, request: &Request) -> Option<Kind> {
        let of_servers =
            request.path.starts_with("/compute/v2.1/servers") || request.path.starts_with("/network/v2.0/ports");
        of_servers.then(|| if request.method == "GET" { Kind::Read } else { Kind::Write })
    }

    fn is_later_page(&self, request: &Request) -> bool {
        request.param("marker").is_some()
    }

    fn refusal(&self, refusal: &Refusal, _: &Request) -> Reply {
        words::refusal(refusal)
    }

    fn garble(&self, garble: Garble, request: &Request, reply: &Reply) -> Option<Reply> {
        let mut body = reply.to_json();
        let servers = body.get_mut("servers")?.as_array_mut()?;
        match garble {
            Garble::EmptyPages if request.param("marker").is_none() && request.path.ends_with("/detail") => {
                let next = format!("{}{}?marker={NOTHING_YET}", base(request), request.path);
                let next = request.param("tags-any").map_or(next.clone(), |tags| format!("{next}&tags-any={tags}"));
                body = json!({ "servers": [], "servers_links": [{ "rel": "next", "href": next }] });
            }
            Garble::Duplicates => {
                let twice: Vec<Value> = servers.iter().flat_map(|server| [server.clone(), server.clone()]).collect();
                *servers = twice;
            }
            Garble::UnknownWords => {
                for server in servers.iter_mut() {
                    server["status"] = "DREAMING".into();
                    server["OS-EXT-STS:task_state"] = "pondering".into();
                    server["invented_later"] = json!({ "by": "nobody" });
                }
            }
            // A list of servers has no capacities.
            Garble::EmptyPages | Garble::OutOfRange => return None,
        }
        Some(reply.clone().with_json(&body))
    }

    fn group_id(&self, group: &str) -> GroupId {
        group.strip_prefix(PREFIX).unwrap_or(group).into()
    }

    fn instance_id(&self, _: &GroupId, instance: &InstanceId) -> InstanceId {
        uuid(instance).into()
    }

    fn foreign(&self) -> Foreign {
        Foreign { name: "none".into(), removes: None }
    }
}
