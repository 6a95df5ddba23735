//! What changes a group: its expected number of instances, and the removal of instances by name.

use super::activities::{Activity, What};
use super::{Alibaba, Refused, list};
use crate::request::Request;
use contract::{Capacity, GroupId, InstanceId};
use serde_json::{Value, json};
use sim::Removal;

/// Most instances that one adjustment adds or removes.
const STEP: i64 = 1_000;

impl Alibaba {
    pub(super) fn scale(&self, request: &Request) -> Result<Value, Refused> {
        self.once(request, || {
            let group = self.by_id(request.param("ScalingGroupId").unwrap_or_default())?;
            let seen = self.cloud.look(&group).ok_or_else(gone)?;
            let from = seen.desired.unwrap_or_default();
            let to = adjusted(request, from)?;
            // Beyond the bounds ESS goes as far as they let it.
            let to = to.clamp(seen.cloud_min.unwrap_or(0), seen.cloud_max.unwrap_or(Capacity::MAX));
            let sync = flag(request, "SyncActivity", false);
            self.cloud.resize(&group, to).map_err(|refused| self.refuse(&refused))?;
            let what = What::Resize { from, to, sync };
            let id = self.begin(&group, what);
            let kind = if sync { Value::Null } else { "CapacityChange".into() };
            Ok(json!({ "ScalingActivityId": id, "ActivityType": kind }))
        })
    }

    pub(super) fn remove(&self, request: &Request) -> Result<Value, Refused> {
        self.once(request, || {
            let group = self.by_id(request.param("ScalingGroupId").unwrap_or_default())?;
            let ids: Vec<InstanceId> = list(request, "InstanceIds").into_iter().map(InstanceId::from).collect();
            if ids.is_empty() {
                return Err((400, "MissingParameter", "InstanceIds is missing".into()));
            }
            if self.is_busy(&group) {
                return Err((400, "ScalingActivityInProgress", "a scaling activity of the group is in progress".into()));
            }
            let removal = Removal {
                lower: flag(request, "DecreaseDesiredCapacity", true),
                protected_too: false,
                skip_missing: flag(request, "IgnoreInvalidInstance", false),
            };
            let gone = self.cloud.remove(&group, &ids, removal).map_err(|refused| self.refuse(&refused))?;
            if gone.is_empty() {
                return Err((404, "InvalidInstanceId.NotFound", "none of these instances can be removed".into()));
            }
            let ignored: Vec<Value> = ids
                .iter()
                .filter(|id| !gone.contains(*id))
                .map(|id| json!({ "InstanceId": id.as_str(), "Code": "InvalidInstanceId", "Message": "it was passed over" }))
                .collect();
            let id = self.begin(&group, What::Remove { ids: gone.into_iter().collect() });
            Ok(json!({ "ScalingActivityId": id, "IgnoredInstances": ignored }))
        })
    }

    /// A removal goes on, and the group takes one at a time.
    fn is_busy(&self, group: &GroupId) -> bool {
        let there = self.cloud.truth(group).map(|truth| truth.instances).unwrap_or_default();
        let goes_on = |activity: &Activity| match &activity.what {
            What::Remove { ids } => there.iter().any(|instance| ids.contains(&instance.id)),
            What::Resize { .. } => false,
        };
        let state = self.lock();
        state.one_removal && state.activities.iter().any(|activity| activity.group == *group && goes_on(activity))
    }

    /// The same client token is the same call: it is answered as it was, and done once.
    fn once(&self, request: &Request, call: impl FnOnce() -> Result<Value, Refused>) -> Result<Value, Refused> {
        let Some(token) = request.param("ClientToken") else { return call() };
        if token.is_empty() || token.len() > 64 || !token.is_ascii() {
            return Err((400, "InvalidParameter", "ClientToken is not valid".into()));
        }
        let mut asked: Vec<String> = request.query.iter().map(|(key, value)| format!("{key}={value}")).collect();
        asked.sort();
        let asked = asked.join("&");
        if let Some((before, answer)) = self.lock().tokens.get(token) {
            if *before != asked {
                return Err((400, "IdempotentParameterMismatch", "that token was used for another call".into()));
            }
            return Ok(answer.clone());
        }
        let answer = call()?;
        self.lock().tokens.insert(token.to_owned(), (asked, answer.clone()));
        Ok(answer)
    }

    fn begin(&self, group: &GroupId, what: What) -> String {
        let start = self.cloud.now();
        let mut state = self.lock();
        let id = format!("asa-{:020x}", state.activities.len() + 1);
        state.activities.push(Activity { id: id.clone(), group: group.clone(), what, start });
        id
    }

    fn refuse(&self, refused: &sim::Refused) -> Refused {
        use sim::Refused as R;
        let words = |ids: &[InstanceId]| ids.iter().map(InstanceId::as_str).collect::<Vec<_>>().join(", ");
        match refused {
            R::NoGroup => gone(),
            R::BelowMin(min) => (400, "IncorrectCapacity.MinSize", format!("it would be below MinSize {min}")),
            R::AboveMax(max) => (400, "IncorrectCapacity.MaxSize", format!("it would be above MaxSize {max}")),
            R::NoInstance(ids) => (404, "InvalidInstanceId.NotFound", format!("not in the group: {}", words(ids))),
            R::Protected(ids) => (400, "IncorrectInstanceStatus", format!("protected: {}", words(ids))),
            R::Suspended(_) | R::NotThisKind => {
                (400, "IncorrectScalingGroupStatus", "the group does not do this now".into())
            }
            R::NoMachine(failure) => (403, "OperationDenied.NoStock", failure.message.to_string()),
        }
    }
}

fn gone() -> Refused {
    (404, "InvalidScalingGroupId.NotFound", "there is no such scaling group".into())
}

/// A truth value; the official client writes `True`.
fn flag(request: &Request, name: &str, default: bool) -> bool {
    request.param(name).map_or(default, |text| text.eq_ignore_ascii_case("true"))
}

/// The number of instances that an adjustment asks for.
fn adjusted(request: &Request, from: Capacity) -> Result<Capacity, Refused> {
    let invalid = |what: &str| (400, "InvalidParameter", format!("{what} is not valid"));
    let value = request.param("AdjustmentValue").and_then(|text| text.parse::<i64>().ok());
    let value = value.ok_or_else(|| invalid("AdjustmentValue"))?;
    let from = i64::from(from);
    let (to, fits) = match request.param("AdjustmentType") {
        Some("TotalCapacity") => (value, (0..=2_000).contains(&value)),
        Some("QuantityChangeInCapacity") => (from + value, (-STEP..=STEP).contains(&value)),
        Some("PercentChangeInCapacity") => (from + from * value / 100, (-100..=10_000).contains(&value)),
        _ => return Err(invalid("AdjustmentType")),
    };
    if !fits || (to - from).abs() > STEP {
        return Err(invalid("AdjustmentValue"));
    }
    Ok(Capacity::try_from(to.max(0)).unwrap_or(Capacity::MAX))
}
