//! What went over the wire, for judges.

use serde::Serialize;

/// One request and its answer.
#[derive(Clone, Debug, Serialize)]
pub struct Exchange {
    /// The method.
    pub method: String,
    /// The path, as it was sent.
    pub path: String,
    /// The query's pairs, decoded.
    pub query: Vec<(String, String)>,
    /// The request's headers with lower-case names, without `authorization`.
    pub headers: Vec<(String, String)>,
    /// The request's body as text.
    pub body: String,
    /// The answer's status; 0: there was no answer.
    pub status: u16,
    /// The answer's headers with lower-case names.
    pub reply_headers: Vec<(String, String)>,
    /// The answer's body as text.
    pub reply: String,
    /// The answer was broken on purpose: it says nothing of the API.
    pub broken: bool,
}
