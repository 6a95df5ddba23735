//! Lists: what is selected, page by page, in the form that the client takes; and the ways in which they can be wrong.

use super::objects::place;
use super::path::Path;
use super::status::Refused;
use super::{headed, status};
use crate::faults::Garble;
use crate::request::{Reply, Request};
use serde_json::{Value, json};

/// What an empty page's token begins with: what follows is the token of the page that should have come.
const EMPTY: &str = "empty.";

/// How much of objects a client wants to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Whole,
    /// The metadata alone.
    Bare,
    /// Rows to print.
    Table,
}

/// A list or an object, in the client's form.
pub(super) struct View {
    form: Form,
    kind: String,
    version: String,
    body: Value,
}

impl View {
    pub fn of(request: &Request, path: &Path) -> Self {
        let accept = request.header("accept").unwrap_or_default();
        // The first one that is understood.
        let form = accept.split(',').find_map(|one| match one {
            one if one.contains("as=PartialObjectMetadata") => Some(Form::Bare),
            one if one.contains("as=Table") => Some(Form::Table),
            one if one.trim_start().starts_with("application/json") => Some(Form::Whole),
            _ => None,
        });
        let kind = match &*path.plural {
            "deployments" => "Deployment",
            "statefulsets" => "StatefulSet",
            "rollouts" => "Rollout",
            "pods" => "Pod",
            "nodes" => "Node",
            "events" => "Event",
            "namespaces" => "Namespace",
            "horizontalpodautoscalers" => "HorizontalPodAutoscaler",
            _ => "ScaledObject",
        };
        let form = form.unwrap_or(Form::Whole);
        Self { form, kind: kind.into(), version: path.api_version(), body: Value::Null }
    }

    /// One object.
    pub fn one(&self, object: &Value) -> Reply {
        // A subresource has one form.
        let form = if object["kind"] == "Scale" { Form::Whole } else { self.form };
        let body = match form {
            Form::Whole => object.clone(),
            Form::Bare => bare(object),
            Form::Table => self.table(std::slice::from_ref(object), &json!({})),
        };
        Reply::json(200, &body)
    }

    fn list(mut self, items: &[Value], meta: &Value) -> Self {
        self.body = match self.form {
            Form::Table => self.table(items, meta),
            Form::Bare => {
                let items: Vec<Value> = items.iter().map(bare).collect();
                headed("PartialObjectMetadataList", "meta.k8s.io/v1", json!({"metadata": meta, "items": items}))
            }
            Form::Whole => {
                // The items of a typed list do not say their kind again; those of custom kinds do.
                let own = |item: &Value| {
                    let mut item = item.clone();
                    if let Some(object) = item.as_object_mut().filter(|_| !self.version.contains("argoproj")) {
                        object.remove("kind");
                        object.remove("apiVersion");
                    }
                    item
                };
                let items: Vec<Value> = items.iter().map(own).collect();
                headed(&format!("{}List", self.kind), &self.version, json!({"metadata": meta, "items": items}))
            }
        };
        self
    }

    pub fn reply(self) -> Reply {
        Reply::json(200, &self.body)
    }

    fn table(&self, items: &[Value], meta: &Value) -> Value {
        let counted = ["Deployment", "StatefulSet"].contains(&&*self.kind);
        let names: &[&str] = match &*self.kind {
            _ if counted => &["Name", "Ready", "Up-to-date", "Available"],
            "Pod" => &["Name", "Ready", "Status"],
            _ => &["Name"],
        };
        let column =
            |name: &&str| json!({"name": name, "type": "string", "format": "", "description": name, "priority": 0});
        let columns: Vec<Value> = names.iter().map(column).collect();
        let row = |item: &Value| {
            let number = |key: &str| item["status"].get(key).and_then(Value::as_u64).unwrap_or(0);
            let name = item["metadata"]["name"].clone();
            let cells = match &*self.kind {
                _ if counted => {
                    let ready = format!("{}/{}", number("readyReplicas"), item["spec"]["replicas"]);
                    json!([name, ready, number("updatedReplicas"), number("availableReplicas")])
                }
                "Pod" => {
                    let ready = item["status"]["containerStatuses"][0]["ready"] == json!(true);
                    json!([name, if ready { "1/1" } else { "0/1" }, item["status"]["phase"]])
                }
                _ => json!([name]),
            };
            json!({"cells": cells, "object": bare(item)})
        };
        let rows: Vec<Value> = items.iter().map(row).collect();
        headed("Table", "meta.k8s.io/v1", json!({"metadata": meta, "columnDefinitions": columns, "rows": rows}))
    }
}

fn bare(object: &Value) -> Value {
    headed("PartialObjectMetadata", "meta.k8s.io/v1", json!({"metadata": object["metadata"]}))
}

/// One page of what a request selects.
pub(super) fn page(
    request: &Request,
    path: &Path,
    items: Vec<Value>,
    most: usize,
    version: u64,
) -> Result<View, Refused> {
    let selected = |item: &Value| -> Result<bool, Refused> {
        let labels = matches(request.param("labelSelector").unwrap_or_default(), |key| {
            item["metadata"]["labels"].get(key).and_then(Value::as_str).map(str::to_owned)
        });
        let fields = matches(request.param("fieldSelector").unwrap_or_default(), |key| {
            let field = key.split('.').fold(item, |value, part| &value[part]);
            Some(field.as_str().unwrap_or_default().to_owned())
        });
        Ok(labels.map_err(|why| status::bad_request(&why))? && fields.map_err(|why| status::bad_request(&why))?)
    };
    let after = request.param("continue").unwrap_or_default();
    let after = after.strip_prefix(EMPTY).unwrap_or(after);
    let mut left = Vec::new();
    for item in items {
        if selected(&item)? && (after.is_empty() || place(&item).as_str() > after) {
            left.push(item);
        }
    }
    let limit = request.param("limit").and_then(|limit| limit.parse().ok()).filter(|limit| *limit > 0);
    // Without a limit everything is one page, whatever the server would rather do.
    let size = limit.map_or(left.len(), |limit: usize| limit.min(most));
    let mut meta = json!({"resourceVersion": version.to_string()});
    if left.len() > size {
        meta["continue"] = place(&left[size - 1]).into();
        meta["remainingItemCount"] = (left.len() - size).into();
        left.truncate(size);
    }
    Ok(View::of(request, path).list(&left, &meta))
}

/// Whether a selector's requirements all hold.
fn matches(selector: &str, of: impl Fn(&str) -> Option<String>) -> Result<bool, String> {
    let (mut terms, mut depth, mut term) = (Vec::new(), 0, String::new());
    for c in selector.chars() {
        depth += i32::from(c == '(') - i32::from(c == ')');
        if c == ',' && depth == 0 {
            terms.push(std::mem::take(&mut term));
        } else {
            term.push(c);
        }
    }
    terms.push(term);
    let mut all = true;
    for term in terms.iter().map(|term| term.trim()).filter(|term| !term.is_empty()) {
        let set = |values: &str| -> Vec<String> { values.split(',').map(|value| value.trim().to_owned()).collect() };
        let inside = |key: &str, values: &[String]| of(key).is_some_and(|value| values.contains(&value));
        all &= if let Some((head, values)) = term.strip_suffix(')').and_then(|term| term.split_once('(')) {
            match head.split_whitespace().collect::<Vec<_>>().as_slice() {
                [key, "in"] => inside(key, &set(values)),
                [key, "notin"] => !inside(key, &set(values)),
                _ => return Err(format!("unable to parse requirement: {term}")),
            }
        } else if let Some((key, value)) = term.split_once("!=") {
            !inside(key, &set(value))
        } else if let Some((key, value)) = term.split_once('=') {
            inside(key, &set(value.trim_start_matches('=')))
        } else if let Some(key) = term.strip_prefix('!') {
            of(key).is_none()
        } else {
            of(term).is_some()
        };
    }
    Ok(all)
}

/// A right answer made wrong; `None` when it has nothing to make wrong.
pub(super) fn garble(garble: Garble, request: &Request, body: &Value) -> Option<Value> {
    let mut body = body.clone();
    let is_list = body["items"].is_array();
    match garble {
        Garble::EmptyPages => {
            let asked = request.param("continue").unwrap_or_default();
            if !is_list || asked.starts_with(EMPTY) {
                return None;
            }
            body["items"] = json!([]);
            body["metadata"]["continue"] = format!("{EMPTY}{asked}").into();
        }
        Garble::Duplicates => {
            let items = body["items"].as_array_mut()?;
            *items = items.iter().flat_map(|item| [item.clone(), item.clone()]).collect();
        }
        Garble::UnknownWords => each(&mut body, &mut |object| {
            if object["status"].get("phase").is_some() {
                object["status"]["phase"] = "Dreaming".into();
            }
            for condition in object["status"]["conditions"].as_array_mut().into_iter().flatten() {
                condition["status"] = "Perhaps".into();
                condition["reason"] = "BecauseOfTheMoon".into();
            }
        }),
        Garble::OutOfRange => each(&mut body, &mut |object| {
            if object["spec"].get("replicas").is_some() {
                object["spec"]["replicas"] = (-3).into();
            }
            if object["kind"] == "Scale" {
                object["spec"]["replicas"] = 99_999_999_999_u64.into();
            }
        }),
    }
    Some(body)
}

fn each(body: &mut Value, change: &mut dyn FnMut(&mut Value)) {
    match body["items"].as_array_mut() {
        Some(items) => items.iter_mut().for_each(change),
        None => change(body),
    }
}
