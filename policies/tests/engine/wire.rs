//! The lines themselves: what is malformed gets one clear error, leaves memory untouched, and the next line is served.

use crate::fleet::*;
use serde_json::{Value, json};

fn error(fleet: &mut Fleet, line: &str) -> String {
    let answer: Value = serde_json::from_str(&fleet.decider.line(line).expect("answered")).expect("JSON");
    answer["error"].as_str().unwrap_or_else(|| panic!("{line} gave {answer}")).to_owned()
}

#[test]
fn malformed_lines_are_said_and_change_nothing() {
    let mut fleet = Fleet::new(&policy("", &format!("{}{FREE}", rps(1.0))));
    let good = Cycle::new(0.0, 3).read("rps", 3.0);
    let edit = |change: &dyn Fn(&mut Value)| {
        let mut line = good.line.clone();
        change(&mut line);
        line.to_string()
    };
    let cases: Vec<(String, &str)> = vec![
        ("{".into(), "EOF"),
        ("[]".into(), "expected"),
        ("nonsense".into(), "expected"),
        ("{\"fleet\":\"web\",\"now\":1e999}".into(), "number out of range"),
        (edit(&|l| l["fleet"] = json!("other")), "no policy for fleet `other`"),
        (edit(&|l| l["now"] = json!("today")), "invalid type"),
        (edit(&|l| l["now"] = json!(1e300)), "a time in seconds"),
        (
            edit(&|l| {
                l.as_object_mut().expect("object").remove("now");
            }),
            "missing `now`",
        ),
        (
            edit(&|l| {
                l.as_object_mut().expect("object").remove("readings");
            }),
            "missing `readings`",
        ),
        (edit(&|l| l["surprise"] = json!(1)), "unknown field `surprise`"),
        (edit(&|l| l["groups"][0]["group"] = json!("nope")), "no group `cloud/nope`"),
        (edit(&|l| l["groups"][0]["desired"] = json!(-1)), "invalid value"),
        (edit(&|l| l["groups"][0]["desired"] = json!(2_000_000)), "above 1000000"),
        (
            edit(&|l| {
                l["groups"][0].as_object_mut().expect("object").remove("desired");
            }),
            "missing `desired`",
        ),
        (
            edit(&|l| {
                l["groups"][0].as_object_mut().expect("object").remove("instances");
            }),
            "missing `instances`",
        ),
        (edit(&|l| l["groups"][0]["instances"][1]["id"] = json!("i-0")), "instance `i-0` is listed twice"),
        (edit(&|l| l["groups"][0]["instances"][0]["state"] = json!("asleep")), "unknown variant"),
        (edit(&|l| l["groups"][0]["error"] = json!("throttled")), "stands alone"),
        (
            edit(&|l| {
                let g = l["groups"][0].clone();
                l["groups"] = json!([g, g]);
            }),
            "listed twice",
        ),
        (edit(&|l| l["readings"]["rps"] = json!({"value": 1.0})), "missing `at`"),
        (edit(&|l| l["readings"]["rps"] = json!({"value": 1.0, "missing": "x", "at": 1})), "exactly one"),
        (edit(&|l| l["readings"]["rps"] = json!({"value": "many", "at": 1})), "a number, \"NaN\""),
        (edit(&|l| l["outcomes"] = json!([{"group": "web", "result": "maybe"}])), "none that a call can have"),
        (edit(&|l| l["override"] = json!({"kind": "nap"})), "unknown variant"),
        (good.line.to_string().replace("\"rps\":{", "\"rps\":{\"missing\":\"x\"},\"rps\":{"), "duplicate key `rps`"),
    ];
    for (line, expected) in &cases {
        let said = error(&mut fleet, line);
        assert!(said.contains(expected), "{line}\nsaid {said}\nexpected {expected}");
    }
    assert_eq!(desired(&fleet.decide(good)), 3, "the first good line is the first decision");
    let again = Cycle::new(0.0, 3).read("rps", 3.0).line.to_string();
    assert!(error(&mut fleet, &again).contains("`now` does not grow"));
    assert_eq!(desired(&fleet.decide(Cycle::new(15.0, 3).read("rps", 4.0))), 4);
}

#[test]
fn history_prints_nothing() {
    let mut fleet = Fleet::new(&policy("", &format!("{}{FREE}", rps(1.0))));
    let line = json!({"fleet": "web", "history": {"rps": [[1_700_000_000, 812.0]]}}).to_string();
    assert_eq!(fleet.decider.line(&line), None);
    assert!(error(&mut fleet, &line.replace("812.0", "\"x\"")).contains("invalid type"));
}

#[test]
fn unused_readings_are_ignored() {
    let mut fleet = Fleet::new(&policy("", &format!("{}{FREE}", rps(1.0))));
    assert_eq!(desired(&fleet.decide(Cycle::new(0.0, 3).read("rps", 4.0).read("other", 9.0))), 4);
}

#[test]
fn stopped_after_any_line_and_started_again_the_output_is_the_same() {
    let text = policy("", &format!("{}[fleet.web.scale_in]\nstabilization = \"1m\"\n", rps(1.0)));
    let loads = [5.0, 9.0, 9.0, 4.0, 4.0, 4.0, 4.0, 4.0, 4.0, 4.0, 3.3, 8.1, 2.0, 2.0];
    let run = |restart: bool| {
        let mut fleet = Fleet::new(&text);
        fleet.decider.keep_answers();
        let mut current = 5;
        let mut out = vec![];
        for (n, load) in loads.iter().enumerate() {
            let line = Cycle::new(n as f64 * 15.25, current).read("rps", *load).line.to_string();
            let answer = fleet.decider.line(&line).expect("answered");
            if restart {
                let saved = fleet.decider.save();
                fleet = Fleet::new(&text);
                fleet.decider.load(&saved).expect("own memory");
                // Killed between the save and the answer: the same question has the same answer.
                assert_eq!(fleet.decider.line(&line).as_ref(), Some(&answer));
            }
            current = serde_json::from_str::<Value>(&answer).expect("JSON")["desired"].as_u64().expect("known") as u32;
            out.push(answer);
        }
        out
    };
    assert_eq!(run(false), run(true));
}

#[test]
fn a_foreign_memory_is_refused() {
    let mut fleet = Fleet::new(&policy("", &format!("{}{FREE}", rps(1.0))));
    for (text, expected) in [
        ("", "not a memory"),
        ("{}", "not a memory"),
        ("{\"skala_memory\":99}", "newer"),
        ("{\"skala_memory\":1,\"fleets\":3,\"answers\":{}}", "not a memory"),
    ] {
        let said = fleet.decider.load(text).expect_err("refused").0;
        assert!(said.contains(expected), "{said}");
    }
}

#[test]
fn the_journals_facts_replay_to_the_same_plan() {
    use policies::policy::{ParseOptions, SourceFile, parse};
    use policies::wire::{Line, facts_json, parse_line, plan_json};
    use std::sync::Arc;
    let files = [SourceFile { name: "web.toml".into(), text: policy("", &rps(1.0)) }];
    let (set, _) = parse(&files, &ParseOptions::default());
    let policy: &Arc<_> = set.fleet("web").expect("there");
    let line = Cycle::new(0.0, 3)
        .instances(2, 1)
        .group(
            "launch_failures",
            json!([{"kind": "invalid", "scope": "type:m5", "at": EPOCH - 4, "message": "no \"AMI\""}]),
        )
        .group("foreign", json!([{"name": "x", "removes": false}]))
        .group("suspended", json!(["Launch", "AZRebalance"]))
        .with("override", json!({"kind": "hold", "until": EPOCH + 5, "scale_in_only": true, "reason": "é"}))
        .with("outcomes", json!([{"group": "web", "result": "refused"}]))
        .with("budget", json!({"in": 3}))
        .reading("rps", json!({"value": "NaN", "at": EPOCH, "members": 2.0}))
        .line
        .to_string();
    let Ok(Line::Cycle(first)) = parse_line(&line) else { panic!("a cycle") };
    let facts = first.facts(policy).expect("facts");
    let events = first.events(policy).expect("events");
    let journaled = facts_json(policy, &facts, &events, first.budget);
    let Ok(Line::Cycle(second)) = parse_line(&journaled) else { panic!("{journaled}") };
    let replayed = second.facts(policy).expect("facts");
    assert_eq!(facts_json(policy, &replayed, &second.events(policy).expect("events"), second.budget), journaled);
    // What an end says of a group comes back with it, whatever the code was.
    for code in ["accepted", "unclear", "throttled", "transport", "denied", "conflict", "expired_plan", "no_lease"] {
        use policies::memory::{Event, Outcome};
        let outcome = Outcome::from_code(code).unwrap_or(Outcome::Refused);
        let ended = [Event::ended(0, outcome, code)];
        let journaled = facts_json(policy, &facts, &ended, first.budget);
        let Ok(Line::Cycle(line)) = parse_line(&journaled) else { panic!("{journaled}") };
        assert_eq!(line.events(policy).as_deref(), Ok(&ended[..]), "{code}");
    }
    let plan = |facts: &policies::facts::FleetFacts<'_>| {
        let proposal = policies::propose(policy, facts, &Default::default());
        let plan = policies::settle(vec![proposal], first.budget);
        plan_json(&set, &plan.fleets[0])
    };
    assert_eq!(plan(&facts), plan(&replayed));
}
