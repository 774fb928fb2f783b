//! `Rng`: the generator of pseudo-random numbers, and the only source of chance
//! in a simulation.

/// A generator of pseudo-random numbers that its seed determines: `SplitMix64`
/// (Steele, Lea, Flood: "Fast splittable pseudorandom number generators",
/// 2014). It is small, fast, and good enough to choose faults, but not for
/// secrets.
///
/// ```
/// use serve_forever::driver::sim::Rng;
///
/// let (mut one, mut other) = (Rng::new(7), Rng::new(7));
/// assert_eq!(one.draw(), other.draw());
/// assert!(one.below(10) < 10);
/// ```
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// Makes the generator of a seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub const fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`; 0 if that is 0.
    #[allow(clippy::cast_possible_truncation, reason = "the upper half of a product is below its factor")]
    pub const fn below(&mut self, bound: u64) -> u64 {
        // A multiplication replaces the division of a remainder; its bias of
        // bound / 2^64 does not matter here.
        ((self.draw() as u128 * bound as u128) >> 64) as u64
    }

    /// A number from `least` to `most`, both included; `least` if they cross.
    pub const fn between(&mut self, least: u64, most: u64) -> u64 {
        least + self.below(most.saturating_sub(least).saturating_add(1))
    }

    /// A size from `least` to `most`, both included; `least` if they cross.
    #[allow(clippy::cast_possible_truncation, reason = "it is no greater than `most`, or is `least`")]
    pub const fn size(&mut self, least: usize, most: usize) -> usize {
        self.between(least as u64, most as u64) as usize
    }

    /// Whether an event of these odds happens this time.
    pub const fn chance(&mut self, odds: Odds) -> bool {
        odds.0 > 0 && self.below(odds.0 as u64) == 0
    }

    /// Makes a separate generator: draws from it do not change the later
    /// numbers of this one.
    #[must_use]
    pub const fn fork(&mut self) -> Self {
        Self(self.draw())
    }
}

/// The odds of an event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Odds(u32);

impl Odds {
    /// Not at all.
    pub const NEVER: Self = Self(0);
    /// Each time.
    pub const ALWAYS: Self = Self(1);

    /// Once in `times` times on average; 0 is never.
    #[must_use]
    pub const fn one_in(times: u32) -> Self {
        Self(times)
    }

    /// These, or once in `times` times if that is rarer.
    #[must_use]
    pub const fn no_more_than_one_in(self, times: u32) -> Self {
        if self.is_never() || self.0 >= times { self } else { Self(times) }
    }

    /// Whether the event can never happen.
    #[must_use]
    pub const fn is_never(self) -> bool {
        self.0 == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_those_of_the_paper() {
        // The reference implementation's, for the seed 1234567.
        let mut rng = Rng::new(1_234_567);
        let drawn: Vec<u64> = (0..3).map(|_| rng.draw()).collect();
        assert_eq!(drawn, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
    }

    #[test]
    fn ranges_include_both_ends_and_nothing_else() {
        let mut rng = Rng::new(1);
        let drawn: std::collections::BTreeSet<u64> = (0..1000).map(|_| rng.between(3, 6)).collect();
        assert_eq!(drawn.into_iter().collect::<Vec<_>>(), [3, 4, 5, 6]);
        assert_eq!((rng.below(0), rng.between(5, 5), rng.size(9, 2)), (0, 5, 9));
        assert!(rng.chance(Odds::ALWAYS) && !rng.chance(Odds::NEVER));
    }
}
