//! Alarms by name, as DescribeAlarms tells of them: the thresholds of step and simple scaling policies are theirs. In come
//! names; out go the alarms in CloudWatch's own form, which is also what its command line prints.

use super::CloudWatch;
use crate::errors::{Effect, unanswered};
use contract::ProviderError;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeSet;

/// Names in one call; CloudWatch takes no more.
const NAMES_MAX: usize = 100;
/// A hundred names fit into one page; AWS may send empty ones.
const PAGES_MAX: usize = 20;

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Request<'a> {
    alarm_names: &'a [&'a str],
    /// Composite ones have no threshold of their own.
    alarm_types: [&'static str; 1],
    max_records: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_token: Option<&'a str>,
}

/// One page of an answer.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct AlarmsPage {
    metric_alarms: Vec<Value>,
    #[serde(default)]
    next_token: Option<String>,
}

impl CloudWatch {
    /// The metric alarms of these names. One that is left out does not exist.
    ///
    /// # Errors
    /// `Denied` without `cloudwatch:DescribeAlarms`; `Transport` when the answer is not whole.
    pub async fn alarms(&self, names: &BTreeSet<&str>) -> Result<Vec<Value>, ProviderError> {
        let names: Vec<&str> = names.iter().copied().collect();
        let mut found = Vec::new();
        for batch in names.chunks(NAMES_MAX) {
            self.alarms_into(batch, &mut found).await.map_err(|error| match error {
                ProviderError::Denied { what } => {
                    ProviderError::Denied { what: format!("{what}; allow cloudwatch:DescribeAlarms").into() }
                }
                other => other,
            })?;
        }
        Ok(found)
    }

    async fn alarms_into(&self, names: &[&str], found: &mut Vec<Value>) -> Result<(), ProviderError> {
        let invalid = |what: Box<str>| ProviderError::Invalid { what };
        let call = self.alarms.as_ref().map_err(|what| invalid(what.clone()))?;
        let mut token: Option<String> = None;
        for _ in 0..PAGES_MAX {
            let request = Request {
                alarm_names: names,
                alarm_types: ["MetricAlarm"],
                max_records: NAMES_MAX,
                next_token: token.as_deref(),
            };
            let body = serde_json::to_string(&request).map_err(|error| invalid(error.to_string().into()))?;
            let page = self.lane.read("DescribeAlarms", || call.invoke(body.clone())).await?;
            for alarm in page.metric_alarms {
                let name = alarm["AlarmName"].as_str().unwrap_or_default();
                if !names.contains(&name) {
                    return Err(unknown(&format!("an answer to {name:?}, which was not asked")));
                }
                let twice = |other: &Value| other["AlarmName"] == alarm["AlarmName"];
                if !found.iter().any(twice) {
                    found.push(alarm);
                }
            }
            token = page.next_token.filter(|token| !token.is_empty());
            if token.is_none() {
                return Ok(());
            }
        }
        Err(unknown("more pages than a hundred alarms can fill"))
    }
}

/// A read without a usable answer.
fn unknown(why: &str) -> ProviderError {
    unanswered("DescribeAlarms", Effect::Read, why, None).error
}
