//! Backtests as a whole, and what the tests of the rooms share.

use super::*;
use contract::Timestamp;
use policies::policy::{ParseOptions, SourceFile, parse};

/// The fleet `web` with the metric `rps` and more text.
pub(super) fn policy(more: &str) -> Policy {
    let text = format!(
        "[fleet.web]\nmode = \"on\"\nmin = 2\nmax = 60\ninterval = \"1m\"\n\
         [[fleet.web.group]]\nprovider = \"a\"\ngroup = \"web\"\n\
         [fleet.web.metric.rps]\nsource = \"s\"\nquery = \"rps\"\n\
         [[fleet.web.rule]]\nname = \"requests\"\nkind = \"per-instance\"\nmetric = \"rps\"\ntarget = 160\n{more}"
    );
    let file = SourceFile { name: "web.toml".into(), text };
    let (set, found) = parse(std::slice::from_ref(&file), &ParseOptions::default());
    assert!(found.is_empty(), "{found:?}");
    set.fleet("web").unwrap().as_ref().clone()
}

pub(super) fn model() -> Model {
    Model {
        metric: 0,
        capacity_per_instance: 250.0,
        slo_utilization: 0.8,
        boot_delay: Duration::from_secs(120),
        warming: Duration::ZERO,
        metric_lag: Duration::from_secs(60),
        step: Duration::from_secs(60),
        price_per_hour: 0.1,
        saturate: false,
        warmup: Duration::from_secs(2 * 86_400),
    }
}

/// Load of whole numbers that any language can make: a wave over the day, a step every third hour, and noise.
pub(super) fn load(steps: usize) -> Vec<f64> {
    let mut noise: u64 = 12_345;
    let value = |step: usize| {
        let minute = (step % 1_440) as i64;
        let wave = 6 * (720 - (minute - 720).abs());
        noise = (noise * 1_103_515_245 + 12_345) % 2_147_483_648;
        let busy = if (step / 60).is_multiple_of(3) { 900 } else { 0 };
        (800 + wave + busy + (noise / 65_536 % 400) as i64) as f64
    };
    (0..steps).map(value).collect()
}

pub(super) fn series(values: Vec<f64>) -> Series {
    let values = values.into_iter().map(Some).collect();
    Series { start: Timestamp::from_secs(1_700_006_400), step: Duration::from_secs(60), values }
}

pub(super) fn backtest(policy: &Policy, model: Model, steps: usize) -> Backtest {
    Backtest::new(policy, model, vec![(0, series(load(steps)))]).unwrap()
}

#[test]
fn a_fleet_follows_its_load_and_says_why() {
    let backtest = backtest(&policy(""), model(), 3 * 1_440);
    let outcome = backtest.run(TARGET, &mut |_| {});
    let score = outcome.score;
    assert!(score.tau_u < 5.0 && score.changes > 20, "{score:?}");
    assert!(outcome.supply.ready.iter().all(|ready| (2..=60).contains(ready)));
    // Every change is one of supply, and the other way round.
    let mut capacity = backtest.scene().first();
    let mut changes = outcome.changes.iter().peekable();
    for (step, paid) in outcome.supply.paid.iter().enumerate() {
        if let Some(change) = changes.next_if(|change| change.step == step) {
            assert_eq!((change.from, change.to), (capacity, *paid));
            assert!(change.why.contains("requests: ") && change.why.contains(" / 160 per instance)"), "{change:?}");
            capacity = change.to;
        }
        assert_eq!(capacity, *paid, "step {step}");
    }
    assert!(changes.next().is_none());
}

#[test]
fn the_same_input_gives_the_same_outcome() {
    let run = || {
        let outcome = backtest(&policy(""), model(), 1_440).run(TARGET, &mut |_| {});
        (outcome.supply, outcome.changes)
    };
    assert_eq!(run(), run());
}

#[test]
fn observe_is_replayed_as_if_it_were_on_and_off_does_nothing() {
    let paid = |mode: Mode| {
        let policy = Policy { mode, ..policy("") };
        backtest(&policy, model(), 1_440).run(TARGET, &mut |_| {}).supply.paid
    };
    assert_eq!(paid(Mode::Observe), paid(Mode::On));
    let off = paid(Mode::Off);
    assert!(off.iter().all(|paid| *paid == off[0]));
}

#[test]
fn a_tuned_alternative_is_the_cheapest_that_is_as_rarely_short() {
    let backtest = backtest(&policy(""), model(), 2 * 1_440);
    let outcome = backtest.run(TARGET, &mut |_| {});
    let tuned: Vec<&RivalOutcome> = outcome.rivals.iter().filter(|one| one.tuned).collect();
    assert_eq!(tuned.len(), 2);
    for one in tuned {
        let target = one.target.unwrap();
        assert!(one.score.tau_u <= outcome.score.tau_u);
        let bolder = backtest.rival(one.rival, target + 0.02, false).score;
        assert!(bolder.tau_u > outcome.score.tau_u || bolder.instance_hours >= one.score.instance_hours, "{target}");
    }
    assert!(backtest.tuned(Rival::Hpa, -1.0).is_none(), "nobody is short less often than never");
}

#[test]
fn a_gap_removes_nothing() {
    let mut values: Vec<Option<f64>> = vec![Some(4_000.0); 60];
    values.extend([None; 60]);
    values.extend([Some(4_000.0); 30]);
    let series = Series { values, ..series(Vec::new()) };
    let backtest = Backtest::new(&policy(""), model(), vec![(0, series)]).unwrap();
    let outcome = backtest.run(TARGET, &mut |_| {});
    assert_eq!(outcome.supply.paid[149], 25);
    assert!(outcome.supply.paid[10..].iter().all(|paid| *paid == 25), "{:?}", outcome.changes);
    assert_eq!(outcome.rivals[0].supply.paid[60..120], [25; 60]);
}

#[test]
fn a_utilization_rule_without_a_series_sees_load_over_capacity() {
    let rule = "[fleet.web.metric.cpu]\nsource = \"s\"\nquery = \"cpu\"\nunit = \"UNIT\"\n\
        [[fleet.web.rule]]\nkind = \"utilization\"\nmetric = \"cpu\"\ntarget = TARGET\n";
    let paid = |unit: &str, target: &str, by: &str| {
        let rule = rule.replace("UNIT", unit).replace("TARGET", target).replace("unit", &format!("{by}unit"));
        let policy = policy(&rule);
        let metric = policy.metrics.iter().position(|metric| metric.name.as_ref() == "rps").unwrap();
        let policy = Policy { rules: policy.rules[1..].into(), ..policy };
        let model = Model { metric: u16::try_from(metric).unwrap(), ..model() };
        let load = series(load(1_440));
        let backtest = Backtest::new(&policy, model, vec![(u16::try_from(metric).unwrap(), load)]).unwrap();
        assert!(backtest.unfed().is_empty());
        backtest.run(TARGET, &mut |_| {}).supply.paid
    };
    let ratio = paid("ratio", "0.64", "");
    assert!(ratio.iter().max() > ratio.iter().min());
    assert_eq!(ratio, paid("percent", "64", ""));
    // One value for each instance: the rule counts members, and follows the load all the same.
    let each = paid("ratio", "0.64", "by = \"id\"\n");
    assert!(each.iter().max().unwrap().abs_diff(*ratio.iter().max().unwrap()) < 5);
}

#[test]
fn a_fleet_that_has_only_an_average_is_fed_from_the_total() {
    let paid = |unit: &str, target: &str| {
        let rule = format!(
            "[fleet.web.metric.cpu]\nsource = \"s\"\nquery = \"cpu\"\nunit = \"{unit}\"\n\
             [[fleet.web.rule]]\nkind = \"utilization\"\nmetric = \"cpu\"\ntarget = {target}\n"
        );
        let policy = policy(&rule);
        let policy = Policy { rules: policy.rules[1..].into(), ..policy };
        assert_eq!(policy.metrics[0].name.as_ref(), "cpu");
        let backtest = Backtest::new(&policy, model(), vec![(0, series(load(1_440)))]).unwrap();
        let outcome = backtest.run(TARGET, &mut |_| {});
        assert!(outcome.score.tau_u < 30.0, "{:?}", outcome.score);
        outcome.supply.paid
    };
    let ratio = paid("ratio", "0.64");
    assert!(ratio.windows(2).any(|pair| pair[1] < pair[0]) && ratio.windows(2).any(|pair| pair[1] > pair[0]));
    assert_eq!(ratio, paid("percent", "64"));
    // In the load's own unit, 160 of the 250 that an instance can do: what is needed is the same. It is never given up,
    // since the core takes an average of 0.95 and more for censored, whatever its unit.
    assert_eq!(paid("count", "160").iter().max(), ratio.iter().max());
}

#[test]
fn what_nothing_feeds_is_missing_and_named() {
    let guard = "[fleet.web.metric.errors]\nsource = \"s\"\nquery = \"e\"\nunit = \"ratio\"\n\
        [[fleet.web.rule]]\nkind = \"guard\"\nmetric = \"errors\"\nabove = 0.1\nblocks = \"in\"\n";
    let policy = policy(guard);
    assert_eq!(policy.metrics[0].name.as_ref(), "errors");
    let run = |errors: Option<f64>| {
        let model = Model { metric: 1, ..model() };
        let mut all = vec![(1, series(load(1_440)))];
        all.extend(errors.map(|errors| (0, series(vec![errors; 1_440]))));
        let backtest = Backtest::new(&policy, model, all).unwrap();
        let unfed = backtest.unfed().join(",");
        let outcome = backtest.run(TARGET, &mut |_| {});
        (unfed, outcome.changes.iter().any(|change| change.to < change.from))
    };
    assert_eq!(run(None), ("errors".into(), false));
    assert_eq!(run(Some(0.5)), (String::new(), false));
    assert_eq!(run(Some(0.01)), (String::new(), true));
}

#[test]
fn a_series_of_another_time_is_refused_and_a_part_of_one_is_named() {
    let policy = policy(
        "[fleet.web.metric.errors]\nsource = \"s\"\nquery = \"e\"\nunit = \"ratio\"\n\
         [[fleet.web.rule]]\nkind = \"guard\"\nmetric = \"errors\"\nabove = 0.1\nblocks = \"in\"\n",
    );
    let made = |load: Series, errors: Series| {
        Backtest::new(&policy, Model { metric: 1, ..model() }, vec![(1, load), (0, errors)])
    };
    let whole = || series(load(1_000));
    let later = Series { start: whole().start.after(Duration::from_secs(60_000)), ..whole() };
    let said = made(whole(), later).unwrap_err().0;
    assert!(
        said.starts_with("the series of metric `errors` has no value while there is load, from 2023-11-15T"),
        "{said}"
    );
    // A series counts as missing only where there is load to decide on.
    let mut gap = whole();
    gap.values[..500].fill(None);
    let errors = series(vec![0.0; 1_000]);
    assert!(made(gap.clone(), errors.clone()).unwrap().patchy().is_empty());
    let half = Series { values: errors.values[..750].to_vec(), ..errors };
    assert_eq!(made(whole(), half.clone()).unwrap().patchy(), [("errors", 0.25)]);
    assert_eq!(made(gap, half).unwrap().patchy(), [("errors", 0.5)]);
    let none = Series { values: vec![None; 1_000], ..whole() };
    assert!(made(none, whole()).unwrap_err().0.starts_with("the load has no value from 2023-11-15T"));
}

#[test]
fn readings_that_are_always_too_old_are_refused() {
    let refused = |lag: u64, step: u64| {
        let secs = Duration::from_secs;
        let model = Model { metric_lag: secs(lag), step: secs(step), ..model() };
        let series = Series { step: secs(step), ..series(load(100)) };
        Backtest::new(&policy(""), model, vec![(0, series)]).err().map(|error| error.0)
    };
    assert_eq!(refused(60, 60), None);
    assert_eq!(refused(180, 60), None);
    assert!(refused(240, 60).unwrap().starts_with("the newest visible reading is always 4m old, and metric `rps`"));
    assert_eq!(refused(0, 300), None);
    let error = Backtest::new(&policy(""), model(), Vec::new()).unwrap_err();
    assert!(error.0.ends_with("give --series rps=FILE.csv"), "{error}");
}

#[test]
fn a_coarse_series_is_decided_at_its_own_step() {
    let secs = Duration::from_secs;
    let model = Model { metric_lag: secs(0), step: secs(300), ..model() };
    let series = Series { step: secs(300), ..series(load(2_000)) };
    let outcome = Backtest::new(&policy(""), model, vec![(0, series)]).unwrap().run(TARGET, &mut |_| {});
    assert!(outcome.changes.iter().any(|change| change.to < change.from), "windows are covered");
}

/// The reference evaluator's numbers for the reference simulator's runs, both in tools/. From that folder, with numpy:
///
/// ```python
/// import numpy as np, baseline_sim as b
/// from evaluate import metrics
/// x, r = 12345, []
/// for k in range(4320):
///     x = (x * 1103515245 + 12345) % 2**31; m = k % 1440
///     r.append(800 + 6*(720 - abs(m - 720)) + (900 if k//60 % 3 == 0 else 0) + x//65536 % 400)
/// for name, target, saturate in (("k8s_hpa", .65, 0), ("k8s_hpa", .8, 1), ("aws_tt", .65, 0), ("aws_tt", .8, 1),
///                                ("oracle_perfect", .65, 0)):
///     s = object.__new__(b.Scn); s.r = np.array(r, float); s.target = target; s.sat = saturate; s.slo = .8
///     s.B, s.L, s.C, s.mn, s.mx, s.N = 2, 1, 250., 2, 60, len(r)
///     s.d = np.maximum(2, np.ceil(s.r/200 - 1e-9)).astype(int)
///     S, P = b.simulate(s, b.ALG[name]()); w = 432
///     print(name, metrics(np.arange(w, s.N)*60, s.d[w:], S[w:], P[w:], .1))
/// ```
#[test]
fn scores_and_rivals_are_the_references() {
    let cases = [
        (
            Rival::Hpa,
            0.65,
            false,
            [
                0.12323857745668444,
                27.34751450870982,
                1.0545267489711934,
                98.27674897119341,
                58.78569590944173,
                99.76872020208754,
                0.10155004865939832,
                1495.5166666666667,
                26.55815855911763,
                114.0,
                55.0,
                240.0,
            ],
        ),
        (
            Rival::Hpa,
            0.8,
            true,
            [
                2.12404101591544,
                4.9294646371249975,
                25.15432098765432,
                45.9619341563786,
                58.68278878312323,
                61.93168833836504,
                2.190378132889522,
                1209.05,
                2.315905276371266,
                110.0,
                47.0,
                3780.0,
            ],
        ),
        (
            Rival::AwsTargetTracking,
            0.65,
            false,
            [
                0.1276700289688973,
                32.8154715830236,
                1.183127572016461,
                98.27674897119341,
                58.75996912786211,
                99.81152268801011,
                0.09731879663192339,
                1545.95,
                30.826081437497344,
                140.0,
                42.0,
                360.0,
            ],
        ),
        (
            Rival::AwsTargetTracking,
            0.8,
            true,
            [
                1.1309505008836291,
                9.132782803343954,
                12.834362139917696,
                63.32304526748971,
                59.01723694365835,
                70.44271475316897,
                1.153721386158164,
                1257.95,
                6.454069759241765,
                134.0,
                42.0,
                720.0,
            ],
        ),
        (
            Rival::Clairvoyant,
            0.65,
            false,
            [
                0.0,
                2.0763036593831776,
                0.0,
                26.98045267489712,
                38.04990995626447,
                39.32560551599911,
                0.0,
                1216.1666666666667,
                2.9181534816152155,
                795.0,
                625.0,
                0.0,
            ],
        ),
    ];
    for (rival, target, saturate, expected) in cases {
        let backtest = backtest(&policy(""), Model { saturate, ..model() }, 3 * 1_440);
        let score = backtest.score(&rival.replay(backtest.scene(), target));
        let got = [
            score.theta_u,
            score.theta_o,
            score.tau_u,
            score.tau_o,
            score.upsilon,
            score.sigma,
            score.lack_pct,
            score.instance_hours,
            score.over_cost_pct.unwrap(),
            score.changes as f64,
            score.flips as f64,
            score.longest_shortage_s,
        ];
        for (index, (got, expected)) in got.iter().zip(expected).enumerate() {
            let close = (got - expected).abs() <= 1e-9 * expected.abs().max(1.0);
            assert!(close, "{rival:?} at {target}, number {index}: {got} is not {expected}");
        }
        let cost = score.instance_hours * 0.1;
        assert!((score.cost - cost).abs() < 1e-9 && (score.days - 2.7).abs() < 1e-12);
        assert!((score.changes_per_day - score.changes as f64 / 2.7).abs() < 1e-9);
    }
}

/// The example that the evaluator was checked with by hand.
#[test]
fn scores_by_hand() {
    let supply = Supply { ready: vec![2, 2, 4, 4, 2], paid: vec![2, 4, 4, 4, 2] };
    let score = Score::of(&[2, 4, 4, 2, 2], &supply, 0, Duration::from_secs(60), 3.0);
    let near = |got: f64, expected: f64| assert!((got - expected).abs() < 1e-9, "{got} is not {expected}");
    near(score.theta_u, 10.0);
    near(score.theta_o, 20.0);
    near(score.tau_u, 20.0);
    near(score.tau_o, 20.0);
    near(score.upsilon, 100.0);
    near(score.worst, 100.0);
    near(score.lack_pct, 100.0 * 2.0 / 14.0);
    near(score.instance_hours, 16.0 / 60.0);
    near(score.cost, 0.8);
    near(score.over_cost_pct.unwrap(), 100.0 * (16.0 / 14.0 - 1.0));
    assert_eq!((score.changes, score.flips, score.instance_starts, score.longest_shortage_s), (2, 1, 2, 60.0));
    assert_eq!(shortages(&[2, 4, 5, 2, 3], &[2, 2, 2, 4, 2]), [(1, 2, 3), (4, 1, 1)]);
    // Nothing needed: shares are taken of 1, and there is no over-cost.
    let idle = Supply { ready: vec![0, 1], paid: vec![0, 1] };
    let score = Score::of(&[0, 0], &idle, 0, Duration::from_secs(60), 1.0);
    assert_eq!((score.theta_o, score.over_cost_pct, score.lack_pct), (50.0, None, 0.0));
}
