//! One request through an API and the faults that are on. In: a whole request. Out: what to do with the connection.

use crate::api::Api;
use crate::faults::{Fault, Refusal};
use crate::request::{Reply, Request};
use std::time::Duration;

/// What the connection carries.
pub(crate) enum Outcome {
    /// The whole reply, after a pause.
    Whole(Reply, Duration),
    /// Half of it, and the end.
    Half(Reply),
    /// Nothing, for ever.
    Hang,
    /// Nothing, and the end.
    Close,
}

impl Outcome {
    /// The reply, for judges.
    pub fn reply(&self) -> Option<&Reply> {
        match self {
            Outcome::Whole(reply, _) | Outcome::Half(reply) => Some(reply),
            Outcome::Hang | Outcome::Close => None,
        }
    }
}

const PROXY_PAGE: &str =
    "<!DOCTYPE html><html><head><title>Sign in</title></head><body>Sign in to go on.</body></html>";

/// Answers a request under a fault.
pub(crate) fn serve(api: &dyn Api, request: &Request, fault: Option<Fault>) -> Outcome {
    let now = |reply| Outcome::Whole(reply, Duration::ZERO);
    let internal = || api.refusal(&Refusal::Internal, request);
    match fault {
        None => now(api.answer(request)),
        Some(Fault::Refuse(refusal)) => now(api.refusal(&refusal, request)),
        Some(Fault::LaterPages) => now(internal()),
        Some(Fault::ErrorAfterEffect) => {
            let reply = api.answer(request);
            // What the cloud would have refused anyway it refuses.
            now(if reply.is_success() { internal() } else { reply })
        }
        Some(Fault::Hang { effect }) => {
            if effect {
                api.answer(request);
            }
            Outcome::Hang
        }
        Some(Fault::Truncated) => Outcome::Half(api.answer(request)),
        Some(Fault::Garbage) => {
            let mut reply = api.answer(request);
            reply.body = "{\"items\": [ <not> a document".into();
            now(reply)
        }
        Some(Fault::Html) => now(Reply::text(200, "text/html", PROXY_PAGE)),
        Some(Fault::Redirect) => now(Reply::empty(302).with("location", "http://127.0.0.1:9/elsewhere")),
        Some(Fault::Reset) => Outcome::Close,
        Some(Fault::Slow(span)) => Outcome::Whole(api.answer(request), span),
        Some(Fault::Garble(garble)) => {
            let reply = api.answer(request);
            now(api.garble(garble, request, &reply).unwrap_or(reply))
        }
    }
}
