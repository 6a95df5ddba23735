//! CloudWatch's alarms (2010-08-01), by its JSON protocol: what calls a step scaling policy. They only tell of themselves;
//! there is no metric here that could set one off.

use super::{ACCOUNT, Aws, REGION, Refused};
use crate::request::{Reply, Request};
use serde_json::{Value, json};

const TARGET: &str = "GraniteServiceVersion20100801.";
const TYPE: &str = "application/x-amz-json-1.0";

/// The call, when a request is one to CloudWatch.
pub(super) fn action(request: &Request) -> Option<&str> {
    request.header("x-amz-target")?.strip_prefix(TARGET)
}

pub(super) fn is_later_page(request: &Request) -> bool {
    request.json()["NextToken"].is_string()
}

/// A refusal in this protocol's form.
pub(super) fn trouble((status, code, words): &Refused) -> Reply {
    let body = json!({ "__type": format!("com.amazonaws.cloudwatch#{code}"), "message": words });
    Reply::text(*status, TYPE, body.to_string())
}

impl Aws {
    /// Puts an alarm, in CloudWatch's own form, in the place of the one with its name. The policies that are its actions
    /// show it.
    pub fn put_alarm(&self, mut alarm: Value) {
        let name = alarm["AlarmName"].as_str().unwrap_or_default();
        alarm["AlarmArn"] = format!("arn:aws:cloudwatch:{REGION}:{ACCOUNT}:alarm:{name}").into();
        let mut state = self.lock();
        state.alarms.retain(|other| other["AlarmName"] != alarm["AlarmName"]);
        state.alarms.push(alarm);
    }

    /// The ARN of a scaling policy, for an alarm's actions.
    pub fn policy_arn(&self, policy: &str) -> String {
        super::controllers::arn(policy)
    }

    /// What a policy shows of the alarms that call it.
    pub(super) fn alarms_calling(&self, arn: &Value) -> Vec<Value> {
        let state = self.lock();
        let calls = |alarm: &&Value| alarm["AlarmActions"].as_array().is_some_and(|actions| actions.contains(arn));
        let shown = |alarm: &Value| json!({ "AlarmName": alarm["AlarmName"], "AlarmARN": alarm["AlarmArn"] });
        state.alarms.iter().filter(calls).map(shown).collect()
    }

    pub(super) fn cloudwatch(&self, action: &str, request: &Request) -> Reply {
        let answer = match action {
            "DescribeAlarms" => self.describe_alarms(&request.json()),
            other => Err((400, "UnknownOperationException", format!("{other} is not known here"))),
        };
        match answer {
            Ok(body) => Reply::text(200, TYPE, body.to_string()),
            Err(refused) => trouble(&refused),
        }
    }

    fn describe_alarms(&self, asked: &Value) -> Result<Value, Refused> {
        let invalid = |words: &str| (400, "ValidationError", words.to_owned());
        let names = asked["AlarmNames"].as_array();
        if names.is_some_and(|names| names.len() > 100) {
            return Err(invalid("at most 100 names"));
        }
        let most = asked["MaxRecords"].as_u64().unwrap_or(50);
        if !(1..=100).contains(&most) {
            return Err(invalid("a page holds 1 to 100"));
        }
        let most = usize::try_from(most).unwrap_or(100).min(self.page);
        let bad = || (400, "InvalidNextToken", "The token is invalid.".to_owned());
        let token = asked["NextToken"].as_str();
        let start: usize = token.map_or(Ok(0), |token| token.parse().map_err(|_| bad()))?;
        let state = self.lock();
        let wanted = |alarm: &&Value| names.is_none_or(|names| names.contains(&alarm["AlarmName"]));
        let found: Vec<&Value> = state.alarms.iter().filter(wanted).collect();
        let page: Vec<&Value> = found.iter().copied().skip(start).take(most).collect();
        let mut answer = json!({ "MetricAlarms": page, "CompositeAlarms": [] });
        if start + most < found.len() {
            answer["NextToken"] = (start + most).to_string().into();
        }
        Ok(answer)
    }
}
