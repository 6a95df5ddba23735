use super::*;
use nix::sys::signal::kill;
use nix::unistd::Pid;
use std::path::PathBuf;
use tokio::time::Instant;

const NOW: Timestamp = Timestamp(1_700_000_000_000_000);

fn settings(script: &str) -> ExecSettings {
    let command = ["/bin/sh", "-c", script].map(str::to_owned).into();
    ExecSettings { command, timeout: Duration::from_millis(1_500), environment: Vec::new(), trust_time: false }
}

fn source(settings: ExecSettings) -> Exec {
    Exec::new("test", settings, |name| (name == "GIVEN").then(|| "given".into()))
}

async fn asked(script: &str, query: &str) -> Answer {
    source(settings(script)).query(&QueryAsk::new(query), NOW).await
}

/// The number that a script wrote into a file.
fn pid_in(file: &PathBuf) -> Pid {
    Pid::from_raw(std::fs::read_to_string(file).unwrap().trim().parse().unwrap())
}

/// Whether a process is there, also as a zombie. Who adopts an orphan may take a moment to reap it.
async fn is_gone(pid: Pid) -> bool {
    for _ in 0..200 {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        if kill(pid, None).is_err() || stat.contains(") Z ") && !stat.contains(&format!(") Z {} ", std::process::id()))
        {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    false
}

#[tokio::test]
async fn what_is_printed_is_read_with_its_own_times() {
    let script = "printf 'depth{queue=\"a\"} 3 1699999990000\\ndepth{queue=\"b\"} 5\\nother 1 1\\n'";
    let answer = asked(script, "depth").await.unwrap();
    let times: Vec<_> = answer.iter().map(|one| (one.value, one.at.map(Timestamp::as_secs_f64))).collect();
    assert_eq!(times, [(3.0, Some(1_699_999_990.0)), (5.0, None)]);
    assert_eq!(*answer[1].labels, [("queue".into(), "b".into())]);
    let one = asked(script, "depth{queue=\"b\"}").await.unwrap();
    assert_eq!((one.len(), one[0].value), (1, 5.0));
    assert_eq!(asked(script, "depth{queue=\"c\"}").await.unwrap().len(), 0);
    assert_eq!(asked(script, "nothing").await.unwrap().len(), 0);
    assert_eq!(asked(script, "depth{zone=\"\"}").await.unwrap().len(), 2);
    let trusting = source(ExecSettings { trust_time: true, ..settings(script) });
    let answer = trusting.query(&QueryAsk::new("depth"), NOW).await.unwrap();
    assert_eq!((answer[0].at, answer[1].at), (Timestamp::from_secs_f64(1_699_999_990.0), Some(NOW)));
}

#[tokio::test]
async fn it_gets_nothing_but_what_is_named() {
    let script = "read line && exit 9; test \"$GIVEN$LEFT_OUT$HOME\" = given || exit 8; \
                  test \"$(pwd)\" = / || exit 7; echo \"n $#\"";
    let environment = vec!["GIVEN".to_owned(), "LEFT_OUT".to_owned()];
    let mut settings = ExecSettings { environment, ..settings(script) };
    settings.command.extend(["x".to_owned(), "a b; $(touch y)".to_owned()]);
    let exec = source(settings);
    let answer = exec.answer(&QueryAsk::new("n"), NOW).await.unwrap();
    assert_eq!(answer[0].value, 1.0);
}

#[tokio::test]
async fn every_bad_end_has_its_reason() {
    let other = |word: &str| MissingWhy::Other(word.into());
    for (script, why, detail) in [
        ("echo 'n 1'; echo trouble >&2; exit 3", other("command_failed"), "exit status 3: trouble"),
        ("echo 'n 1'; kill -9 $$", other("command_failed"), "signal 9"),
        ("echo '<html>'", other("malformed_answer"), "line 1"),
        ("printf 'n 1'", other("malformed_answer"), "cut off"),
        ("printf 'n 1 \\377\\n'", other("malformed_answer"), "UTF-8"),
        ("sleep 30", MissingWhy::Timeout, "killed"),
        ("yes 'n 1'", other("answer_too_large"), "killed"),
        ("yes trouble >&2", MissingWhy::Timeout, "killed"),
    ] {
        let begun = Instant::now();
        let failure = source(settings(script)).answer(&QueryAsk::new("n"), NOW).await.unwrap_err();
        assert_eq!(failure.why, why, "{script}: {}", failure.detail);
        assert!(failure.detail.contains(detail), "{script}: {}", failure.detail);
        assert!(begun.elapsed() < Duration::from_secs(4), "{script}");
    }
    let missing = ExecSettings { command: vec!["/nowhere/command".into()], ..settings("") };
    let failure = source(missing).answer(&QueryAsk::new("n"), NOW).await.unwrap_err();
    assert_eq!(failure.why, MissingWhy::Refused);
    assert!(failure.detail.contains("cannot be started"), "{}", failure.detail);
    // Complaints alone spoil nothing, however many.
    let loud =
        "i=0; while [ $i -lt 3000 ]; do echo 'a long complaint about nothing at all' >&2; i=$((i+1)); done; echo 'n 1'";
    assert_eq!(asked(loud, "n").await.unwrap().len(), 1);
    let past = QueryAsk { offset: Duration::from_secs(60), ..QueryAsk::new("n") };
    assert_eq!(source(settings("echo 'n 1'")).query(&past, NOW).await, Err(MissingWhy::Refused));
    assert_eq!(asked("echo 'n 1'", "rate(n[1m])").await, Err(MissingWhy::Refused));
}

#[tokio::test]
async fn whatever_it_started_ends_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let files = ["leader", "child"].map(|name| dir.path().join(name));
    let [leader, child] = [&files[0], &files[1]].map(|file| file.display().to_string());
    // One that hangs with a child, one that ends well and leaves a child which holds its output open.
    for end in ["wait", "echo 'n 1'"] {
        let script = format!("echo $$ > {leader}; sleep 60 & echo $! > {child}; {end}");
        let begun = Instant::now();
        let answer = asked(&script, "n").await;
        assert_eq!(answer.is_ok(), end != "wait", "{answer:?}");
        assert!(begun.elapsed() < Duration::from_secs(4), "{end}");
        for file in &files {
            assert!(is_gone(pid_in(file)).await, "{end}: {file:?}");
        }
        // The leader is nobody's zombie: it was reaped.
        assert!(!std::path::Path::new(&format!("/proc/{}", pid_in(&files[0]))).exists());
    }
}

#[tokio::test]
async fn one_run_serves_all_and_there_are_never_two() {
    let dir = tempfile::tempdir().unwrap();
    let lock = dir.path().join("lock").display().to_string();
    let count = dir.path().join("count").display().to_string();
    let script =
        format!("mkdir {lock} || exit 5; echo x >> {count}; sleep 0.7; rmdir {lock}; echo \"n $(wc -l < {count}) 1\"");
    let exec = source(settings(&script));
    let ask = QueryAsk::new("n");
    // Who waits too short gets nothing, and stops nothing.
    let short = tokio::time::timeout(Duration::from_millis(100), exec.query(&ask, NOW)).await;
    assert!(short.is_err());
    let answers = futures_util::future::join_all((0..50).map(|_| exec.query(&ask, NOW))).await;
    for answer in answers {
        assert_eq!(answer.unwrap()[0].value, 1.0);
    }
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert_eq!(exec.query(&ask, NOW).await.unwrap()[0].value, 2.0);
}

#[test]
fn a_daemon_that_stops_leaves_no_command_behind() {
    let dir = tempfile::tempdir().unwrap();
    let files = ["leader", "child"].map(|name| dir.path().join(name));
    let [leader, child] = [&files[0], &files[1]].map(|file| file.display().to_string());
    let script = format!("sleep 60 & echo $! > {child}; echo $$ > {leader}; wait");
    let exec = source(ExecSettings { timeout: Duration::from_secs(60), ..settings(&script) });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let ask = QueryAsk::new("n");
        let _ = tokio::time::timeout(Duration::from_millis(500), exec.query(&ask, NOW)).await;
    });
    drop(runtime);
    let after = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    after.block_on(async {
        for file in &files {
            assert!(is_gone(pid_in(file)).await, "{file:?}");
        }
    });
}
