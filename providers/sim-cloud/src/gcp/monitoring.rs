//! Cloud Monitoring: `projects.timeSeries.list` over series that a test sets. Aligners and reducers of numbers are served;
//! those of distributions and truth values are refused, as the real ones are for numbers.

use super::Gcp;
use super::aligned::{Form, Periods, Values, align, reduce};
use super::refusals::rpc;
use crate::request::{Reply, Request};
use contract::Timestamp;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Most values in a page.
const PAGE_MAX: usize = 100_000;
/// The shortest alignment period.
const PERIOD_MIN_SECS: i64 = 60;

/// One series.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GcpSeries {
    /// The metric's type.
    pub metric: String,
    /// `GAUGE`, `DELTA` or `CUMULATIVE`.
    pub kind: &'static str,
    /// `INT64` or `DOUBLE`.
    pub values: &'static str,
    /// The resource's type.
    pub resource: String,
    /// Its fields as filters name them: `metric.labels.state`, `resource.labels.zone`, `metadata.user_labels.app`.
    pub fields: BTreeMap<String, String>,
    /// Its values, each with the end of the time that it is of.
    pub points: BTreeMap<Timestamp, f64>,
}

impl GcpSeries {
    fn field(&self, field: &str) -> &str {
        match field {
            "metric.type" => &self.metric,
            "resource.type" => &self.resource,
            field => self.fields.get(field).map_or("", String::as_str),
        }
    }

    fn labels(&self, of: &str) -> BTreeMap<&str, &str> {
        self.fields.iter().filter_map(|(field, value)| Some((field.strip_prefix(of)?, value.as_str()))).collect()
    }
}

/// A refusal of what was asked.
fn wrong(what: &str) -> Box<Reply> {
    Box::new(rpc(400, "INVALID_ARGUMENT", what, None))
}

impl Gcp {
    /// From now on Cloud Monitoring has these series.
    pub fn set_series(&self, series: Vec<GcpSeries>) {
        self.lock().series = series;
    }

    /// `timeSeries.list`.
    pub(super) fn time_series(&self, request: &Request, project: &str) -> Reply {
        if project != self.project {
            return rpc(404, "NOT_FOUND", &format!("The requested project {project} was not found."), None);
        }
        let listed = self.matching(request).and_then(|found| aligned(request, found));
        match listed {
            Ok(series) => self.page_of(request, &series),
            Err(refusal) => *refusal,
        }
    }

    fn matching(&self, request: &Request) -> Result<Vec<GcpSeries>, Box<Reply>> {
        let filter = request.param("filter").unwrap_or_default();
        let conditions = conditions(filter).ok_or_else(|| wrong(&format!("Could not parse filter {filter:?}")))?;
        let metric = conditions.iter().find(|one| one.field == "metric.type" && one.sign == Sign::Is);
        let Some(metric) = metric else { return Err(wrong("The filter must specify a single metric type.")) };
        let all = self.lock().series.clone();
        if !all.iter().any(|series| series.metric == metric.value) {
            let what = format!(
                "Cannot find metric(s) that match type = \"{}\". If a metric was created recently, it could take up to 10 \
                 minutes to become available. Please try again soon.",
                metric.value
            );
            return Err(Box::new(rpc(404, "NOT_FOUND", &what, None)));
        }
        let fits = |series: &GcpSeries| conditions.iter().all(|one| one.holds(series.field(&one.field)));
        Ok(all.into_iter().filter(fits).collect())
    }

    /// A page counts values, so that a series may go on in the next one.
    fn page_of(&self, request: &Request, series: &[(GcpSeries, Form)]) -> Reply {
        let asked = request.param("pageSize").and_then(|text| text.parse::<usize>().ok()).filter(|size| *size > 0);
        let size = asked.unwrap_or(PAGE_MAX).min(PAGE_MAX).min(self.page);
        let from = request.param("pageToken").and_then(|text| text.parse::<usize>().ok()).unwrap_or(0);
        let newest = |(index, (one, _)): (usize, &(GcpSeries, Form))| {
            one.points.clone().into_iter().rev().map(move |point| (index, point)).collect::<Vec<_>>()
        };
        let values: Vec<(usize, (Timestamp, f64))> = series.iter().enumerate().flat_map(newest).collect();
        let mut shown: Vec<(usize, Value)> = Vec::new();
        for (index, point) in values.iter().skip(from).take(size) {
            if shown.last().is_none_or(|(last, _)| last != index) {
                shown.push((*index, self.shape(&series[*index].0, series[*index].1)));
            }
            if let Some((_, one)) = shown.last_mut()
                && let Some(points) = one["points"].as_array_mut()
            {
                points.push(sample(point, series[*index].1));
            }
        }
        let mut body = json!({ "unit": "1" });
        if !shown.is_empty() {
            body["timeSeries"] = shown.into_iter().map(|(_, one)| one).collect();
        }
        if from + size < values.len() {
            body["nextPageToken"] = (from + size).to_string().into();
        }
        Reply::json(200, &body)
    }

    fn shape(&self, series: &GcpSeries, form: Form) -> Value {
        let mut resource: BTreeMap<&str, &str> = series.labels("resource.labels.");
        resource.insert("project_id", &self.project);
        let mut shown = json!({
            "metric": { "type": series.metric, "labels": series.labels("metric.labels.") },
            "resource": { "type": series.resource, "labels": resource },
            "metricKind": form.kind,
            "valueType": form.values,
            "points": [],
        });
        let user = series.labels("metadata.user_labels.");
        if !user.is_empty() {
            shown["metadata"] = json!({ "userLabels": user });
        }
        shown
    }
}

fn sample((end, value): &(Timestamp, f64), form: Form) -> Value {
    let at = jiff::Timestamp::from_microsecond(end.0).map(|at| at.to_string()).unwrap_or_default();
    let value = match form.values {
        "INT64" => json!({ "int64Value": format!("{value:.0}") }),
        _ if value.is_nan() => json!({ "doubleValue": "NaN" }),
        _ => json!({ "doubleValue": value }),
    };
    json!({ "interval": { "startTime": at, "endTime": at }, "value": value })
}

/// The series of an answer, as the request wants them aligned and reduced.
fn aligned(request: &Request, found: Vec<GcpSeries>) -> Result<Vec<(GcpSeries, Form)>, Box<Reply>> {
    let time = |name: &str| request.param(name).and_then(|text| text.parse::<jiff::Timestamp>().ok());
    let Some(to) = time("interval.endTime") else { return Err(wrong("Field interval.endTime had an invalid value.")) };
    let from = time("interval.startTime").unwrap_or(to);
    if from > to {
        return Err(wrong("Field interval.startTime had an invalid value: it must be before the end time."));
    }
    let period = request.param("aggregation.alignmentPeriod").and_then(|text| text.strip_suffix('s')?.parse().ok());
    let Some(period) = period.filter(|secs: &i64| *secs >= PERIOD_MIN_SECS) else {
        return Err(wrong("Field aggregation.alignmentPeriod had an invalid value: it must be at least 60 seconds."));
    };
    let (from, to) = (Timestamp(from.as_microsecond()), Timestamp(to.as_microsecond()));
    let periods = Periods { from, to, micros: period * 1_000_000 };
    let aligner = request.param("aggregation.perSeriesAligner").unwrap_or("ALIGN_NONE");
    let mut series = Vec::new();
    for mut one in found {
        let form = Form { kind: one.kind, values: one.values };
        let Some((values, form)) = align(&one.points, form, aligner, periods) else {
            let what = format!("The {aligner} aligner does not work on {} {} data.", one.kind, one.values);
            return Err(wrong(&what));
        };
        one.points = values;
        series.push((one, form));
    }
    series.retain(|(one, _)| !one.points.is_empty());
    match request.param("aggregation.crossSeriesReducer").filter(|word| *word != "REDUCE_NONE") {
        None => Ok(series),
        Some(reducer) => {
            let by = request.query.iter().filter(|(name, _)| name == "aggregation.groupByFields");
            let by: Vec<String> = by.map(|(_, field)| field.replace('"', "")).collect();
            reduced(series, reducer, &by)
        }
    }
}

fn reduced(series: Vec<(GcpSeries, Form)>, reducer: &str, by: &[String]) -> Result<Vec<(GcpSeries, Form)>, Box<Reply>> {
    // The type of the resource always belongs to what series are alike in.
    type Alike = (String, BTreeMap<String, String>);
    let mut groups: BTreeMap<Alike, (GcpSeries, Form, Vec<Values>)> = BTreeMap::new();
    for (mut one, form) in series {
        one.fields.retain(|field, _| by.contains(field));
        let values = std::mem::take(&mut one.points);
        let group = groups.entry((one.resource.clone(), one.fields.clone())).or_insert((one, form, Vec::new()));
        group.2.push(values);
    }
    let one = |(mut one, form, all): (GcpSeries, Form, Vec<Values>)| {
        let (values, form) = reduce(&all, form, reducer)?;
        one.points = values;
        Some((one, form))
    };
    let all: Option<Vec<_>> = groups.into_values().map(one).collect();
    all.ok_or_else(|| wrong(&format!("The {reducer} reducer does not work on this data.")))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sign {
    Is,
    IsNot,
    /// Literal text around `.*`, of all that RE2 has.
    Matches,
}

struct Condition {
    field: String,
    sign: Sign,
    value: String,
}

impl Condition {
    fn holds(&self, value: &str) -> bool {
        match self.sign {
            Sign::Is => value == self.value,
            Sign::IsNot => value != self.value,
            Sign::Matches => {
                let (start, end) = self.value.split_once(".*").unwrap_or((&self.value, ""));
                let long = value.len() >= start.len() + end.len();
                long && value.starts_with(start)
                    && value.ends_with(end)
                    && (self.value.contains(".*") || value == start)
            }
        }
    }
}

/// The comparisons of a filter, joined by AND.
fn conditions(filter: &str) -> Option<Vec<Condition>> {
    let mut found = Vec::new();
    let mut rest = filter;
    loop {
        let end = rest.find(['!', '='])?;
        let (field, after) = rest.split_at(end);
        let (sign, after) = match after.strip_prefix("!= ") {
            Some(after) => (Sign::IsNot, after),
            None => (Sign::Is, after.strip_prefix("= ")?),
        };
        let (sign, after) = match after.strip_prefix("monitoring.regex.full_match(") {
            Some(after) if sign == Sign::Is => (Sign::Matches, after),
            Some(_) => return None,
            None => (sign, after),
        };
        let (value, after) = text(after.strip_prefix('"')?)?;
        let after = if sign == Sign::Matches { after.strip_prefix(')')? } else { after };
        let field = field.trim().replace('"', "");
        found.push(Condition { field, sign, value });
        match after.strip_prefix(" AND ") {
            Some(after) => rest = after,
            None => return after.is_empty().then_some(found),
        }
    }
}

/// A text up to its closing quote, and the rest.
fn text(quoted: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    loop {
        match chars.next()? {
            (at, '"') => return Some((value, &quoted[at + 1..])),
            (_, '\\') => value.push(chars.next()?.1),
            (_, c) => value.push(c),
        }
    }
}
