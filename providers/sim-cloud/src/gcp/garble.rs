//! Answers made wrong in the API's own form.

use super::paging::EMPTY;
use crate::faults::Garble;
use crate::request::{Reply, Request};
use serde_json::{Value, json};

/// Pages without items that come before the right ones.
const EMPTY_PAGES: u32 = 2;

pub(super) fn garble(garble: Garble, request: &Request, reply: &Reply) -> Option<Reply> {
    if !reply.is_success() {
        return None;
    }
    let mut body = reply.to_json();
    match garble {
        Garble::EmptyPages => empty_page(request, &mut body)?,
        Garble::Duplicates => duplicate(&mut body),
        Garble::UnknownWords => unknown_words(&mut body),
        Garble::OutOfRange => out_of_range(&mut body),
    }
    Some(reply.clone().with_json(&body))
}

fn empty_page(request: &Request, body: &mut Value) -> Option<()> {
    let is_list = request.path.ends_with("/listManagedInstances") || body.get("items").is_some();
    let asked = request.param("pageToken").unwrap_or_default();
    let before = match asked.strip_prefix(EMPTY) {
        Some(number) => number.parse::<u32>().ok()?,
        None if asked.is_empty() => 0,
        None => return None,
    };
    if !is_list || before >= EMPTY_PAGES {
        return None;
    }
    match body.get("items") {
        Some(Value::Object(_)) => body["items"] = json!({}),
        Some(_) => body["items"] = json!([]),
        None => body["managedInstances"] = json!([]),
    }
    body["nextPageToken"] = format!("{EMPTY}{}", before + 1).into();
    Some(())
}

/// Every list of things that have names, wherever it is.
fn lists(body: &mut Value, change: &mut dyn FnMut(&mut Vec<Value>)) {
    match body {
        Value::Array(list) if list.iter().any(|item| item.get("name").is_some()) => {
            change(list);
        }
        Value::Array(list) => list.iter_mut().for_each(|item| lists(item, change)),
        Value::Object(map) => map.values_mut().for_each(|value| lists(value, change)),
        _ => {}
    }
}

fn duplicate(body: &mut Value) {
    lists(body, &mut |list| {
        let twice: Vec<Value> = list.iter().flat_map(|item| [item.clone(), item.clone()]).collect();
        *list = twice;
    });
}

/// Groups themselves, in a list or alone.
fn groups(body: &mut Value, change: &dyn Fn(&mut Value)) {
    if body["kind"] == "compute#instanceGroupManager" {
        change(body);
    }
    lists(body, &mut |list| {
        list.iter_mut().filter(|item| item["kind"] == "compute#instanceGroupManager").for_each(change);
    });
}

fn unknown_words(body: &mut Value) {
    groups(body, &|group| {
        group["updatePolicy"]["type"] = "SHIMMERING".into();
        group["listManagedInstancesResults"] = "SHIMMERING".into();
        // A group of which nobody can say that nothing goes on.
        group["status"]["isStable"] = false.into();
    });
    lists(body, &mut |list| {
        for item in list.iter_mut().filter(|item| item.get("currentAction").is_some()) {
            item["currentAction"] = "SHIMMERING".into();
            item["instanceStatus"] = "SHIMMERING".into();
        }
        for item in list.iter_mut().filter(|item| item["kind"] == "compute#instance") {
            item["status"] = "SHIMMERING".into();
        }
    });
}

fn out_of_range(body: &mut Value) {
    groups(body, &|group| group["targetSize"] = (-3).into());
}
