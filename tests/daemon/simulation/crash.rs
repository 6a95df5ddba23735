//! Crashes: the runtime is dropped at any moment, and another life begins on what the store kept.

use super::for_seeds;
use super::watch::Promise;
use super::world::{World, cloud, load, policy, secs};
use contract::{ActionId, BoxFuture, GroupId, Timestamp};
use policies::facts::Override;
use policies::memory::Outcome;
use sim::{Fault, Operation, Script, Span};
use skala::app::StopReason;
use skala::entropy::{Entropy, SeededEntropy};
use skala::store::ledger::RecordedAction;
use skala::store::memory::MemoryStore;
use skala::store::{
    JournalEntry, Lease, Loaded, OverrideRow, PolicyFiles, Record, RunExtension, Spent, Store, StoreError, StoreStat,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// A store that records, and then never answers again: what a crash between record and act looks like.
struct DiesAfterRecord {
    of: MemoryStore,
    recorded: Arc<AtomicBool>,
}

impl Store for DiesAfterRecord {
    fn load(&self) -> BoxFuture<'_, Result<Loaded, StoreError>> {
        self.of.load()
    }

    fn record(&self, records: Vec<Record>) -> BoxFuture<'_, Result<Vec<RecordedAction>, StoreError>> {
        Box::pin(async move {
            let recorded = self.of.record(records).await?;
            assert!(!recorded.is_empty(), "only what acts is recorded");
            self.recorded.store(true, Ordering::Relaxed);
            std::future::pending::<()>().await;
            Ok(recorded)
        })
    }

    fn outcomes(&self, outcomes: Vec<(ActionId, Outcome, String, Timestamp)>) -> BoxFuture<'_, Result<(), StoreError>> {
        self.of.outcomes(outcomes)
    }

    fn checkpoint(
        &self,
        memories: Vec<(Arc<str>, Vec<u8>)>,
        entries: Vec<JournalEntry>,
        runs: Vec<RunExtension>,
    ) -> BoxFuture<'_, Result<(), StoreError>> {
        self.of.checkpoint(memories, entries, runs)
    }

    fn keep_learned(&self, learned: Vec<(Arc<str>, Vec<u8>)>) -> BoxFuture<'_, Result<(), StoreError>> {
        self.of.keep_learned(learned)
    }

    fn put_override(&self, fleet: Arc<str>, row: Option<OverrideRow>) -> BoxFuture<'_, Result<(), StoreError>> {
        self.of.put_override(fleet, row)
    }

    fn journal(
        &self,
        fleet: Arc<str>,
        at: Option<Timestamp>,
        limit: u32,
    ) -> BoxFuture<'_, Result<Vec<JournalEntry>, StoreError>> {
        self.of.journal(fleet, at, limit)
    }

    fn spent(&self, since: Timestamp) -> BoxFuture<'_, Result<Spent, StoreError>> {
        self.of.spent(since)
    }

    fn keep_policies(&self, policies: PolicyFiles, now: Timestamp) -> BoxFuture<'_, Result<(), StoreError>> {
        self.of.keep_policies(policies, now)
    }

    fn policies(&self, revision: Arc<str>) -> BoxFuture<'_, Result<Option<PolicyFiles>, StoreError>> {
        self.of.policies(revision)
    }

    fn lease(&self, owner: Arc<str>, now: Timestamp, ttl: Duration) -> BoxFuture<'_, Result<Lease, StoreError>> {
        self.of.lease(owner, now, ttl)
    }

    fn tend(&self, now: Timestamp) -> BoxFuture<'_, Result<StoreStat, StoreError>> {
        self.of.tend(now)
    }
}

/// From 4 instances' worth of load to 12's, at once.
fn jump_world(seed: u64, more: &str) -> World {
    let of = |_: &str, elapsed: Duration| if elapsed < secs(100) { 400.0 } else { 1_200.0 };
    World::new(seed, vec![("cloud", cloud(&[("web", 4)]))], &[&policy("web", "cloud", more)], load(of))
}

#[test]
fn a_crash_between_record_and_act_does_nothing_twice() {
    for_seeds(1..4, |seed| {
        let world = jump_world(seed, "");
        let recorded = Arc::new(AtomicBool::new(false));
        let store = DiesAfterRecord { of: world.store.reopen(), recorded: recorded.clone() };
        world.live_with(Arc::new(store), async |_life| {
            while !recorded.load(Ordering::Relaxed) {
                tokio::time::sleep(secs(1)).await;
            }
        });
        assert_eq!(world.clouds["cloud"].calls().writes(), 0, "nothing was sent");
        assert_eq!(world.desired("cloud", "web"), 4);
        let stopped = world.live(async |life| {
            tokio::time::sleep(secs(300)).await;
            life.stop().await
        });
        assert_eq!(stopped, StopReason::Asked);
        assert_eq!(world.desired("cloud", "web"), 12, "the next life looks again, and goes on");
        world.witness.judge(&world.clouds["cloud"], "web", Promise::default());
    });
}

#[test]
fn a_crash_while_a_call_is_under_way_does_nothing_twice() {
    for effect in [true, false] {
        for_seeds(1..4, |seed| {
            let world = jump_world(seed, "");
            let hang = Fault::Hang { span: Span::secs(20), effect };
            let script = Script { operation: Some(Operation::Raise), times: Some(1), ..Script::new(hang) };
            world.clouds["cloud"].inject(script);
            world.live(async |_life| {
                while world.clouds["cloud"].calls().raise == 0 {
                    tokio::time::sleep(secs(1)).await;
                }
                tokio::time::sleep(secs(5)).await;
            });
            world.live(async |life| {
                tokio::time::sleep(secs(300)).await;
                life.stop().await
            });
            assert_eq!(world.desired("cloud", "web"), 12);
            let raised: Vec<_> = world.clouds["cloud"].audit().into_iter().filter(|e| e.what == "raise").collect();
            let added: u32 = raised.iter().map(|entry| entry.after - entry.before).sum();
            assert_eq!(added, 8, "8 were missing, so 8 came: {raised:?}");
            world.witness.judge(&world.clouds["cloud"], "web", Promise::default());
        });
    }
}

#[test]
fn a_cooldown_outlives_ten_crashes() {
    let world = jump_world(1, "[fleet.web.scale_out]\ncooldown = \"1h\"\nrate = [{ instances = 2, per = \"1m\" }]\n");
    world.live(async |_life| tokio::time::sleep(secs(150)).await);
    assert_eq!(world.desired("cloud", "web"), 6, "one step of the rate, then the cooldown");
    for life in 0..10 {
        let hold = world.live(async |life| {
            tokio::time::sleep(secs(60)).await;
            life.hold("web")
        });
        assert_eq!(hold, "cooldown", "in life {life}");
    }
    assert_eq!(world.clouds["cloud"].calls().raise, 1);
}

#[test]
fn a_window_outlives_crashes_and_is_only_longer_for_them() {
    let of = |_: &str, elapsed: Duration| if elapsed < secs(100) { 1_000.0 } else { 300.0 };
    let policy = policy("web", "cloud", "");
    let world = World::new(1, vec![("cloud", cloud(&[("web", 10)]))], &[&policy], load(of));
    world.live(async |_life| tokio::time::sleep(secs(100)).await);
    for _ in 0..6 {
        world.live(async |_life| tokio::time::sleep(secs(45)).await);
        assert_eq!(world.desired("cloud", "web"), 10, "the window still knows the load of before");
    }
    world.live(async |life| {
        tokio::time::sleep(secs(900)).await;
        life.stop().await
    });
    assert!(world.desired("cloud", "web") < 10, "crashes do not stop scale-in for ever");
    world.witness.judge(&world.clouds["cloud"], "web", Promise::default());
}

#[test]
fn a_hold_outlives_a_crash_and_ends_on_time() {
    let world = jump_world(1, "");
    world.live(async |life| {
        tokio::time::sleep(secs(20)).await;
        let row = life.hold_fleet("web", secs(600)).await.expect("taken");
        assert!(matches!(row.what, Override::Hold { .. }));
    });
    world.live(async |life| {
        tokio::time::sleep(secs(500)).await;
        assert_eq!(life.hold("web"), "override");
    });
    assert_eq!(world.desired("cloud", "web"), 4);
    world.live(async |life| {
        tokio::time::sleep(secs(200)).await;
        life.stop().await
    });
    assert_eq!(world.desired("cloud", "web"), 12);
}

#[test]
fn lives_of_any_length_keep_every_promise() {
    for_seeds(1..9, |seed| {
        let turns = move |elapsed: Duration| elapsed.as_secs_f64() / 2_400.0 + seed as f64 / 8.0;
        let of = move |_: &str, elapsed| 1_500.0 + 1_200.0 * (turns(elapsed) * std::f64::consts::TAU).sin();
        let clouds = vec![("cloud", cloud(&[("web", 10)]))];
        let world = World::new(seed, clouds, &[&policy("web", "cloud", "")], load(of));
        let slow = Fault::Latency { span: Span::secs(3) };
        for operation in [Operation::Raise, Operation::Terminate, Operation::Cancel] {
            world.clouds["cloud"].inject(Script { operation: Some(operation), ..Script::new(slow.clone()) });
        }
        let dice = SeededEntropy::new(seed);
        while world.time.elapsed() < secs(3 * 3_600) {
            let span = Duration::from_millis(500 + dice.next() % 400_000);
            world.live(async |_life| tokio::time::sleep(span).await);
        }
        world.witness.judge(&world.clouds["cloud"], "web", Promise::default());
        assert!(world.clouds["cloud"].truth(&GroupId::from("web")).is_some());
        assert!(world.clouds["cloud"].calls().raise > 3, "it went on to scale");
    });
}
