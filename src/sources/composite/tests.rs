use super::*;
use crate::sources::sim::{Load, SimSource};
use crate::sources::{AnswerIndex, OwnedReading, pick};
use policies::policy::{Metric, SourceFile};
use std::sync::atomic::{AtomicUsize, Ordering};

const NOW: Timestamp = Timestamp(1_700_000_000_000_000);

/// A source that answers so after a while, and counts how often it was asked.
#[derive(Clone)]
struct Scripted {
    answer: Answer,
    after: Duration,
    asked: Arc<AtomicUsize>,
    texts: Arc<Mutex<Vec<String>>>,
}

impl Scripted {
    fn new(answer: Answer) -> Self {
        Self { answer, after: Duration::ZERO, asked: Arc::default(), texts: Arc::default() }
    }

    fn slow(self, secs: u64) -> Self {
        Self { after: Duration::from_secs(secs), ..self }
    }

    fn count(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

impl MetricSource for Scripted {
    fn query<'a>(&'a self, ask: &'a QueryAsk, _: Timestamp) -> BoxFuture<'a, Answer> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        self.texts.lock().unwrap().push(ask.query.to_string());
        Box::pin(async {
            tokio::time::sleep(self.after).await;
            self.answer.clone()
        })
    }
}

/// Series by fleet, value and age in seconds.
fn series(rows: &[(&str, f64, u64)]) -> Answer {
    let point = |(asg, value, age): &(&str, f64, u64)| {
        SimSource::point(&[("asg", asg)], *value, NOW.before(Duration::from_secs(*age)))
    };
    Ok(rows.iter().map(point).collect())
}

fn of(parts: &[&Scripted]) -> Composite {
    let names = ["a", "b", "c"].into_iter().map(Arc::<str>::from);
    let parts = names.zip(parts.iter().map(|part| Arc::new((*part).clone()) as Arc<dyn MetricSource>)).collect();
    Composite::new("all", parts, Duration::from_secs(1))
}

async fn asked(parts: &[&Scripted]) -> Answer {
    of(parts).query(&QueryAsk::new("rps"), NOW).await
}

/// Who answered, and with which values.
fn told(answer: &Answer) -> (String, Vec<f64>) {
    let series = answer.as_ref().unwrap();
    let from = series.first().and_then(|one| one.from.as_deref()).unwrap_or("nobody").to_owned();
    assert!(series.iter().all(|one| one.from.as_deref() == Some(&*from)), "never mixed");
    (from, series.iter().map(|one| one.value).collect())
}

#[tokio::test(start_paused = true)]
async fn the_first_fresh_answer_is_taken_whole() {
    let (a, b) = (Scripted::new(series(&[("x", 1.0, 5)])), Scripted::new(series(&[("x", 9.0, 5)])));
    assert_eq!(told(&asked(&[&a, &b]).await), ("a".into(), vec![1.0]));
    assert_eq!(b.count(), 0, "nobody is asked without need");
    for bad in [
        Err(MissingWhy::Unreachable),
        series(&[]),
        series(&[("x", 1.0, 181)]),
        series(&[("x", 1.0, 5), ("y", 1.0, 500)]),
        series(&[("x", f64::NAN, 5)]),
        Ok(Arc::new([SimSource::point(&[("asg", "x")], 1.0, NOW.after(Duration::from_secs(600)))])),
        Ok(Arc::new([SeriesPoint { at: None, ..SimSource::point(&[], 1.0, NOW) }])),
    ] {
        let a = Scripted::new(bad);
        assert_eq!(told(&asked(&[&a, &b]).await), ("b".into(), vec![9.0]), "{:?}", a.answer);
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_hangs_delays_the_next_by_its_patience_alone() {
    let a = Scripted::new(series(&[("x", 1.0, 5)])).slow(60);
    let b = Scripted::new(Err(MissingWhy::Refused)).slow(60);
    let c = Scripted::new(series(&[("x", 9.0, 5)]));
    let begun = tokio::time::Instant::now();
    assert_eq!(told(&asked(&[&a, &b, &c]).await), ("c".into(), vec![9.0]));
    assert_eq!(begun.elapsed(), Duration::from_secs(2));
    // One that is only slow is taken when the next one has nothing.
    let a = Scripted::new(series(&[("x", 1.0, 5)])).slow(2);
    let b = Scripted::new(Err(MissingWhy::Refused));
    assert_eq!(told(&asked(&[&a, &b]).await), ("a".into(), vec![1.0]));
}

#[tokio::test(start_paused = true)]
async fn without_a_fresh_answer_the_best_is_what_the_core_judges() {
    let partly = Scripted::new(series(&[("x", 1.0, 5), ("y", 2.0, 500)]));
    let old = Scripted::new(series(&[("x", 7.0, 400)]));
    let failing = Scripted::new(Err(MissingWhy::Timeout));
    let empty = Scripted::new(series(&[]));
    assert_eq!(told(&asked(&[&old, &partly, &failing]).await), ("b".into(), vec![1.0, 2.0]));
    assert_eq!(told(&asked(&[&failing, &old, &empty]).await), ("b".into(), vec![7.0]));
    assert_eq!(told(&asked(&[&old, &Scripted::new(series(&[("x", 8.0, 300)]))]).await), ("a".into(), vec![7.0]));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_empty_unless_everybody_says_so() {
    let empty = Scripted::new(series(&[]));
    let failing = |why: MissingWhy| Scripted::new(Err(why));
    assert_eq!(asked(&[&empty, &empty]).await, Ok(Arc::default()));
    let other = |text: &str| Err(MissingWhy::Other(text.into()));
    let answer = asked(&[&failing(MissingWhy::Timeout), &empty]).await;
    assert_eq!(answer, other("a: timeout, b: empty"));
    let answer = asked(&[&empty, &failing(MissingWhy::Refused), &failing(MissingWhy::Timeout)]).await;
    assert_eq!(answer, other("a: empty, b: refused, c: timeout"));
    // The same reason from all keeps its word.
    let timeout = failing(MissingWhy::Timeout);
    assert_eq!(asked(&[&timeout, &timeout]).await, Err(MissingWhy::Timeout));
}

#[tokio::test(start_paused = true)]
async fn each_source_is_asked_in_its_own_words() {
    let failing = || Scripted::new(Err(MissingWhy::Timeout));
    let (a, b, c) = (failing(), failing(), failing());
    let composite = of(&[&a, &b, &c]);
    let ask = QueryAsk::new("{\"a\":\"sum(rps)\",\"c\":\"SELECT \\\"x\\\"\"}");
    assert_eq!(composite.query(&ask, NOW).await, Err(MissingWhy::Timeout));
    let texts = |of: &Scripted| of.texts.lock().unwrap().clone();
    assert_eq!((texts(&a), texts(&b), texts(&c)), (vec!["sum(rps)".into()], vec![], vec!["SELECT \"x\"".into()]));
    let nobodys = QueryAsk::new("{\"z\":\"sum(rps)\"}");
    assert_eq!(composite.query(&nobodys, NOW).await, Err(MissingWhy::Refused));
}

/// A metric with everything that is asked for beside the value.
fn metric() -> Metric {
    let text = "[fleet.x]\nmode = \"on\"\nmin = 1\nmax = 9\ngroup = [{ provider = \"cloud\", group = \"x\" }]\n\
                [fleet.x.metric.rps]\nsource = \"all\"\nquery = \"rps\"\nunit = \"count\"\nmembers = \"count(rps)\"\n\
                absent = { zero_if = \"up\" }\n[[fleet.x.rule]]\nkind = \"per-instance\"\nmetric = \"rps\"\ntarget = 10\n";
    let file = SourceFile { name: "x.toml".into(), text: text.into() };
    let (set, found) = crate::config::parse_policies(&[file], Duration::from_secs(15), None);
    assert!(found.is_empty(), "{found:?}");
    set.fleets[0].metrics[0].clone()
}

#[test]
fn what_another_source_says_counts_and_proves_nothing() {
    let point = |value: f64, from: Option<&str>| {
        AnswerIndex::new(Ok(Arc::new([SeriesPoint { from: from.map(Arc::from), ..SimSource::point(&[], value, NOW) }])))
    };
    let members = |value: Option<&str>, members: Option<&str>| match pick(
        &metric(),
        &point(5.0, value),
        Some(&point(3.0, members)),
        None,
    ) {
        OwnedReading::Value { members, from, .. } => (members, from.as_deref().map(str::to_owned)),
        other => panic!("{other:?}"),
    };
    assert_eq!(members(Some("a"), Some("a")), (Some(3.0), Some("a".into())));
    assert_eq!(members(Some("b"), Some("a")), (None, Some("b".into())));
    assert_eq!(members(None, None), (Some(3.0), None));
    let empty = AnswerIndex::new(Ok(Arc::default()));
    let alive = |proof| pick(&metric(), &empty, None, Some(&proof));
    assert!(matches!(alive(point(1.0, None)), OwnedReading::Value { value: 0.0, .. }));
    assert_eq!(alive(point(1.0, Some("a"))), OwnedReading::Missing(MissingWhy::Empty));
}

#[tokio::test]
async fn the_first_that_records_tells_the_past() {
    let constant = |value: f64| -> Load {
        Arc::new(move |query, at| Ok(Arc::new([SimSource::point(&[("q", query)], value, at)])))
    };
    let silent: Part = ("a".into(), Arc::new(SimSource::new(constant(1.0))));
    let first: Part = ("b".into(), Arc::new(SimSource::recording(constant(2.0))));
    let second: Part = ("c".into(), Arc::new(SimSource::recording(constant(3.0))));
    let at = Timestamp::from_secs;
    let span = Span { from: at(60), to: at(60), step: Duration::from_secs(60) };
    let composite = Composite::new("all", vec![silent.clone(), first, second], Duration::from_secs(1));
    let ask = QueryAsk::new("rps");
    let answer = composite.recorder().unwrap().recorded(&ask, span).await.unwrap();
    assert_eq!(answer[0].samples, [(at(60), 2.0)]);
    // With texts for some alone, the first of those.
    let ask = QueryAsk::new("{\"a\":\"x\",\"c\":\"y\"}");
    let answer = composite.recorder().unwrap().recorded(&ask, span).await.unwrap();
    assert_eq!((answer[0].samples[0].1, answer[0].labels["q"].as_str()), (3.0, "y"));
    assert!(Composite::new("all", vec![silent], Duration::from_secs(1)).recorder().is_none());
}
