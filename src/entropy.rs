//! The only file that is random: ids and jitter.

use contract::ActionId;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

/// A source of random numbers.
pub trait Entropy: Send + Sync {
    /// The next 64 random bits.
    fn next(&self) -> u64;

    /// A fresh action id.
    fn action_id(&self) -> ActionId {
        ActionId((u128::from(self.next()) << 64) | u128::from(self.next()))
    }

    /// A number from 0 up to, but not including, 1.
    fn unit(&self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// The operating system's randomness, through the keys that the standard library seeds its hash maps with.
#[derive(Debug, Default)]
pub struct SystemEntropy {
    keys: RandomState,
    count: AtomicU64,
}

impl Entropy for SystemEntropy {
    fn next(&self) -> u64 {
        let mut hasher = self.keys.build_hasher();
        hasher.write_u64(self.count.fetch_add(1, Ordering::Relaxed));
        hasher.finish()
    }
}

/// A seeded sequence (SplitMix64): the same seed gives the same run.
#[derive(Debug)]
pub struct SeededEntropy {
    state: AtomicU64,
}

impl SeededEntropy {
    /// A sequence of its own for each seed.
    pub fn new(seed: u64) -> Self {
        Self { state: AtomicU64::new(seed) }
    }
}

impl Entropy for SeededEntropy {
    fn next(&self) -> u64 {
        // Steele, Lea, Flood: Fast splittable pseudorandom number generators, OOPSLA 2014.
        const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut z = self.state.fetch_add(GAMMA, Ordering::Relaxed).wrapping_add(GAMMA);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
