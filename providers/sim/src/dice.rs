//! Seeded numbers: SplitMix64 and two distributions by table. In comes a seed, out comes the same row of numbers on
//! every machine: no floating point decides anything here.

use crate::settings::Boot;
use std::time::Duration;

/// A row of pseudo-random numbers.
#[derive(Clone, Debug)]
pub(crate) struct Dice(u64);

/// Sixteen slices of a log-normal distribution (sigma 0.5), in thousandths of its mean; the slices' own mean is 1000.
const BOOT_TABLE: [u64; 17] =
    [0, 409, 495, 565, 628, 689, 751, 814, 880, 952, 1032, 1124, 1233, 1372, 1565, 1895, 3192];

/// -log2(x) in 65536ths for x from 1/2 to 1 in sixteen steps.
const HALVINGS: [u64; 17] =
    [65536, 59804, 54400, 49288, 44438, 39825, 35427, 31224, 27200, 23340, 19632, 16064, 12625, 9307, 6102, 3002, 0];

/// ln 2 in 65536ths.
const LN_2: u128 = 45426;

impl Dice {
    /// A group's own row: what happens in one group never moves another group's numbers.
    pub fn new(seed: u64, name: &str) -> Self {
        // FNV-1a; it only has to keep names apart.
        let hash = name
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |h, byte| (h ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
        let mut dice = Self(seed ^ hash);
        dice.next();
        dice
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// True with this probability; nothing is drawn when it is zero.
    pub fn chance(&mut self, share: f64) -> bool {
        share > 0.0 && ((self.next() >> 11) as f64) < share * (1_u64 << 53) as f64
    }

    /// One boot: from `min`, around `mean`, cut at `max`, with a long tail as real boots have.
    pub fn boot(&mut self, boot: &Boot) -> Duration {
        let (min, mean, max) = (boot.min.0, boot.mean.0, boot.max.0);
        if min == max {
            return min;
        }
        let shape = table(&BOOT_TABLE, self.next());
        let spread = u128::from(mean.saturating_sub(min).as_nanos() as u64) * u128::from(shape) / 1000 / 65536;
        (min + Duration::from_nanos(u64::try_from(spread).unwrap_or(u64::MAX))).min(max)
    }

    /// A life of this mean when instances die at a steady rate (an exponential distribution).
    pub fn life(&mut self, mean: Duration) -> Duration {
        let bits = self.next();
        // Each leading zero is one more half-life survived; the table says how far into the last one.
        let halvings = u64::from(bits.leading_zeros().min(63)) * 65536 + table(&HALVINGS, self.next()) / 65536;
        let nanos = mean.as_nanos().saturating_mul(u128::from(halvings)).saturating_mul(LN_2) >> 32;
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

/// The table's value at a random place, interpolated, times 65536.
fn table(points: &[u64; 17], random: u64) -> u64 {
    let at = (random >> 60) as usize;
    let inside = (random >> 44) & 0xffff;
    points[at] * (0x1_0000 - inside) + points[at + 1] * inside
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Span;

    #[test]
    fn boots_keep_to_their_bounds_and_their_mean() {
        let boot = Boot { min: Span::secs(30), mean: Span::secs(90), max: Span::secs(600) };
        let mut dice = Dice::new(7, "web");
        let boots: Vec<_> = (0..20_000).map(|_| dice.boot(&boot)).collect();
        assert!(boots.iter().all(|b| (boot.min.0..=boot.max.0).contains(b)));
        let mean = boots.iter().sum::<Duration>().as_secs_f64() / 20_000.0;
        assert!((89.0..91.0).contains(&mean), "{mean}");
        let over_half_more = boots.iter().filter(|b| b.as_secs() > 135).count();
        assert!((1_500..5_000).contains(&over_half_more), "a tail, not a bell: {over_half_more}");
    }

    #[test]
    fn lives_have_their_mean_and_no_memory() {
        let mut dice = Dice::new(7, "web");
        let lives: Vec<f64> = (0..40_000).map(|_| dice.life(Duration::from_secs(3600)).as_secs_f64()).collect();
        let mean = lives.iter().sum::<f64>() / 40_000.0;
        assert!((3_500.0..3_700.0).contains(&mean), "{mean}");
        let beyond = lives.iter().filter(|l| **l > 3600.0).count() as f64 / 40_000.0;
        assert!((0.35..0.385).contains(&beyond), "1/e outlive the mean: {beyond}");
    }

    #[test]
    fn the_row_is_the_seeds_and_the_names() {
        let row = |seed, name| {
            let mut dice = Dice::new(seed, name);
            [dice.next(), dice.next()]
        };
        assert_eq!(row(1, "a"), row(1, "a"));
        assert_ne!(row(1, "a"), row(2, "a"));
        assert_ne!(row(1, "a"), row(1, "b"));
    }

    #[test]
    fn chance_is_a_share() {
        let mut dice = Dice::new(3, "x");
        let hits = (0..10_000).filter(|_| dice.chance(0.25)).count();
        assert!((2_300..2_700).contains(&hits), "{hits}");
        assert!(!dice.chance(0.0) && dice.chance(1.0));
    }
}
