//! A server before a real OpenStack, which breaks on demand what goes through it. In: requests to what it calls its own
//! Keystone, Nova and Neutron. Out: the real ones' answers, where their addresses are its own.

use contract::{Foreign, Timestamp};
use reqwest::Method;
use sim_cloud::openstack::{NOTHING_YET, OpenStack};
use sim_cloud::{Api, Garble, Kind, Refusal, Reply, Request};
use std::sync::Arc;

/// What passes requests on; what a fault is in this API's words it has from the simulated OpenStack.
pub struct Relay {
    words: OpenStack,
    /// A path's start here, and the origin of the service that is under it.
    services: [(&'static str, String); 3],
}

impl Relay {
    /// Before the services at these origins, as `http://127.0.0.1:5000`.
    pub fn before(identity: String, compute: String, network: String) -> Self {
        let nobodys = sim::Cloud::new(sim::Settings::default(), Arc::new(|| Timestamp(0))).unwrap();
        let services = [("/identity", identity), ("/compute", compute), ("/network", network)];
        Self { words: OpenStack::new(nobodys), services }
    }
}

impl Api for Relay {
    fn answer(&self, request: &Request) -> Reply {
        let service = self.services.iter().find_map(|(start, at)| Some((at, request.path.strip_prefix(start)?)));
        let Some((origin, path)) = service else { return Reply::empty(404) };
        let (origin, path) = (origin.clone(), path.to_owned());
        // An API answers at once, so whoever serves it waits here; on a thread of its own, for a runtime cannot run in another.
        let asked = request.clone();
        let passed_on = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(pass_on(&origin, &path, &asked))
        });
        let mut reply = passed_on.join().unwrap();
        let here = request.header("host").unwrap();
        let own = |text: &str| {
            let put = |text: String, (start, at): &(&str, String)| {
                text.replace(at.as_str(), &format!("http://{here}{start}"))
            };
            self.services.iter().fold(text.to_owned(), put)
        };
        for value in reply.headers.values_mut() {
            *value = own(value.to_str().unwrap()).try_into().unwrap();
        }
        reply.body = own(std::str::from_utf8(&reply.body).unwrap()).into();
        reply
    }

    fn kind(&self, request: &Request) -> Option<Kind> {
        self.words.kind(request)
    }

    fn is_later_page(&self, request: &Request) -> bool {
        self.words.is_later_page(request)
    }

    fn refusal(&self, refusal: &Refusal, request: &Request) -> Reply {
        self.words.refusal(refusal, request)
    }

    fn garble(&self, garble: Garble, request: &Request, reply: &Reply) -> Option<Reply> {
        self.words.garble(garble, request, reply)
    }

    fn foreign(&self) -> Foreign {
        self.words.foreign()
    }
}

async fn pass_on(origin: &str, path: &str, request: &Request) -> Reply {
    let client = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let of_the_transport = ["host", "content-length", "transfer-encoding", "connection"];
    let mut headers = request.headers.clone();
    of_the_transport.iter().for_each(|name| _ = headers.remove(*name));
    // What a page without servers pointed to is the first page.
    let query: Vec<_> = request
        .query
        .iter()
        .filter(|(name, value)| (name.as_str(), value.as_str()) != ("marker", NOTHING_YET))
        .collect();
    let method = Method::from_bytes(request.method.as_str().as_bytes()).unwrap();
    let asked =
        client.request(method, format!("{origin}{path}")).query(&query).headers(headers).body(request.body.clone());
    let answer = asked.send().await.unwrap();
    let mut reply = Reply::empty(answer.status().as_u16());
    reply.headers = answer.headers().clone();
    of_the_transport.iter().for_each(|name| _ = reply.headers.remove(*name));
    reply.body = answer.bytes().await.unwrap();
    reply
}
