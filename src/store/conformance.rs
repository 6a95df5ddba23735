//! What every store promises, as one function that each passes. A place in, panics out where a promise is broken.

use super::*;
use contract::Version;
use policies::plan::Action;

/// Where a store lies: it can be opened again after the last one opened there was dropped, as after a restart.
pub(super) trait Place {
    fn open(&self, options: Options) -> Box<dyn Store>;
}

/// Runs every case, each in a place of its own.
pub(super) async fn run<P: Place>(fresh: impl Fn() -> P) {
    a_record_is_open_until_its_outcome(&fresh()).await;
    a_record_is_whole_or_not_at_all(&fresh()).await;
    nothing_is_recorded_without_the_lease(&fresh()).await;
    spent_counts_what_was_not_refused(&fresh()).await;
    overrides_stay_until_released_or_past(&fresh()).await;
    the_journal_grows_in_runs(&fresh()).await;
    a_late_extension_goes_to_the_run_before(&fresh()).await;
    the_journal_is_kept_so_long(&fresh()).await;
    the_journal_is_kept_so_large(&fresh()).await;
    a_lease_passes_on_when_it_ran_out(&fresh()).await;
    policies_are_kept_as_a_set(&fresh()).await;
    a_wrong_clock_loses_no_policies(&fresh()).await;
    memories_of_fleets_that_left_are_dropped_in_the_end(&fresh()).await;
    odd_values_come_back_as_they_were(&fresh()).await;
}

pub(super) fn options() -> Options {
    Options { reserve: 1 << 20, ..Options::new("store-1") }
}

pub(super) fn secs(secs: i64) -> Timestamp {
    Timestamp::from_secs(1_700_000_000 + secs)
}

pub(super) fn row(id: u128, fleet: &str, change: i32, at: i64) -> ActionRow {
    ActionRow {
        id: ActionId(id),
        fleet: fleet.into(),
        group: 1,
        provider: "aws-prod".into(),
        group_name: format!("{fleet}-web").into(),
        action: Action::Raise { to: 7 },
        change,
        seen: Version { desired: Some(3), token: None, at: secs(at - 1) },
        at: secs(at),
        expires: secs(at + 30),
    }
}

pub(super) fn entry(fleet: &str, at: i64, decision: &str) -> JournalEntry {
    JournalEntry {
        fleet: fleet.into(),
        at: secs(at),
        until: secs(at),
        count: 1,
        revision: "r1".into(),
        engine: "0.1.0".into(),
        facts: format!("{{\"now\":{at}}}"),
        memory_before: vec![1, 0, 255],
        decision: decision.into(),
    }
}

pub(super) fn record(fleet: &str, at: i64, actions: Vec<ActionRow>) -> Record {
    Record { fleet: fleet.into(), memory: at.to_be_bytes().to_vec(), entry: entry(fleet, at, "out"), actions }
}

pub(super) async fn hold_lease(store: &dyn Store) {
    let lease = store.lease("skala-1".into(), secs(0), Duration::from_secs(60)).await.expect("a lease");
    assert!(lease.held);
}

async fn open_ids(store: &dyn Store) -> Vec<u128> {
    store.load().await.expect("loads").open.iter().map(|open| open.row.id.0).collect()
}

async fn a_record_is_open_until_its_outcome(place: &dyn Place) {
    let store = place.open(options());
    hold_lease(&*store).await;
    let (a, b, c) = (row(1, "a", 4, 1), row(2, "a", -1, 1), row(3, "b", 2, 1));
    let records = vec![record("a", 1, vec![a.clone(), b.clone()]), record("b", 1, vec![c.clone()])];
    let recorded = store.record(records).await.expect("records");
    let rows: Vec<ActionRow> = recorded.into_iter().map(|recorded| recorded.into_row()).collect();
    assert_eq!(rows, [a.clone(), b, c], "in the order of the records and their actions");
    drop(store);

    let store = place.open(options());
    let loaded = store.load().await.expect("loads");
    assert_eq!(loaded.store_id, "store-1");
    assert_eq!(loaded.open.iter().map(|open| open.row.id.0).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(loaded.open[0].row, a, "every field comes back");
    assert_eq!(
        loaded.memories,
        [("a".into(), record("a", 1, vec![]).memory), ("b".into(), record("b", 1, vec![]).memory)]
    );
    let ends = vec![
        (ActionId(1), Outcome::Accepted, "accepted".to_owned(), secs(2)),
        (ActionId(2), Outcome::Unclear, "timeout".to_owned(), secs(2)),
        (ActionId(99), Outcome::Refused, "denied".to_owned(), secs(2)),
    ];
    store.outcomes(ends).await.expect("an unknown action is passed over");
    assert_eq!(open_ids(&*store).await, [3]);
    store.outcomes(vec![(ActionId(3), Outcome::Refused, "conflict".into(), secs(3))]).await.expect("ends");
    drop(store);
    assert_eq!(open_ids(&*place.open(options())).await, [0_u128; 0]);
}

async fn a_record_is_whole_or_not_at_all(place: &dyn Place) {
    let store = place.open(options());
    hold_lease(&*store).await;
    store.record(vec![record("a", 1, vec![row(1, "a", 1, 1)])]).await.expect("records");
    // The second record's action has an id that exists.
    let twice = vec![record("b", 2, vec![row(2, "b", 1, 2)]), record("a", 2, vec![row(1, "a", 1, 2)])];
    let failed = store.record(twice).await.expect_err("an id is recorded once");
    assert!(matches!(failed, StoreError::Failed(_)), "{failed}");
    assert_eq!(open_ids(&*store).await, [1]);
    let loaded = store.load().await.expect("loads");
    assert_eq!(loaded.memories, [("a".into(), record("a", 1, vec![]).memory)]);
    assert_eq!(store.journal("b".into(), None, 9).await.expect("reads"), []);
    assert_eq!(store.journal("a".into(), None, 9).await.expect("reads").len(), 1);
    assert_eq!(store.record(vec![]).await.expect("nothing is fine").len(), 0);
}

async fn nothing_is_recorded_without_the_lease(place: &dyn Place) {
    let store = place.open(options());
    let refused = store.record(vec![record("a", 1, vec![row(1, "a", 1, 1)])]).await.expect_err("no lease");
    assert!(matches!(refused, StoreError::Owned(_)), "{refused}");
    store.record(vec![record("a", 1, vec![])]).await.expect("a decision without actions needs none");
    hold_lease(&*store).await;
    let recorded = store.record(vec![record("a", 2, vec![row(1, "a", 1, 2)])]).await.expect("records");
    assert_eq!(recorded[0].lease(), Epoch(1));
    // Somebody else takes it over: what this handle held is void.
    let taken = store.lease("other".into(), secs(100), Duration::from_secs(60)).await.expect("asks");
    assert_eq!((taken.held, taken.epoch), (true, Epoch(2)));
    let lease = store.lease("skala-1".into(), secs(101), Duration::from_secs(60)).await.expect("asks");
    assert_eq!((lease.held, lease.owner.as_str()), (false, "other"));
    let refused = store.record(vec![record("a", 3, vec![row(2, "a", 1, 3)])]).await.expect_err("lost");
    assert!(matches!(refused, StoreError::Owned(_)), "{refused}");
}

async fn spent_counts_what_was_not_refused(place: &dyn Place) {
    let store = place.open(options());
    hold_lease(&*store).await;
    let rows = [(1, 5, 10), (2, -3, 20), (3, 7, 20), (4, -1, 30), (5, 0, 30), (6, 2, 40)];
    for (id, change, at) in rows {
        store.record(vec![record("a", at, vec![row(id, "a", change, at)])]).await.expect("records");
    }
    let ends = [(2, Outcome::Accepted), (3, Outcome::Refused), (4, Outcome::Unclear)];
    let ends = ends.map(|(id, outcome)| (ActionId(id), outcome, "why".to_owned(), secs(50)));
    store.outcomes(ends.to_vec()).await.expect("ends");
    for (since, added, removed) in [(0, 7, 4), (10, 7, 4), (11, 2, 4), (20, 2, 4), (21, 2, 1), (40, 2, 0), (41, 0, 0)] {
        assert_eq!(store.spent(secs(since)).await.expect("reads"), Spent { added, removed }, "since {since}");
    }
    store.outcomes(vec![(ActionId(4), Outcome::Refused, "late".into(), secs(60))]).await.expect("ends");
    assert_eq!(store.spent(secs(0)).await.expect("reads"), Spent { added: 7, removed: 3 }, "the last word counts");
}

async fn overrides_stay_until_released_or_past(place: &dyn Place) {
    let store = place.open(options());
    let hold = |until| Override::Hold { until: secs(until), scale_in_only: true, reason: "öffnung \"x\"".into() };
    let pin = Override::Pin { n: 12, until: secs(500), now: true, reason: "launch".into() };
    let put = |fleet: &str, what: &Override| OverrideRow {
        fleet: fleet.into(),
        what: what.clone(),
        by: "uid 1000 (mei)".into(),
        at: secs(1),
    };
    for (fleet, what) in [("a", &hold(100)), ("b", &hold(400)), ("c", &hold(300)), ("b", &pin)] {
        store.put_override(fleet.into(), Some(put(fleet, what))).await.expect("keeps");
    }
    store.put_override("c".into(), None).await.expect("releases");
    store.put_override("never".into(), None).await.expect("releasing nothing is fine");
    drop(store);
    let store = place.open(options());
    let kept = store.load().await.expect("loads").overrides;
    assert_eq!(kept, [put("a", &hold(100)), put("b", &pin)], "the last one of a fleet counts");
    store.tend(secs(99)).await.expect("tends");
    assert_eq!(store.load().await.expect("loads").overrides.len(), 2);
    store.tend(secs(100)).await.expect("tends");
    assert_eq!(store.load().await.expect("loads").overrides, [put("b", &pin)], "it ends by itself");
}

async fn the_journal_grows_in_runs(place: &dyn Place) {
    let store = place.open(options());
    hold_lease(&*store).await;
    let extension = |fleet: &str, until, count| RunExtension { fleet: fleet.into(), until: secs(until), count };
    store.checkpoint(vec![], vec![entry("a", 10, "hold"), entry("b", 11, "hold")], vec![]).await.expect("saves");
    store.checkpoint(vec![], vec![], vec![extension("a", 40, 2)]).await.expect("saves");
    store.checkpoint(vec![], vec![], vec![extension("a", 70, 2), extension("nobody", 70, 1)]).await.expect("saves");
    // One checkpoint ends the run and starts the next: the extension is the former run's.
    let next = JournalEntry { until: secs(100), count: 2, ..entry("a", 85, "stabilized") };
    store.checkpoint(vec![], vec![next.clone()], vec![extension("a", 80, 1)]).await.expect("saves");
    store.record(vec![record("a", 120, vec![row(1, "a", 1, 120)])]).await.expect("records");
    drop(store);

    let store = place.open(options());
    let first = JournalEntry { until: secs(80), count: 6, ..entry("a", 10, "hold") };
    let last = entry("a", 120, "out");
    let check = async |at: Option<i64>, limit, want: &[&JournalEntry]| {
        let found = store.journal("a".into(), at.map(secs), limit).await.expect("reads");
        assert_eq!(found.iter().collect::<Vec<_>>(), want, "at {at:?}, {limit}");
    };
    check(None, 9, &[&last, &next, &first]).await;
    check(None, 2, &[&last, &next]).await;
    check(None, 0, &[]).await;
    check(Some(120), 1, &[&last]).await;
    check(Some(119), 1, &[&next]).await;
    check(Some(85), 9, &[&next, &first]).await;
    check(Some(84), 9, &[&first]).await;
    check(Some(9), 9, &[]).await;
    assert_eq!(store.journal("b".into(), None, 9).await.expect("reads"), [entry("b", 11, "hold")]);
    assert_eq!(store.journal("nobody".into(), None, 9).await.expect("reads"), []);
}

async fn a_late_extension_goes_to_the_run_before(place: &dyn Place) {
    let store = place.open(options());
    store.checkpoint(vec![], vec![entry("a", 10, "hold")], vec![]).await.expect("saves");
    store.record(vec![record("a", 50, vec![])]).await.expect("records");
    let late = RunExtension { fleet: "a".into(), until: secs(40), count: 3 };
    store.checkpoint(vec![], vec![], vec![late]).await.expect("saves");
    let found = store.journal("a".into(), None, 9).await.expect("reads");
    let ends: Vec<_> = found.iter().map(|entry| (entry.until, entry.count)).collect();
    assert_eq!(ends, [(secs(50), 1), (secs(40), 4)]);
}

async fn the_journal_is_kept_so_long(place: &dyn Place) {
    let keep = Options { journal_keep: Duration::from_secs(100), ..options() };
    let store = place.open(keep);
    hold_lease(&*store).await;
    let entries = (0..20).map(|at| entry("a", at * 10, "hold")).collect();
    store.checkpoint(vec![("a".into(), vec![7])], entries, vec![]).await.expect("saves");
    store.record(vec![record("b", 0, vec![row(1, "b", 1, 0)])]).await.expect("records");
    store.tend(secs(201)).await.expect("tends");
    let found = store.journal("a".into(), None, 99).await.expect("reads");
    let kept: Vec<_> = found.iter().map(|entry| entry.at).take_while(|at| *at >= secs(101)).collect();
    assert_eq!(kept, (11..20).rev().map(|at| secs(at * 10)).collect::<Vec<_>>(), "at least so long");
    assert_eq!(open_ids(&*store).await, [1], "an open action stays whatever its age");
    assert_eq!(store.load().await.expect("loads").memories.len(), 2, "so does memory");
    store.tend(secs(100_000)).await.expect("tends");
    assert_eq!(store.journal("a".into(), None, 99).await.expect("reads"), []);
    let on = RunExtension { fleet: "a".into(), until: secs(100_001), count: 1 };
    store.checkpoint(vec![], vec![], vec![on]).await.expect("a run that was dropped is passed over");
    store.checkpoint(vec![], vec![entry("a", 100_002, "hold")], vec![]).await.expect("saves");
    assert_eq!(store.journal("a".into(), None, 99).await.expect("reads"), [entry("a", 100_002, "hold")]);
}

async fn the_journal_is_kept_so_large(place: &dyn Place) {
    let max = 1 << 20;
    let store = place.open(Options { journal_max: max, ..options() });
    // Incompressible, so that every store takes about as much.
    let mut noise = 1_u32;
    let mut text = || -> String {
        (0..600)
            .map(|_| {
                noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                char::from(b'!' + (noise >> 24) as u8 % 90)
            })
            .collect()
    };
    for round in 0..60 {
        let entries = (0..50).map(|at| entry("a", round * 50 + at, &text())).collect();
        store.checkpoint(vec![], entries, vec![]).await.expect("saves");
        store.tend(secs(0)).await.expect("tends");
    }
    let found = store.journal("a".into(), None, 9_999).await.expect("reads");
    let bytes: usize = found.iter().map(|entry| entry.decision.len()).sum();
    assert!((max as usize / 2..=max as usize).contains(&bytes), "{bytes} bytes are kept");
    assert_eq!(found[0].at, secs(2_999), "the oldest goes first");
    assert!(found.windows(2).all(|pair| pair[1].at < pair[0].at));
}

async fn a_lease_passes_on_when_it_ran_out(place: &dyn Place) {
    let store = place.open(options());
    let check = async |owner: &str, now: i64, held: bool, by: &str, epoch: u64, until: i64| {
        let lease = store.lease(owner.into(), secs(now), Duration::from_secs(60)).await.expect("asks");
        let want = Lease { held, owner: by.into(), epoch: Epoch(epoch), until: secs(until) };
        assert_eq!(lease, want, "{owner} at {now}");
    };
    check("a", 0, true, "a", 1, 60).await;
    check("b", 59, false, "a", 1, 60).await;
    check("a", 30, true, "a", 1, 90).await;
    // The clock goes back: nobody's promise gets shorter, and nothing is stolen.
    check("a", -500, true, "a", 1, 90).await;
    check("b", -500, false, "a", 1, 90).await;
    check("b", 89, false, "a", 1, 90).await;
    check("b", 90, true, "b", 2, 150).await;
    check("a", 100, false, "b", 2, 150).await;
    check("a", 200, true, "a", 3, 260).await;
    drop(store);
    let store = place.open(options());
    let lease = store.lease("a".into(), secs(210), Duration::from_secs(60)).await.expect("asks");
    assert_eq!((lease.held, lease.epoch), (true, Epoch(3)), "a restart renews its own");
}

async fn policies_are_kept_as_a_set(place: &dyn Place) {
    let store = place.open(Options { journal_keep: Duration::from_secs(1_000), ..options() });
    let set = |revision: &str, texts: &[(&str, &str)]| PolicyFiles {
        revision: revision.into(),
        interval: Duration::from_secs(5),
        files: texts.iter().map(|(name, text)| SourceFile { name: (*name).into(), text: (*text).into() }).collect(),
    };
    let first = set("r1", &[("z.toml", "1"), ("a.toml", "ü\n")]);
    let second = set("r2", &[("b.toml", "2"), ("a.toml", "ü\n")]);
    let third = set("r3", &[("a.toml", ""), ("b.toml", "2")]);
    assert_eq!(store.policies("r1".into()).await.expect("reads"), None);
    store.keep_policies(first.clone(), secs(0)).await.expect("keeps");
    store.checkpoint(vec![], vec![entry("a", 10, "hold")], vec![]).await.expect("saves");
    store.keep_policies(first.clone(), secs(15)).await.expect("a restart");
    store.keep_policies(second.clone(), secs(20)).await.expect("keeps");
    store.checkpoint(vec![], vec![entry("a", 30, "hold")], vec![]).await.expect("saves");
    store.keep_policies(third.clone(), secs(40)).await.expect("keeps");
    drop(store);
    let store = place.open(Options { journal_keep: Duration::from_secs(1_000), ..options() });
    assert_eq!(store.load().await.expect("loads").policies, third.files, "the last set alone, in its order");
    let kept = async |now, expect: [bool; 3]| {
        store.tend(secs(now)).await.expect("tends");
        for (set, expect) in [&first, &second, &third].into_iter().zip(expect) {
            let found = store.policies(Arc::clone(&set.revision)).await.expect("reads");
            assert_eq!(found.as_ref(), expect.then_some(set), "at {now}");
        }
    };
    kept(50, [true, true, true]).await;
    // Entries may be kept for longer than they have to be, never their policies for less.
    kept(100_000, [false, false, true]).await;
    assert_eq!(store.load().await.expect("loads").policies, third.files, "those in force stay whatever their age");
    store.keep_policies(first.clone(), secs(100_001)).await.expect("comes back");
    kept(100_002, [true, false, true]).await;
    kept(200_000, [true, false, false]).await;
}

async fn a_wrong_clock_loses_no_policies(place: &dyn Place) {
    let store = place.open(options());
    let set = |revision: &str| PolicyFiles {
        revision: revision.into(),
        interval: Duration::from_secs(5),
        files: vec![SourceFile { name: "a.toml".into(), text: revision.into() }],
    };
    store.keep_policies(set("r1"), secs(0)).await.expect("keeps");
    store.checkpoint(vec![], vec![entry("a", 9_999_999, "hold")], vec![]).await.expect("saves");
    store.keep_policies(set("r2"), secs(10)).await.expect("keeps");
    store.tend(secs(200_000)).await.expect("tends");
    assert_eq!(store.policies("r1".into()).await.expect("reads"), Some(set("r1")), "an entry of its time is there");
}

async fn memories_of_fleets_that_left_are_dropped_in_the_end(place: &dyn Place) {
    let store = place.open(options());
    hold_lease(&*store).await;
    let all = |fleet: &str| (fleet.into(), vec![7]);
    let entries = vec![entry("left", 0, "hold"), entry("busy", 0, "hold"), entry("here", 0, "hold")];
    store.keep_learned(vec![all("left"), all("here"), all("here")]).await.expect("keeps");
    store.keep_learned(vec![("here".into(), vec![8, 8])]).await.expect("keeps");
    store.checkpoint(vec![all("left"), all("busy"), all("here")], entries, vec![]).await.expect("saves");
    store.record(vec![record("busy", 1, vec![row(1, "busy", 1, 1)])]).await.expect("records");
    let week = i64::try_from(MEMORY_KEEP.as_secs()).expect("fits");
    let here = RunExtension { fleet: "here".into(), until: secs(week), count: 1 };
    store.checkpoint(vec![], vec![], vec![here]).await.expect("saves");
    let fleets = async |now| {
        store.tend(secs(now)).await.expect("tends");
        store.load().await.expect("loads").memories.into_iter().map(|(fleet, _)| fleet.to_string()).collect::<Vec<_>>()
    };
    let learned = async || store.load().await.expect("loads").learned;
    assert_eq!(fleets(week - 60).await, ["busy", "here", "left"]);
    assert_eq!(learned().await, [("here".into(), vec![8, 8]), all("left")], "the last counts");
    assert_eq!(learned().await.len(), 2);
    assert_eq!(fleets(week + 60).await, ["busy", "here"], "a call in the air needs its fleet's memory");
    store.outcomes(vec![(ActionId(1), Outcome::Accepted, String::new(), secs(week))]).await.expect("ends");
    assert_eq!(fleets(week + 120).await, ["here"]);
    assert_eq!(learned().await, [("here".into(), vec![8, 8])], "it goes with its memory");
}

async fn odd_values_come_back_as_they_were(place: &dyn Place) {
    let store = place.open(options());
    hold_lease(&*store).await;
    let fleet = "flotte 'ü' 舰队 \u{1f680} %_\\ \u{0}";
    let odd = ActionRow {
        id: ActionId(u128::MAX),
        group: u16::MAX,
        action: Action::Terminate { instances: vec!["i-1".into(), "ü'\"".into()], to: u32::MAX },
        change: i32::MIN,
        seen: Version { desired: None, token: Some("W/\"1\"".into()), at: Timestamp(i64::MIN) },
        at: Timestamp(i64::MAX),
        expires: Timestamp(i64::MAX),
        ..row(0, fleet, 0, 0)
    };
    let low = ActionRow { id: ActionId(0), change: i32::MAX, at: Timestamp(-1), ..row(0, fleet, 0, 0) };
    let big = JournalEntry {
        until: Timestamp(i64::MAX),
        count: 1 << 60,
        facts: "x".repeat(3 << 20),
        memory_before: vec![],
        decision: String::new(),
        ..entry(fleet, 0, "")
    };
    let record =
        Record { fleet: fleet.into(), memory: vec![], entry: big.clone(), actions: vec![odd.clone(), low.clone()] };
    store.record(vec![record]).await.expect("records");
    drop(store);
    let store = place.open(options());
    let loaded = store.load().await.expect("loads");
    assert_eq!(loaded.open.into_iter().map(|open| open.row).collect::<Vec<_>>(), [odd, low]);
    assert_eq!(loaded.memories, [(fleet.into(), vec![])]);
    assert_eq!(store.journal(fleet.into(), None, 1).await.expect("reads"), [big]);
    let all = store.spent(Timestamp(i64::MIN)).await.expect("reads");
    assert_eq!(all, Spent { added: i32::MAX as u32, removed: i32::MIN.unsigned_abs() });
}
