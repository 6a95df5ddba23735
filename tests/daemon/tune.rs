//! `skala tune` and `skala plan --replay` through the real binary: what they print, that the diff does what was scored,
//! exit codes, and what they say of arguments that are wrong.

use crate::backtest::{Files, MODEL, POLICY, START, STEPS};
use crate::living::{Said, run, skala};
use crate::report::{config, scripted};
use serde_json::{Value, json};
use std::process::Command;

/// The steps without load.
const GAP: std::ops::Range<usize> = 2_000..2_060;

/// The same load without its gap.
fn filled(files: Files) -> Files {
    let csv = files.read("rps.csv");
    let mut rows: Vec<String> = csv.lines().map(str::to_owned).collect();
    let missing: Vec<String> = GAP.map(|step| format!("{},1000", START + step * 60)).collect();
    rows.splice(GAP.start + 1..GAP.start + 1, missing);
    files.put("rps.csv", &rows.join("\n"))
}

/// A fleet that keeps for an hour what it does not need.
fn wasteful() -> Files {
    let text = POLICY.replace("170", "170 # each");
    Files::new().put("policies/shop.toml", &format!("{text}[fleet.shop.scale_in]\nstabilization = \"1h\" # long\n"))
}

fn tune(files: &Files, more: &[&str]) -> Said {
    let base =
        ["tune", "--policies", "policies", "--fleet", "shop", "--model", "model.toml", "--series", "rps=rps.csv"];
    let replays: &[&str] = if more.contains(&"--replays") { &[] } else { &["--replays", "40"] };
    let all = [&base[..], replays, more].concat();
    Said::new(skala(&all).current_dir(files.0.path()).output().unwrap())
}

fn plan(files: &Files, more: &[&str]) -> Said {
    let base = ["plan", "--replay", "2d", "--policies", "new", "--against", "policies"];
    Said::new(skala(&[&base[..], more].concat()).current_dir(files.0.path()).output().unwrap())
}

fn parsed(said: &Said) -> Value {
    assert_eq!((said.code, said.err.as_str()), (0, ""), "{said:?}");
    serde_json::from_str(&said.out).unwrap()
}

/// Applies a diff as whoever reads the README does.
fn apply(files: &Files, diff: &str) {
    std::fs::write(files.path("tune.diff"), diff).unwrap();
    let applied = Command::new("git").args(["apply", "tune.diff"]).current_dir(files.0.path()).output();
    let applied =
        Said::new(applied.expect("the program git cannot be started: tests/run installs what the tests need"));
    assert_eq!((applied.code, applied.err.as_str()), (0, ""), "{diff}");
}

#[test]
fn what_is_picked_scores_as_it_was_promised() {
    let files = wasteful();
    let said = tune(&files, &["--json", "--max-shortage", "2%"]);
    let found = parsed(&said);
    assert_eq!(tune(&files, &["--json", "--max-shortage", "2%"]).out, said.out, "byte for byte");
    assert!(found["replays"].as_u64().unwrap() <= 40 && found["settings"].as_array().unwrap().len() == 6, "{found:#}");
    assert_eq!(found["settings"][0]["written"], "policies/shop.toml:22");
    let front = found["front"].as_array().unwrap();
    let number = |of: &Value, key: &str| of["judged"][key].as_f64().unwrap();
    let short = |of: &Value| number(of, "tau_U").max(of["trained"]["tau_U"].as_f64().unwrap());
    for pair in front.windows(2) {
        assert!(short(&pair[0]) < short(&pair[1]), "{found:#}");
        assert!(number(&pair[0], "cost") > number(&pair[1], "cost"), "{found:#}");
    }
    let picked = found["picked"]["number"].as_u64().unwrap() as usize;
    let promised = &front[picked - 1];
    assert!(short(promised) <= 2.0 && front.get(picked).is_none_or(|next| short(next) > 2.0));
    assert!(number(promised, "cost") < 0.95 * number(&found["present"], "cost"), "{found:#}");
    assert!(found["beaten_by"].is_u64() && found["present"]["number"].is_null());

    let diff = found["picked"]["diff"].as_str().unwrap();
    let alone = tune(&files, &["--diff", "--pick", &picked.to_string()]);
    assert_eq!((alone.code, alone.out.as_str(), alone.err.as_str()), (0, diff, ""));
    let before = files.read("policies/shop.toml");
    apply(&files, diff);
    let text = files.read("policies/shop.toml");
    assert!(text.contains(" # each\n") && text.contains(" # long\n") && text != before, "{text}");
    let again = parsed(&tune(&files, &["--json", "--replays", "1"]));
    assert_eq!(
        (&again["present"]["judged"], &again["present"]["trained"]),
        (&promised["judged"], &promised["trained"])
    );
    // The judging part is the end of what `skala backtest` replays: the same core, the same memory.
    let args =
        ["backtest", "--policies", "policies", "--fleet", "shop", "--model", "model.toml", "--series", "rps=rps.csv"];
    let all = [&args[..], &["--out", "supply.csv"]].concat();
    assert!(skala(&all).current_dir(files.0.path()).output().unwrap().status.success());
    let from = found["judged_from"].as_f64().unwrap();
    let supply = files.read("supply.csv");
    let rows = supply.lines().skip(1).map(|row| row.split(',').map(|cell| cell.parse().unwrap()).collect::<Vec<f64>>());
    // But not where the load is unknown.
    let unknown = (START + GAP.start * 60) as f64..(START + GAP.end * 60) as f64;
    let rows: Vec<Vec<f64>> = rows.filter(|row| row[0] >= from && !unknown.contains(&row[0])).collect();
    assert_eq!(rows.len(), STEPS / 3 - GAP.len());
    assert_eq!((&found["trained_unknown_steps"], &found["judged_unknown_steps"]), (&json!(0), &json!(GAP.len())));
    let short = rows.iter().filter(|row| row[2] < row[1]).count() as f64;
    assert!((number(promised, "tau_U") - 100.0 * short / rows.len() as f64).abs() < 1e-9);
}

#[test]
fn people_read_the_front_and_how_the_present_setting_stands() {
    let files = wasteful();
    let said = tune(&files, &["--max-shortage", "3"]);
    assert_eq!((said.code, said.err.as_str()), (0, ""), "{said:?}");
    let begin = "shop: 2d from 2023-11-15T00:00:00Z to 2023-11-17T00:00:00Z; searched on the first 1d8h, of which 2h are \
        not scored, and judged on the last 16h\n\nthe load is unknown for 0s of the first part and 1h of the last: not scored\n";
    assert!(said.out.starts_with(begin), "{}", said.out);
    for part in [
        "rule.requests.target",
        "policies/shop.toml:22",
        "COST/DAY",
        "nothing: the present setting\n",
        "The present setting (*) is beaten by ",
        " % cheaper, and short",
        "; for `git apply`",
        "\n+++ b/policies/shop.toml\n",
    ] {
        assert!(said.out.contains(part), "{part} is not in\n{}", said.out);
    }
}

#[test]
fn wrong_arguments_of_tune_are_said() {
    let files = wasteful();
    let check = |more: &[&str], code: i32, part: &str| {
        let said = tune(&files, more);
        assert_eq!(said.code, code, "{said:?}");
        assert!(said.err.contains(part), "{part} is not in\n{}", said.err);
    };
    check(&["--train", "1"], 64, "is not a ratio above 0 and below 1");
    check(&["--train", "0.01"], 78, "too short to search on one part and judge on the rest");
    check(&["--diff"], 64, "--pick <N>|--max-shortage <PERCENT>");
    check(&["--pick", "1", "--max-shortage", "1"], 64, "cannot be used with");
    check(&["--max-shortage", "many"], 64, "is not a percentage from 0 to 100");
    check(&["--replays", "1", "--pick", "9"], 64, "--pick 9: the front's points are 1 to 1");
    check(&["--replays", "1", "--pick", "0"], 64, "--pick 0: the front's points are 1 to 1");
    // A path that goes up is no path for a diff.
    let policies = ["--policies", "new/../policies"];
    std::fs::create_dir(files.path("new")).unwrap();
    let base = [
        "tune",
        "--fleet",
        "shop",
        "--model",
        "model.toml",
        "--series",
        "rps=rps.csv",
        "--replays",
        "9",
        "--pick",
        "1",
    ];
    let said = Said::new(skala(&[&base[..], &policies].concat()).current_dir(files.0.path()).output().unwrap());
    let real = std::fs::canonicalize(files.path("policies/shop.toml")).unwrap();
    let named = format!("for `patch -p1 -d /`:\n\n--- a{}\n", real.display());
    assert!(said.code == 0 && said.out.contains(&named), "{said:?}");
    let files = Files::new().put("policies/shop.toml", &POLICY.replace("max      = 60", "max = 9"));
    let said = tune(&files, &["--replays", "1", "--max-shortage", "0", "--json"]);
    assert_eq!((said.code, said.out.as_str()), (1, ""));
    assert!(said.err.contains("no point found is short so seldom; the least is "), "{said:?}");
    let said = tune(&files, &["--replays", "1", "--diff", "--pick", "1"]);
    assert_eq!(
        (said.code, said.out.as_str(), said.err.as_str()),
        (0, "", "note: 1 is the present setting: there is nothing to change\n")
    );
}

const GOLDEN: &str = "\
### shop

2d from 2023-11-15T00:00:00Z to 2023-11-17T00:00:00Z; the first 2h are not scored, nor 1h in which the load is unknown

| setting | before | after |
|---|---|---|
| `rule.requests.target` | `170` | `190` |
| `rule.utilization.target` | `0.65` | `0.7` |
| `scale_in.stabilization` | default | `\"5m\"` |

| | before | after | difference |
|---|--:|--:|--:|
| capacity, mean | 18.33 | 16.54 | -1.79 (-9.8 %) |
| capacity, p95 | 28 | 24 | -4 |
| capacity, max | 28 | 26 | -2 |
| instance hours | 824.8 | 744.1 | -80.7 (-9.8 %) |
| cost | 82.48 | 74.42 | -8.07 (-9.8 %) |
| short (tau_U) | 0.37 % | 0.44 % | +0.07 |
| lack | 0.23 % | 0.27 % | +0.04 |
| longest shortage | 5m | 5m | 0 |
| changes a day | 43.7 | 38.4 | -5.3 |

| capacity differs most at | before | after | why |
|---|--:|--:|---|
| 2023-11-15T21:41:00Z | 25 | 12 | `requests: 7 (1325 / 190 per instance); utilization: 8 (0.3312 x 16 serving / 0.7); stabilize: 8 -> 10 (largest \
recommendation of the last 5m); pace: 10 -> 12 (the rate allows 12)` |
| 2023-11-16T21:41:00Z | 25 | 12 | `requests: 8 (1393 / 190 per instance); utilization: 8 (0.3483 x 16 serving / 0.7); stabilize: 8 -> 9 (largest \
recommendation of the last 5m); pace: 9 -> 12 (the rate allows 12)` |
| 2023-11-15T20:02:00Z | 28 | 24 | `requests: 25 (4578 / 190 per instance); utilization: 26 (1.5 x 12 serving / 0.7); pace: 26 -> 24 (the rate allows 24)` |

";

/// Two directories; the second fleet is the same in both, the others are in one of them.
fn two_shelves() -> Files {
    let files = Files::new();
    std::fs::create_dir(files.path("new")).unwrap();
    let small =
        |name: &str| POLICY.replace("fleet.shop", &format!("fleet.{name}")).replace("shop-web", &format!("{name}-web"));
    let new = POLICY.replace("target = 170", "target = 190").replace("target = 0.65", "target = 0.7  # fuller");
    files
        .put("new/shop.toml", &format!("{new}[fleet.shop.scale_in]\nstabilization = \"5m\"\n"))
        .put("policies/same.toml", &small("same"))
        .put("new/moved.toml", &format!("# Elsewhere, and said to be:\n\n{}", small("same")))
        .put("policies/gone.toml", &small("gone"))
        .put("new/here.toml", &small("here"))
}

const REPLAY: [&str; 4] = ["--model", "model.toml", "--series", "rps=rps.csv"];

#[test]
fn two_sets_of_policies_side_by_side() {
    let files = filled(two_shelves());
    let said = plan(&files, &[&REPLAY[..], &["--json"]].concat());
    let found = parsed(&said);
    let fleets = found["fleets"].as_array().unwrap();
    let verdicts: Vec<(&str, &str)> =
        fleets.iter().map(|one| (one["fleet"].as_str().unwrap(), one["verdict"].as_str().unwrap())).collect();
    assert_eq!(verdicts, [("gone", "removed"), ("here", "added"), ("same", "unchanged"), ("shop", "compared")]);
    let shop = &fleets[3];
    assert_eq!(
        shop["settings"],
        json!([
            { "setting": "rule.requests.target", "before": "170", "after": "190" },
            { "setting": "rule.utilization.target", "before": "0.65", "after": "0.7" },
            { "setting": "scale_in.stabilization", "before": null, "after": "\"5m\"" },
        ])
    );
    assert_eq!(shop["unknown_steps"], 0);
    // Each side is what a backtest of it says.
    for (side, directory) in [("before", "policies"), ("after", "new")] {
        let base = ["backtest", "--policies", directory, "--fleet", "shop", "--json"];
        let alone =
            parsed(&Said::new(skala(&[&base[..], &REPLAY].concat()).current_dir(files.0.path()).output().unwrap()));
        for key in ["tau_U", "lack_pct", "cost", "instance_hours", "changes_per_day", "longest_shortage_s"] {
            assert_eq!(shop[side][key], alone[key], "{side} {key}");
        }
    }
    assert_eq!((&found["capacity_differs"], shop["moments"].as_array().unwrap().len()), (&json!(true), 3));
    let text = plan(&files, &REPLAY);
    for part in [
        "gone: removed",
        "here: added",
        "same: unchanged\n",
        "\nshop: 2d from 2023",
        "DIFFERENCE",
        "capacity differs most at\n    2023-",
    ] {
        assert!(text.out.contains(part), "{part} is not in\n{}", text.out);
    }
    assert_eq!(plan(&files, &[&REPLAY[..], &["--detailed-exitcode"]].concat()).code, 2);
    let same = plan(&files, &[&REPLAY[..], &["--detailed-exitcode", "--fleet", "same"]].concat());
    assert_eq!((same.code, same.out.as_str(), same.err.as_str()), (0, "same: unchanged\n", ""));
    // A day of the same: the end of the series.
    let day = parsed(&Said::new(
        skala(
            &[&["plan", "--replay", "1d", "--policies", "new", "--against", "policies", "--json"], &REPLAY[..]]
                .concat(),
        )
        .current_dir(files.0.path())
        .output()
        .unwrap(),
    ));
    assert_eq!((&day["fleets"][3]["steps"], &day["fleets"][3]["to"]), (&json!(STEPS / 2), &shop["to"]));
}

#[test]
fn what_is_needed_where_the_load_is_unknown_is_not_scored() {
    let files = two_shelves();
    let base = [&REPLAY[..], &["--fleet", "shop"]].concat();
    let fleet = parsed(&plan(&files, &[&base[..], &["--json"]].concat()))["fleets"][0].clone();
    assert_eq!((&fleet["steps"], &fleet["unknown_steps"]), (&json!(STEPS), &json!(GAP.len())));
    assert_eq!(fleet["before"]["days"].as_f64().unwrap(), (STEPS - 120 - GAP.len()) as f64 / 1_440.0);
    for form in [&[][..], &["--markdown"]] {
        let said = plan(&files, &[&base[..], form].concat());
        assert!(said.out.contains("the first 2h are not scored, nor 1h in which the load is unknown\n"), "{said:?}");
    }
    // A load that is known in the warm-up alone says nothing.
    let rows: String = files.read("rps.csv").lines().take(100).map(|row| format!("{row}\n")).collect();
    let files = files.put("rps.csv", &format!("{rows}{},\n", START + (STEPS - 1) * 60));
    let said = plan(&files, &base);
    assert_eq!(said.code, 78, "{said:?}");
    assert!(said.err.contains("the load is unknown in all of the time that is scored"), "{said:?}");
    let said = tune(&files, &[]);
    assert_eq!(said.code, 78, "{said:?}");
    assert!(said.err.contains("the load is unknown in all of the searched part"), "{said:?}");
}

#[test]
fn markdown_for_a_pull_request() {
    let files = two_shelves();
    let said = plan(&files, &[&REPLAY[..], &["--fleet", "shop", "--markdown"]].concat());
    assert_eq!((said.code, said.err.as_str()), (0, ""), "{said:?}");
    assert_eq!(said.out, GOLDEN);
}

#[test]
fn an_objective_says_what_an_instance_can_do() {
    let objective = |coverage: &str| {
        let head = POLICY.split("[fleet.shop.metric.cpu]").next().unwrap().replace("\"60s\"", "\"0s\"");
        format!(
            "{head}[[fleet.shop.rule]]\nkind = \"objective\"\nmetric = \"rps\"\ncapacity = 250\nutilization = 0.8\ncoverage = {coverage}\n"
        )
    };
    let files = Files::new();
    std::fs::create_dir(files.path("new")).unwrap();
    let files = files.put("policies/shop.toml", &objective("0.99")).put("new/shop.toml", &objective("0.9"));
    let implied = parsed(&plan(&files, &["--series", "rps=rps.csv", "--json"]));
    let fleet = &implied["fleets"][0];
    assert_eq!((&fleet["model_of_rule"], &fleet["before"]["cost"]), (&json!("objective"), &Value::Null));
    let written = MODEL.replace("\"3m\"", "\"2m\"").replace("\"2h\"", "\"2d\"");
    let files = files.put("model.toml", &written);
    let told = parsed(&plan(&files, &[&REPLAY[..], &["--json"]].concat()));
    for side in ["before", "after"] {
        assert_eq!(told["fleets"][0][side]["tau_U"], fleet[side]["tau_U"]);
        assert_eq!(told["fleets"][0][side]["instance_hours"], fleet[side]["instance_hours"]);
    }
    let text = plan(&files, &["--series", "rps=rps.csv"]);
    assert!(
        text.out.contains("; by rule objective one instance does 250 at 80 %, and takes 2m until it serves\n"),
        "{text:?}"
    );
    assert!(!text.out.contains("\n  cost "), "a rule knows no price: {text:?}");
    // Warm-up counts, as in a report.
    let warm = |coverage: &str| objective(coverage).replace("\"0s\"", "\"3m\"");
    let files = files.put("policies/shop.toml", &warm("0.99")).put("new/shop.toml", &warm("0.9"));
    let text = plan(&files, &["--series", "rps=rps.csv"]);
    assert!(text.out.contains(" at 80 %, and takes 5m until it serves\n"), "{text:?}");
}

#[test]
fn wrong_arguments_of_a_comparison_are_said() {
    let files = two_shelves();
    let check = |more: &[&str], code: i32, parts: &[&str]| {
        let said = plan(&files, more);
        assert_eq!(said.code, code, "{said:?}");
        for part in parts {
            assert!(said.err.contains(part), "{part} is not in\n{}", said.err);
        }
    };
    check(&["--series", "rps=rps.csv"], 78, &["no rule of kind `objective`", "--model FILE.toml", "metric = \"rps\""]);
    check(&[&REPLAY[..], &["--fleet", "shp"]].concat(), 64, &["in either directory; did you mean `shop`?"]);
    check(&["--model", "model.toml", "--series", "rpm=rps.csv"], 64, &["no such metric; did you mean `rps`?"]);
    check(&["--model", "model.toml", "--config", "none.toml"], 78, &["none.toml", "cannot be read"]);
    check(&["--model", "none.toml", "--series", "rps=rps.csv"], 78, &["none.toml", "cannot be read"]);
    check(&["--json", "--markdown"], 64, &["cannot be used with"]);
    let said = run(&["plan", "--replay", "1d"]);
    assert!(
        said.code == 64 && said.err.contains("--policies <DIR>") && said.err.contains("--against <DIR>"),
        "{said:?}"
    );
    let said = run(&["plan", "--markdown"]);
    assert!(said.code == 64 && said.err.contains("--replay <DURATION>"), "{said:?}");
    // Where several fleets differ, one that cannot be replayed does not hide the others.
    let changed = files.read("new/moved.toml").replace("170", "180").replace("rps", "rpm");
    let files = files.put("new/moved.toml", &changed);
    let said = plan(&files, &REPLAY);
    assert!(said.code == 64 && said.err.contains("2 fleets differ: add --fleet"), "{said:?}");
}

/// An objective that asks for this, with other text put in for some.
fn objective(replaced: &[(&str, &str)]) -> String {
    let head = POLICY.split("[fleet.shop.metric.cpu]").next().unwrap().replace("\"60s\"", "\"0s\"");
    let rule = "[[fleet.shop.rule]]\nkind = \"objective\"\nmetric = \"rps\"\ncapacity = 125\nutilization = 0.8\n";
    replaced.iter().fold(format!("{head}{rule}"), |text, (from, to)| {
        assert!(text.contains(from), "{from} is not in {text}");
        text.replace(from, to)
    })
}

/// Two policies of one fleet, and a configuration.
fn pair(before: &str, after: &str, config: &str) -> Files {
    let files = Files::new();
    std::fs::create_dir(files.path("new")).unwrap();
    files.put("policies/shop.toml", before).put("new/shop.toml", after).put("skala.toml", config)
}

/// A total of some thousands a second, and a ratio that a slip takes for it.
fn two_loads(query: &str, minute: usize) -> Vec<(&'static str, f64)> {
    let wave = (720 - (minute % 1_440).abs_diff(720)) as f64 / 720.0;
    match query {
        "rps" => vec![("{}", 500.0 + 2_000.0 * wave)],
        "rpm" => vec![("{}", 30_000.0 + 120_000.0 * wave)],
        "cpu" => vec![("{}", 0.6)],
        _ => Vec::new(),
    }
}

/// Everything a comparison says of a note: as text, Markdown, and JSON, with the exit code of each.
#[track_caller]
fn said_everywhere(files: &Files, base: &[&str], code: i32, part: &str) -> Value {
    let ask = |more: &[&str]| plan(files, &[base, more, &["--detailed-exitcode"]].concat());
    let (text, markdown, json) = (ask(&[]), ask(&["--markdown"]), ask(&["--json"]));
    for said in [&text, &markdown, &json] {
        assert_eq!((said.code, said.err.as_str()), (code, ""), "{said:?}");
        assert!(said.out.replace('\\', "").contains(part), "{part} is not in\n{}", said.out);
    }
    assert!(text.out.contains(&format!("\n  note: {part}")), "{}", text.out);
    let found: Value = serde_json::from_str(&json.out).unwrap();
    assert!(found["fleets"][0]["notes"].as_array().unwrap().iter().any(|one| one.as_str().unwrap().starts_with(part)));
    assert_eq!(found["changes"], json!(code == 2));
    found
}

#[test]
fn another_query_of_the_load_is_seen() {
    let config = config(&scripted(two_loads, None));
    let base = ["--model", "model.toml", "--config", "skala.toml"];
    let note = "metric `rps`, the load, is asked for otherwise";
    let only_rps = POLICY.split("[fleet.shop.metric.cpu]").next().unwrap().to_owned()
        + "[[fleet.shop.rule]]\nkind = \"per-instance\"\nmetric = \"rps\"\ntarget = 170\n";
    // The new query shows almost nothing: few instances, and short of what the old one's load needs.
    let slip = only_rps.replace("query  = \"rps\"", "query = \"cpu\"");
    let files = pair(&only_rps, &slip, &config);
    let found = said_everywhere(&files, &base, 2, note);
    let fleet = &found["fleets"][0];
    let short = |side: &str| fleet[side]["tau_U"].as_f64().unwrap();
    assert!(fleet["differing_steps"].as_u64().unwrap() > 2_000, "{found:#}");
    assert!(short("before") < 5.0 && short("after") > 95.0, "{found:#}");
    assert_eq!(fleet["after"]["capacity_p95"], 2, "{found:#}");
    // The other way round the new one is right, and by the old one's truth it has far too many.
    let files = pair(&slip, &only_rps, &config);
    let found = said_everywhere(&files, &base, 2, note);
    assert_eq!(
        (&found["fleets"][0]["before"]["tau_U"], &found["fleets"][0]["after"]["tau_U"]),
        (&json!(0.0), &json!(0.0))
    );
    // Another unit of time and a target that follows it: nothing changes, and that is known.
    let minutes = only_rps.replace("query  = \"rps\"", "query = \"rpm\"").replace("target = 170", "target = 10200");
    let files = pair(&only_rps, &minutes, &config);
    let found = said_everywhere(&files, &base, 0, note);
    assert_eq!(found["fleets"][0]["differing_steps"], 0, "{found:#}");
    // One file for both says nothing of another query.
    let base = ["--model", "model.toml", "--series", "rps=rps.csv"];
    let found =
        said_everywhere(&files, &base, 2, "metric `rps` is asked for otherwise, and both policies see the values of");
    assert_eq!(found["capacity_differs"], json!(true));
    let files = pair(&only_rps, &slip, &config);
    let found =
        said_everywhere(&files, &base, 2, "metric `rps` is asked for otherwise, and both policies see the values of");
    assert_eq!(found["capacity_differs"], json!(false));
}

#[test]
fn going_live_is_a_change() {
    let mode = |mode: &str| POLICY.replace("\"on\"", &format!("\"{mode}\""));
    let base = ["--model", "model.toml", "--series", "rps=rps.csv"];
    for (before, after, note) in [
        ("observe", "on", "mode: observe -> on: skala begins to act; the replay takes observe for on"),
        ("on", "observe", "mode: on -> observe: skala no longer acts; the replay takes observe for on"),
    ] {
        let files = pair(&mode(before), &mode(after), "");
        let found = said_everywhere(&files, &base, 2, note);
        assert_eq!(found["capacity_differs"], json!(false), "{found:#}");
        assert_eq!(found["fleets"][0]["mode"], json!({ "before": before, "after": after }));
    }
    let files = pair(&mode("off"), &mode("scale-out-only"), "");
    said_everywhere(&files, &base, 2, "mode: off -> scale-out-only: skala begins to act");
}

#[test]
fn a_change_is_not_judged_by_its_own_claim() {
    let (weak, strong) = (objective(&[]), objective(&[("capacity = 125", "capacity = 250")]));
    let base = ["--series", "rps=rps.csv"];
    let files = pair(&weak, &strong, "");
    let note = "need is judged by the old policy's claim: one instance does 125 of rps at 80 %, and takes 2m until it serves. \
        The new one claims: one instance does 250 of rps";
    let found = said_everywhere(&files, &base, 2, note);
    let fleet = &found["fleets"][0];
    let short = |side: &str| fleet[side]["tau_U"].as_f64().unwrap();
    // Half of what is needed is not as good at half the price.
    assert!(short("before") < 10.0 && short("after") > 90.0, "{found:#}");
    // A model says what is so, and then there is nothing to say of claims.
    let told = parsed(&plan(&files, &[&REPLAY[..], &["--json"]].concat()));
    assert_eq!(told["fleets"][0]["notes"], json!([]));
    // The same claim on both sides is no news.
    let files = pair(&weak, &objective(&[("utilization = 0.8", "utilization = 0.8\ncoverage = 0.9")]), "");
    assert_eq!(parsed(&plan(&files, &[&base[..], &["--json"]].concat()))["fleets"][0]["notes"], json!([]));
    let files = pair(&POLICY.replace("\"60s\"", "\"0s\""), &weak, "");
    said_everywhere(&files, &base, 2, "need is judged by the new policy's own claim");
}

#[test]
fn a_recorded_average_is_not_taken_for_the_total() {
    let cpu = MODEL.replace("\"rps\"", "\"cpu\"");
    let files = pair(POLICY, &POLICY.replace("0.65", "0.7"), &config(&scripted(two_loads, None)));
    let files = files.put("model.toml", &cpu);
    let source =
        ["--policies", "policies", "--fleet", "shop", "--from", "prometheus", "--last", "2d", "--config", "skala.toml"];
    let run = |args: &[&str]| {
        let all = [args, &["--model", "model.toml"]].concat();
        Said::new(skala(&all).current_dir(files.0.path()).output().unwrap())
    };
    for args in [
        [&["backtest"][..], &source].concat(),
        [&["tune"][..], &source].concat(),
        vec!["plan", "--replay", "2d", "--policies", "new", "--against", "policies", "--config", "skala.toml"],
    ] {
        let said = run(&args);
        assert_eq!((said.code, said.out.as_str()), (78, ""), "{said:?}");
        assert!(
            said.err.contains("metric `cpu` is the load, and its rules take it for an average over instances"),
            "{said:?}"
        );
    }
    // As a file it is the total, and that is documented.
    assert_eq!(
        run(&[&["backtest"][..], &source, &["--series", "cpu=rps.csv", "--series", "rps=rps.csv"]].concat()).code,
        0
    );
}
