//! Right answers made wrong, in the API's own form. The tree is made anew and bent before it is written, since it is easier
//! to bend than a document.

use super::query::Params;
use crate::faults::Garble;
use serde_json::{Value, json};

/// Empty pages that come before the right ones.
const EMPTY_PAGES: u32 = 2;

/// The lists that an answer may hold, with the name of its token.
const LISTS: &[(&str, &str)] = &[
    ("AutoScalingGroups", "NextToken"),
    ("Activities", "NextToken"),
    ("ScalingPolicies", "NextToken"),
    ("ScheduledUpdateGroupActions", "NextToken"),
    ("InstanceRefreshes", "NextToken"),
    ("reservationSet", "nextToken"),
];

/// The bent answer, with the parameters that it answers.
pub(super) fn garble(
    garble: Garble,
    params: Params,
    perform: impl Fn(&Params) -> Option<Value>,
) -> Option<(Params, Value)> {
    // `empty-2`, `empty-1`, and then the first page.
    let left =
        params.text("NextToken").and_then(|token| token.strip_prefix("empty-")).and_then(|n| n.parse::<u32>().ok());
    let right = if left.is_some() { params.at_page(None) } else { params.clone() };
    let mut tree = perform(&right)?;
    let (list, token) = LISTS.iter().find(|(list, _)| tree[*list].is_array())?;
    match garble {
        Garble::EmptyPages => match (left, params.text("NextToken")) {
            (None, Some(_)) => return None,
            (Some(1), _) => {}
            (left, _) => {
                let next = left.map_or(EMPTY_PAGES, |left| left - 1);
                tree = json!({ *list: [], *token: format!("empty-{next}") });
            }
        },
        Garble::Duplicates => {
            let items = tree[*list].as_array_mut()?;
            *items = items.iter().flat_map(|item| [item.clone(), item.clone()]).collect();
            change(&mut tree, "Instances", &|value| {
                let instances = value.as_array().cloned().unwrap_or_default();
                *value = instances.iter().flat_map(|item| [item.clone(), item.clone()]).collect();
            });
        }
        Garble::UnknownWords => {
            for key in ["LifecycleState", "HealthStatus", "StatusCode", "PolicyType"] {
                change(&mut tree, key, &|value| *value = json!("Hatching"));
            }
            change(&mut tree, "instanceState", &|value| *value = json!({ "code": 77, "name": "hatching" }));
        }
        Garble::OutOfRange => {
            change(&mut tree, "DesiredCapacity", &|value| *value = json!(-1));
            change(&mut tree, "MaxSize", &|value| *value = json!(99_999_999_999_i64));
        }
    }
    Some((right, tree))
}

/// Changes what has this name, wherever it is.
fn change(tree: &mut Value, name: &str, to: &dyn Fn(&mut Value)) {
    match tree {
        Value::Object(map) => {
            for (key, value) in map {
                if key == name { to(value) } else { change(value, name, to) }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| change(item, name, to)),
        _ => {}
    }
}
