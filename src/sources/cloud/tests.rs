use super::*;
use crate::sources::{AnswerIndex, OwnedReading, pick};
use contract::{Accepted, Ask, Capacity, GuardKind, Observation, Target};
use policies::policy::{Metric, SourceFile};

const NOW: Timestamp = Timestamp(1_700_000_000_000_000);

/// What a test's cloud answers to a query as of a time; `None`: nothing, for ever.
type Script = fn(&str, Timestamp) -> Option<Result<Vec<Point>, ProviderError>>;

/// A cloud with metrics and nothing else; `None`: without those, too.
struct Fake(Option<Script>);

impl Metrics for Fake {
    fn query<'a>(&'a self, query: &'a str, now: Timestamp) -> BoxFuture<'a, Result<Vec<Point>, ProviderError>> {
        Box::pin(async move {
            match self.0.and_then(|script| script(query, now)) {
                Some(answer) => answer,
                None => std::future::pending().await,
            }
        })
    }
}

impl Provider for Fake {
    fn observe<'a>(&'a self, asks: &'a [Ask]) -> BoxFuture<'a, Vec<Result<Observation, ProviderError>>> {
        let answer = |ask: &Ask| Err(ProviderError::NotFound { what: ask.group.as_str().into() });
        Box::pin(std::future::ready(asks.iter().map(answer).collect()))
    }

    fn raise<'a>(&'a self, _: &'a Target, _: Capacity) -> BoxFuture<'a, Result<Accepted, ProviderError>> {
        Box::pin(std::future::ready(Err(ProviderError::Invalid { what: "it has no groups".into() })))
    }

    fn cancel_unfilled<'a>(&'a self, _: &'a Target, _: Capacity) -> BoxFuture<'a, Result<Accepted, ProviderError>> {
        Box::pin(std::future::ready(Err(ProviderError::Invalid { what: "it has no groups".into() })))
    }

    fn guard(&self) -> GuardKind {
        GuardKind::ReadThenWrite
    }

    fn metrics(&self) -> Option<&dyn Metrics> {
        self.0.is_some().then_some(self)
    }
}

fn source(script: Script) -> CloudMetrics {
    CloudMetrics::new("cloud", Arc::new(Fake(Some(script))), Duration::from_secs(2)).unwrap()
}

fn point(labels: &[(&str, &str)], value: f64, at: Timestamp) -> Point {
    Point { labels: labels.iter().map(|(name, text)| ((*name).into(), (*text).into())).collect(), value, at }
}

async fn asked(script: Script) -> Answer {
    source(script).query(&QueryAsk::new("depth"), NOW).await
}

#[tokio::test(start_paused = true)]
async fn every_error_of_a_cloud_is_unknown_with_its_reason() {
    let other = |word: &str| Err(MissingWhy::Other(word.into()));
    let what = || "x".into();
    let checks: [(Script, Answer); 8] = [
        (|_, _| Some(Err(ProviderError::Denied { what: "x".into() })), other("credentials")),
        (|_, _| Some(Err(ProviderError::Expired { what: "x".into() })), other("credentials")),
        (|_, _| Some(Err(ProviderError::Invalid { what: "x".into() })), Err(MissingWhy::Refused)),
        (|_, _| Some(Err(ProviderError::NotFound { what: "x".into() })), Err(MissingWhy::Refused)),
        (|_, _| Some(Err(ProviderError::Throttled { retry_after: None })), other("throttled")),
        (|_, _| Some(Err(ProviderError::Transport { what: "x".into(), source: None })), Err(MissingWhy::Unreachable)),
        (|_, _| Some(Err(ProviderError::Unclear { what: "x".into(), source: None })), other("unclear")),
        (|_, _| None, Err(MissingWhy::Timeout)),
    ];
    for (script, expected) in checks {
        assert_eq!(asked(script).await, expected);
    }
    let failure = failure_of(ProviderError::Denied { what: what() });
    assert_eq!(failure.detail, "denied: x");
}

/// `select` picks by the cloud's labels, and what was picked is judged like any other reading.
fn metric(select: &str) -> Metric {
    let text = format!(
        "[fleet.x]\nmode = \"on\"\nmin = 1\nmax = 9\ngroup = [{{ provider = \"cloud\", group = \"x\" }}]\n\
         [fleet.x.metric.m]\nsource = \"cloud\"\nquery = \"depth\"\nunit = \"count\"\n{select}\n\
         [[fleet.x.rule]]\nkind = \"per-instance\"\nmetric = \"m\"\ntarget = 10\n"
    );
    let file = SourceFile { name: "x.toml".into(), text };
    let (set, found) = crate::config::parse_policies(&[file], Duration::from_secs(15), None);
    assert!(found.is_empty(), "{found:?}");
    set.fleets[0].metrics[0].clone()
}

#[tokio::test]
async fn points_are_series_with_their_own_times() {
    let script: Script = |query, now| {
        let old = now.before(Duration::from_secs(60));
        Some(Ok(vec![
            point(&[("query", query), ("queue", "a")], 3.0, old),
            point(&[("queue", "b")], f64::NAN, now),
            point(&[("queue", "c")], 1.0, now),
            point(&[("queue", "c")], 2.0, now),
        ]))
    };
    let ask = QueryAsk { offset: Duration::from_secs(30), ..QueryAsk::new("depth") };
    let answer = AnswerIndex::new(source(script).query(&ask, NOW).await);
    let picked = |select: &str| pick(&metric(select), &answer, None, None);
    let at = NOW.before(Duration::from_secs(90));
    let own = picked("select = { queue = \"a\", query = \"depth\" }");
    assert_eq!(own, OwnedReading::Value { value: 3.0, at, members: None, from: None });
    assert!(matches!(picked("select = { queue = \"b\" }"), OwnedReading::Value { value, .. } if value.is_nan()));
    assert_eq!(picked("select = { queue = \"c\" }"), OwnedReading::Missing(MissingWhy::Ambiguous));
    assert_eq!(picked("select = { queue = \"d\" }"), OwnedReading::Missing(MissingWhy::Empty));
    assert_eq!(picked(""), OwnedReading::Missing(MissingWhy::Ambiguous));
    assert_eq!(asked(|_, _| Some(Ok(Vec::new()))).await, Ok(Arc::default()));
}

#[test]
fn a_provider_without_metrics_is_no_source() {
    assert!(CloudMetrics::new("cloud", Arc::new(Fake(None)), Duration::from_secs(2)).is_none());
}
