//! Keystone: versions, and tokens for an application credential or a password.

use super::{CREDENTIAL, OpenStack, PROJECT, USER, base, words};
use crate::request::{Reply, Request};
use contract::Timestamp;
use serde_json::{Value, json};

const REGION: &str = "RegionOne";
/// Keystone's own default domain.
const DOMAIN: &str = "default";
const USER_ID: &str = "2c624232cdd221771294dfbb310aca00";

impl OpenStack {
    pub(super) fn identity(&self, request: &Request, parts: &[&str]) -> Reply {
        let base = base(request);
        match (request.method.as_str(), parts) {
            ("GET", []) => Reply::json(300, &json!({ "versions": { "values": [version(&base)] } })),
            ("GET", ["v3"]) => Reply::json(200, &json!({ "version": version(&base) })),
            ("POST", ["v3", "auth", "tokens"]) => self.token(&request.json(), &base),
            _ => words::not_found("The resource could not be found."),
        }
    }

    fn token(&self, body: &Value, base: &str) -> Reply {
        let now = self.cloud.now();
        let mut state = self.lock();
        let named = body["auth"]["identity"]["application_credential"]["id"].as_str();
        if let Some(id) = named.filter(|id| state.setup.locked_out || *id != CREDENTIAL.0) {
            return words::no_credential(id);
        }
        let Some(method) = method(body).filter(|_| !state.setup.locked_out) else { return words::unauthorized() };
        state.made += 1;
        let text = format!("gAAAAAB{:024x}", state.made);
        let until = now.after(state.setup.token);
        state.tokens.insert(text.clone(), until);
        state.tokens.retain(|_, until| now < *until);
        let mut token = json!({
            "methods": [method],
            "user": { "id": USER_ID, "name": USER.0, "domain": { "id": DOMAIN, "name": "Default" }, "password_expires_at": null },
            "project": { "id": PROJECT, "name": "skala", "domain": { "id": DOMAIN, "name": "Default" } },
            "is_domain": false,
            "roles": [{ "id": "7902699be42c8a8e46fbbb4501726517", "name": "member" }],
            "audit_ids": [format!("{:022x}", state.made)],
            "issued_at": zulu(now),
            "expires_at": zulu(until),
            "catalog": catalog(base),
        });
        if method == "application_credential" {
            token["application_credential"] = json!({ "id": CREDENTIAL.0, "name": "skala", "restricted": true });
        }
        Reply::json(201, &json!({ "token": token })).with("x-subject-token", text).with("vary", "X-Auth-Token")
    }
}

/// The method of credentials that are good.
fn method(body: &Value) -> Option<&'static str> {
    let identity = &body["auth"]["identity"];
    let methods: Vec<&str> = identity["methods"].as_array()?.iter().filter_map(Value::as_str).collect();
    match methods.as_slice() {
        ["application_credential"] => {
            let given = &identity["application_credential"];
            let by_id = given["id"] == CREDENTIAL.0;
            let by_name = given["name"] == "skala" && is_user(&given["user"]);
            ((by_id || by_name) && given["secret"] == CREDENTIAL.1).then_some("application_credential")
        }
        ["password"] => {
            let user = &identity["password"]["user"];
            let project = &body["auth"]["scope"]["project"];
            let there = project["id"] == PROJECT || (project["name"] == "skala" && is_default(&project["domain"]));
            (is_user(user) && user["password"] == USER.1 && there).then_some("password")
        }
        _ => None,
    }
}

fn is_user(user: &Value) -> bool {
    user["id"] == USER_ID || (user["name"] == USER.0 && is_default(&user["domain"]))
}

fn is_default(domain: &Value) -> bool {
    domain["id"] == DOMAIN || domain["name"] == "Default"
}

fn version(base: &str) -> Value {
    json!({
        "id": "v3.14", "status": "stable", "updated": "2020-04-07T00:00:00Z",
        "links": [{ "rel": "self", "href": format!("{base}/identity/v3/") }],
        "media-types": [{ "base": "application/json", "type": "application/vnd.openstack.identity-v3+json" }],
    })
}

fn catalog(base: &str) -> Value {
    let service = |kind: &str, name: &str, path: &str| {
        let endpoint = |interface: &str| {
            let url = format!("{base}{path}");
            json!({ "id": format!("{name}-{interface}"), "interface": interface, "region": REGION, "region_id": REGION, "url": url })
        };
        json!({ "id": name, "type": kind, "name": name, "endpoints": [endpoint("public"), endpoint("internal")] })
    };
    json!([
        service("identity", "keystone", "/identity"),
        service("compute", "nova", "/compute/v2.1"),
        service("network", "neutron", "/network"),
    ])
}

/// A time as Keystone writes it.
pub(super) fn zulu(at: Timestamp) -> String {
    format!("{}.{:06}Z", date(at), at.0.rem_euclid(1_000_000))
}

/// A time to the second, without a zone.
pub(super) fn date(at: Timestamp) -> String {
    let secs = at.0.div_euclid(1_000_000);
    let (days, secs) = (secs.div_euclid(86_400), secs.rem_euclid(86_400));
    let (year, month, day) = civil(days);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}", secs / 3_600, secs / 60 % 60, secs % 60)
}

/// The date of a day since 1970, in the Gregorian calendar, by eras of 400 years that begin in March.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_in_utc() {
        for (secs, expected) in [
            (0, "1970-01-01T00:00:00"),
            (951_782_400, "2000-02-29T00:00:00"),
            (1_795_425_024, "2026-11-23T09:10:24"),
            (4_107_542_399, "2100-02-28T23:59:59"),
        ] {
            assert_eq!(date(Timestamp::from_secs(secs)), expected);
        }
        assert_eq!(zulu(Timestamp(1_795_425_024_250_000)), "2026-11-23T09:10:24.250000Z");
    }
}
