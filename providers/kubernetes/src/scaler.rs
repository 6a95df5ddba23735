//! One autoscaler as it was read, a HorizontalPodAutoscaler or KEDA's ScaledObject: what it scales, and what it may do.
//!
//! - An HPA with `selectPolicy: Disabled` one way does not follow its metrics that way, with both ways Disabled not at
//!   all: it rests. Its minReplicas and maxReplicas hold in every case, Disabled or not: above and below them it sets
//!   them at once, whatever the metrics say. Of a workload with no replicas it keeps its hands. (The HPA controller.)
//! - A ScaledObject rests when it is paused by `autoscaling.keda.sh/paused`, which KEDA knows since 2.12; KEDA takes the
//!   HPA away then that it made. Whether this KEDA does so, shows by that HPA: while it is there it counts for itself.
//!   Paused by `paused-replicas` (2.7) it does not rest: KEDA sets that number when it finds another.

use crate::listing::Source;
use crate::shapes::{Direction, Object, Scaler, TargetRef, capacity};
use contract::{Capacity, Foreign};

/// The annotations by which KEDA is paused.
pub(crate) const PAUSED: &str = "autoscaling.keda.sh/paused";
pub(crate) const PAUSED_AT: &str = "autoscaling.keda.sh/paused-replicas";
/// What takes away a direction of an HPA.
pub(crate) const DISABLED: &str = "Disabled";

/// The kinds of foreign controllers, each with its own listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Sort {
    Hpa,
    Keda,
}

/// What an HPA keeps to, whatever it may do besides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bounds {
    pub min: Capacity,
    pub max: Capacity,
}

/// What is known of one autoscaler.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub target: TargetRef,
    /// As a controller that acts; `None` when it rests.
    pub foreign: Option<Foreign>,
    pub bounds: Option<Bounds>,
}

impl Sort {
    pub const ALL: [Sort; 2] = [Sort::Hpa, Sort::Keda];

    pub fn words(self) -> &'static str {
        match self {
            Sort::Hpa => "HorizontalPodAutoscaler",
            Sort::Keda => "ScaledObject",
        }
    }

    pub fn source(self) -> Source {
        match self {
            Sort::Hpa => Source::new("ListAutoscalers", "/apis/autoscaling/v2", "horizontalpodautoscalers"),
            Sort::Keda => Source::new("ListScaledObjects", "/apis/keda.sh/v1alpha1", "scaledobjects"),
        }
    }

    /// What an object of this sort is called, for people.
    pub fn name(self, scaler: &Scaler) -> String {
        let meta = scaler.meta();
        format!("{} {}/{}", self.words(), meta.namespace.as_deref().unwrap_or_default(), meta.name)
    }

    /// What an object of this sort scales, and what it can do.
    pub fn read(self, scaler: &Scaler) -> Known {
        let name = self.name(scaler);
        let mut target = scaler.spec.scale_target_ref.clone();
        let (removes, bounds) = match self {
            Sort::Hpa => {
                let bounds = bounds(&name, scaler);
                let behavior = scaler.spec.behavior.as_ref();
                let up = is_disabled(behavior.and_then(|behavior| behavior.scale_up.as_ref()));
                let down = is_disabled(behavior.and_then(|behavior| behavior.scale_down.as_ref()));
                let acts = if bounds.is_none() {
                    // Where it will cut or raise is not known.
                    Some(None)
                } else {
                    (!up || !down).then_some(Some(!down))
                };
                (acts, bounds)
            }
            Sort::Keda => {
                // What KEDA takes when it is not said.
                target.kind.get_or_insert_with(|| "Deployment".into());
                ((!is_paused(scaler)).then_some(Some(true)), None)
            }
        };
        let foreign = removes.map(|removes| Foreign { name: name.into(), removes });
        Known { target, foreign, bounds }
    }
}

fn bounds(name: &str, scaler: &Scaler) -> Option<Bounds> {
    let spec = &scaler.spec;
    let min = spec.min_replicas.as_ref().map_or(Ok(1), |min| capacity(name, Some(min))).ok()?;
    let max = capacity(name, spec.max_replicas.as_ref()).ok()?;
    (min <= max).then_some(Bounds { min, max })
}

fn is_disabled(direction: Option<&Direction>) -> bool {
    direction.and_then(|direction| direction.select_policy.as_deref()) == Some(DISABLED)
}

/// Paused for good, and not to a number.
pub(crate) fn is_paused(scaler: &Scaler) -> bool {
    let says = |key: &str| scaler.metadata.annotations.as_ref().and_then(|all| all.get(key));
    says(PAUSED).is_some_and(|value| pauses(value)) && says(PAUSED_AT).is_none()
}

/// Whether this value of `paused` pauses: all do but what Go reads as false, and KEDA 2.12 takes those for true as well.
pub(crate) fn pauses(value: &str) -> bool {
    !["0", "f", "F", "false", "FALSE", "False"].contains(&value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn read(sort: Sort, annotations: Value, spec: Value) -> Known {
        let meta = json!({
            "name": "web", "namespace": "shop", "uid": "u", "resourceVersion": "1", "annotations": annotations,
        });
        let mut object = json!({"metadata": meta, "spec": spec});
        object["spec"]["scaleTargetRef"] = json!({"name": "web"});
        sort.read(&serde_json::from_value(object).unwrap())
    }

    #[test]
    fn an_hpa_may_do_what_its_directions_say_and_keeps_its_bounds() {
        let way = |select: Option<&str>| select.map_or(json!({}), |select| json!({"selectPolicy": select}));
        for (up, down, expected) in [
            (None, None, Some(Some(true))),
            (Some("Max"), Some("Min"), Some(Some(true))),
            (None, Some("Disabled"), Some(Some(false))),
            (Some("Disabled"), None, Some(Some(true))),
            (Some("Disabled"), Some("Max"), Some(Some(true))),
            (Some("Disabled"), Some("Disabled"), None),
            (Some("disabled"), Some("Off"), Some(Some(true))),
        ] {
            let behavior = json!({"scaleUp": way(up), "scaleDown": way(down)});
            let known = read(Sort::Hpa, json!({}), json!({"maxReplicas": 9, "behavior": behavior}));
            assert_eq!(known.foreign.map(|foreign| foreign.removes), expected, "{up:?} {down:?}");
            assert_eq!(known.bounds, Some(Bounds { min: 1, max: 9 }));
        }
        // Of one that rests and does not say its bounds in numbers, nobody knows what it will do.
        let both = json!({"scaleUp": way(Some("Disabled")), "scaleDown": way(Some("Disabled"))});
        for (min, max) in [(json!(2), Value::Null), (json!(2), json!(-1)), (json!(5), json!(4)), (json!(1.5), json!(4))]
        {
            let spec = json!({"minReplicas": min, "maxReplicas": max, "behavior": both});
            let known = read(Sort::Hpa, json!({}), spec.clone());
            assert_eq!((known.foreign.map(|foreign| foreign.removes), known.bounds), (Some(None), None), "{spec}");
        }
    }

    #[test]
    fn a_scaled_object_rests_when_it_is_paused_and_not_to_a_number() {
        for (annotations, rests) in [
            (json!({}), false),
            (json!({PAUSED: "true"}), true),
            (json!({PAUSED: "yes, please"}), true),
            (json!({PAUSED: "false"}), false),
            (json!({PAUSED_AT: "4"}), false),
            (json!({PAUSED: "true", PAUSED_AT: "4"}), false),
        ] {
            let known = read(Sort::Keda, annotations.clone(), json!({}));
            assert_eq!(known.foreign.is_none(), rests, "{annotations}");
        }
    }
}
