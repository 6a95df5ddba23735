//! Output lines: a decision with its whole explanation, or what is wrong with a line.

use crate::placement::{PlaceStep, PlaceWhy};
use crate::plan::{FleetPlan, GroupPlan};
use crate::policy::{Policy, PolicySet};
use crate::trace::{Answer, LimitBy};
use contract::{Capacity, InstanceId};
use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Serialize, Serializer};
use std::fmt;

/// Writes a plan as an output line (without a line feed).
pub fn plan_json(set: &PolicySet, plan: &FleetPlan) -> String {
    let mut line = String::with_capacity(1024);
    plan_json_into(set, plan, &mut line);
    line
}

/// Writes what is wrong with a line as an output line.
pub fn error_json(error: &super::LineError) -> String {
    #[derive(Serialize)]
    struct Wire<'a> {
        error: &'a str,
    }
    serde_json::to_string(&Wire { error: &error.0 }).unwrap_or_default()
}

pub(super) fn plan_json_into(set: &PolicySet, plan: &FleetPlan, line: &mut String) {
    let mut bytes = std::mem::take(line).into_bytes();
    // Plain data with text keys into a growing vector: there is no way for this to fail, and JSON is UTF-8.
    let _ = serde_json::to_writer(&mut bytes, &Output { set, plan });
    *line = String::from_utf8(bytes).unwrap_or_default();
}

struct Output<'a> {
    set: &'a PolicySet,
    plan: &'a FleetPlan,
}

impl Serialize for Output<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (policy, decision) = (self.plan.policy.as_ref(), &self.plan.decision);
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("fleet", policy.id.as_ref())?;
        map.serialize_entry("now", &decision.now.as_secs_f64())?;
        map.serialize_entry("current", &decision.current)?;
        map.serialize_entry("serving", &decision.serving)?;
        map.serialize_entry("desired", &decision.desired)?;
        map.serialize_entry("groups", &Groups(policy, self.plan))?;
        map.serialize_entry("recommendations", &Recommendations(policy, self.plan))?;
        map.serialize_entry("limits", &Limits(policy, self.plan))?;
        map.serialize_entry("trace", &Trace(policy, self.plan))?;
        map.serialize_entry("hold", &HoldOut(self.set, self.plan))?;
        map.end()
    }
}

struct Groups<'a>(&'a Policy, &'a FleetPlan);

impl Serialize for Groups<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Wire<'a> {
            provider: &'a str,
            group: &'a str,
            desired: Option<Capacity>,
            terminate: &'a [InstanceId],
            #[serde(skip_serializing_if = "Vec::is_empty")]
            drain: Vec<&'a InstanceId>,
            #[serde(skip_serializing_if = "<[_]>::is_empty")]
            take_back: &'a [InstanceId],
            #[serde(skip_serializing_if = "is_zero")]
            held: Capacity,
            /// Why each of those that leave was chosen.
            #[serde(skip_serializing_if = "Leaves::is_empty")]
            leaves: Leaves<'a>,
            #[serde(skip_serializing_if = "Vec::is_empty")]
            steps: Vec<PlaceStepOut>,
        }
        serializer.collect_seq(self.1.effect.groups().iter().map(|plan| {
            let own = &self.0.groups[usize::from(plan.group)];
            Wire {
                provider: &own.provider,
                group: own.group.as_str(),
                desired: plan.desired,
                terminate: plan.terminate(),
                drain: plan.drain.iter().map(|(id, _)| id).collect(),
                take_back: &plan.take_back,
                held: plan.held,
                leaves: Leaves(plan),
                steps: plan.steps.iter().map(PlaceStepOut::of).collect(),
            }
        }))
    }
}

/// The instances that leave, or drain in order to, and why each was chosen.
struct Leaves<'a>(&'a GroupPlan);

impl Leaves<'_> {
    fn is_empty(&self) -> bool {
        self.0.victims.is_empty() && self.0.drain.is_empty()
    }
}

impl Serialize for Leaves<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let terminated = self.0.terminate().iter().zip(&self.0.victims);
        let drained = self.0.drain.iter().map(|(instance, why)| (instance, why));
        serializer.collect_map(terminated.chain(drained).map(|(instance, why)| (instance.as_str(), why.text())))
    }
}

fn is_zero(n: &Capacity) -> bool {
    *n == 0
}

/// How a group of several came to its desired.
#[derive(Serialize)]
struct PlaceStepOut {
    before: Capacity,
    after: Capacity,
    why: Text<PlaceWhy>,
}

impl PlaceStepOut {
    fn of(step: &PlaceStep) -> Self {
        Self { before: step.before, after: step.after, why: Text(step.why) }
    }
}

struct Recommendations<'a>(&'a Policy, &'a FleetPlan);

impl Serialize for Recommendations<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let answers = &self.1.decision.recommendations;
        let mut seq = serializer.serialize_seq(Some(answers.len()))?;
        for recommendation in answers {
            seq.serialize_element(&OneRecommendation {
                rule: &self.0.rules[usize::from(recommendation.rule)].name,
                answer: &recommendation.answer,
                policy: self.0,
            })?;
        }
        seq.end()
    }
}

struct OneRecommendation<'a> {
    rule: &'a str,
    answer: &'a Answer,
    policy: &'a Policy,
}

impl Serialize for OneRecommendation<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = Text(self.answer.text(self.policy));
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("rule", self.rule)?;
        match self.answer {
            Answer::Value(value, _) => {
                map.serialize_entry("value", value)?;
                map.serialize_entry("why", &text)?;
            }
            Answer::OutOnly(value, _) => {
                map.serialize_entry("value", value)?;
                map.serialize_entry("out_only", &true)?;
                map.serialize_entry("why", &text)?;
            }
            Answer::Abstain(_) => map.serialize_entry("abstain", &text)?,
            Answer::Unknown(..) | Answer::Undefined(_) => map.serialize_entry("unknown", &text)?,
        }
        map.end()
    }
}

struct Limits<'a>(&'a Policy, &'a FleetPlan);

impl Serialize for Limits<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let limits = self.1.decision.limits;
        let mut map = serializer.serialize_map(Some(3))?;
        map.serialize_entry("min", &limits.min)?;
        map.serialize_entry("max", &limits.max)?;
        if limits.min_by == limits.max_by {
            map.serialize_entry("by", &By(self.0, limits.min_by))?;
        } else {
            let by = format!(
                "min by {}, max by {}",
                crate::text::limit_by(self.0, limits.min_by),
                crate::text::limit_by(self.0, limits.max_by)
            );
            map.serialize_entry("by", &by)?;
        }
        map.end()
    }
}

struct By<'a>(&'a Policy, LimitBy);

impl Serialize for By<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.1 {
            LimitBy::Policy => serializer.serialize_str("policy"),
            other => serializer.serialize_str(&crate::text::limit_by(self.0, other)),
        }
    }
}

struct Trace<'a>(&'a Policy, &'a FleetPlan);

impl Serialize for Trace<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Wire<'a> {
            stage: &'static str,
            before: Option<Capacity>,
            after: Option<Capacity>,
            why: Text<crate::trace::Text<'a>>,
        }
        serializer.collect_seq(self.1.decision.trace.iter().map(|step| Wire {
            stage: step.stage.name(),
            before: step.before,
            after: step.after,
            why: Text(step.why.text(self.0)),
        }))
    }
}

struct HoldOut<'a>(&'a PolicySet, &'a FleetPlan);

impl Serialize for HoldOut<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Some(hold) = self.1.decision.hold else { return serializer.serialize_none() };
        let policy = &self.1.policy;
        let place = policy.place(hold.setting);
        let mut map = serializer.serialize_map(Some(4))?;
        map.serialize_entry("reason", hold.reason.word())?;
        map.serialize_entry("setting", &policy.setting_name(hold.setting))?;
        map.serialize_entry("file", self.0.file(place))?;
        map.serialize_entry("line", &place.line)?;
        map.end()
    }
}

/// Anything that can be displayed, as a JSON string, without an allocation of its own.
struct Text<T>(T);

impl<T: fmt::Display> Serialize for Text<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}
