//! Recorded values: what `objective` rules learn from them at a start and after a gap, and what a source that fails with
//! them does to decisions: nothing.

use super::world::{EPOCH, Life, World, cloud, load, policy, secs};
use contract::{BoxFuture, Timestamp};
use policies::facts::MissingWhy;
use policies::memory::FleetMemory;
use policies::policy::SourceFile;
use policies::trace::{Answer, Bound, Calculation};
use skala::api::{Replay, Wanted, explain};
use skala::app::StopReason;
use skala::sources::sim::SimSource;
use skala::sources::{MetricSource, QueryAsk, RangeError, RangeSeries, Recorder, Span};
use skala::store::memory::{Fault, MemoryStore};
use skala::store::{Options, PolicyFiles, Store};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const HOUR: u64 = 3_600;

/// A load by the time of day between 400 and 1,600, and a little restless. It is always there.
fn day(at: Timestamp) -> f64 {
    let secs = at.0 / 1_000_000;
    let phase = (secs.rem_euclid(86_400) as f64 / 43_200.0 - 1.0).abs();
    let minute = (secs / 60) as u64;
    let mixed = (minute + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let noise = (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 40;
    400.0 + 1_200.0 * (1.0 - phase) + 60.0 * noise as f64 / f64::from(1 << 24)
}

/// What the records do when they are asked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Act {
    Answer,
    Nothing,
    Hang,
    Fail,
    Panic,
    /// They answer for at most so many points.
    AtMost(i64),
    /// More points than these take too long: the source says so.
    SlowBeyond(i64),
    /// The same, and it says nothing.
    HangBeyond(i64),
}

/// Records of the day's load, and every question that they were asked.
pub(super) struct Records {
    act: Mutex<Act>,
    of: SimSource,
    asked: Mutex<Vec<(String, Span)>>,
}

impl Records {
    pub(super) fn new(act: Act) -> Arc<Self> {
        let of = SimSource::recording(Arc::new(|_, at| Ok(Arc::new([SimSource::point(&[], day(at), at)]))));
        Arc::new(Self { act: Mutex::new(act), of, asked: Mutex::default() })
    }

    fn asked(&self) -> Vec<(String, Span)> {
        self.asked.lock().unwrap().clone()
    }

    fn act(&self, act: Act) {
        *self.act.lock().unwrap() = act;
    }
}

impl Recorder for Records {
    fn recorded<'a>(&'a self, ask: &'a QueryAsk, span: Span) -> BoxFuture<'a, Result<Vec<RangeSeries>, RangeError>> {
        self.asked.lock().unwrap().push((ask.query.to_string(), span));
        let failed = |why, is_too_large| Err(RangeError { why, detail: "as asked".into(), is_too_large });
        let act = *self.act.lock().unwrap();
        Box::pin(async move {
            tokio::time::sleep(secs(1)).await;
            match act {
                Act::Nothing => Ok(Vec::new()),
                Act::Hang => std::future::pending().await,
                Act::Fail => failed(MissingWhy::Other("server_error".into()), false),
                Act::Panic => panic!("as asked"),
                Act::AtMost(points) if span.to.0 - span.from.0 >= points * 60_000_000 => {
                    failed(MissingWhy::Other("answer_too_large".into()), true)
                }
                Act::SlowBeyond(points) if span.to.0 - span.from.0 >= points * 60_000_000 => {
                    failed(MissingWhy::Timeout, false)
                }
                Act::HangBeyond(points) if span.to.0 - span.from.0 >= points * 60_000_000 => {
                    std::future::pending().await
                }
                Act::Answer | Act::AtMost(_) | Act::SlowBeyond(_) | Act::HangBeyond(_) => {
                    self.of.recorder().expect("it records").recorded(ask, span).await
                }
            }
        })
    }
}

/// A fleet with an objective: 100 of work an instance, at most 80 % full.
pub(super) fn objective(name: &str, query: &str) -> String {
    let text = policy(name, "cloud", "").replace("query = \"", "query = \"sum:").replace(
        "name = \"requests\"\nkind = \"per-instance\"\nmetric = \"rps\"\ntarget = 100",
        "kind = \"objective\"\nmetric = \"rps\"\ncapacity = 100.0\nutilization = 0.8",
    );
    let text = text.replace(&format!("sum:{name}"), query);
    assert!(text.contains("objective") && text.contains(query), "{text}");
    text
}

pub(super) fn world(policies: &[&str], past: Option<Arc<Records>>) -> World {
    let clouds = vec![("cloud", cloud(&[("a", 20), ("b", 20), ("c", 20)]))];
    let mut world = World::new(1, clouds, policies, load(|_, elapsed| day(EPOCH.after(elapsed))));
    world.past = past.map(|past| past as Arc<dyn Recorder>);
    world
}

/// What the objective said last.
fn bound(life: &Life, fleet: &str) -> Option<Bound> {
    let status = life.published.fleet(fleet)?;
    match &status.decision.as_ref()?.recommendations[0].answer {
        Answer::Value(_, Calculation::Objective { bound, .. }) => Some(*bound),
        other => panic!("{other:?}"),
    }
}

/// The metric `skala_history_requests_total` by outcome.
fn counted(life: &Life, outcome: &str) -> u64 {
    let text = life.published.metrics().render(&life.published.process());
    let line = format!("skala_history_requests_total{{source=\"load\",outcome=\"{outcome}\"}} ");
    text.lines().find_map(|found| found.strip_prefix(&line)).map_or(0, |count| count.parse().unwrap())
}

/// Every decision whose facts the journal keeps is replayed to the same.
async fn assert_explained(world: &World, fleet: &str) -> usize {
    let store = world.store.reopen();
    let entries = store.journal(fleet.into(), None, 1_000).await.unwrap();
    let with_facts: Vec<_> = entries.iter().filter(|entry| !entry.facts.is_empty()).collect();
    for entry in &with_facts {
        let set = policies::policy::PolicySet::default();
        let wanted = Wanted { fleet: fleet.into(), at: Some(entry.at) };
        let explained = explain(&store, &set, wanted).await.unwrap().unwrap();
        assert_eq!(explained.replay, Replay::Identical, "at {}", entry.at);
    }
    with_facts.len()
}

#[test]
fn a_first_start_learns_the_recorded_days() {
    let cold = world(&[&objective("a", "sum(rps)")], None);
    cold.live(async |life| {
        tokio::time::sleep(secs(300)).await;
        assert_ne!(bound(&life, "a"), Some(Bound::Learned), "nothing was recorded");
    });
    let records = Records::new(Act::Answer);
    let shared = [objective("a", "sum(rps)"), objective("b", "sum(rps)")];
    let world = world(&[&shared[0], &shared[1]], Some(records.clone()));
    world.live(async |life| {
        tokio::time::sleep(secs(120)).await;
        assert_eq!((bound(&life, "a"), bound(&life, "b")), (Some(Bound::Learned), Some(Bound::Learned)));
        assert_eq!(
            (counted(&life, "ok"), records.asked().len()),
            (1, 3),
            "one question for both, in pieces of five days"
        );
        tokio::time::sleep(secs(2 * HOUR)).await;
        assert_eq!(records.asked().len(), 3, "what is known is not asked for");
        life.stop().await
    });
    let asked = records.asked();
    assert!(asked.iter().all(|(query, span)| query == "sum(rps)" && span.step == secs(60)), "{asked:?}");
    assert!(asked[0].1.from <= EPOCH.before(secs(14 * 86_400)), "{asked:?}");
    assert!(asked.windows(2).all(|pair| pair[1].1.from == pair[0].1.to.after(secs(60))), "{asked:?}");
    assert!(asked[2].1.to >= EPOCH.before(secs(60)), "up to now: {asked:?}");
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    assert!(runtime.block_on(assert_explained(&world, "a")) > 10, "explain is exact, before and after");
}

#[test]
fn one_seed_gives_one_run_also_with_records() {
    let run = || {
        let world = world(&[&objective("a", "sum(rps)")], Some(Records::new(Act::Answer)));
        world.live(async |life| {
            tokio::time::sleep(secs(HOUR)).await;
            life.stop().await
        });
        world.store.dump()
    };
    assert!(run() == run(), "two runs differ");
}

#[test]
fn after_a_gap_only_the_gap_is_asked_for() {
    let records = Records::new(Act::Answer);
    let world = world(&[&objective("a", "sum(rps)")], Some(records.clone()));
    world.live(async |_life| tokio::time::sleep(secs(600)).await);
    let before = records.asked().len();
    world.time.pass(secs(5 * HOUR));
    let resumed = world.time.now();
    world.live(async |life| {
        tokio::time::sleep(secs(120)).await;
        assert_eq!(bound(&life, "a"), Some(Bound::Learned));
        assert_eq!(counted(&life, "ok"), 1);
    });
    let asked = records.asked().split_off(before);
    assert_eq!(asked.len(), 1, "{asked:?}");
    let (from, gap) = (asked[0].1.from, resumed.before(secs(5 * HOUR)));
    assert!(from >= gap.before(secs(960)) && from <= gap.after(secs(60)), "it is saved every 15 minutes: {from} {gap}");
    assert!(asked[0].1.to >= resumed.before(secs(60)));
    // A stop that is too short to matter asks for nothing.
    world.time.pass(secs(60));
    world.live(async |_life| tokio::time::sleep(secs(120)).await);
    assert_eq!(records.asked().len(), before + 1);
}

#[test]
fn a_metric_outage_is_filled_when_it_is_over() {
    let records = Records::new(Act::Answer);
    let mut world = world(&[&objective("a", "sum(rps)")], Some(records.clone()));
    world.load = Arc::new(|_, elapsed: Duration| {
        if (secs(1_800)..secs(5_400)).contains(&elapsed) {
            return Err(MissingWhy::Unreachable);
        }
        super::world::value(day(EPOCH.after(elapsed)), EPOCH.after(elapsed))
    });
    world.live(async |_life| {
        tokio::time::sleep(secs(5_300)).await;
        assert_eq!(records.asked().len(), 3, "while the metric is missing, nothing is asked");
        tokio::time::sleep(secs(200)).await;
    });
    let asked = records.asked();
    assert_eq!(asked.len(), 4);
    let from = asked[3].1.from;
    assert!(from >= EPOCH.after(secs(1_740)) && from <= EPOCH.after(secs(1_860)), "{from}");
}

#[test]
fn a_gap_whose_first_request_fails_is_filled_by_the_next() {
    let records = Records::new(Act::Answer);
    let world = world(&[&objective("a", "sum(rps)")], Some(records.clone()));
    world.live(async |life| {
        tokio::time::sleep(secs(600)).await;
        life.stop().await
    });
    let before = records.asked().len();
    world.time.pass(secs(5 * HOUR));
    let gap = world.time.now().before(secs(5 * HOUR));
    records.act(Act::Fail);
    world.live(async |life| {
        tokio::time::sleep(secs(500)).await;
        assert_eq!(records.asked().len(), before + 1, "not again before 10 minutes");
        records.act(Act::Answer);
        tokio::time::sleep(secs(200)).await;
        let asked = records.asked().split_off(before);
        assert_eq!(asked.len(), 2, "{asked:?}");
        let (from, to) = (asked[1].1.from, asked[1].1.to);
        assert!(from >= gap.before(secs(120)) && from <= gap.after(secs(60)), "the same gap: {from} {gap}");
        assert!(to > world.time.now().before(secs(200)), "with what was learned live since: {to}");
        assert_eq!((counted(&life, "other"), counted(&life, "ok")), (1, 1));
        tokio::time::sleep(secs(2 * HOUR)).await;
        assert_eq!(records.asked().len(), before + 2, "it is filled");
    });
}

#[test]
fn a_gap_is_given_up_when_no_request_for_it_was_answered() {
    let records = Records::new(Act::Answer);
    let world = world(&[&objective("a", "sum(rps)")], Some(records.clone()));
    world.live(async |_life| tokio::time::sleep(secs(600)).await);
    let before = records.asked().len();
    world.time.pass(secs(5 * HOUR));
    records.act(Act::Fail);
    world.live(async |life| {
        tokio::time::sleep(secs(48 * HOUR)).await;
        assert_eq!(records.asked().len() - before, 6, "at once, after 10 minutes, and four times after twice as long");
        assert_eq!(bound(&life, "a"), Some(Bound::Learned));
    });
}

/// When and to what the daemon raised a group.
fn raises(world: &World, group: &str) -> Vec<String> {
    let audit = world.clouds["cloud"].audit().into_iter();
    audit.filter(|entry| &*entry.group.0 == group && entry.what == "raise").map(|entry| entry.to_string()).collect()
}

#[test]
fn records_that_fail_cost_no_decision() {
    let run = |past: Option<Act>| {
        let records = past.map(Records::new);
        let policies = [objective("a", "sum(rps)"), policy("b", "cloud", "")];
        let mut world = world(&[&policies[0], &policies[1]], records.clone());
        world.load = load(|_, elapsed| if elapsed < secs(60) { 1_500.0 } else { 3_900.0 });
        world.live(async |life| {
            tokio::time::sleep(secs(500)).await;
            assert!(world.desired("cloud", "a") >= 48 && world.desired("cloud", "b") == 39, "{past:?}");
            let outcome = match past {
                Some(Act::Hang) => "timeout",
                _ => "other",
            };
            assert_eq!(counted(&life, outcome), u64::from(past.is_some()));
            tokio::time::sleep(secs(700)).await;
            assert_eq!(counted(&life, outcome), 2 * u64::from(past.is_some()), "once more after 10 minutes");
        });
        (raises(&world, "a"), raises(&world, "b"), records.map_or(0, |records| records.asked().len()))
    };
    let (a, b, _) = run(None);
    assert!(!a.is_empty() && !b.is_empty());
    for act in [Act::Hang, Act::Fail, Act::Panic] {
        let (with_a, with_b, asked) = run(Some(act));
        assert_eq!((&with_a, &with_b), (&a, &b), "as if there were no records");
        assert!(asked > 0);
    }
}

#[test]
fn what_failed_is_asked_again_while_nothing_is_learned() {
    let records = Records::new(Act::Fail);
    let world = world(&[&objective("a", "sum(rps)")], Some(records.clone()));
    world.live(async |life| {
        tokio::time::sleep(secs(500)).await;
        assert_eq!(records.asked().len(), 1, "not before 10 minutes");
        assert_ne!(bound(&life, "a"), Some(Bound::Learned));
        records.act(Act::Answer);
        tokio::time::sleep(secs(200)).await;
        assert_eq!(records.asked().len(), 4);
        assert_eq!(bound(&life, "a"), Some(Bound::Learned));
    });
}

#[test]
fn records_that_know_nothing_are_asked_once() {
    let records = Records::new(Act::Nothing);
    let world = world(&[&objective("a", "sum(rps)")], Some(records.clone()));
    world.live(async |life| {
        tokio::time::sleep(secs(3 * HOUR)).await;
        assert_eq!((records.asked().len(), counted(&life, "ok")), (3, 1));
        assert_eq!(bound(&life, "a"), Some(Bound::Learned), "by then it has learned live");
    });
}

#[test]
fn an_answer_that_is_too_large_is_asked_for_in_smaller_pieces() {
    let records = Records::new(Act::AtMost(450));
    let world = world(&[&objective("a", "sum(rps)")], Some(records.clone()));
    world.live(async |life| {
        tokio::time::sleep(secs(120)).await;
        assert_eq!((bound(&life, "a"), counted(&life, "ok")), (Some(Bound::Learned), 1));
    });
    let asked = records.asked();
    assert_eq!(asked.len(), 2 + 24, "two were too large, and as many as is bearable were not");
    assert!(asked[2].1.from >= EPOCH.before(secs(450 * 24 * 60)), "the newest days: {asked:?}");
}

#[test]
fn a_range_that_takes_too_long_is_asked_for_in_smaller_pieces() {
    for act in [Act::SlowBeyond(1_800), Act::HangBeyond(1_800)] {
        let records = Records::new(act);
        let world = world(&[&objective("a", "sum(rps)")], Some(records.clone()));
        world.live(async |life| {
            tokio::time::sleep(secs(300)).await;
            assert_eq!((bound(&life, "a"), counted(&life, "ok")), (Some(Bound::Learned), 1), "{act:?}");
        });
        let asked = records.asked().len();
        assert!(
            (1 + 12..=1 + 13).contains(&asked),
            "one took too long, and the days went on meanwhile: {act:?} {asked}"
        );
    }
}

#[test]
fn a_source_that_always_takes_too_long_is_left_soon() {
    for act in [Act::SlowBeyond(0), Act::Hang] {
        let records = Records::new(act);
        let world = world(&[&objective("a", "sum(rps)")], Some(records.clone()));
        world.live(async |life| {
            tokio::time::sleep(secs(500)).await;
            assert_eq!((records.asked().len(), counted(&life, "timeout")), (3, 1), "{act:?}");
        });
    }
}

#[test]
fn a_reload_asks_for_what_it_brings() {
    let records = Records::new(Act::Answer);
    let world = world(&[&policy("a", "cloud", "")], Some(records.clone()));
    let queries = |from: usize| {
        let mut queries: Vec<String> = records.asked().split_off(from).into_iter().map(|(query, _)| query).collect();
        queries.dedup();
        queries
    };
    world.live(async |life| {
        tokio::time::sleep(secs(60)).await;
        assert!(records.asked().is_empty(), "no rule learns");
        world.files.set(&[&objective("a", "sum(rps)")]);
        tokio::time::sleep(secs(60)).await;
        assert_eq!(queries(0), ["sum(rps)"]);
        assert_eq!(bound(&life, "a"), Some(Bound::Learned));
        // Another fleet, and nothing new for the first.
        world.files.set(&[&objective("a", "sum(rps)"), &objective("b", "sum(other)")]);
        tokio::time::sleep(secs(60)).await;
        assert_eq!(queries(3), ["sum(other)"]);
        // Under the same name another load: what was learned of the old one is of no use.
        records.act(Act::Fail);
        world.files.set(&[&objective("a", "sum(new)"), &objective("b", "sum(other)")]);
        tokio::time::sleep(secs(60)).await;
        assert_eq!(queries(6), ["sum(new)"]);
        assert_ne!(bound(&life, "a"), Some(Bound::Learned));
        assert_eq!(bound(&life, "b"), Some(Bound::Learned));
        life.stop().await
    });
    // The same while the daemon is away.
    records.act(Act::Answer);
    world.files.set(&[&objective("a", "sum(new)"), &objective("b", "sum(newer)")]);
    world.live(async |life| {
        tokio::time::sleep(secs(60)).await;
        let mut asked = queries(7);
        asked.sort();
        asked.dedup();
        assert_eq!(asked, ["sum(new)", "sum(newer)"]);
        assert_eq!((bound(&life, "a"), bound(&life, "b")), (Some(Bound::Learned), Some(Bound::Learned)));
        life.stop().await
    });
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(assert_explained(&world, "a"));
}

#[test]
fn on_a_full_disk_all_is_saved_but_what_was_learned() {
    let records = Records::new(Act::Answer);
    let mut world = world(&[&objective("a", "sum(rps)")], Some(records));
    world.load = load(|_, elapsed| if elapsed < secs(3_000) { 1_500.0 } else { 3_900.0 });
    let loaded = async || world.store.load().await.unwrap();
    world.live(async |life| {
        tokio::time::sleep(secs(600)).await;
        world.store.set_fault(Fault::Full);
        let before = loaded().await;
        tokio::time::sleep(secs(1_800)).await;
        let after = loaded().await;
        assert!(before.learned == after.learned, "the reserve is not for it");
        assert!(before.memories != after.memories, "memories go on to be saved");
        let last = world.store.journal("a".into(), None, 1).await.unwrap().remove(0);
        assert!(last.until >= world.time.now().before(secs(60)), "and the journal: {}", last.until);
        tokio::time::sleep(secs(900)).await;
        assert!(world.desired("cloud", "a") >= 48, "more is asked for");
        world.store.set_fault(Fault::None);
        tokio::time::sleep(secs(120)).await;
        assert!(loaded().await.learned != before.learned, "with room it is saved again");
        assert_eq!(life.stop().await, StopReason::Asked);
    });
}

#[test]
fn on_a_full_disk_a_memory_of_old_keeps_what_is_inside() {
    let records = Records::new(Act::Answer);
    let mut world = world(&[&objective("a", "sum(rps)")], Some(records.clone()));
    world.live(async |life| {
        tokio::time::sleep(secs(120)).await;
        life.stop().await
    });
    world.store = of_old(&world.store);
    world.store.set_fault(Fault::Full);
    let bound = after_a_start(&world, &records, &[&objective("a", "sum(rps)")], "a");
    assert_eq!(bound, Bound::Learned);
    world.live(async |life| {
        tokio::time::sleep(secs(60)).await;
        assert_eq!(self::bound(&life, "a"), Some(Bound::Learned), "also after a crash");
        assert!(!world.store.journal("a".into(), None, 9).await.unwrap().is_empty(), "decisions are saved");
        assert!(matches!(life.stop().await, StopReason::Unsaved(_)));
    });
}

/// A store of old, with what was learned inside the memory of the fleet `a`.
fn of_old(store: &MemoryStore) -> MemoryStore {
    let old = MemoryStore::new(Options::new("old"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let mut loaded = store.load().await.unwrap();
        let (_, learned) = loaded.learned.remove(0);
        let learned = learned.splitn(2, |byte| *byte == b'\n').last().unwrap();
        let mut memory = FleetMemory::decode(&loaded.memories.remove(0).1).unwrap();
        memory.objectives = FleetMemory::decode(learned).unwrap().objectives;
        old.checkpoint(vec![("a".into(), memory.encode())], vec![], vec![]).await.unwrap();
    });
    old
}

/// What the objective says a minute after a start with these policies, while the records fail.
fn after_a_start(world: &World, records: &Records, policies: &[&str], fleet: &str) -> Bound {
    records.act(Act::Fail);
    world.files.set(policies);
    world.live(async |life| {
        tokio::time::sleep(secs(60)).await;
        bound(&life, fleet).expect("an objective")
    })
}

#[test]
fn what_was_learned_of_another_load_does_not_outlive_a_crash_after_a_reload() {
    let records = Records::new(Act::Answer);
    let [old, new] = [objective("a", "sum(rps)"), objective("a", "sum(new)")];
    let world = world(&[&old], Some(records.clone()));
    world.live(async |life| {
        tokio::time::sleep(secs(120)).await;
        assert_eq!(bound(&life, "a"), Some(Bound::Learned));
        world.files.set(&[&new]);
        tokio::time::sleep(secs(4)).await;
        let revision = life.published.process().config.revision;
        assert!(world.store.policies(revision).await.unwrap().is_some(), "the new policies are kept at once");
        assert!(!world.store.load().await.unwrap().learned[0].1.is_empty());
    });
    assert_ne!(after_a_start(&world, &records, &[&new], "a"), Bound::Learned);
    assert_eq!(records.asked().last().unwrap().0, "sum(new)");
}

#[test]
fn what_was_learned_of_another_load_is_known_without_the_last_good_policies() {
    for (query, is_same) in [("sum(new)", false), ("sum(rps)", true)] {
        let records = Records::new(Act::Answer);
        let world = world(&[&objective("a", "sum(rps)")], Some(records.clone()));
        world.live(async |life| {
            tokio::time::sleep(secs(120)).await;
            life.stop().await
        });
        let files = vec![SourceFile { name: "a.toml".into(), text: "[fleet.a]\nmin = \"of another day\"\n".into() }];
        let kept = PolicyFiles { revision: "b".into(), interval: secs(15), files };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(world.store.keep_policies(kept, world.time.now())).unwrap();
        let bound = after_a_start(&world, &records, &[&objective("a", query)], "a");
        assert_eq!(bound == Bound::Learned, is_same, "{query}: {bound:?}");
    }
}

#[test]
fn a_fleet_that_comes_back_with_another_load_learns_it_from_the_start() {
    for (query, is_same) in [("sum(new)", false), ("sum(other)", true)] {
        let records = Records::new(Act::Answer);
        let [a, b] = [objective("a", "sum(rps)"), objective("b", "sum(other)")];
        let mut world = world(&[&a, &b], Some(records.clone()));
        world.settings.allow_removal = true;
        // Both; then without it, which the second of these lives begins with.
        for policies in [&[&*a, &b][..], &[&a], &[&a]] {
            world.files.set(policies);
            world.live(async |life| {
                tokio::time::sleep(secs(120)).await;
                assert_eq!(bound(&life, "a"), Some(Bound::Learned));
                life.stop().await
            });
        }
        let bound = after_a_start(&world, &records, &[&a, &objective("b", query)], "b");
        assert_eq!(bound == Bound::Learned, is_same, "{query}: {bound:?}");
    }
}

#[test]
fn what_was_learned_is_saved_apart_and_seldom() {
    let world = world(&[&objective("a", "sum(rps)")], Some(Records::new(Act::Answer)));
    let store = world.store.reopen();
    let mut seen: Vec<Vec<u8>> = Vec::new();
    world.live(async |_life| {
        for _ in 0..60 {
            tokio::time::sleep(secs(60)).await;
            let loaded = store.load().await.unwrap();
            assert!(loaded.memories.iter().all(|(_, bytes)| bytes.len() < 1_024), "a memory without it is small");
            seen.extend(loaded.learned.into_iter().map(|(_, bytes)| bytes));
        }
    });
    seen.dedup();
    assert!((4..=6).contains(&seen.len()), "every 15 minutes, and when the records came: {}", seen.len());
    assert!(seen.iter().skip(1).all(|bytes| bytes.len() > 10_000));
    // A memory of the old form has it inside, and loses nothing to crashes on the way to the new one.
    let old = of_old(&world.store);
    let records = Records::new(Act::Hang);
    let mut world = self::world(&[&objective("a", "sum(rps)")], Some(records));
    world.store = old;
    world.time.pass(secs(HOUR));
    for _ in 0..3 {
        world.live(async |life| {
            tokio::time::sleep(secs(50)).await;
            assert_eq!(bound(&life, "a"), Some(Bound::Learned));
        });
    }
}
