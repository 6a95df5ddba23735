//! One series, three ways to the same decisions: the whole daemon on a simulated cloud, a backtest, and `skala decide`.
//! Interval and step are a minute, every boot takes the same time, there are no brakes, and what is told of the load is
//! told alike.

use super::world::{EPOCH, World, cloud, secs, value};
use contract::{Capacity, Timestamp};
use policies::facts::MissingWhy;
use policies::policy::{PolicySet, SourceFile};
use policies::wire::Decider;
use serde_json::{Value, json};
use skala::backtest::{Backtest, Model, Series};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const STEP: u64 = 60;
/// Two days, of which one hour is not recorded.
const STEPS: usize = 2 * 1_440;
const NOT_RECORDED: std::ops::Range<usize> = 1_700..1_760;
/// Steps that an instance boots for.
const BOOT: usize = 3;
/// A minute's mean is visible when a decision is made a minute after its end.
const VISIBLE: usize = 2;

const REQUESTS: &str = "name = \"requests\"\nkind = \"per-instance\"\nmetric = \"rps\"\ntarget = 170\n";
const OBJECTIVE: &str = "kind = \"objective\"\nmetric = \"rps\"\ncapacity = 250.0\nutilization = 0.8\n";

fn policy(cloud: &str, rule: &str) -> SourceFile {
    let text = format!(
        "[fleet.shop]\nmode = \"on\"\nmin = 2\nmax = 60\ninterval = \"1m\"\nwarmup = \"0s\"\nboot = \"3m\"\n\
         [[fleet.shop.group]]\nprovider = \"{cloud}\"\ngroup = \"shop\"\n\
         [fleet.shop.metric.rps]\nsource = \"load\"\nquery = \"rps\"\n[[fleet.shop.rule]]\n{rule}"
    );
    SourceFile { name: "shop.toml".into(), text }
}

fn set(file: &SourceFile) -> PolicySet {
    let (set, found) = skala::config::parse_policies(std::slice::from_ref(file), secs(15), None);
    assert!(found.is_empty(), "{found:?}");
    set
}

/// A wave over the day, a sale in the evening, and noise.
fn loads() -> Vec<Option<f64>> {
    let mut noise: u64 = 11;
    let load = |step: usize| {
        noise = (noise * 1_103_515_245 + 12_345) % 2_147_483_648;
        let minute = step % 1_440;
        let wave = 5 * (720 - minute.abs_diff(720));
        let sale = if (1_200..1_290).contains(&minute) { 2_500 } else { 0 };
        let load = 600.0 + (wave + sale) as f64 + (noise / 65_536 % 300) as f64;
        (!NOT_RECORDED.contains(&step)).then_some(load)
    };
    (0..STEPS).map(load).collect()
}

/// What is visible at a step: the load of a minute that began two before.
fn visible(loads: &[Option<f64>], step: usize) -> Option<f64> {
    step.checked_sub(VISIBLE).and_then(|seen| loads[seen])
}

/// Capacity asked for after each step, as a backtest has it.
fn backtested(file: &SourceFile, start: Timestamp) -> Vec<Capacity> {
    let set = set(file);
    let model = Model {
        metric: 0,
        capacity_per_instance: 250.0,
        slo_utilization: 0.8,
        boot_delay: secs(STEP) * BOOT as u32,
        warming: Duration::ZERO,
        metric_lag: secs(STEP),
        step: secs(STEP),
        price_per_hour: 0.1,
        saturate: false,
        warmup: Duration::ZERO,
    };
    let series = Series { start, step: secs(STEP), values: loads() };
    let backtest = Backtest::new(set.fleet("shop").unwrap(), model, vec![(0, series)]).unwrap();
    backtest.run(0.65, &mut |_| {}).supply.paid
}

/// The same by `skala decide`, in a cloud of this test's own.
fn decided(file: &SourceFile, start: Timestamp, first: Capacity) -> Vec<Capacity> {
    let set = set(file);
    let provider = set.fleets[0].groups[0].provider.to_string();
    let mut decider = Decider::new(set);
    let loads = loads();
    // Each instance: its id and the step at which it was asked for.
    let mut instances: Vec<(String, i64)> = (0..first).map(|at| (format!("old-{at}"), -100)).collect();
    let seconds = |step: i64| (start.0 / 1_000_000 + step * 60) as f64;
    let one = |step: usize| {
        let up = |asked: i64| asked + BOOT as i64;
        let listed = instances.iter().map(|(id, asked)| match up(*asked) <= step as i64 {
            true => {
                json!({"id": id, "state": "running", "launched": seconds(*asked), "running_since": seconds(up(*asked))})
            }
            false => json!({"id": id, "state": "pending", "launched": seconds(*asked)}),
        });
        let reading = match visible(&loads, step) {
            Some(load) => json!({"value": load, "at": seconds(step as i64 - 1)}),
            None => json!({"missing": "empty"}),
        };
        let listed: Vec<Value> = listed.collect();
        let group = json!({"provider": provider, "group": "shop", "desired": listed.len(), "instances": listed});
        let line =
            json!({"fleet": "shop", "now": seconds(step as i64), "groups": [group], "readings": {"rps": reading}});
        let said = decider.line(&line.to_string()).unwrap();
        let said: Value = serde_json::from_str(&said).unwrap();
        let desired = said["desired"].as_u64().unwrap_or_else(|| panic!("{said}"));
        let gone = said["groups"][0]["terminate"].as_array().unwrap();
        instances.retain(|(id, _)| !gone.iter().any(|gone| gone == id));
        for new in instances.len()..desired as usize {
            instances.push((format!("at-{step}-{new}"), step as i64));
        }
        Capacity::try_from(instances.len()).unwrap()
    };
    (0..STEPS).map(one).collect()
}

fn world(name: &'static str, file: &SourceFile, first: Capacity, load: super::world::Load) -> World {
    let settings =
        sim::Settings { boot: serde_json::from_value(json!(STEP * BOOT as u64)).unwrap(), ..cloud(&[("shop", first)]) };
    World::new(1, vec![(name, settings)], &[&file.text], load)
}

/// When the daemon asks on its grid for the first time; its very first cycle comes before that, as soon as it runs.
fn first_on_the_grid(name: &'static str, file: &SourceFile) -> Duration {
    let asked: Arc<Mutex<Vec<Duration>>> = Arc::default();
    let noted = Arc::clone(&asked);
    let world = world(
        name,
        file,
        4,
        Arc::new(move |_, elapsed| {
            noted.lock().unwrap().push(elapsed);
            Err(MissingWhy::Empty)
        }),
    );
    world.live(async |life| {
        tokio::time::sleep(secs(4 * STEP)).await;
        life.stop().await
    });
    let asked = asked.lock().unwrap();
    assert!(asked.len() >= 4 && asked[2] - asked[1] == secs(STEP), "one cycle a minute: {asked:?}");
    asked[1]
}

/// The same by the daemon.
fn lived(name: &'static str, file: &SourceFile, grid: Duration, first: Capacity) -> Vec<Capacity> {
    let loads = loads();
    // The very first cycle stands for step 0: at neither is anything visible.
    let step_at = move |elapsed: Duration| {
        elapsed.checked_sub(grid).map_or(0, |since| usize::try_from(since.as_secs() / STEP).unwrap() + 1)
    };
    let world = world(
        name,
        file,
        first,
        Arc::new(move |_, elapsed| match visible(&loads, step_at(elapsed).min(STEPS - 1)) {
            Some(load) => value(load, EPOCH.after(elapsed).before(secs(STEP))),
            None => Err(MissingWhy::Empty),
        }),
    );
    world.live(async |life| {
        let mut desired = Vec::new();
        tokio::time::sleep(grid.checked_sub(secs(STEP / 2)).unwrap_or(grid / 2)).await;
        for _ in 0..STEPS {
            desired.push(world.desired(name, "shop"));
            tokio::time::sleep(secs(STEP)).await;
        }
        life.stop().await;
        desired
    })
}

/// A cloud whose cycles are splayed so that the second one comes within an interval of the first: a longer period than
/// the interval would be learned, and a backtest has none.
fn cloud_and_grid() -> (&'static str, Duration) {
    let grids =
        ["a", "b", "c", "d", "e", "f", "g"].map(|name| (name, first_on_the_grid(name, &policy(name, REQUESTS))));
    *grids.iter().find(|(_, grid)| *grid <= secs(STEP)).expect("one of seven")
}

#[test]
fn a_daemon_a_backtest_and_decide_decide_alike() {
    let (cloud, grid) = cloud_and_grid();
    for (name, rule) in [("per-instance", REQUESTS), ("objective", OBJECTIVE)] {
        let file = policy(cloud, rule);
        let start = EPOCH.after(grid).before(secs(STEP));
        let backtested = backtested(&file, start);
        let decided = decided(&file, start, backtested[0]);
        let lived = lived(cloud, &file, grid, backtested[0]);
        let changes = backtested.windows(2).filter(|pair| pair[0] != pair[1]).count();
        assert!(changes > 50, "{name}: a load that changes little tells nothing: {changes} changes");
        for step in 0..STEPS {
            let of = (backtested[step], decided[step], lived[step]);
            assert!(of.0 == of.1 && of.1 == of.2, "{name}: step {step}: backtest, decide, daemon: {of:?}");
        }
    }
}
