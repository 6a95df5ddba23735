//! Right answers made wrong, in the API's own form.

use crate::faults::Garble;
use crate::request::Reply;
use serde_json::{Value, json};

/// The lists that an answer may hold.
const LISTS: &[&str] = &["ScalingGroups", "ScalingInstances", "ScalingActivities", "ScalingRules", "AlarmList"];

pub(super) fn garble(garble: Garble, reply: &Reply) -> Option<Reply> {
    let mut body = reply.to_json();
    let list = LISTS.iter().find(|name| body[**name].is_array())?;
    let items = body[*list].as_array_mut()?;
    match garble {
        // Pages have numbers here, and an answer says how many items there are: there is no page that only leads on.
        Garble::EmptyPages => return None,
        Garble::Duplicates => *items = items.iter().flat_map(|item| [item.clone(), item.clone()]).collect(),
        Garble::UnknownWords => {
            let states = ["LifecycleState", "HealthStatus", "StatusCode", "ScalingRuleType", "MultiAZPolicy"];
            change(items, &states, || json!("Hatching"));
        }
        Garble::OutOfRange => {
            change(items, &["DesiredCapacity"], || json!(-1));
            change(items, &["MaxSize", "TotalCapacity"], || json!(4_000_000_000_000_i64));
        }
    }
    Some(reply.clone().with_json(&body))
}

fn change(items: &mut [Value], keys: &[&str], to: impl Fn() -> Value) {
    for item in items {
        for key in keys {
            if item.get(*key).is_some() {
                item[*key] = to();
            }
        }
    }
}
