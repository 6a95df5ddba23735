//! What a request's path means.

use crate::request::Request;
use http::Method;

/// Where a request goes.
pub(super) enum Route {
    /// To a resource, or to something that looks like one.
    Resource(Path),
    /// To what the server says of itself.
    About,
}

/// A resource's path, taken apart.
#[derive(Clone, Debug, Default)]
pub(super) struct Path {
    /// `get`, `list`, `patch`, `update`, or another that is not served.
    pub verb: &'static str,
    /// Empty for the core group.
    pub group: String,
    pub version: String,
    pub namespace: Option<String>,
    pub plural: String,
    pub name: Option<String>,
    pub sub: Option<String>,
}

impl Path {
    /// As RBAC names it: `deployments`, `deployments/scale`.
    pub fn resource(&self) -> String {
        self.sub.as_ref().map_or_else(|| self.plural.clone(), |sub| format!("{}/{sub}", self.plural))
    }

    /// `apps/v1`, `v1`.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }
}

pub(super) fn route(request: &Request) -> Route {
    let parts = request.parts();
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let (group, version, rest) = match parts.as_slice() {
        ["api", version, rest @ ..] => ("", *version, rest),
        ["apis", group, version, rest @ ..] => (*group, *version, rest),
        _ => return Route::About,
    };
    let (namespace, rest) = match rest {
        [] => return Route::About,
        // The namespaces themselves are a resource too.
        ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (Some(*namespace), rest),
        rest => (None, rest),
    };
    let (plural, name, sub) = match rest {
        [plural] => (*plural, None, None),
        [plural, name] => (*plural, Some(*name), None),
        [plural, name, sub] => (*plural, Some(*name), Some(*sub)),
        _ => return Route::About,
    };
    let verb = match (&request.method, name) {
        (&Method::GET, None) => "list",
        (&Method::GET, Some(_)) => "get",
        (&Method::PATCH, Some(_)) => "patch",
        (&Method::PUT, Some(_)) => "update",
        _ => "other",
    };
    let owned = |text: Option<&str>| text.map(str::to_owned);
    Route::Resource(Path {
        verb,
        group: group.into(),
        version: version.into(),
        namespace: owned(namespace),
        plural: plural.into(),
        name: owned(name),
        sub: owned(sub),
    })
}
