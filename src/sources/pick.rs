//! From a source's answer, which many fleets share, to one metric's reading: the series that `select` names, the
//! count of members, the proof of life. It judges no number; the core does. It never turns an absent series into a
//! number without a proof, and never picks one of several.

use super::{Answer, SeriesPoint};
use contract::{InstanceId, Timestamp};
use policies::facts::{MissingWhy, RawReading};
use policies::policy::Metric;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, PoisonError, RwLock};

/// What [`RawReading`] borrows, owned.
#[derive(Clone, Debug, PartialEq)]
pub enum OwnedReading {
    /// One value.
    Value {
        /// The number, in the metric's own unit.
        value: f64,
        /// The sample's own time.
        at: Timestamp,
        /// How many instances it covers; `None` without a usable answer to `members`.
        members: Option<f64>,
        /// Which source it comes from, when a composite was asked.
        from: Option<Arc<str>>,
    },
    /// One value for each instance, sorted by instance.
    PerInstance {
        /// Instance and number, in the metric's own unit.
        values: Box<[(InstanceId, f64)]>,
        /// The oldest sample's time.
        at: Timestamp,
        /// Which source they come from, when a composite was asked.
        from: Option<Arc<str>>,
    },
    /// No number.
    Missing(MissingWhy),
}

impl OwnedReading {
    /// The reading as the core takes it.
    pub fn as_raw(&self) -> RawReading<'_> {
        match self {
            OwnedReading::Value { value, at, members, .. } => {
                RawReading::Value { value: *value, at: *at, members: *members }
            }
            OwnedReading::PerInstance { values, at, .. } => RawReading::PerInstance { values, at: *at },
            OwnedReading::Missing(why) => RawReading::Missing(why.clone()),
        }
    }
}

/// Labels and the values that they must have.
type Select = [(Box<str>, Box<str>)];

/// Something whose series can be picked by labels: an [`Answer`], searched from end to end, or an [`AnswerIndex`].
pub trait Pickable {
    /// All series, or why there are none.
    fn series(&self) -> Result<&[SeriesPoint], &MissingWhy>;
    /// Calls `visit` with each series that has all these labels, in the answer's order.
    fn each_matching<'a>(&'a self, select: &Select, visit: &mut dyn FnMut(&'a SeriesPoint));
}

/// Picks one metric's reading out of the answers to its queries. `members` and `proof` are the answers to the metric's
/// `members` and `absent_zero_if`, where it has them.
///
/// - A series matches when all labels of `select` have the values given; without `select` every series does.
/// - No match is [`MissingWhy::Empty`], unless the proof of life says that absent is 0: then 0, as of the proof's time.
/// - More than one match is [`MissingWhy::Ambiguous`], unless `by` names the instances: then one value for each, as of
///   the oldest. An instance twice is ambiguous too. Left out, so that its instance counts as one without a value, is a
///   series without that label, without a known time, or older than the newest by more than `max_age`: the rate of an
///   instance that is gone lives on for its range's length, and must not take the others' readings with it.
/// - A single series whose sample's time is unknown is [`MissingWhy::NoTime`].
/// - The count of members comes from the series that matches `select`, or else from the only series there is, if it
///   contradicts no label of `select`. A count that is negative, not finite, or older than the value by more than
///   `max_age` is none.
pub fn pick<A: Pickable + ?Sized>(metric: &Metric, value: &A, members: Option<&A>, proof: Option<&A>) -> OwnedReading {
    let read = match (value.series(), &metric.by) {
        (Err(why), _) => return OwnedReading::Missing(why.clone()),
        (Ok(_), Some(by)) => pick_instances(value, metric, by),
        (Ok(_), None) => pick_value(value, metric, members),
    };
    match read {
        Ok(reading) => reading,
        Err(MissingWhy::Empty) if metric.by.is_none() => match proof.and_then(|proof| alive_at(proof, metric)) {
            Some(at) => {
                OwnedReading::Value { value: 0.0, at, members: members_of(members, metric, at, None), from: None }
            }
            None => OwnedReading::Missing(MissingWhy::Empty),
        },
        Err(why) => OwnedReading::Missing(why),
    }
}

fn pick_value<A: Pickable + ?Sized>(
    value: &A,
    metric: &Metric,
    members: Option<&A>,
) -> Result<OwnedReading, MissingWhy> {
    let one = only(value, &metric.select)?;
    let at = one.at.ok_or(MissingWhy::NoTime)?;
    let members = members_of(members, metric, at, one.from.as_ref());
    Ok(OwnedReading::Value { value: one.value, at, members, from: one.from.clone() })
}

/// The one series that matches.
fn only<'a, A: Pickable + ?Sized>(answer: &'a A, select: &Select) -> Result<&'a SeriesPoint, MissingWhy> {
    let mut found = Err(MissingWhy::Empty);
    answer.each_matching(select, &mut |series| {
        found = match found {
            Err(MissingWhy::Empty) => Ok(series),
            _ => Err(MissingWhy::Ambiguous),
        };
    });
    found
}

fn pick_instances<A: Pickable + ?Sized>(answer: &A, metric: &Metric, by: &str) -> Result<OwnedReading, MissingWhy> {
    let mut found: Vec<(&str, f64, Timestamp)> = Vec::new();
    let mut why_none = MissingWhy::Empty;
    answer.each_matching(&metric.select, &mut |series| match (label(series, by), series.at) {
        ("", _) => why_none = MissingWhy::WrongShape,
        (_, None) => why_none = MissingWhy::NoTime,
        (instance, Some(at)) => found.push((instance, series.value, at)),
    });
    let newest = found.iter().map(|(_, _, at)| *at).max().ok_or(why_none)?;
    found.retain(|(_, _, at)| newest.since(*at) <= metric.max_age);
    found.sort_unstable_by_key(|(instance, ..)| *instance);
    if found.windows(2).any(|pair| pair[0].0 == pair[1].0) {
        return Err(MissingWhy::Ambiguous);
    }
    let at = found.iter().map(|(_, _, at)| *at).min().unwrap_or(newest);
    let values = found.into_iter().map(|(instance, value, _)| (InstanceId::from(instance), value)).collect();
    // A composite takes an answer whole from one source.
    let from = answer.series().ok().and_then(|series| series.first()).and_then(|first| first.from.clone());
    Ok(OwnedReading::PerInstance { values, at, from })
}

/// The count of members, as of about `at`. What another source of a composite counted says nothing of this one's value.
fn members_of<A: Pickable + ?Sized>(
    answer: Option<&A>,
    metric: &Metric,
    at: Timestamp,
    from: Option<&Arc<str>>,
) -> Option<f64> {
    let answer = answer?;
    let counted = match only(answer, &metric.select) {
        Err(MissingWhy::Empty) => match answer.series() {
            Ok([single]) if agrees(single, &metric.select) => single,
            _ => return None,
        },
        Err(_) => return None,
        Ok(found) => found,
    };
    let is_old = counted.at.is_none_or(|counted| at.since(counted) > metric.max_age);
    let is_elsewhere = counted.from.as_ref() != from;
    let count = counted.value;
    (!is_old && !is_elsewhere && count.is_finite() && count >= 0.0).then_some(count)
}

/// The newest time at which something proves that the fleet is alive.
fn alive_at<A: Pickable + ?Sized>(proof: &A, metric: &Metric) -> Option<Timestamp> {
    let mut newest = None;
    let mut is_any = false;
    let mut visit = |series: &SeriesPoint| {
        // Where several sources may answer, one's silence and another's sign of life prove nothing together.
        if series.value > 0.0 && series.from.is_none() {
            newest = newest.max(series.at);
        }
    };
    proof.each_matching(&metric.select, &mut |series| {
        is_any = true;
        visit(series);
    });
    if !is_any {
        // A proof without the labels of `select` is about this fleet alone; one with other values is about another.
        proof.series().ok()?.iter().filter(|series| agrees(series, &metric.select)).for_each(visit);
    }
    newest
}

/// Whether a series contradicts no label, though it may lack some.
fn agrees(series: &SeriesPoint, select: &Select) -> bool {
    select.iter().all(|(name, wanted)| matches!(label(series, name), "") || label(series, name) == &**wanted)
}

fn matches_all(series: &SeriesPoint, select: &Select) -> bool {
    select.iter().all(|(name, wanted)| label(series, name) == &**wanted)
}

/// A label's value; empty when it is not carried, which PromQL does not tell apart either.
fn label<'a>(series: &'a SeriesPoint, name: &str) -> &'a str {
    series.labels.iter().find(|(known, _)| &**known == name).map_or("", |(_, value)| value)
}

impl Pickable for Answer {
    fn series(&self) -> Result<&[SeriesPoint], &MissingWhy> {
        self.as_deref()
    }

    fn each_matching<'a>(&'a self, select: &Select, visit: &mut dyn FnMut(&'a SeriesPoint)) {
        let all = self.as_deref().unwrap_or_default();
        all.iter().filter(|series| matches_all(series, select)).for_each(visit);
    }
}

/// An answer that many fleets pick from: it is searched once for each set of label names, not once for each fleet.
#[derive(Debug)]
pub struct AnswerIndex {
    answer: Answer,
    /// One index for each set of label names that was asked by; a handful at most.
    by_names: RwLock<Vec<Arc<NameIndex>>>,
}

/// Where the series are, by the values of some labels.
#[derive(Debug)]
struct NameIndex {
    names: Box<[Box<str>]>,
    /// The values' hash and the series' position, sorted.
    rows: Box<[(u64, u32)]>,
}

impl AnswerIndex {
    /// Takes an answer; costs nothing until it is picked from.
    pub fn new(answer: Answer) -> Self {
        Self { answer, by_names: RwLock::default() }
    }

    /// The answer itself.
    pub fn answer(&self) -> &Answer {
        &self.answer
    }

    fn index(&self, select: &Select) -> Arc<NameIndex> {
        let known = |all: &[Arc<NameIndex>]| {
            let same = |index: &&Arc<NameIndex>| index.names.iter().eq(select.iter().map(|(name, _)| name));
            all.iter().find(same).cloned()
        };
        if let Some(index) = known(&self.by_names.read().unwrap_or_else(PoisonError::into_inner)) {
            return index;
        }
        let mut all = self.by_names.write().unwrap_or_else(PoisonError::into_inner);
        known(&all).unwrap_or_else(|| {
            let index = Arc::new(NameIndex::new(self.answer.as_deref().unwrap_or_default(), select));
            all.push(index.clone());
            index
        })
    }
}

impl NameIndex {
    fn new(series: &[SeriesPoint], select: &Select) -> Self {
        let hash = |one| hash_of(select.iter().map(|(name, _)| label(one, name)));
        let mut rows: Box<[(u64, u32)]> = series.iter().zip(0..).map(|(one, at)| (hash(one), at)).collect();
        rows.sort_unstable();
        Self { names: select.iter().map(|(name, _)| name.clone()).collect(), rows }
    }
}

impl Pickable for AnswerIndex {
    fn series(&self) -> Result<&[SeriesPoint], &MissingWhy> {
        self.answer.series()
    }

    fn each_matching<'a>(&'a self, select: &Select, visit: &mut dyn FnMut(&'a SeriesPoint)) {
        let all = self.answer.as_deref().unwrap_or_default();
        if select.is_empty() {
            return all.iter().for_each(visit);
        }
        let index = self.index(select);
        let wanted = hash_of(select.iter().map(|(_, value)| &**value));
        let first = index.rows.partition_point(|(hash, _)| *hash < wanted);
        for (_, at) in index.rows[first..].iter().take_while(|(hash, _)| *hash == wanted) {
            let series = &all[*at as usize];
            if matches_all(series, select) {
                visit(series);
            }
        }
    }
}

fn hash_of<'a>(values: impl Iterator<Item = &'a str>) -> u64 {
    let mut hasher = DefaultHasher::new();
    values.for_each(|value| value.hash(&mut hasher));
    hasher.finish()
}

#[cfg(test)]
mod tests;
