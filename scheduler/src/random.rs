//! The seeded generator from which ties are drawn.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// A seeded generator: the same seed draws the same numbers.
#[derive(Clone, Debug)]
pub struct Random(StdRng);

impl Random {
    /// A generator for that seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(StdRng::seed_from_u64(seed))
    }

    /// A number below `bound`, each equally likely; 0 for a bound of 0 or 1, without drawing.
    pub fn below(&mut self, bound: usize) -> usize {
        if bound < 2 { 0 } else { self.0.random_range(0..bound) }
    }

    /// Puts things in an order, each equally likely.
    pub fn shuffle<T>(&mut self, things: &mut [T]) {
        for at in (1..things.len()).rev() {
            things.swap(at, self.below(at + 1));
        }
    }
}
