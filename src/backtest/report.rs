//! One self-contained page about a backtest: charts drawn by the page's own script from data within it, tables without any
//! script. It asks no network, and its content security policy forbids it to. Everything that a person or a cloud wrote is
//! escaped.

use super::{Backtest, Outcome, Rival, RivalOutcome, Scene, Score, shortages};
use contract::{Capacity, Timestamp};
use policies::policy::units::duration_text;
use policies::text::Time;
use serde::Serialize;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

const PAGE: &str = include_str!("report/page.html");
const STYLE: &str = include_str!("report/page.css");
const SCRIPT: &str = include_str!("report/page.js");
/// More points than this make a page that opens slowly: beyond it, one point stands for several steps.
const POINTS_MAX: usize = 50_000;
/// More changes than this are left out of the page.
const CHANGES_MAX: usize = 20_000;
/// Shortages that are listed.
const SHORTAGES_MAX: usize = 10;
/// Series that count from 0 or so have days, not dates: before 1979 nobody recorded load.
const DATED_FROM: Timestamp = Timestamp::from_secs(300_000_000);

/// The page as HTML; `target` is what the alternatives were told to keep.
pub fn page(backtest: &Backtest, outcome: &Outcome, target: f64) -> String {
    let scores = scores(outcome);
    let data = Data::of(backtest, outcome);
    let title = format!("{} on recorded load", backtest.policy().id);
    let listed = match outcome.changes.len() {
        0 => "Nothing was changed.",
        _ => "The list needs JavaScript.",
    };
    let told = format!(
        "HPA and target tracking are told to keep {:.0} % utilization; tuned are they at the target, chosen in hindsight, \
         that is cheapest while they are short no more often than skala",
        target * 100.0
    );
    let parts: [(&str, Cow<'_, str>); 13] = [
        ("title", escape(&title)),
        ("style", STYLE.into()),
        ("period", escape(&period(backtest)).into_owned().into()),
        ("verdict", escape(&verdict(&scores)).into_owned().into()),
        ("tiles", tiles(outcome).into()),
        ("costs", meters(&scores, "", |score| score.cost, cost_text).into()),
        ("shorts", meters(&scores, " red", |score| score.tau_u, short_text).into()),
        ("shortages", worst(backtest.scene(), outcome, data.factor).into()),
        ("table", table(&scores).into()),
        ("target", told.into()),
        ("changes", listed.into()),
        ("data", script_safe(&serde_json::to_string(&data).unwrap_or_default()).into()),
        ("script", SCRIPT.into()),
    ];
    fill(PAGE, &parts)
}

/// Fills `{{name}}` marks in one pass: what is filled in is never looked at again.
fn fill(template: &str, parts: &[(&str, Cow<'_, str>)]) -> String {
    let mut page = String::with_capacity(template.len() + parts.iter().map(|(_, text)| text.len()).sum::<usize>());
    let mut rest = template;
    while let Some((before, marked)) = rest.split_once("{{")
        && let Some((name, after)) = marked.split_once("}}")
    {
        page.push_str(before);
        page.push_str(parts.iter().find(|(known, _)| *known == name).map_or("", |(_, text)| text));
        rest = after;
    }
    page.push_str(rest);
    page
}

/// Text for HTML, within an element or a quoted attribute.
fn escape(text: &str) -> Cow<'_, str> {
    if !text.contains(['&', '<', '>', '"', '\'']) {
        return text.into();
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for letter in text.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other => safe.push(other),
        }
    }
    safe.into()
}

/// JSON that cannot end the script element it stands in. In JSON these letters occur within strings only.
fn script_safe(json: &str) -> String {
    json.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
}

/// What the script draws. Capacities are runs: how often, what, how often, what.
#[derive(Serialize)]
struct Data<'a> {
    metric: &'a str,
    start: f64,
    step: f64,
    /// The first point that is scored.
    first: usize,
    /// Load that one instance carries within the objective.
    per_instance: f64,
    load: Vec<Option<f64>>,
    demand: Vec<Capacity>,
    ready: Vec<Capacity>,
    paid: Vec<Capacity>,
    /// Point, capacity before and after, index of the reason.
    changes: Vec<(usize, Capacity, Capacity, usize)>,
    reasons: Vec<&'a str>,
    note: &'static str,
    #[serde(skip)]
    factor: usize,
}

impl<'a> Data<'a> {
    fn of(backtest: &'a Backtest, outcome: &'a Outcome) -> Self {
        let scene = backtest.scene();
        let factor = scene.steps().div_ceil(POINTS_MAX).max(1);
        let load = scene.load.values.chunks(factor).map(|chunk| {
            let largest = chunk.iter().copied().flatten().reduce(f64::max);
            largest.map(short_number)
        });
        // Of several steps in one point the worst counts: most needed, fewest serving, most paid.
        let most = |all: &[Capacity]| runs(all.chunks(factor).map(|chunk| chunk.iter().copied().max().unwrap_or(0)));
        let fewest = |all: &[Capacity]| runs(all.chunks(factor).map(|chunk| chunk.iter().copied().min().unwrap_or(0)));
        let mut known: BTreeMap<&str, usize> = BTreeMap::new();
        let mut reasons = Vec::new();
        let changes = outcome.changes.iter().take(CHANGES_MAX).map(|change| {
            let reason = *known.entry(&change.why).or_insert_with(|| {
                reasons.push(change.why.as_ref());
                reasons.len() - 1
            });
            (change.step / factor, change.from, change.to, reason)
        });
        let changes = changes.collect();
        let left_out = outcome.changes.len() > CHANGES_MAX;
        let model = &scene.model;
        Self {
            metric: backtest.policy().metrics.get(usize::from(model.metric)).map_or("load", |metric| &metric.name),
            start: scene.time(0).as_secs_f64(),
            step: model.step.as_secs_f64() * factor as f64,
            first: scene.first_scored() / factor,
            per_instance: model.capacity_per_instance * model.slo_utilization,
            load: load.collect(),
            demand: most(&scene.demand),
            ready: fewest(&outcome.supply.ready),
            paid: most(&outcome.supply.paid),
            changes,
            reasons,
            note: if left_out { "; only the first 20,000 changes are on this page" } else { "" },
            factor,
        }
    }
}

/// A number to five digits: no chart shows more.
fn short_number(number: f64) -> f64 {
    format!("{number:.4e}").parse().unwrap_or(number)
}

fn runs(values: impl Iterator<Item = Capacity>) -> Vec<Capacity> {
    let mut runs: Vec<Capacity> = Vec::new();
    for value in values {
        match runs.last_chunk_mut::<2>() {
            Some([count, last]) if *last == value => *count += 1,
            _ => runs.extend([1, value]),
        }
    }
    runs
}

fn scores(outcome: &Outcome) -> Vec<(String, Score)> {
    let name = |one: &RivalOutcome| {
        let name = match one.rival {
            Rival::Hpa => "Kubernetes HPA",
            Rival::AwsTargetTracking => "AWS target tracking",
            Rival::Clairvoyant => "clairvoyant plan",
        };
        let target = one.target.map(|target| format!(" at {:.0} %", target * 100.0)).unwrap_or_default();
        format!("{name}{target}{}", if one.tuned { ", tuned" } else { "" })
    };
    let own = std::iter::once(("skala".to_owned(), outcome.score));
    own.chain(outcome.rivals.iter().map(|one| (name(one), one.score))).collect()
}

fn secs(seconds: f64) -> String {
    duration_text(Duration::from_secs_f64(seconds))
}

fn dated(scene: &Scene) -> bool {
    scene.time(0) >= DATED_FROM
}

/// A time of the series, as a date or as a day counted from its start.
fn time(scene: &Scene, step: usize) -> String {
    let at = scene.time(step);
    if dated(scene) {
        return Time(at).to_string().replace('T', " ").replace('Z', " UTC");
    }
    let left = at.since(scene.time(0)).as_secs();
    format!("day {}, {:02}:{:02}", left / 86_400 + 1, left % 86_400 / 3_600, left % 3_600 / 60)
}

fn period(backtest: &Backtest) -> String {
    let (scene, policy) = (backtest.scene(), backtest.policy());
    let model = &scene.model;
    let span = |steps: usize| secs(model.step.as_secs_f64() * steps as f64);
    let mut text = format!(
        "{}{} in steps of {}; the first {} are not scored. An instance carries {} {} at 100 %, the objective holds \
         up to {:.0} %; it boots for {}, and metrics are {} late.",
        span(scene.steps()),
        if dated(scene) { format!(" from {}", time(scene, 0)) } else { String::new() },
        span(1),
        span(scene.first_scored()),
        short_number(model.capacity_per_instance),
        policy.metrics.get(usize::from(model.metric)).map_or("", |metric| &metric.name),
        model.slo_utilization * 100.0,
        duration_text(model.boot_delay),
        duration_text(model.metric_lag),
    );
    // Writing into a String has no way to fail.
    if scene.load.missing() > 0 {
        let _ = write!(text, " {} readings of the load are missing.", scene.load.missing());
    }
    if scene.above_max() > 0 {
        let (above, max) = (span(scene.above_max()), scene.max);
        let _ = write!(text, " For {above} more is needed than the fleet's max of {max}: no scaler can help there.");
    }
    for metric in backtest.unfed() {
        let _ = write!(text, " Metric {metric} has no series: its rules never had a reading, which blocks scale-in.");
    }
    if !policy.owner.is_empty() {
        let _ = write!(text, " Owner: {}.", policy.owner);
    }
    text
}

fn verdict(scores: &[(String, Score)]) -> String {
    let over = |score: &Score| score.over_cost_pct.map_or("-".into(), |over| format!("{over:.1} %"));
    let one = |(name, score): &(String, Score)| {
        format!("{name}: short {:.2} % of the time at {} above the ideal cost", score.tau_u, over(score))
    };
    scores.iter().take(3).map(one).collect::<Vec<_>>().join(" · ")
}

fn tiles(outcome: &Outcome) -> String {
    let score = &outcome.score;
    let minutes = score.tau_u / 100.0 * score.days * 1_440.0;
    // Cost is compared at equal shortage, where there is a rival that is as rarely short.
    let hpas = || outcome.rivals.iter().filter(|one| one.rival == Rival::Hpa && one.score.cost > 0.0);
    let hpa = hpas().find(|one| one.tuned).or_else(|| hpas().next());
    let against = hpa.map_or("-".into(), |one| format!("{:+.1} %", 100.0 * (score.cost / one.score.cost - 1.0)));
    let whose =
        if hpa.is_some_and(|one| one.tuned) { "cost against an HPA as rarely short" } else { "cost against the HPA's" };
    let tile = |class: &str, number: String, text: String| {
        format!("<div class=\"tile{class}\"><b>{}</b><span>{}</span></div>", escape(&number), escape(&text))
    };
    let bad = if score.tau_u > 1.0 { " bad" } else { "" };
    [
        tile(
            bad,
            format!("{:.2} %", score.tau_u),
            format!("of the time short: {minutes:.0} min of {:.1} days", score.days),
        ),
        tile(
            "",
            secs(score.longest_shortage_s),
            format!("longest shortage; {:.2} % of the need was lacking", score.lack_pct),
        ),
        tile("", format!("{:.2}", score.cost), format!("cost of {:.0} instance hours", score.instance_hours)),
        tile(
            "",
            score.over_cost_pct.map_or("-".into(), |over| format!("{over:+.1} %")),
            "cost beyond what was needed".into(),
        ),
        tile("", against, whose.into()),
        tile(
            "",
            format!("{:.0}", score.changes_per_day),
            format!("changes a day; {} instances started", score.instance_starts),
        ),
    ]
    .concat()
}

fn cost_text(score: &Score) -> String {
    match score.over_cost_pct {
        Some(over) => format!("{:.2} ({over:+.1} %)", score.cost),
        None => format!("{:.2}", score.cost),
    }
}

fn short_text(score: &Score) -> String {
    format!("{:.2} % (longest {})", score.tau_u, secs(score.longest_shortage_s))
}

/// Bars from 0 to the largest, each with its number.
fn meters(
    scores: &[(String, Score)],
    class: &str,
    number: impl Fn(&Score) -> f64,
    text: impl Fn(&Score) -> String,
) -> String {
    let largest = scores.iter().map(|(_, score)| number(score)).fold(f64::MIN_POSITIVE, f64::max);
    let meter = |(at, (name, score)): (usize, &(String, Score))| {
        let own = if at == 0 { " own" } else { "" };
        let width = 100.0 * number(score) / largest;
        format!(
            "<div class=\"meter{class}{own}\"><span>{}</span><i style=\"width:{width:.1}%\"></i><span>{}</span></div>",
            escape(name),
            escape(&text(score))
        )
    };
    scores.iter().enumerate().map(meter).collect()
}

/// The longest shortages that count; a click shows them in the chart.
fn worst(scene: &Scene, outcome: &Outcome, factor: usize) -> String {
    let first = scene.first_scored();
    let mut found = shortages(&scene.demand[first..], &outcome.supply.ready[first..]);
    let all = found.len();
    if all == 0 {
        return "<p>Never short.</p>".into();
    }
    // The longest first; of equals the deepest, then the earliest.
    found.sort_by_key(|(from, long, most)| (std::cmp::Reverse((*long, *most)), *from));
    let rows = found.iter().take(SHORTAGES_MAX).map(|(from, long, most)| {
        let from = from + first;
        format!(
            "<tr data-from=\"{}\" data-long=\"{}\"><td>{}</td><td>{}</td><td>{most}</td><td>{}</td></tr>",
            from / factor,
            long.div_ceil(factor),
            escape(&time(scene, from)),
            secs(scene.model.step.as_secs_f64() * *long as f64),
            scene.demand[from..from + long].iter().max().copied().unwrap_or(0),
        )
    });
    format!(
        "<p class=\"quiet\">{all} in all; click one to see it in the chart.</p><div class=\"wide\"><table class=\"narrow\"><tr><th>begins</th>\
         <th>lasts</th><th>instances short, at most</th><th>needed, at most</th></tr>{}</table></div>",
        rows.collect::<String>()
    )
}

fn table(scores: &[(String, Score)]) -> String {
    let header = [
        "",
        "short",
        "lack",
        "longest",
        "hours",
        "cost",
        "over-cost",
        "changes/day",
        "starts",
        "theta_U",
        "theta_O",
        "tau_U",
        "tau_O",
        "upsilon",
        "sigma",
    ];
    let cells = |tag: &str, cells: &[String]| {
        cells.iter().map(|cell| format!("<{tag}>{}</{tag}>", escape(cell))).collect::<String>()
    };
    let row = |(at, (name, score)): (usize, &(String, Score))| {
        let mut row = vec![
            name.clone(),
            format!("{:.2} %", score.tau_u),
            format!("{:.2} %", score.lack_pct),
            secs(score.longest_shortage_s),
            format!("{:.1}", score.instance_hours),
            format!("{:.2}", score.cost),
            score.over_cost_pct.map_or("-".into(), |over| format!("{over:+.1} %")),
            format!("{:.1}", score.changes_per_day),
            score.instance_starts.to_string(),
        ];
        let profile = [score.theta_u, score.theta_o, score.tau_u, score.tau_o, score.upsilon, score.sigma];
        row.extend(profile.map(|metric| format!("{metric:.2}")));
        format!("<tr{}>{}</tr>", if at == 0 { " class=\"own\"" } else { "" }, cells("td", &row))
    };
    let head = cells("th", &header.map(str::to_owned));
    format!("<table><tr>{head}</tr>{}</table>", scores.iter().enumerate().map(row).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::super::Supply;
    use super::super::tests::{backtest, model, policy};
    use super::*;

    fn page_of(policy: &policies::policy::Policy, steps: usize) -> String {
        let backtest = backtest(policy, model(), steps);
        let outcome = backtest.run(0.65, &mut |_| {});
        page(&backtest, &outcome, 0.65)
    }

    fn data(page: &str) -> serde_json::Value {
        let begin = "<script type=\"application/json\" id=\"data\">";
        let (_, after) = page.split_once(begin).unwrap();
        serde_json::from_str(after.split_once("</script>").unwrap().0).unwrap()
    }

    #[test]
    fn the_page_holds_everything_and_asks_for_nothing() {
        let page = page_of(&policy(""), 2_000);
        assert!(!page.contains("{{") && page.ends_with("</html>\n"), "every mark is filled");
        for foreign in ["http:", "https:", "src=", "url(", "@import", "fetch(", "innerHTML"] {
            let found = page.replace("http://www.w3.org/2000/svg", "");
            assert!(!found.contains(foreign), "{foreign}");
        }
        for part in ["default-src 'none'", "Kubernetes HPA at 65 %", "prefers-color-scheme: dark", "Longest shortages"]
        {
            assert!(page.contains(part), "{part}");
        }
        let data = data(&page);
        assert_eq!(data["load"].as_array().unwrap().len(), 2_000);
        let run =
            |key: &str| -> u64 { data[key].as_array().unwrap().chunks(2).map(|run| run[0].as_u64().unwrap()).sum() };
        assert_eq!((run("demand"), run("ready"), run("paid")), (2_000, 2_000, 2_000));
        let changes = data["changes"].as_array().unwrap();
        assert!(changes.len() > 10);
        for change in changes {
            let reason = data["reasons"][change[3].as_u64().unwrap() as usize].as_str().unwrap();
            assert!(reason.contains("requests: "), "{reason}");
        }
    }

    #[test]
    fn what_people_wrote_is_escaped() {
        let evil = "</script><script>alert(1)</script><!-- {{data}} & \"q' ";
        let mut fleet = policy("");
        fleet.id = evil.into();
        fleet.owner = evil.into();
        fleet.metrics[0].name = evil.into();
        fleet.rules[0].name = evil.into();
        let page = page_of(&fleet, 500);
        assert_eq!(page.matches("<script").count(), 2, "the page's own");
        assert_eq!(page.matches("</script>").count(), 2);
        assert!(!page.contains("alert(1)</script>") && page.contains("&lt;script&gt;alert(1)"));
        let data = data(&page);
        assert_eq!(data["metric"], evil);
        assert!(data["reasons"][0].as_str().unwrap().contains(evil), "told as it is, as text");
    }

    #[test]
    fn a_long_series_is_drawn_by_its_worst_steps() {
        let mut backtest = backtest(&policy(""), model(), 2_000);
        let long = POINTS_MAX * 2 + 1;
        backtest.scene.load.values = (0..long).map(|step| Some((step % 3) as f64)).collect();
        backtest.scene.demand = (0..long).map(|step| if step == 7 { 9 } else { 2 }).collect();
        let supply = Supply { ready: vec![2; long], paid: vec![2; long] };
        let outcome = Outcome { supply, changes: Vec::new(), score: Score::default(), rivals: Vec::new() };
        let data = Data::of(&backtest, &outcome);
        assert_eq!((data.factor, data.step, data.load.len()), (3, 180.0, long.div_ceil(3)));
        assert_eq!(data.load[0], Some(2.0));
        assert_eq!(data.demand[..4], [2, 2, 1, 9]);
    }

    #[test]
    fn marks_are_filled_once() {
        let parts = [("a", Cow::from("{{b}}")), ("b", Cow::from("x"))];
        assert_eq!(fill("<{{a}}|{{b}}|{{c}}>", &parts), "<{{b}}|x|>");
        assert_eq!(fill("x{{a", &parts), "x{{a", "a mark that is never closed is text");
        assert_eq!(runs([3, 3, 4, 3].into_iter()), [2, 3, 1, 4, 1, 3]);
    }
}
