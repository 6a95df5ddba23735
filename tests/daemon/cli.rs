//! The command line through the real binary: exit codes, what goes where, and each command against a living daemon.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)] // Tests, and on real time: they wait for real sockets.

use crate::living::{Living, POLICY, Said, run, skala};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

#[test]
fn exit_codes_and_streams() {
    let check = |arguments: &[&str], code: i32, out: &str, err: &str| {
        let said = run(arguments);
        assert_eq!(said.code, code, "{arguments:?}: {said:?}");
        assert!(said.out.contains(out) && said.err.contains(err), "{arguments:?}: {said:?}");
        // Data on one stream, complaints on the other.
        assert!(said.out.is_empty() == out.is_empty() && said.err.is_empty() == err.is_empty(), "{said:?}");
    };
    check(&["--help"], 0, "64 wrong usage", "");
    check(&["--version"], 0, "skala 0", "");
    check(&["status", "--help"], 0, "--socket", "");
    check(&[], 64, "", "Usage");
    check(&["fly"], 64, "", "unrecognized subcommand");
    check(&["status", "--bogus"], 64, "", "--bogus");
    check(&["pin", "web"], 64, "", "required");
    check(&["pin", "web", "-1", "--for", "5m", "--reason", "x"], 64, "", "-1");
    check(&["pin", "web", "1000001", "--for", "5m", "--reason", "x"], 64, "", "1000001");
    check(&["hold", "web", "--for", "5 minutes", "--reason", "x"], 64, "", "write \"90s\"");
    check(&["hold", "--for", "5m", "--reason", "x"], 64, "", "<FLEET|--all>");
    check(&["hold", "web", "--all", "--for", "5m", "--reason", "x"], 64, "", "cannot be used with");
    check(&["explain", "web", "--at", "yesterday"], 64, "", "is no time");
    check(&["status", "--config", "/nowhere/skala.toml"], 64, "", "/nowhere/skala.toml");
    check(&["status", "--socket", "/nowhere/skala.sock"], 1, "", "no daemon answers on /nowhere/skala.sock");
    check(&["decide", "--policies", "/nowhere"], 78, "", "/nowhere");
    check(&["completion", "bash"], 0, "_skala", "");
    check(&["completion", "tcsh"], 64, "", "tcsh");
    check(&["man"], 0, "SKALA EXPLAIN", "");
}

#[test]
fn the_manual_is_sound_roff() {
    let page = run(&["man"]).out;
    let mut child = Command::new("man")
        .args(["--warnings=all", "-l", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(child) = &mut child else { return };
    child.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
    let mut text = String::new();
    std::io::Read::read_to_string(&mut child.stdout.take().unwrap(), &mut text).unwrap();
    assert!(child.wait().unwrap().success());
    for command in ["STATUS", "HOLD", "PIN", "RELEASE", "DECIDE", "CHECK"] {
        assert!(text.contains(&format!("SKALA {command}")), "{text}");
    }
}

#[test]
fn a_reader_that_leaves_is_no_failure() {
    let mut child = skala(&["man"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let said = Said::new(child.wait_with_output().unwrap());
    assert_eq!((said.code, said.err.as_str()), (0, ""), "{said:?}");
    // A disk that is full is one.
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let said = Said::new(skala(&["man"]).stdout(full).stderr(Stdio::piped()).output().unwrap());
    assert_eq!(said.code, 1, "{said:?}");
}

#[test]
fn status_explain_and_overrides_of_a_living_daemon() {
    let living = Living::start();
    living.until("three instances", |living| living.desired() == Some(3));
    let said = living.run(&["status"]);
    assert_eq!(said.code, 0, "{said:?}");
    let row: Vec<&str> = said.out.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!((row[0], row[1], row[4], row[5], row[6]), ("web", "on", "3", "1", "10"), "{}", said.out);
    let status: Value = serde_json::from_str(&living.run(&["status", "--json"]).out).unwrap();
    assert_eq!(status["fleets"][0]["owner"], "web-sre");
    assert!(status["fleets"][0]["readings"]["rps"]["age_secs"].as_f64().unwrap() < 10.0, "{status}");

    let said = living.run(&["pin", "web", "5", "--for", "1h", "--reason", "flash sale"]);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.out.contains("is pinned to 5 for 1h0m by"), "{said:?}");
    living.until("the pin", |living| living.desired() == Some(5));
    assert!(living.run(&["status"]).out.contains("web: pinned to 5 by"));
    assert!(living.run(&["release", "web"]).out.contains("released from its pin"));
    assert!(living.run(&["release", "web"]).out.contains("had no hold or pin"));
    let said = living.run(&["hold", "web", "--for", "90s", "--reason", "maintenance", "--scale-in-only"]);
    assert!(said.out.contains("keeps what it has or more for 1m30s"), "{said:?}");
    let status: Value = serde_json::from_str(&living.run(&["status", "--json"]).out).unwrap();
    assert_eq!(status["fleets"][0]["override"]["kind"], "hold-scale-in");

    // What makes no sense is refused by whoever knows better.
    for (arguments, code, err) in [
        (&["pin", "nowhere", "5", "--for", "1h", "--reason", "x"][..], 1, "no fleet \"nowhere\""),
        (&["hold", "web", "--for", "0s", "--reason", "x"], 64, "from a second to 366 days"),
        (&["hold", "web", "--for", "400d", "--reason", "x"], 64, "366 days"),
        (&["hold", "web", "--for", "1h", "--reason", " "], 64, "a reason is one line"),
        (&["hold", "web", "--for", "1h", "--reason", "a\nb"], 64, "a reason is one line"),
        (&["explain", "nowhere"], 1, "no decision of that fleet"),
    ] {
        let said = living.run(arguments);
        assert_eq!(said.code, code, "{arguments:?}: {said:?}");
        assert!(said.err.contains(err), "{arguments:?}: {said:?}");
    }
    living.stop();
}

#[test]
fn explain_replays_with_the_daemon_up_and_down() {
    let living = Living::start();
    living.until("three instances", |living| living.desired() == Some(3));
    let explained = |living: &Living, more: &[&str]| -> Value {
        let said = living.run(&[&["explain", "web", "--json"], more].concat());
        assert_eq!(said.code, 0, "{said:?}");
        serde_json::from_str(&said.out).unwrap()
    };
    // The decision that scaled out is in the journal before its call is made.
    living.until("a kept decision", |living| living.published.fleet("web").unwrap().decisions.none > 2);
    let status: Value = serde_json::from_str(&living.run(&["status", "--json"]).out).unwrap();
    let at = status["now"].as_f64().unwrap();
    let newest = explained(&living, &[]);
    assert_eq!(newest["replay"]["result"], "identical", "{newest:#}");
    assert_eq!(newest["without"].as_array().unwrap().len(), 10, "{newest:#}");
    let text = living.run(&["explain", "web", "--at", &at.to_string()]).out;
    for part in [
        "web: ",
        "Recommendations",
        "per-instance",
        "Trace",
        "WITHOUT IT",
        "combine",
        "bounds",
        "Inputs",
        "rps",
        "cloud/web",
        "Replayed: the same decision",
    ] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    assert_eq!(living.run(&["explain", "web", "--at", "1000"]).code, 1, "before there was anything");
    assert_eq!(explained(&living, &["--at", "0s"])["fleet"], "web");
    // A decision is explained by the policies of its time, whatever has come since.
    let edited = POLICY.replace("target = 100", "target = 50");
    std::fs::write(living.directory.path().join("policies/web.toml"), edited).unwrap();
    let revision = |living: &Living| living.published.process().config.revision.clone();
    let before = revision(&living);
    living.until("the edited policy", |living| revision(living) != before);
    living.until("six instances", |living| living.desired() == Some(6));
    let now = explained(&living, &[]);
    let then = explained(&living, &["--at", &at.to_string()]);
    assert_ne!(now["revision"], then["revision"]);
    assert_eq!((&now["replay"]["result"], &then["replay"]["result"]), (&"identical".into(), &"identical".into()));
    let directory = living.stop();
    let config = directory.path().join("skala.toml");
    std::fs::write(directory.path().join("policies/web.toml"), "broken [").unwrap();
    let explain = || run(&["explain", "web", "--at", &at.to_string(), "--config", config.to_str().unwrap()]);
    let said = explain();
    assert!(said.code == 0 && said.out.contains("Replayed: the same decision"), "{said:?}");
    // Without them it says what those of today would do, beside what was recorded.
    std::fs::write(directory.path().join("policies/web.toml"), POLICY.replace("target = 100", "target = 30")).unwrap();
    let store = rusqlite::Connection::open(directory.path().join("skala.db")).unwrap();
    store.execute_batch("DELETE FROM policy_files; DELETE FROM policy_sets;").unwrap();
    drop(store);
    let said = explain();
    assert!(said.out.contains("Replayed: today it would be") && said.out.contains("of then are not kept"), "{said:?}");
}

#[test]
fn everything_is_held_and_released_also_with_the_daemon_down() {
    let living = Living::start();
    living.until("three instances", |living| living.desired() == Some(3));
    let said = living.run(&["hold", "--all", "--for", "1h", "--reason", "incident 42"]);
    assert_eq!(said.code, 0, "{said:?}");
    living.until("the hold", |living| living.published.process().hold_all.is_some());
    living.set_load(900.0);
    assert!(living.run(&["status"]).out.contains("everything is held (hold --all): incident 42"));
    std::thread::sleep(std::time::Duration::from_millis(2500));
    assert_eq!(living.desired(), Some(3), "nothing moves");
    assert!(living.run(&["release", "--all"]).out.contains("everything is released"));
    living.until("nine instances", |living| living.desired() > Some(3));
    let directory = living.stop();
    let config = directory.path().join("skala.toml");
    let down = |arguments: &[&str]| run(&[arguments, &["--config", config.to_str().unwrap()]].concat());
    assert_eq!(down(&["status"]).code, 1);
    assert_eq!(down(&["hold", "--all", "--for", "1h", "--reason", "down"]).code, 0);
    assert!(directory.path().join("skala.hold").exists());
    assert!(down(&["release", "--all"]).out.contains("everything is released"));
    assert!(down(&["release", "--all"]).out.contains("nothing held everything"));
}

#[test]
fn reload_says_whether_the_policies_were_taken() {
    let living = Living::start();
    let file = living.directory.path().join("policies/web.toml");
    assert!(living.run(&["reload"]).out.contains("in force already"));
    std::fs::write(&file, POLICY.replace("max      = 10", "max      = 12")).unwrap();
    let said = living.run(&["reload"]);
    assert_eq!(said.code, 0, "{said:?}");
    std::fs::write(&file, POLICY.replace("max      = 10", "maxx     = 12")).unwrap();
    let said = living.run(&["reload"]);
    assert_eq!(said.code, 78, "{said:?}");
    assert!(living.run(&["status"]).out.contains("the last reload was refused"));
    std::fs::write(&file, POLICY.replace("fleet.web", "fleet.other")).unwrap();
    let said = living.run(&["reload"]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.err.contains("--allow-removal"), "{said:?}");
    assert_eq!(living.run(&["reload", "--allow-removal"]).code, 0);
    living.stop();
}

#[test]
fn others_may_read_but_not_write() {
    if !nix::unistd::geteuid().is_root() {
        return; // Nobody else can be played.
    }
    let living = Living::start();
    // The build directory may be root's alone.
    let binary = living.directory.path().join("skala");
    std::fs::copy(env!("CARGO_BIN_EXE_skala"), &binary).unwrap();
    std::fs::set_permissions(&binary, std::fs::Permissions::from_mode(0o755)).unwrap();
    let as_nobody = |arguments: &[&str]| {
        let mut command = Command::new(&binary);
        command.args(arguments).arg("--socket").arg(&living.socket).uid(65534).gid(65534);
        Said::new(command.output().unwrap())
    };
    assert_eq!(as_nobody(&["status"]).code, 0);
    for arguments in [
        &["hold", "web", "--for", "1h", "--reason", "x"][..],
        &["pin", "web", "9", "--for", "1h", "--reason", "x"],
        &["release", "web"],
        &["reload"],
    ] {
        let said = as_nobody(arguments);
        assert_eq!(said.code, 1, "{said:?}");
        assert!(said.err.contains("nobody may read but not write") && said.err.contains("`skala`"), "{said:?}");
    }
    assert!(living.published.fleet("web").unwrap().override_now.is_none());
    living.stop();
}

#[test]
fn a_socket_in_use_is_refused_and_a_dead_one_replaced() {
    use skala::api::{ApiError, Listeners};
    let living = Living::start();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let bind = |path: &std::path::Path| runtime.block_on(Listeners::bind(Some(path), None));
    assert!(matches!(bind(&living.socket), Err(ApiError::InUse(_))));
    assert_eq!(living.run(&["status"]).code, 0, "the refused one took nothing away");
    let dead = living.directory.path().join("dead.sock");
    drop(std::os::unix::net::UnixListener::bind(&dead).unwrap());
    assert!(dead.exists());
    drop(bind(&dead).unwrap());
    let file = living.directory.path().join("file");
    std::fs::write(&file, "precious").unwrap();
    assert!(matches!(bind(&file), Err(ApiError::NotASocket(_))));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "precious");
    living.stop();
}

#[cfg(feature = "aws")]
#[test]
fn iam_prints_what_the_configuration_needs_and_no_more() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir(directory.path().join("policies")).unwrap();
    let config = directory.path().join("skala.toml");
    let text = "[daemon]\npolicies = \"policies\"\n[provider.prod]\nkind = \"aws\"\nregion = \"eu-west-1\"\n\
                [source.load]\nkind = \"prometheus\"\nurl = \"http://127.0.0.1:9090\"\n";
    std::fs::write(&config, text).unwrap();
    let print = |provider: &str| run(&["iam", "print", "--provider", provider, "--config", config.to_str().unwrap()]);
    let actions = |group: &str| -> Vec<String> {
        let policy =
            POLICY.replace("\"cloud\"", "\"prod\"").replace("group    = \"web\"", &format!("group = \"{group}\""));
        std::fs::write(directory.path().join("policies/web.toml"), policy).unwrap();
        let said = print("prod");
        assert_eq!(said.code, 0, "{said:?}");
        let document: Value = serde_json::from_str(&said.out).unwrap();
        assert_eq!(document["Version"], "2012-10-17");
        serde_json::from_value(document["Statement"][0]["Action"].clone()).unwrap()
    };
    let (group, tag) = (actions("web"), actions("ec2:web"));
    assert!(group.contains(&"autoscaling:SetDesiredCapacity".into()), "{group:?}");
    assert!(!group.contains(&"ec2:RunInstances".into()), "{group:?}");
    assert!(tag.contains(&"ec2:RunInstances".into()) && tag.iter().all(|one| one.starts_with("ec2:")), "{tag:?}");
    assert!(!group.contains(&"cloudwatch:GetMetricData".into()), "{group:?}");
    std::fs::write(&config, format!("{text}[source.cw]\nkind = \"cloudwatch\"\nprovider = \"prod\"\n")).unwrap();
    assert!(actions("web").contains(&"cloudwatch:GetMetricData".into()), "what reading metrics needs");
    let said = print("dev");
    assert!(said.code == 64 && said.err.contains("there are: prod"), "{said:?}");
}

/// The README's example of a query of this kind of source: what stands between the first backticks of its row.
#[cfg(feature = "azure")]
fn readme_query(kind: &str) -> &'static str {
    let row = include_str!("../../README.md").lines().find_map(|line| line.strip_prefix(&format!("| `{kind}` | `")));
    row.and_then(|row| row.split('`').next()).unwrap_or_else(|| panic!("a row of {kind} in the README"))
}

#[cfg(feature = "azure")]
#[test]
fn azures_metrics_are_a_source_with_a_language_and_a_permission_of_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let policies = directory.path().join("policies");
    std::fs::create_dir(&policies).unwrap();
    let config = directory.path().join("skala.toml");
    let text = "[daemon]\npolicies = \"policies\"\n[provider.cloud]\nkind = \"azure\"\n\
                subscription = \"00000000-1111-2222-3333-444444444444\"\n[source.load]\n";
    let at = config.display().to_string();
    let check = |source: &str, query: &str| {
        std::fs::write(&config, format!("{text}{source}")).unwrap();
        let policy = POLICY.replace("\"web\"\n[fleet", "\"shop/web\"\n[fleet");
        std::fs::write(policies.join("web.toml"), policy.replace("\"rps\"\nunit", &format!("'{query}'\nunit")))
            .unwrap();
        run(&["check", "--config", &at])
    };
    let actions = || {
        let said = run(&["iam", "print", "--provider", "cloud", "--config", &at]);
        assert_eq!(said.code, 0, "{said:?}");
        let document: Value = serde_json::from_str(&said.out).unwrap();
        document["Actions"].as_array().unwrap().contains(&"Microsoft.Insights/metrics/read".into())
    };
    let said = check("kind = \"prometheus\"\nurl = \"http://127.0.0.1:9090\"\n", "rps");
    assert!(said.code == 0 && !actions(), "{said:?}");
    let monitor = "kind = \"azure-monitor\"\nprovider = \"cloud\"\n";
    let said = check(monitor, readme_query("azure-monitor"));
    assert!(said.code == 0 && actions(), "{said:?}");
    let said = check(monitor, "sum(rate(x[1m]))");
    assert!(said.code == 78 && said.out.contains("is not an Azure Monitor query"), "{said:?}");
}

/// One cycle of `decide`.
fn cycle(now: u32, desired: u32, rps: f64) -> String {
    let instances: Vec<Value> = (0..desired)
        .map(|id| json!({"id": format!("i-{id}"), "state": "running", "launched": 1000.0, "running_since": 1060.0}))
        .collect();
    let now = 1_700_000_000 + now;
    json!({"fleet": "web", "now": now,
           "groups": [{"provider": "cloud", "group": "web", "desired": desired, "instances": instances}],
           "readings": {"rps": {"value": rps, "at": now - 1}}})
    .to_string()
}

#[test]
fn decide_answers_line_by_line_and_goes_on_after_a_kill() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("web.toml"), POLICY).unwrap();
    let policies = directory.path().to_str().unwrap();
    let mut input: Vec<String> = (1..60).map(|at| cycle(at * 15, 3, if at < 20 { 600.0 } else { 100.0 })).collect();
    input.insert(7, "no JSON".into());
    input.insert(9, cycle(1, 3, 1.0));
    input.insert(11, "\u{fffd}".into());
    let whole = decide(&["decide", "--policies", policies], &input);
    assert_eq!(whole.len(), input.len());
    assert!(whole[7].starts_with("{\"error\":") && whole[9].contains("does not grow"), "{:?}", &whole[7..10]);
    let first: Value = serde_json::from_str(&whole[0]).unwrap();
    assert_eq!(first["desired"], 6, "{first}");
    // Killed after every few lines, the output is the same.
    let memory = directory.path().join("memory");
    let arguments = ["decide", "--policies", policies, "--memory", memory.to_str().unwrap()];
    let broken: Vec<String> = input.chunks(5).flat_map(|lines| decide(&arguments, lines)).collect();
    assert_eq!(broken, whole);
    assert_eq!(std::fs::metadata(&memory).unwrap().permissions().mode() & 0o777, 0o600);
    std::fs::write(&memory, "no memory").unwrap();
    assert_eq!(run(&arguments).code, 1);
    std::fs::write(directory.path().join("web.toml"), "[fleet.web]\nmaxx = 1\n").unwrap();
    let said = run(&["decide", "--policies", policies]);
    assert_eq!((said.code, said.out.as_str()), (78, ""), "{said:?}");
    assert!(said.err.contains("web.toml:2:1"), "{said:?}");
}

/// Feeds lines one by one, reads each answer before the next line goes in, and kills the filter after the last.
fn decide(arguments: &[&str], lines: &[String]) -> Vec<String> {
    let mut child = skala(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
    let answers = lines.iter().map(|line| {
        // A line that is not UTF-8 stands for itself.
        let bytes = if line == "\u{fffd}" { b"\xff\xfe" } else { line.as_bytes() };
        stdin.write_all(&[bytes, b"\n"].concat()).unwrap();
        let mut answer = String::new();
        stdout.read_line(&mut answer).unwrap();
        answer
    });
    let answers = answers.collect();
    child.kill().unwrap();
    child.wait().unwrap();
    answers
}
