//! Philox4x32-10: random numbers as a pure function of a counter and a key.
//!
//! A counter-based generator has no state to save. Any number of a run can be computed again from the seed and its place
//! (which epoch, which sample, which element), on the host or in a shader, in any order and on any number of threads.
//! That is why sample order, augmentation, initial weights and dropout all draw from here.
//!
//! Source: Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.

/// What a stream is for. Two parts of the program that share a seed must not share numbers, so each purpose has its own
/// value, and all of them stand here.
pub mod purpose {
    /// Order of the samples in an epoch.
    pub const SHUFFLE: u32 = 1;
    /// Augmentation of one sample: `a` is the epoch, `b` the global sample index.
    pub const AUGMENT: u32 = 2;
    /// Initial values of parameters.
    pub const INIT: u32 = 3;
    /// Dropout masks.
    pub const DROPOUT: u32 = 4;
    /// Mixing the images of a batch: `a` is the epoch, `b` the step in it.
    pub const MIX: u32 = 6;
    /// Stochastic rounding; see [`crate::precision::rounding_words`].
    pub const ROUND: u32 = 5;
    /// Whether a sample is mirrored in even or in odd epochs: `b` is the global sample index.
    pub const FLIP: u32 = 7;
}

const M0: u32 = 0xD251_1F53;
const M1: u32 = 0xCD9E_8D57;
const W0: u32 = 0x9E37_79B9;
const W1: u32 = 0xBB67_AE85;
const ROUNDS: usize = 10;

/// One block of Philox4x32-10: four uniform words for a 128-bit `counter` under a 64-bit `key`, lowest word first.
///
/// A bijection of the counter for every key, so distinct counters never give the same block.
#[must_use]
pub fn philox4x32_10(counter: [u32; 4], key: [u32; 2]) -> [u32; 4] {
    let [mut c0, mut c1, mut c2, mut c3] = counter;
    let [mut k0, mut k1] = key;
    for _ in 0..ROUNDS {
        let p0 = u64::from(M0) * u64::from(c0);
        let p1 = u64::from(M1) * u64::from(c2);
        (c0, c1, c2, c3) = ((p1 >> 32) as u32 ^ c1 ^ k0, p1 as u32, (p0 >> 32) as u32 ^ c3 ^ k1, p0 as u32);
        k0 = k0.wrapping_add(W0);
        k1 = k1.wrapping_add(W1);
    }
    [c0, c1, c2, c3]
}

/// A sequence of random numbers fixed by `(seed, purpose, a, b)`.
///
/// The key is the seed; the counter is `[block, purpose, a, b]`, so streams with different coordinates never overlap. A
/// stream repeats after 2^34 words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stream {
    key: [u32; 2],
    hi: [u32; 3],
    block: u32,
    words: [u32; 4],
    used: usize,
}

impl Stream {
    /// The stream at `(seed, purpose, a, b)`; `purpose` is one of [`purpose`]'s constants, what `a` and `b` mean is said there.
    #[must_use]
    pub fn new(seed: u64, purpose: u32, a: u32, b: u32) -> Self {
        Self { key: [seed as u32, (seed >> 32) as u32], hi: [purpose, a, b], block: 0, words: [0; 4], used: 4 }
    }

    /// The next word, uniform over all 2^32 values.
    pub fn next_u32(&mut self) -> u32 {
        if self.used == 4 {
            let [p, a, b] = self.hi;
            self.words = philox4x32_10([self.block, p, a, b], self.key);
            self.block = self.block.wrapping_add(1);
            self.used = 0;
        }
        let word = self.words[self.used];
        self.used += 1;
        word
    }

    /// A whole number in `0..n`, exactly uniform; 0 for `n == 0`.
    ///
    /// Multiplication with rejection (Lemire, "Fast random integer generation in an interval", 2019): a plain remainder
    /// would favour small numbers, and the bias would differ from one data-set size to the next.
    pub fn below(&mut self, n: u32) -> u32 {
        if n == 0 {
            return 0;
        }
        let mut product = u64::from(self.next_u32()) * u64::from(n);
        if (product as u32) < n {
            // 2^32 mod n: products whose low word is below it belong to the incomplete last interval.
            let threshold = n.wrapping_neg() % n;
            while (product as u32) < threshold {
                product = u64::from(self.next_u32()) * u64::from(n);
            }
        }
        (product >> 32) as u32
    }

    /// A number in `[0, 1)`, a multiple of 2^-24 (all that an f32 below 1 holds without rounding up to 1).
    pub fn unit_f32(&mut self) -> f32 {
        (self.next_u32() >> 8) as f32 * (1.0 / 16_777_216.0)
    }

    /// True with probability `p` (to 2^-24); never for `p <= 0` or NaN, always for `p >= 1`.
    pub fn chance(&mut self, p: f32) -> bool {
        self.unit_f32() < p
    }
}

/// A uniformly random order of `0..n` (Fisher–Yates), a pure function of its arguments.
#[must_use]
pub fn permutation(seed: u64, purpose: u32, epoch: u32, n: u32) -> Vec<u32> {
    let mut stream = Stream::new(seed, purpose, epoch, 0);
    let mut order: Vec<u32> = (0..n).collect();
    for i in (1..n).rev() {
        let j = stream.below(i + 1);
        order.swap(i as usize, j as usize);
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_answers() {
        // The test vectors that accompany the authors' Random123 library.
        assert_eq!(philox4x32_10([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(philox4x32_10([u32::MAX; 4], [u32::MAX; 2]), [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
        assert_eq!(
            philox4x32_10([0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344], [0xa409_3822, 0x299f_31d0]),
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
        );
    }

    #[test]
    fn a_stream_is_the_blocks_of_its_counter() {
        let mut s = Stream::new(0x299f_31d0_a409_3822, 7, 8, 9);
        let key = [0xa409_3822, 0x299f_31d0];
        for block in 0..3 {
            for word in philox4x32_10([block, 7, 8, 9], key) {
                assert_eq!(s.next_u32(), word);
            }
        }
    }

    #[test]
    fn streams_differ_in_every_coordinate() {
        let first = |seed, p, a, b| Stream::new(seed, p, a, b).next_u32();
        let base = first(1, 2, 3, 4);
        for other in
            [first(2, 2, 3, 4), first(1 | 1 << 32, 2, 3, 4), first(1, 3, 3, 4), first(1, 2, 4, 4), first(1, 2, 3, 5)]
        {
            assert_ne!(base, other);
        }
    }

    #[test]
    fn below_is_in_range_and_even() {
        let mut s = Stream::new(1, 0, 0, 0);
        assert_eq!(s.below(0), 0);
        assert_eq!(s.below(1), 0);
        let mut count = [0u32; 7];
        for _ in 0..70_000 {
            count[s.below(7) as usize] += 1;
        }
        // 10,000 each with a standard deviation of 93.
        assert!(count.iter().all(|&c| c.abs_diff(10_000) < 500), "{count:?}");
        // Three quarters of 2^32: a remainder without rejection would hit the lower third twice as often as the rest.
        let n = 3 << 30;
        let low = (0..30_000).filter(|_| s.below(n) < n / 3).count();
        assert!(low.abs_diff(10_000) < 450, "{low}");
    }

    #[test]
    fn unit_is_half_open_and_even() {
        let mut s = Stream::new(5, 0, 0, 0);
        let x: Vec<f32> = (0..50_000).map(|_| s.unit_f32()).collect();
        assert!(x.iter().all(|v| (0.0..1.0).contains(v)));
        let mean = x.iter().map(|&v| f64::from(v)).sum::<f64>() / x.len() as f64;
        assert!((mean - 0.5).abs() < 0.01, "{mean}");
        assert!(!s.chance(0.0) && s.chance(1.0) && !s.chance(f32::NAN));
    }

    #[test]
    fn a_permutation_holds_every_number_once_and_changes_with_the_epoch() {
        let a = permutation(3, purpose::SHUFFLE, 0, 1000);
        let b = permutation(3, purpose::SHUFFLE, 1, 1000);
        assert_eq!(a, permutation(3, purpose::SHUFFLE, 0, 1000));
        assert_ne!(a, b);
        let mut sorted = a.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..1000).collect::<Vec<_>>());
        assert_eq!(permutation(3, purpose::SHUFFLE, 0, 0), Vec::<u32>::new());
        assert_eq!(permutation(3, purpose::SHUFFLE, 0, 1), vec![0]);
    }

    #[test]
    fn every_order_of_three_is_equally_likely() {
        let mut count = std::collections::HashMap::new();
        for epoch in 0..6000 {
            *count.entry(permutation(11, purpose::SHUFFLE, epoch, 3)).or_insert(0u32) += 1;
        }
        assert_eq!(count.len(), 6);
        // 1000 each with a standard deviation of 29.
        assert!(count.values().all(|&c| c.abs_diff(1000) < 150), "{count:?}");
    }
}
