//! Head-room that holds the objective: scores counted over about a week, and the multiple of a scale that would have
//! covered the wanted share of them (normalised conformal prediction: Papadopoulos et al. 2002, Lei et al. 2018), with
//! the share itself corrected by what was really missed (adaptive conformal inference: Gibbs and Candes 2021).

use super::experts::FORECASTERS;
use super::{Grid, Terms};
use serde::{Deserialize, Serialize};

/// Models of how a forecaster's error scales.
pub(super) const SCALES: usize = 6;
/// Candidates: each forecaster with each scale.
pub(super) const CANDIDATES: usize = FORECASTERS * SCALES;
/// Buckets of scores above zero: eight an octave, from 2^-4 up to 2^7.
pub(super) const BUCKETS: usize = 11 * 8;
const COUNTS: usize = CANDIDATES * BUCKETS;
const LOWEST_EXPONENT: u32 = 127 - 4;
/// The multiple before enough was learned (decisions.md section 3, piece 7).
const COLD: f32 = 2.5;
/// Scores that a candidate needs before it may be chosen.
const ENOUGH: f32 = 120.0;
/// Scores before the first fit.
const WARM: u32 = 60;
/// How much of the allowed share is planned for; the rest is what the estimate itself may be off.
const AIM: f32 = 0.95;
/// How fast the allowed share follows what was missed, as a part of itself for each step missed in full, and within
/// which multiples of the wanted share it stays.
const CORRECTION: f32 = 0.01;
const CORRECTED: (f32, f32) = (0.3, 1.5);
/// Another candidate has to be this much cheaper before it is changed to.
const CHEAPER: f32 = 0.99;

/// The candidates' scores, counted with less weight as they age.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Margins {
    candidates: Vec<Candidate>,
    /// For each candidate its buckets of scores above zero.
    above: Vec<f32>,
    /// The share of steps that may be missed, after correction; 0 before the first step.
    allowed: f32,
    /// Steps scored.
    scored: u32,
    /// The candidate in use.
    chosen: u8,
}

/// A forecaster with a scale.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Candidate {
    /// Weight of the steps covered without any head-room.
    covered: f32,
    /// The multiple in use.
    multiple: f32,
    /// The mean capacity of its shadow plan over about a day, in instances.
    cost: f32,
}

impl Margins {
    pub fn is_sound(&self) -> bool {
        let finite = |known: &Candidate| [known.covered, known.multiple, known.cost].iter().all(|n| n.is_finite());
        matches!((self.candidates.len(), self.above.len()), (0, 0) | (CANDIDATES, COUNTS))
            && usize::from(self.chosen) < CANDIDATES
            && self.allowed.is_finite()
            && self.candidates.iter().all(finite)
            && self.above.iter().all(|count| count.is_finite())
            && (!self.is_warm() || !self.candidates.is_empty())
    }

    /// Costs are in instances, which are of another size from here on.
    pub fn count_in(&mut self, factor: f32) {
        self.candidates.iter_mut().for_each(|known| known.cost = (known.cost * factor).min(1e12));
    }

    /// Whether enough was scored to trust the multiples.
    pub fn is_warm(&self) -> bool {
        self.scored >= WARM
    }

    /// A candidate's multiple.
    pub fn multiple(&self, candidate: usize) -> f64 {
        let known = self.candidates.get(candidate).filter(|_| self.is_warm());
        f64::from(known.map_or(COLD, |known| known.multiple))
    }

    /// The cheapest candidate among those of trusted forecasters: the one in use, unless it lost its trust.
    pub fn best(&self, trusts: impl Fn(usize) -> bool) -> usize {
        let chosen = usize::from(self.chosen);
        if !self.is_warm() || trusts(chosen / SCALES) {
            return if self.is_warm() { chosen } else { 0 };
        }
        self.cheapest(trusts).map_or(0, |(at, _)| at)
    }

    fn cheapest(&self, trusts: impl Fn(usize) -> bool) -> Option<(usize, f32)> {
        let known = self.candidates.iter().enumerate();
        let usable = known.filter(|(at, _)| trusts(at / SCALES) && self.weight(*at) >= ENOUGH);
        usable.map(|(at, candidate)| (at, candidate.cost)).min_by(|a, b| a.1.total_cmp(&b.1))
    }

    fn weight(&self, candidate: usize) -> f32 {
        self.candidates[candidate].covered + self.buckets(candidate).iter().sum::<f32>()
    }

    fn buckets(&self, candidate: usize) -> &[f32] {
        &self.above[candidate * BUCKETS..(candidate + 1) * BUCKETS]
    }

    /// Counts a candidate's score of one step, and the capacity its plan had.
    pub fn count(&mut self, candidate: usize, score: f64, capacity: f64, grid: &Grid) {
        if self.candidates.is_empty() {
            self.candidates = vec![Candidate { multiple: COLD, ..Candidate::default() }; CANDIDATES];
            self.above = vec![0.0; COUNTS];
        }
        let day = 86_400.0 / grid.step as f32;
        let seen = self.weight(candidate).min(day);
        let known = &mut self.candidates[candidate];
        known.cost += (capacity as f32 - known.cost) / (seen + 1.0);
        if score <= 0.0 {
            known.covered += 1.0;
        } else {
            self.above[candidate * BUCKETS + bucket(score as f32)] += 1.0;
        }
    }

    /// Counts a step as a whole: whether the plan in use missed it corrects what the next ones may miss.
    pub fn count_step(&mut self, missed: bool, terms: &Terms) {
        let wanted = (1.0 - terms.coverage as f32) * AIM;
        if self.scored == 0 {
            self.allowed = wanted;
        }
        self.scored = self.scored.saturating_add(1);
        let miss = if missed { 1.0 } else { 0.0 };
        let allowed = self.allowed + CORRECTION * wanted * (wanted - miss);
        self.allowed = allowed.clamp(wanted * CORRECTED.0, wanted * CORRECTED.1);
    }

    /// Sets every candidate's multiple to the least that the allowed share of its scores exceeds, chooses the cheapest
    /// candidate, and lets the counts age. Misses come in runs as long as the horizon: one run counts as seen already.
    pub fn refit(&mut self, grid: &Grid) {
        if !self.is_warm() || self.candidates.is_empty() {
            return;
        }
        let keep = 1.0 - 15.0 * grid.step as f32 / (7.0 * 86_400.0);
        for count in &mut self.above {
            *count *= keep;
        }
        for at in 0..CANDIDATES {
            self.candidates[at].covered *= keep;
            let allowed = (self.allowed * self.weight(at) - grid.ahead as f32).max(0.0);
            self.candidates[at].multiple = least_multiple(self.buckets(at), allowed);
        }
        if let Some((at, cost)) = self.cheapest(|_| true)
            && cost < CHEAPER * self.candidates[usize::from(self.chosen)].cost
        {
            self.chosen = at as u8;
        }
    }
}

/// The least multiple that at most `allowed` of the counts exceed; within a bucket they are taken to lie evenly.
pub(super) fn least_multiple(buckets: &[f32], allowed: f32) -> f32 {
    let mut exceeding = 0.0;
    for (at, count) in buckets.iter().enumerate().rev() {
        exceeding += count;
        if exceeding > allowed {
            let share = ((exceeding - allowed) / count).clamp(0.0, 1.0);
            return edge(at) + (edge(at + 1) - edge(at)) * share;
        }
    }
    0.0
}

/// The bucket of a score above zero, by its exponent and the first three bits of its mantissa: no logarithm.
pub(super) fn bucket(score: f32) -> usize {
    let bits = score.to_bits() >> 20;
    (bits.saturating_sub(LOWEST_EXPONENT << 3) as usize).min(BUCKETS - 1)
}

/// The least score of a bucket; the first one begins at zero.
fn edge(bucket: usize) -> f32 {
    if bucket == 0 { 0.0 } else { f32::from_bits((bucket as u32 + (LOWEST_EXPONENT << 3)) << 20) }
}
