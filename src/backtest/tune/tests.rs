//! Searches as a whole, on a day of made-up load.

use super::super::tests::{load, model, series};
use super::*;
use policies::policy::PolicySet;

const STEPS: usize = 1_440;

/// A fleet that pays for three times what it needs.
const WASTEFUL: &str = "# the shop\n[fleet.web]\nmode = \"on\"\nmin = 2\nmax = 90\ninterval = \"1m\"\n\
    [[fleet.web.group]]\nprovider = \"a\"\ngroup = \"web\"\n[fleet.web.metric.rps]\nsource = \"s\"\nquery = \"rps\"\n\
    [[fleet.web.rule]]\nname = \"requests\"\nkind = \"per-instance\"\nmetric = \"rps\"\ntarget = 60 # each\n";

fn files(text: &str) -> Vec<SourceFile> {
    vec![SourceFile { name: "policies/web.toml".into(), text: text.into() }]
}

fn read(files: &[SourceFile]) -> PolicySet {
    let (set, found) = parse(files, &ParseOptions::default());
    assert!(found.iter().all(|one| one.severity != Severity::Error), "{found:?}");
    set
}

fn search(replays: usize, threads: usize) -> Search {
    Search { train: 0.6, replays, threads, short_max: None }
}

/// Searches for the fleet `web` and hands everything to `look`.
fn tune<T>(files: &[SourceFile], search: Search, look: impl FnOnce(&Tuning<'_>, &Tuned) -> T) -> T {
    tune_on(load(STEPS), files, search, look)
}

fn tune_on<T>(load: Vec<f64>, files: &[SourceFile], search: Search, look: impl FnOnce(&Tuning<'_>, &Tuned) -> T) -> T {
    let (set, model, series) = (read(files), model(), [(0, series(load))]);
    let policy = set.fleet("web").unwrap();
    let tuning = Tuning::new(files, &set, policy, &model, &series, search).unwrap();
    let tuned = tuning.run(&mut |_, _| {}).unwrap();
    look(&tuning, &tuned)
}

fn refused(text: &str, search: Search) -> String {
    let (files, model, series) = (files(text), model(), [(0, series(load(100)))]);
    let set = read(&files);
    Tuning::new(&files, &set, set.fleet("web").unwrap(), &model, &series, search).unwrap_err().0
}

/// Applies a unified diff of one file, strictly.
fn applied(text: &str, diff: &str) -> String {
    let (mut old, mut new) = (text.split_inclusive('\n'), String::new());
    let mut at = 1;
    for line in diff.lines().skip(2) {
        if let Some(range) = line.strip_prefix("@@ -") {
            let begin: usize = range.split(',').next().unwrap().parse().unwrap();
            while at < begin {
                new.push_str(old.next().unwrap());
                at += 1;
            }
            continue;
        }
        let (mark, rest) = line.split_at(1);
        if mark != "+" {
            assert_eq!(old.next().unwrap().trim_end_matches('\n'), rest);
            at += 1;
        }
        if mark != "-" {
            new.push_str(&format!("{rest}\n"));
        }
    }
    new.extend(old);
    new
}

#[test]
fn waste_is_found_and_the_diff_does_what_was_scored() {
    tune(&files(WASTEFUL), search(80, 2), |tuning, tuned| {
        assert!(tuned.replays <= 80 && tuned.front.len() >= 3, "{tuned:#?}");
        let better = &tuned.front[tuned.beaten_by.unwrap()];
        assert!(better.judged.instance_hours < 0.6 * tuned.present.judged.instance_hours, "{better:?}");
        let worth = |one: &Candidate| (one.short(), -one.judged.instance_hours);
        assert!(tuned.front.windows(2).all(|pair| worth(&pair[0]) < worth(&pair[1])), "from least short to cheapest");
        for candidate in &tuned.front {
            let (diff, _) = tuning.patch(candidate).unwrap();
            let text = applied(WASTEFUL, &diff);
            assert!(text.starts_with("# the shop\n") && text.contains(" # each\n"), "{text}");
            let (files, model) = (files(&text), model());
            let backtest = Backtest::new(read(&files).fleet("web").unwrap(), model, vec![(0, series(load(STEPS)))]);
            let backtest = backtest.unwrap();
            let (supply, _) = backtest.replay(STEPS, &mut |_| {});
            let (first, split, _) = tuning.parts();
            assert_eq!(backtest.score_from(&supply, split), candidate.judged, "{diff}");
            assert_eq!(backtest.score_known(&supply, split..STEPS), candidate.judged, "no gap");
            // What was searched on ends where judging begins, and what comes later changes nothing of it.
            let (begun, _) = backtest.replay(split, &mut |_| {});
            assert_eq!(begun.paid, supply.paid[..split]);
            assert_eq!(backtest.score_from(&begun, first), candidate.trained);
        }
        assert_eq!(tuning.patch(&tuned.present).unwrap().0, "");
    });
}

#[test]
fn a_calm_end_hides_no_shortage() {
    // Bursts in the part that is searched; the one that judges is flat, and says nothing of them.
    let bursts = |step: usize| if step < STEPS * 6 / 10 && step % 180 < 20 { 1_500.0 } else { 1_000.0 };
    let near = WASTEFUL.replace("target = 60", "target = 100");
    tune_on((0..STEPS).map(bursts).collect(), &files(&near), search(80, 2), |_, tuned| {
        let present = &tuned.present;
        assert!(present.short() == 0.0, "{present:?}");
        // Shortage is the worse part's.
        let worth = |one: &Candidate| (one.trained.tau_u.max(one.judged.tau_u), -one.judged.instance_hours);
        assert!(tuned.front.windows(2).all(|pair| worth(&pair[0]) < worth(&pair[1])), "{tuned:#?}");
        if let Some(at) = tuned.beaten_by {
            let (one, own) = (&tuned.front[at], present);
            assert!(one.trained.tau_u <= own.trained.tau_u && one.judged.tau_u <= own.judged.tau_u, "{one:?}");
        }
        let cheap = tuned.front.last().unwrap();
        assert!(
            cheap.judged.instance_hours < present.judged.instance_hours
                && cheap.judged.tau_u == 0.0
                && cheap.short() > 1.0,
            "{cheap:?}"
        );
        assert_ne!(tuned.beaten_by, Some(tuned.front.len() - 1), "it is cheaper, and short where that shows");
    });
}

#[test]
fn threads_change_nothing() {
    let run = |threads: usize| tune(&files(WASTEFUL), search(25, threads), |_, tuned| tuned.clone());
    assert_eq!(run(1), run(3));
}

#[test]
fn a_good_setting_is_on_the_front() {
    // What was found on the whole front of a search is not beaten when the search begins there.
    let text = tune(&files(WASTEFUL), search(30, 2), |tuning, tuned| {
        applied(WASTEFUL, &tuning.patch(&tuned.front[0]).unwrap().0)
    });
    let least = tune(&files(&text), search(1, 2), |_, tuned| (tuned.front.len(), tuned.on_front, tuned.replays));
    assert_eq!(least, (1, Some(0), 1), "one replay is the present setting's");
}

#[test]
fn tests_that_expect_the_present_setting_are_named() {
    let test = |name: &str, current: u32, desired: u32| {
        format!(
            "[[test]]\nname = \"{name}\"\nfleet = \"web\"\n[[test.cycle]]\nat = \"0s\"\ncurrent = {current}\n\
             readings = {{ rps = 600 }}\ndesired = {desired}\n"
        )
    };
    let text = format!("{WASTEFUL}{}{}", test("ten", 5, 10), test("wrong before", 5, 11));
    tune(&files(&text), search(30, 2), |tuning, tuned| {
        let (_, failing) = tuning.patch(&tuned.front[tuned.beaten_by.unwrap()]).unwrap();
        assert_eq!(failing, ["web: ten"]);
    });
}

#[test]
fn other_fleets_keep_what_they_inherit() {
    let (head, rule) = WASTEFUL.split_once("[[fleet.web.rule]]\n").unwrap();
    let head = head.replace("[fleet.web]\n", "[fleet.web]\nextends = \"t\"\n");
    let template = format!("[template.t]\n[[template.t.rule]]\n{rule}");
    let other = head.replace("web", "api").replace("# the shop\n", "");
    let mut all = files(&head);
    all.push(SourceFile { name: "policies/a.toml".into(), text: format!("{template}{other}") });
    tune(&all, search(20, 2), |tuning, tuned| {
        let target = &tuning.searched()[0];
        assert_eq!((target.name.as_str(), target.written.as_str()), ("rule.requests.target", "inherited"));
        let better = &tuned.front[tuned.beaten_by.unwrap()];
        let (diff, _) = tuning.patch(better).unwrap();
        assert!(diff.starts_with("--- a/policies/web.toml\n") && diff.matches("--- a/").count() == 1, "{diff}");
        assert!(diff.contains("\n+[[fleet.web.rule]]\n+name = \"requests\"\n+target = "), "{diff}");
    });
}

#[test]
fn what_cannot_be_written_is_left_out_and_said() {
    let inline = "[fleet]\nweb = { mode = \"on\", min = 2, max = 90, interval = \"1m\", group = [{ provider = \"a\", group = \
        \"web\" }], metric = { rps = { source = \"s\", query = \"rps\" } }, rule = [{ name = \"requests\", kind = \
        \"per-instance\", metric = \"rps\", target = 60 }] }\n";
    tune(&files(inline), search(12, 2), |tuning, tuned| {
        let left: Vec<&str> = tuning.left_out().iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(left, ["scale_in.stabilization", "scale_in.rate.percent"]);
        assert_eq!(tuning.left_out()[0].1, "there is no place for it in the way the file is written");
        assert_eq!(tuning.searched().len(), 2);
        tuning.patch(tuned.front.last().unwrap()).unwrap();
    });
}

#[test]
fn what_cannot_be_searched_is_refused() {
    assert!(refused(&WASTEFUL.replace("\"on\"", "\"off\""), search(9, 1)).contains("mode = \"off\""));
    for train in [0.001, 0.999] {
        assert!(refused(WASTEFUL, Search { train, ..search(9, 1) }).starts_with("the load is too short"));
    }
    let fixed = WASTEFUL
        .replace("kind = \"per-instance\"", "kind = \"step\"")
        .replace("target = 60 # each", "steps = [{ above = 1, add = 1 }]\n[fleet.web.scale_in]\nselect = \"off\"");
    assert!(refused(&fixed, search(9, 1)).ends_with("has no setting that can be searched: its rules have none"));
}
