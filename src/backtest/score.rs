//! How well a supply met its demand: the SPEC RG elasticity metrics and what it cost, by the definitions of the reference
//! evaluator. All metrics: less is better, 0 is ideal.
//!
//! Source of the formulas: Herbst et al., "Ready for Rain?", SPEC-RG-2016-01; instability and deviation: Bauer et al.,
//! "Chameleon", IEEE TPDS 30(4).

use super::world::Supply;
use contract::Capacity;
use serde::Serialize;
use std::ops::Range;
use std::time::Duration;

/// The metrics of one run. Its JSON keys are stable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Score {
    /// Under-provisioning accuracy: the share of demand that was not met, in percent, averaged over time.
    #[serde(rename = "theta_U")]
    pub theta_u: f64,
    /// Over-provisioning accuracy: supply beyond demand, in percent of demand, averaged over time.
    #[serde(rename = "theta_O")]
    pub theta_o: f64,
    /// Share of the time in which supply was below demand, in percent.
    #[serde(rename = "tau_U")]
    pub tau_u: f64,
    /// Share of the time in which supply was above demand, in percent.
    #[serde(rename = "tau_O")]
    pub tau_o: f64,
    /// Share of the time in which supply and demand moved in different directions, in percent.
    pub upsilon: f64,
    /// The distance to the ideal (0, 0, 0, 0, 0) with exponent 5.
    pub sigma: f64,
    /// The largest of the first five.
    pub worst: f64,
    /// Instance-time short, in percent of the instance-time needed.
    pub lack_pct: f64,
    /// Billed instance hours.
    pub instance_hours: f64,
    /// Their price, in the model's currency.
    pub cost: f64,
    /// Billed beyond what was needed, in percent of it; absent when nothing was needed.
    pub over_cost_pct: Option<f64>,
    /// Changes of capacity.
    pub changes: u64,
    /// Changes of capacity a day.
    pub changes_per_day: f64,
    /// Changes that went the other way than the one before.
    pub flips: u64,
    /// Instances started.
    pub instance_starts: u64,
    /// The longest time without a break in which supply was below demand, in seconds.
    pub longest_shortage_s: f64,
    /// Time scored, in days.
    pub days: f64,
}

impl Score {
    /// Scores the steps from `first` on.
    ///
    /// # Panics
    /// When demand and supply are not of one length.
    pub fn of(demand: &[Capacity], supply: &Supply, first: usize, step: Duration, price_per_hour: f64) -> Self {
        Self::over(demand, supply, std::slice::from_ref(&(first..demand.len())), step, price_per_hour)
    }

    /// Scores stretches of steps, in order and apart, as one run. What changed between two of them is not seen, and no
    /// shortage lasts over the time between them.
    ///
    /// # Panics
    /// When demand and supply are not of one length, or a stretch goes beyond them.
    pub fn over(
        demand: &[Capacity],
        supply: &Supply,
        stretches: &[Range<usize>],
        step: Duration,
        price_per_hour: f64,
    ) -> Self {
        assert!(demand.len() == supply.ready.len() && demand.len() == supply.paid.len(), "one supply for each demand");
        let each = || stretches.iter().map(|stretch| (&demand[stretch.clone()], &supply.ready[stretch.clone()]));
        let steps: usize = stretches.iter().map(ExactSizeIterator::len).sum();
        if steps == 0 {
            return Self::default();
        }
        let pairs = each().flat_map(|(demand, ready)| demand.iter().copied().zip(ready.iter().copied()));
        let mut score = Self::provisioning(pairs, steps);
        score.upsilon = instability(each());
        let five = [score.theta_u, score.theta_o, score.tau_u, score.tau_o, score.upsilon];
        score.sigma = five.iter().map(|metric| metric.powi(5)).sum::<f64>().powf(0.2);
        score.worst = five.iter().copied().fold(0.0, f64::max);
        score.days = step.as_secs_f64() * steps as f64 / 86_400.0;
        let longest = each().map(|(demand, ready)| longest_shortage(demand, ready)).max().unwrap_or(0);
        score.longest_shortage_s = step.as_secs_f64() * longest as f64;
        let hours = |capacity: &[Capacity]| {
            let scored = stretches.iter().flat_map(|stretch| &capacity[stretch.clone()]);
            scored.map(|one| f64::from(*one)).sum::<f64>()
        };
        let (billed, needed) = (hours(&supply.paid), hours(demand));
        score.instance_hours = billed * step.as_secs_f64() / 3_600.0;
        score.cost = score.instance_hours * price_per_hour;
        score.over_cost_pct = (needed > 0.0).then(|| 100.0 * (billed / needed - 1.0));
        for stretch in stretches {
            score.count_changes(&supply.paid[stretch.clone()]);
        }
        score.changes_per_day = score.changes as f64 / score.days;
        score
    }

    fn provisioning(pairs: impl Iterator<Item = (Capacity, Capacity)>, steps: usize) -> Self {
        let mut score = Self::default();
        let (mut lack, mut needed) = (0.0, 0.0);
        for (demand, ready) in pairs {
            // The convention for no demand: the share is taken of 1.
            let share = f64::from(demand.max(1));
            let (under, over) = (demand.saturating_sub(ready), ready.saturating_sub(demand));
            score.theta_u += f64::from(under) / share;
            score.theta_o += f64::from(over) / share;
            score.tau_u += f64::from(u8::from(under > 0));
            score.tau_o += f64::from(u8::from(over > 0));
            lack += f64::from(under);
            needed += f64::from(demand);
        }
        let to_pct = 100.0 / steps as f64;
        for metric in [&mut score.theta_u, &mut score.theta_o, &mut score.tau_u, &mut score.tau_o] {
            *metric *= to_pct;
        }
        score.lack_pct = if needed > 0.0 { 100.0 * lack / needed } else { 0.0 };
        score
    }

    fn count_changes(&mut self, paid: &[Capacity]) {
        let mut last_out = None;
        for pair in paid.windows(2).filter(|pair| pair[0] != pair[1]) {
            let out = pair[1] > pair[0];
            self.changes += 1;
            self.flips += u64::from(last_out.is_some_and(|last| last != out));
            self.instance_starts += u64::from(pair[1].saturating_sub(pair[0]));
            last_out = Some(out);
        }
    }
}

/// The share of steps, the first of each stretch left out, in which demand and supply did not change in the same direction,
/// in percent.
fn instability<'a>(stretches: impl Iterator<Item = (&'a [Capacity], &'a [Capacity])>) -> f64 {
    let moves = |of: &[Capacity]| of[1].cmp(&of[0]);
    let (mut apart, mut all) = (0, 0);
    for (demand, ready) in stretches {
        apart += demand.windows(2).zip(ready.windows(2)).filter(|(d, s)| moves(d) != moves(s)).count();
        all += demand.len().saturating_sub(1);
    }
    if all == 0 { 0.0 } else { 100.0 * apart as f64 / all as f64 }
}

/// Stretches in which supply was below demand: first step, length in steps, most instances short.
pub fn shortages(demand: &[Capacity], ready: &[Capacity]) -> Vec<(usize, usize, Capacity)> {
    let mut found: Vec<(usize, usize, Capacity)> = Vec::new();
    for (step, (demand, ready)) in demand.iter().zip(ready).enumerate().filter(|(_, (d, s))| d > s) {
        let short = demand - ready;
        match found.last_mut().filter(|last| last.0 + last.1 == step) {
            Some(last) => (last.1, last.2) = (last.1 + 1, last.2.max(short)),
            None => found.push((step, 1, short)),
        }
    }
    found
}

fn longest_shortage(demand: &[Capacity], ready: &[Capacity]) -> usize {
    shortages(demand, ready).iter().map(|shortage| shortage.1).max().unwrap_or(0)
}
