//! A learned mixture of the simple forecasters: ridge regression of what came on what they said.
//!
//! The normal equations are kept as decayed sums, so that one bad hour never makes the weights run away as recursive
//! least squares does when the load is still; they are solved now and then.

use serde::{Deserialize, Serialize};

/// Inputs: differences of other views of the load from its present level.
pub(super) const INPUTS: usize = 7;
const SUMS: usize = INPUTS * (INPUTS + 1) / 2;
/// What is kept of the sums from one step to the next: a mean life of 5,000 steps, three and a half days of minutes.
const KEEP: f64 = 1.0 - 1.0 / 5000.0;
/// The pull towards zero weight, as a share of the inputs' mean square; and in absolute terms, against no input at all.
const RIDGE: f64 = 0.003;
const RIDGE_LEAST: f64 = 1e-6;

/// Decayed sums and the weights solved from them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Blend {
    products: [f64; SUMS],
    targets: [f64; INPUTS],
    weights: [f64; INPUTS],
    seen: u32,
}

fn index(row: usize, column: usize) -> usize {
    let (low, high) = if row < column { (row, column) } else { (column, row) };
    high * (high + 1) / 2 + low
}

impl Blend {
    pub fn is_sound(&self) -> bool {
        self.products.iter().chain(&self.targets).chain(&self.weights).all(|number| number.is_finite())
    }

    /// Takes in what came, `target` above the level that `inputs` are relative to.
    pub fn learn(&mut self, inputs: &[f32; INPUTS], target: f64) {
        self.seen = self.seen.saturating_add(1);
        for row in 0..INPUTS {
            let x = f64::from(inputs[row]);
            self.targets[row] = self.targets[row] * KEEP + x * target;
            for (column, other) in inputs.iter().enumerate().take(row + 1) {
                let sum = &mut self.products[index(row, column)];
                *sum = *sum * KEEP + x * f64::from(*other);
            }
        }
    }

    /// What the weights make of the inputs.
    pub fn predict(&self, inputs: &[f32; INPUTS]) -> f64 {
        inputs.iter().zip(&self.weights).map(|(x, w)| f64::from(*x) * w).sum()
    }

    /// Whether it has seen enough to be asked.
    pub fn is_ready(&self) -> bool {
        self.seen >= 120
    }

    /// Solves for the weights by Cholesky's factorisation; keeps the old ones when the sums are degenerate.
    pub fn solve(&mut self) {
        let trace: f64 = (0..INPUTS).map(|i| self.products[index(i, i)]).sum();
        let ridge = RIDGE * trace / INPUTS as f64 + RIDGE_LEAST;
        let mut lower = [0.0; SUMS];
        for row in 0..INPUTS {
            for column in 0..=row {
                let mut sum = self.products[index(row, column)] + if row == column { ridge } else { 0.0 };
                for k in 0..column {
                    sum -= lower[index(row, k)] * lower[index(column, k)];
                }
                if row == column {
                    if sum <= 0.0 || !sum.is_finite() {
                        return;
                    }
                    lower[index(row, row)] = sum.sqrt();
                } else {
                    lower[index(row, column)] = sum / lower[index(column, column)];
                }
            }
        }
        let mut solved = self.targets;
        for row in 0..INPUTS {
            for k in 0..row {
                solved[row] -= lower[index(row, k)] * solved[k];
            }
            solved[row] /= lower[index(row, row)];
        }
        for row in (0..INPUTS).rev() {
            for k in row + 1..INPUTS {
                solved[row] -= lower[index(k, row)] * solved[k];
            }
            solved[row] /= lower[index(row, row)];
        }
        if solved.iter().all(|weight| weight.is_finite()) {
            self.weights = solved;
        }
    }
}
