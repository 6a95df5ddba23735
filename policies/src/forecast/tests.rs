//! What the forecasts are worth: coverage held, bad forecasters switched off, memory bounded.

use super::*;

const GRID: Grid = Grid { step: 60, ahead: 4, boot: 2, window: 10 };

fn terms(coverage: f64) -> Terms {
    let window = Duration::from_secs(600);
    Terms { share: 80.0, coverage, headroom_max: 50.0, min: 1, window, offset_secs: 0, unusual: false }
}

/// Noise from 0 to 1, the same for everybody.
fn noise(n: i64) -> f64 {
    let mixed = (n as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    ((mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 40) as f64 / f64::from(1 << 24)
}

/// The share of minutes from `from` on in which fewer instances were planned than needed, and the mean plan.
fn replay(load: impl Fn(i64) -> f64, coverage: f64, from: i64, to: i64) -> (f64, f64) {
    let (terms, mut learned) = (terms(coverage), Learned::default());
    let mut plans: Vec<f64> = Vec::new();
    let (mut missed, mut cost) = (0.0, 0.0);
    for minute in 1..to {
        // As in a fleet: capacity of this minute is the least of the windows that end within the boot time before it.
        let end = plans.len().saturating_sub(GRID.ahead - 1);
        let windows = (end..=(end + GRID.boot).min(plans.len())).filter(|end| *end > 0);
        let planned = windows
            .map(|end| plans[end.saturating_sub(GRID.window + 1)..end].iter().copied().fold(0.0, f64::max))
            .fold(f64::INFINITY, f64::min);
        if minute >= from {
            missed += if instances(load(minute), terms.share) > planned { 1.0 } else { 0.0 };
            cost += planned;
        }
        learned.take(load(minute), Timestamp::from_secs(minute * 60), &terms, &GRID);
        plans.push(learned.outlook(load(minute), &terms, &GRID).map_or(0.0, |outlook| f64::from(outlook.capacity)));
    }
    let minutes = (to - from) as f64;
    (missed / minutes, cost / minutes)
}

#[test]
fn coverage_is_held_whatever_the_noise() {
    let day = |n: i64| 1.0 + ((n % 1440) as f64 / 720.0 - 1.0).abs();
    let spiky =
        |n: i64| 600.0 * day(n) * (1.0 + if noise(n / 5) > 0.97 { 2.0 * noise(n / 5 + 77) } else { 0.1 * noise(n) });
    let square = |n: i64| 400.0 * day(n) + 400.0 * noise(n).powi(4);
    for (name, (missed, _)) in
        [("spiky", replay(spiky, 0.99, 2880, 5 * 1440)), ("square", replay(square, 0.99, 2880, 5 * 1440))]
    {
        assert!((0.002..0.013).contains(&missed), "{name}: {missed} missed");
    }
}

#[test]
fn more_coverage_costs_more_and_misses_less() {
    let load = |n: i64| 800.0 + 800.0 * noise(n / 7) * noise(n);
    let (missed, cost) = replay(load, 0.9, 1440, 4 * 1440);
    let (missed_less, cost_more) = replay(load, 0.99, 1440, 4 * 1440);
    assert!(missed_less < 0.5 * missed && cost_more > cost, "{missed} {missed_less}, {cost} {cost_more}");
}

#[test]
fn a_profile_that_is_wrong_today_is_switched_off_within_the_hour() {
    let usual = |n: i64| if n % 1440 < 720 { 400.0 } else { 4000.0 } * (1.0 + 0.02 * noise(n));
    let (terms, mut learned) = (terms(0.99), Learned::default());
    let take = |learned: &mut Learned, n: i64, load: f64| {
        learned.take(load, Timestamp::from_secs(n * 60), &terms, &GRID);
        learned.outlook(load, &terms, &GRID).expect("a forecast")
    };
    for n in 0..4 * 1440 {
        take(&mut learned, n, usual(n));
    }
    // A holiday: the load swings every 20 minutes, at which the profile of a usual day points anywhere.
    let mut last = None;
    for n in 4 * 1440..4 * 1440 + 1440 {
        let load = if n / 20 % 2 == 0 { 400.0 } else { 1200.0 };
        last = Some(take(&mut learned, n, load));
    }
    let last = last.expect("outlook");
    assert!(!matches!(last.forecaster, Forecaster::Day | Forecaster::Week), "{last:?}");
    for forecaster in 0..FORECASTERS {
        let used = Forecaster::ALL[forecaster] == last.forecaster;
        assert!(!used || learned.trusts(forecaster), "{last:?}");
    }
}

#[test]
fn what_is_learned_of_a_metric_stays_within_32_kib() {
    let grid = Grid { step: 60, ahead: 20, boot: 19, window: 1440 };
    let (terms, mut learned) = (terms(0.99), Learned::default());
    for n in 0..2000 {
        let load = if n % 3 == 0 { 1e300 } else { 4000.0 * noise(n) };
        learned.take(load, Timestamp::from_secs(1_800_000_000 + n * 60), &terms, &grid);
    }
    for n in 0..40 {
        learned.delays.observe_lag(Duration::from_secs(n));
    }
    assert!(learned.is_sound());
    assert_eq!((learned.forecasts.len(), learned.recent.len()), (FORECASTS_MAX, RECENT_MAX));
    let size = postcard::to_stdvec(&learned).expect("plain data").len() + 5 * 32;
    // Beside it four events take 1 KiB at most (see the engine's tests), an instance's law and a ceiling 300 bytes.
    assert!(size + 1024 + 300 <= 32 * 1024, "{size} bytes, the most boots included");
}

#[test]
fn gaps_are_bridged_or_forgotten_and_nothing_is_taken_twice() {
    let (terms, mut learned) = (terms(0.99), Learned::default());
    let take = |learned: &mut Learned, minute: f64, load: f64| {
        let at = Timestamp::from_secs_f64(minute * 60.0).expect("a time");
        learned.take(load, at, &terms, &GRID);
        learned.recent.iter().map(|load| *load as i32).collect::<Vec<_>>()
    };
    assert_eq!(take(&mut learned, 100.0, 10.0), [10]);
    assert_eq!(take(&mut learned, 100.0, 99.0), [10], "the same reading again");
    assert_eq!(take(&mut learned, 99.0, 99.0), [10], "an older one");
    assert_eq!(take(&mut learned, 100.3, 20.0), [10], "part of the next minute");
    assert_eq!(take(&mut learned, 100.8, 40.0), [10, 30], "which is the mean of both");
    assert_eq!(take(&mut learned, 104.0, 60.0), [10, 30, 40, 50, 60], "a short gap is a line");
    assert_eq!(take(&mut learned, 900.0, 5.0), [5], "a long one ends it");
    assert!(learned.profiles.at(profile::Period::Day, 0).is_none());
}

#[test]
fn a_multiple_covers_the_wanted_share_and_hardly_more() {
    let scores: Vec<f32> = (0..5000).map(|n| (20.0 * noise(n).powi(3)) as f32 + 0.01).collect();
    let mut buckets = [0.0; margin::BUCKETS];
    for score in &scores {
        buckets[margin::bucket(*score)] += 1.0;
    }
    for allowed in [0.0_f32, 5.0, 50.0, 500.0] {
        let multiple = margin::least_multiple(&buckets, allowed);
        let beyond = |multiple: f32| scores.iter().filter(|score| **score > multiple).count() as f32;
        // Within a bucket scores need not lie evenly.
        assert!(beyond(multiple) <= 1.25 * allowed + 2.0, "{allowed}: {}", beyond(multiple));
        // A bucket is an eighth of an octave at most.
        assert!(beyond(multiple / 1.13) >= allowed, "{allowed}: {}", beyond(multiple / 1.13));
    }
    assert_eq!(margin::least_multiple(&[0.0; margin::BUCKETS], 0.0), 0.0, "no score above zero needs no head-room");
}

#[test]
fn the_blend_finds_the_weights_that_made_the_load() {
    let mut blend = Blend::default();
    let inputs = |n: i64| std::array::from_fn(|at| (noise(7 * n + at as i64) - 0.5) as f32);
    for n in 0..3000 {
        let x: [f32; blend::INPUTS] = inputs(n);
        blend.learn(&x, 0.5 * f64::from(x[0]) - 0.25 * f64::from(x[4]) + 0.01 * (noise(n + 50_000) - 0.5));
    }
    blend.solve();
    let x = inputs(9999);
    let expected = 0.5 * f64::from(x[0]) - 0.25 * f64::from(x[4]);
    assert!(blend.is_ready() && (blend.predict(&x) - expected).abs() < 0.01, "{} {expected}", blend.predict(&x));
    let mut idle = Blend::default();
    idle.solve();
    assert_eq!(idle.predict(&x), 0.0, "without any load there are no weights, and no division by zero");
}

#[test]
fn profiles_follow_local_time() {
    let mut learned = Learned::default();
    let jakarta = Terms { offset_secs: 7 * 3600, ..terms(0.99) };
    // 8 days in which the load is the local hour.
    for n in 0..8 * 1440_i64 {
        let hour = (n * 60 + jakarta.offset_secs).rem_euclid(86_400) / 3600;
        learned.take(hour as f64, Timestamp::from_secs(n * 60 + 60), &jakarta, &GRID);
    }
    let at = |period, local_hour: i64| learned.profiles.at(period, local_hour * 3600 + 1800);
    for hour in 0..24 {
        assert_eq!(at(profile::Period::Day, hour), Some(hour as f64));
        assert_eq!(at(profile::Period::Week, hour), Some(hour as f64));
    }
}
