//! A scaler of switches that dies where it is told to, and everything that may happen to a handover on its way.

#![allow(clippy::unwrap_used)]

use super::guards::refusals;
use super::*;
use crate::api::answers::{Hold, Reading, Status};
use contract::BoxFuture;
use contract::native::{NativePolicy, Needed};
use serde_json::json;
use std::collections::BTreeMap;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::task::{Context, Poll, Waker};

/// A cloud's scaler that is nothing but switches by name: `on` may act, `off` may not.
#[derive(Default)]
struct Fake {
    switches: Mutex<BTreeMap<String, String>>,
    writes: Mutex<Vec<String>>,
    /// After so many writes nothing is answered any more: the process is as good as dead.
    dies_after: Mutex<Option<usize>>,
    refuses: Mutex<bool>,
    /// What was deleted: a switch, or with no name the group.
    lacks: Mutex<Option<&'static str>>,
}

impl Fake {
    fn of(switches: &[(&str, &str)]) -> Self {
        let switches = switches.iter().map(|(name, position)| ((*name).to_owned(), (*position).to_owned())).collect();
        Self { switches: Mutex::new(switches), ..Self::default() }
    }

    fn now(&self) -> Vec<(String, String)> {
        self.switches.lock().unwrap().clone().into_iter().collect()
    }

    fn set(&self, name: &str, position: &str) {
        self.switches.lock().unwrap().insert(name.into(), position.into());
    }

    fn writes(&self) -> usize {
        self.writes.lock().unwrap().len()
    }

    fn found(&self, group: &GroupId) -> Result<(), ProviderError> {
        if *self.refuses.lock().unwrap() {
            return Err(ProviderError::Denied { what: "not for you".into() });
        }
        match group.as_str() {
            "web" if *self.lacks.lock().unwrap() != Some("") => Ok(()),
            _ => Err(ProviderError::NotFound { what: group.0.clone() }),
        }
    }

    async fn write(&self, name: &str, position: &str) {
        if *self.dies_after.lock().unwrap() == Some(self.writes()) {
            std::future::pending::<()>().await;
        }
        self.writes.lock().unwrap().push(format!("{name}={position}"));
        self.set(name, position);
        if *self.dies_after.lock().unwrap() == Some(self.writes()) {
            std::future::pending::<()>().await;
        }
    }

    fn stands(&self, name: &str) -> Option<String> {
        self.switches.lock().unwrap().get(name).cloned()
    }
}

impl Native for Fake {
    fn describe<'a>(&'a self, group: &'a GroupId) -> BoxFuture<'a, Result<NativePolicy, ProviderError>> {
        Box::pin(async move { self.found(group).map(|()| NativePolicy::named("fake")) })
    }

    fn prepare<'a>(&'a self, group: &'a GroupId) -> BoxFuture<'a, Result<Undo, ProviderError>> {
        Box::pin(async move {
            self.found(group)?;
            let on = self.now().into_iter().filter(|(_, position)| position == "on");
            let switch = |(name, _): (String, String)| Switch {
                what: name.into(),
                setting: "position".into(),
                was: Some("on".into()),
                becomes: Some("off".into()),
            };
            Ok(Undo { switches: on.map(switch).collect() })
        })
    }

    fn suspend<'a>(&'a self, group: &'a GroupId, undo: &'a Undo) -> BoxFuture<'a, Result<(), ProviderError>> {
        Box::pin(async move {
            self.found(group)?;
            for switch in &undo.switches {
                if switch.to_suspend(self.stands(&switch.what).as_deref())? == Needed::Change {
                    self.write(&switch.what, "off").await;
                }
            }
            Ok(())
        })
    }

    fn restore<'a>(&'a self, group: &'a GroupId, undo: &'a Undo) -> BoxFuture<'a, Result<(), ProviderError>> {
        Box::pin(async move {
            self.found(group)?;
            for switch in undo.switches.iter().rev() {
                if *self.lacks.lock().unwrap() == Some(&*switch.what) {
                    return Err(ProviderError::NotFound { what: switch.what.clone() });
                }
                if switch.to_restore(self.stands(&switch.what).as_deref())? == Needed::Change {
                    self.write(&switch.what, "on").await;
                }
            }
            Ok(())
        })
    }
}

fn asked(group: &str) -> Asked {
    Asked {
        fleet: "shop".into(),
        provider: "cloud".into(),
        group: group.into(),
        by: "ana".into(),
        at: Timestamp::from_secs(1_700_000_000),
    }
}

/// Polls to the end; `None` when it hangs, as a process that was killed there never ends. Nothing here waits.
fn alive<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut future = std::pin::pin!(future);
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(done) => Some(done),
        Poll::Pending => None,
    }
}

struct Place {
    _directory: tempfile::TempDir,
    path: PathBuf,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = records::path(&directory.path().join("skala.db"));
        Self { _directory: directory, path }
    }

    fn over(&self, fake: &Fake) -> Option<Result<Outcome, HandoverError>> {
        let mut records = Records::open(&self.path).unwrap();
        alive(hand_over(&mut records, fake, &asked("web")))
    }

    fn back(&self, fake: &Fake) -> Option<Result<Returned, HandoverError>> {
        let mut records = Records::open(&self.path).unwrap();
        alive(hand_back(&mut records, fake, "cloud", &"web".into()))
    }

    fn stages(&self) -> Vec<(Stage, usize)> {
        records::read(&self.path).unwrap().iter().map(|one| (one.stage, one.undo.switches.len())).collect()
    }
}

const THREE: [(&str, &str); 3] = [("a", "on"), ("b", "off"), ("c", "on")];

fn at_the_start(fake: &Fake) -> bool {
    fake.now() == Fake::of(&THREE).now()
}

#[test]
fn what_was_off_before_stays_off_and_the_rest_comes_back() {
    let (place, fake) = (Place::new(), Fake::of(&THREE));
    let Some(Ok(Outcome::Suspended(switches))) = place.over(&fake) else { panic!("suspended") };
    assert_eq!(switches.iter().map(|switch| &*switch.what).collect::<Vec<_>>(), ["a", "c"]);
    assert!(fake.now().iter().all(|(_, position)| position == "off"));
    assert_eq!(place.stages(), [(Stage::Suspended, 2)]);
    // Twice: nothing is written and the undo is what it was.
    assert!(matches!(place.over(&fake), Some(Ok(Outcome::Already(again))) if again == switches));
    assert_eq!((fake.writes(), place.stages()), (2, vec![(Stage::Suspended, 2)]));
    assert_eq!(place.back(&fake).unwrap().unwrap(), Returned::Restored(switches));
    assert!(at_the_start(&fake), "{:?}", fake.now());
    assert_eq!(place.stages(), []);
    let again = place.back(&fake).unwrap().unwrap_err();
    assert!(matches!(again, HandoverError::NotHandedOver(_)), "{again}");
    assert_eq!(fake.writes(), 4, "what was not handed over is not switched");
}

#[test]
fn a_kill_anywhere_leaves_what_can_be_finished_or_undone() {
    for dies_after in 0..=2 {
        for undone in [false, true] {
            let (place, fake) = (Place::new(), Fake::of(&THREE));
            *fake.dies_after.lock().unwrap() = Some(dies_after);
            assert!(place.over(&fake).is_none(), "killed after {dies_after}");
            // The whole undo is on disk before the first switch.
            assert_eq!(place.stages(), [(Stage::Suspending, 2)], "killed after {dies_after}");
            *fake.dies_after.lock().unwrap() = None;
            if !undone {
                assert!(matches!(place.over(&fake), Some(Ok(Outcome::Suspended(all))) if all.len() == 2));
                assert_eq!(place.stages(), [(Stage::Suspended, 2)]);
            }
            place.back(&fake).unwrap().unwrap();
            assert!(at_the_start(&fake), "killed after {dies_after}, {:?}", fake.now());
            assert_eq!(place.stages(), []);
        }
    }
}

#[test]
fn a_kill_while_going_back_is_finished_by_asking_again() {
    for dies_after in 2..=4 {
        let (place, fake) = (Place::new(), Fake::of(&THREE));
        place.over(&fake).unwrap().unwrap();
        *fake.dies_after.lock().unwrap() = Some(dies_after);
        assert!(place.back(&fake).is_none());
        assert_eq!(place.stages(), [(Stage::Restoring, 2)]);
        *fake.dies_after.lock().unwrap() = None;
        place.back(&fake).unwrap().unwrap();
        assert!(at_the_start(&fake) && place.stages().is_empty(), "killed after {dies_after}");
    }
}

#[test]
fn a_scaler_that_came_since_is_suspended_too_and_comes_back_too() {
    let (place, fake) = (Place::new(), Fake::of(&THREE));
    place.over(&fake).unwrap().unwrap();
    fake.set("d", "on");
    assert!(matches!(place.over(&fake), Some(Ok(Outcome::Suspended(all))) if all.len() == 3));
    assert_eq!((fake.stands("d").as_deref(), place.stages()), (Some("off"), vec![(Stage::Suspended, 3)]));
    // One that somebody switched on again in between is suspended again, with the first undo.
    fake.set("a", "on");
    assert!(matches!(place.over(&fake), Some(Ok(Outcome::Already(all))) if all.len() == 3));
    assert_eq!(fake.stands("a").as_deref(), Some("off"));
    place.back(&fake).unwrap().unwrap();
    assert_eq!(fake.stands("d").as_deref(), Some("on"));
}

#[test]
fn what_somebody_set_by_hand_is_not_overwritten() {
    let (place, fake) = (Place::new(), Fake::of(&THREE));
    place.over(&fake).unwrap().unwrap();
    fake.set("a", "only on sundays");
    for answer in [place.back(&fake).unwrap().map(drop), place.over(&fake).unwrap().map(drop)] {
        let error = answer.unwrap_err();
        let (HandoverError::Back { source, .. } | HandoverError::Cloud { source, .. }) = &error else {
            panic!("{error}")
        };
        let ProviderError::Conflict { what } = source else { panic!("{source}") };
        assert!(what.contains("only on sundays"), "{what}");
        assert_eq!(place.stages().len(), 1, "the record stays");
    }
    assert_eq!(fake.stands("a").as_deref(), Some("only on sundays"));
}

#[test]
fn a_group_that_is_unknown_and_a_cloud_that_refuses_leave_no_record() {
    let (place, fake) = (Place::new(), Fake::of(&THREE));
    let mut records = Records::open(&place.path).unwrap();
    let error = alive(hand_over(&mut records, &fake, &asked("wbe"))).unwrap().unwrap_err();
    assert!(matches!(error, HandoverError::Unread(ProviderError::NotFound { .. })), "{error}");
    *fake.refuses.lock().unwrap() = true;
    let error = alive(hand_over(&mut records, &fake, &asked("web"))).unwrap().unwrap_err();
    assert!(matches!(error, HandoverError::Unread(ProviderError::Denied { .. })), "{error}");
    assert!(records.all().is_empty() && fake.writes() == 0);
    // One that can be read and not be written keeps its record: nobody knows how far it came.
    *fake.refuses.lock().unwrap() = false;
    alive(hand_over(&mut records, &fake, &asked("web"))).unwrap().unwrap();
    *fake.refuses.lock().unwrap() = true;
    let error = alive(hand_back(&mut records, &fake, "cloud", &"web".into())).unwrap().unwrap_err();
    assert!(matches!(error, HandoverError::Back { .. }), "{error}");
    // Who is giving back already is not told to give back.
    let words = error.to_string();
    assert!(words.contains("ask again") && words.contains("`skala handover cloud/web --forget`"), "{words}");
    assert!(!words.contains("--back"), "{words}");
    assert_eq!(records.all().len(), 1);
}

#[test]
fn a_group_that_was_deleted_has_nothing_left_to_give_back() {
    let (place, fake) = (Place::new(), Fake::of(&THREE));
    place.over(&fake).unwrap().unwrap();
    // Something of its scaler that is gone is not the group.
    *fake.lacks.lock().unwrap() = Some("a");
    let error = place.back(&fake).unwrap().unwrap_err();
    assert!(matches!(error, HandoverError::Back { .. }), "{error}");
    assert_eq!(place.stages(), [(Stage::Restoring, 2)]);
    *fake.lacks.lock().unwrap() = Some("");
    assert!(matches!(place.back(&fake), Some(Ok(Returned::Gone(switches))) if switches.len() == 2));
    assert_eq!(place.stages(), []);
}

#[test]
fn a_group_without_a_scaler_needs_no_record() {
    let (place, fake) = (Place::new(), Fake::of(&[("b", "off")]));
    assert_eq!(place.over(&fake).unwrap().unwrap(), Outcome::Nothing);
    assert!(!place.path.exists());
}

#[test]
fn without_a_record_nothing_is_switched() {
    let (place, fake) = (Place::new(), Fake::of(&THREE));
    let mut records = Records::open(&place.path).unwrap();
    // A directory where the draft has to go: the disk refuses.
    std::fs::create_dir(place.path.with_extension("handover.new")).unwrap();
    let error = alive(hand_over(&mut records, &fake, &asked("web"))).unwrap().unwrap_err();
    assert!(matches!(error, HandoverError::Record(..)), "{error}");
    assert!(at_the_start(&fake) && fake.writes() == 0 && records.all().is_empty());
}

#[test]
fn records_are_one_processs_and_never_taken_for_empty() {
    let place = Place::new();
    let first = Records::open(&place.path).unwrap();
    let error = Records::open(&place.path).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    assert!(error.to_string().contains("another `skala handover`"), "{error}");
    drop(first);
    for text in ["", "{}", "[]", "{\"handovers\": [{}]}", "{\"handovers\": [], \"more\": 1}", "\u{0}"] {
        std::fs::write(&place.path, text).unwrap();
        assert!(Records::open(&place.path).is_err() && records::read(&place.path).is_err(), "{text:?}");
    }
    assert!(Records::open(Path::new("/nowhere/skala.handover")).is_err());
}

fn status() -> Status {
    serde_json::from_value(json!({
        "version": "0", "now": 1000.0, "revision": "r", "last_reload_successful": true, "reload_problem": null,
        "hold_all": null, "lease_held": true, "lease_owner": "me", "store_fault": null,
        "fleets": [{
            "fleet": "shop", "owner": "", "mode": "on", "interval_secs": 15.0, "current": 4, "serving": 4, "desired": 4,
            "min": 1, "max": 9, "decided": 990.0, "direction": "none", "reason": "Another controller writes the same group.",
            "hold": {"reason": "foreign", "setting": "foreign", "file": "", "line": 1}, "override": null, "fault": null,
            "groups": [{"provider": "cloud", "group": "web", "current": 4, "desired": 4, "instances": {}, "unknown": null}],
            "readings": {"cpu": {"value": 0.5, "age_secs": 5.0, "stale": false, "missing": null}}
        }]
    }))
    .unwrap()
}

#[test]
fn each_guard_refuses_by_name() {
    let check = |expected: &[&str], change: &dyn Fn(&mut Status)| {
        let mut status = status();
        change(&mut status);
        let found = refusals(&status, &status.fleets[0]);
        assert_eq!(found.iter().map(|refusal| refusal.guard).collect::<Vec<_>>(), expected, "{found:?}");
    };
    // Held because of the very controller that is to go: ready.
    check(&[], &|_| {});
    check(&[], &|status| status.fleets[0].hold = None);
    check(&[], &|status| status.fleets[0].mode = "scale-out-only".into());
    check(&["mode"], &|status| status.fleets[0].mode = "off".into());
    check(&["mode"], &|status| status.fleets[0].mode = "observe".into());
    check(&["store"], &|status| status.store_fault = Some("full".into()));
    check(&["owner"], &|status| status.lease_held = false);
    check(&["hold"], &|status| status.hold_all = Some("freeze".into()));
    check(&["fault"], &|status| status.fleets[0].fault = Some("panic".into()));
    check(&["decided"], &|status| status.fleets[0].decided = None);
    check(&["decided"], &|status| status.fleets[0].decided = Some(900.0));
    check(&[], &|status| {
        status.fleets[0].decided = Some(900.0);
        status.fleets[0].interval_secs = 60.0;
    });
    check(&["observed"], &|status| status.fleets[0].groups[0].unknown = Some("throttled".into()));
    check(&["observed"], &|status| status.fleets[0].groups[0].current = None);
    let reading = |stale, missing: Option<&str>| Reading {
        value: None,
        from: None,
        age_secs: None,
        stale,
        missing: missing.map(str::to_owned),
    };
    check(&["readings"], &|status| {
        status.fleets[0].readings.insert("rps".into(), reading(false, Some("empty")));
    });
    check(&["readings"], &|status| {
        status.fleets[0].readings.insert("rps".into(), reading(true, None));
    });
    for reason in ["blind", "partial", "group_unknown", "group_missing", "clock", "owner", "store", "override"] {
        check(&["hold"], &|status| {
            let hold = Hold { reason: reason.into(), setting: String::new(), file: String::new(), line: 0 };
            status.fleets[0].hold = Some(hold);
        });
    }
    check(&["store", "mode", "observed"], &|status| {
        status.store_fault = Some("full".into());
        status.fleets[0].mode = "off".into();
        status.fleets[0].groups[0].current = None;
    });
}
