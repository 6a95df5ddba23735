//! Erlang's formula for many workers behind one queue: how many it takes until few enough have to wait.
//!
//! A. K. Erlang 1917. For Poisson arrivals that offer `a` workers' worth of work to `c` > `a` workers, the share that has
//! to wait is C = B / (1 - (a / c)(1 - B)), with Erlang's B from B(0) = 1, B(c) = a B(c-1) / (c + a B(c-1)); of those who
//! wait, the share that waits longer than t service times is exp(-(c - a) t). Service times that are not exponential
//! make the wait (1 + cv^2) / 2 times as long (Allen and Cunneen's approximation for general service): t is divided by
//! that.

/// How far below the load the recursion begins, in standard deviations of the load.
///
/// Below the load B is about 1 - c / a, and an error of that start shrinks by c / a each step: by exp(-k^2 / 2) over k
/// deviations, here to 2e-22. So 10 sqrt(a) steps are as good as `a` of them.
const BEGIN_BELOW: f64 = 10.0;

/// How many workers, and how many wait.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Sized {
    pub workers: u64,
    /// The share that waits too long with so many; 1 when even the most are too few.
    pub late: f64,
}

/// The least workers, at most `most`, of which a share of at most `share` waits longer than `wait` service times. `load`
/// is in workers, not negative; `cv` is the coefficient of variation of the service times. Takes about 10 sqrt(load)
/// steps.
pub(super) fn least_workers(load: f64, wait: f64, cv: f64, share: f64, most: u64) -> Sized {
    if load <= 0.0 {
        return Sized { workers: 0, late: 0.0 };
    }
    if load.is_nan() || load >= most as f64 {
        return Sized { workers: most, late: 1.0 };
    }
    let wait = wait / ((1.0 + cv * cv) / 2.0);
    let begin = (load - BEGIN_BELOW * load.sqrt()).floor().max(0.0);
    let mut blocked = 1.0 - begin / load;
    let mut late = 1.0;
    let mut workers = begin as u64;
    while workers < most {
        workers += 1;
        let count = workers as f64;
        blocked = load * blocked / (count + load * blocked);
        if count > load {
            late = waits(count, load, blocked) * libm::exp(-(count - load) * wait);
            if late <= share {
                return Sized { workers, late };
            }
        }
    }
    Sized { workers: most, late }
}

/// Erlang's C from his B: the share that has to wait at all, for `workers` > `load`.
fn waits(workers: f64, load: f64, blocked: f64) -> f64 {
    workers * blocked / (workers - load * (1.0 - blocked))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MOST: u64 = 10_000_000;

    /// C from the recursion that begins where the textbook does.
    fn waits_from_zero(workers: u64, load: f64) -> f64 {
        let blocked = (1..=workers).fold(1.0, |b, count| load * b / (count as f64 + load * b));
        waits(workers as f64, load, blocked)
    }

    /// C(c, a) to 15 digits, from B = (a^c e^-a / c!) / Q(c + 1, a) with the regularized incomplete gamma function Q in
    /// arithmetic of 50 digits (mpmath).
    const REFERENCE: [(u64, f64, f64); 10] = [
        (1, 0.5, 0.5),
        (2, 1.0, 1.0 / 3.0),
        (5, 4.2, 0.633_773_192_708_685),
        (19, 10.0, 0.007_873_557_511_435_2),
        (125, 100.0, 0.009_868_833_601_680_44),
        (1077, 1000.0, 0.009_426_975_336_754_57),
        (4096, 4000.0, 0.083_241_864_747_635_4),
        (50_200, 50_000.0, 0.269_154_407_923_357),
        (1_000_000, 999_000.0, 0.223_303_390_291_344),
        (1_000_000, 990_000.0, 5.499_543_126_526_71e-24),
    ];

    #[test]
    fn the_share_that_waits_is_right_to_many_digits() {
        for (workers, load, expected) in REFERENCE {
            // A share that only this many workers keep makes the search end there.
            let share = expected * (1.0 + 1e-9);
            let sized = least_workers(load, 0.0, 1.0, share, MOST);
            assert_eq!(sized.workers, workers, "{load}");
            assert!((sized.late / expected - 1.0).abs() < 1e-10, "{workers} {load}: {} not {expected}", sized.late);
            let from_zero = waits_from_zero(workers, load);
            assert!((from_zero / expected - 1.0).abs() < 1e-10, "{workers} {load}: {from_zero}");
        }
    }

    #[test]
    fn the_least_workers_are_those_of_the_reference() {
        // Load, wait in service times, share, (1 + cv^2) / 2, workers; by bisection over the same reference.
        for (load, wait, share, factor, workers) in [
            (0.01, 0.0, 0.01, 1.0, 1),
            (0.5, 0.0, 0.01, 1.0, 4),
            (1.0, 1.0, 0.01, 1.0, 4),
            (10.0, 0.0, 0.01, 1.0, 19),
            (10.0, 1.0, 0.01, 1.0, 14),
            (10.0, 1.0, 0.01, 2.5, 16),
            (100.0, 0.0, 0.01, 1.0, 125),
            (100.0, 0.5, 0.001, 1.0, 111),
            (1000.0, 0.0, 0.01, 1.0, 1077),
            (1000.0, 0.02, 0.01, 1.0, 1062),
            (5000.0, 0.0, 0.0001, 1.0, 5267),
            (50_000.0, 0.0, 0.01, 1.0, 50_533),
            (990_000.0, 0.0, 0.01, 1.0, 992_365),
            (3.7, 2.0, 0.05, 0.5, 5),
            (990_000.0, 0.001, 1e-6, 1.0, 993_893),
        ] {
            let cv = (2.0_f64 * factor - 1.0).sqrt();
            assert_eq!(least_workers(load, wait, cv, share, MOST).workers, workers, "{load} {wait} {share} {factor}");
        }
    }

    #[test]
    fn nothing_absurd_has_no_end() {
        for (load, expected) in [(0.0, 0), (f64::MAX, 100), (f64::INFINITY, 100), (f64::NAN, 100), (99.99, 100)] {
            assert_eq!(least_workers(load, 0.0, 1.0, 0.01, 100).workers, expected, "{load}");
        }
        assert_eq!(least_workers(5.0, f64::INFINITY, 1.0, 0.01, MOST).workers, 6);
        let most = least_workers(9.9e9, 0.0, 100.0, 1e-6, 10_000_000_000);
        assert!(most.workers > 9_900_000_000 && most.late <= 1e-6, "{most:?}");
    }

    proptest! {
        #[test]
        fn the_short_way_is_the_long_way(load in 0.01..20_000.0_f64, wait in 0.0..3.0_f64, share in 1e-6..0.5_f64) {
            let sized = least_workers(load, wait, 1.0, share, MOST);
            let late = |workers: u64| if (workers as f64) <= load { 1.0 } else {
                waits_from_zero(workers, load) * libm::exp(-(workers as f64 - load) * wait)
            };
            prop_assert!(late(sized.workers) <= share * (1.0 + 1e-9));
            prop_assert!(late(sized.workers - 1) > share * (1.0 - 1e-9));
        }

        #[test]
        fn more_load_never_takes_fewer(
            load in 0.0..50_000.0_f64, more in 0.0..500.0_f64, wait in 0.0..3.0_f64, cv in 0.0..4.0_f64, share in 1e-6..0.5_f64
        ) {
            let at = |load, wait, cv, share| least_workers(load, wait, cv, share, MOST).workers;
            let base = at(load, wait, cv, share);
            prop_assert!(at(load + more, wait, cv, share) >= base);
            prop_assert!(at(load, wait / 2.0, cv, share) >= base, "less patience");
            prop_assert!(at(load, wait, cv + 0.5, share) >= base, "less even");
            prop_assert!(at(load, wait, cv, share / 2.0) >= base, "a smaller share");
            prop_assert!(load == 0.0 || base as f64 > load);
        }
    }
}
