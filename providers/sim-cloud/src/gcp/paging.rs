//! Pages: a token is the number of items that came before.

use super::{Gcp, PAGE_MAX};
use crate::request::Request;

/// Tokens of pages without items, which come before the first one when an answer is garbled.
pub(super) const EMPTY: &str = "empty-";

/// One page of a list, and the token of the next.
pub(super) struct Page<T> {
    pub items: Vec<T>,
    pub next: Option<String>,
}

impl Gcp {
    /// Cuts the page out of a list that a request asks for.
    pub(super) fn page<T>(&self, request: &Request, all: Vec<T>) -> Page<T> {
        let token = request.param("pageToken").filter(|token| !token.starts_with(EMPTY));
        let from = token.and_then(|token| token.parse::<usize>().ok()).unwrap_or(0);
        let asked = request.param("maxResults").and_then(|text| text.parse::<usize>().ok()).unwrap_or(PAGE_MAX);
        let size = asked.clamp(1, PAGE_MAX).min(self.page);
        let total = all.len();
        let items = all.into_iter().skip(from).take(size).collect();
        Page { items, next: (from + size < total).then(|| (from + size).to_string()) }
    }
}
