//! Mean, spread and principal components of the colours of a data set.

use super::Picture;

/// Sums over pixels, exact: whole numbers, whose sum does not hang on the order in which threads add them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moments {
    pixels: u64,
    sums: [u64; 3],
    products: [[u64; 3]; 3],
}

/// What the colours of a data set look like, where pixels run from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stats {
    /// Mean of each channel.
    pub mean: [f32; 3],
    /// Standard deviation of each channel, over all pixels.
    pub std: [f32; 3],
    /// Variances along the principal components, largest first.
    pub eigenvalues: [f32; 3],
    /// Principal components: `eigenvectors[k]` is the RGB direction of `eigenvalues[k]`, of length 1, its largest part positive.
    pub eigenvectors: [[f32; 3]; 3],
}

impl Moments {
    /// Counts all pixels of an image.
    pub fn add(&mut self, picture: &Picture) {
        for pixel in picture.pixels.chunks_exact(3) {
            for a in 0..3 {
                self.sums[a] += u64::from(pixel[a]);
                for b in a..3 {
                    self.products[a][b] += u64::from(pixel[a]) * u64::from(pixel[b]);
                }
            }
        }
        self.pixels += picture.pixels.len() as u64 / 3;
    }

    /// The sums over both sets of pixels.
    #[must_use]
    pub fn merged(mut self, other: &Moments) -> Moments {
        self.pixels += other.pixels;
        for a in 0..3 {
            self.sums[a] += other.sums[a];
            for b in a..3 {
                self.products[a][b] += other.products[a][b];
            }
        }
        self
    }

    /// What follows from the sums; none without a pixel.
    #[must_use]
    pub fn stats(&self) -> Option<Stats> {
        if self.pixels == 0 {
            return None;
        }
        let n = self.pixels as f64;
        let mean = self.sums.map(|sum| sum as f64 / n / 255.0);
        let mut covariance = [[0.0; 3]; 3];
        for a in 0..3 {
            for b in a..3 {
                covariance[a][b] = self.products[a][b] as f64 / n / (255.0 * 255.0) - mean[a] * mean[b];
                covariance[b][a] = covariance[a][b];
            }
        }
        let std = [0, 1, 2].map(|c| covariance[c][c].max(0.0).sqrt() as f32);
        let (values, vectors) = eigen(covariance);
        Some(Stats {
            mean: mean.map(|m| m as f32),
            std,
            eigenvalues: values.map(|v| v.max(0.0) as f32),
            eigenvectors: vectors.map(|vector| vector.map(|v| v as f32)),
        })
    }
}

/// Eigenvalues, largest first, and eigenvectors of a symmetric matrix, by Jacobi rotations: each takes one pair of elements
/// off the diagonal to 0, and six sweeps leave nothing that f64 can hold.
fn eigen(mut m: [[f64; 3]; 3]) -> ([f64; 3], [[f64; 3]; 3]) {
    let mut v = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];
    for _ in 0..12 {
        for (p, q) in [(0, 1), (0, 2), (1, 2)] {
            if m[p][q] == 0.0 {
                continue;
            }
            let theta = (m[q][q] - m[p][p]) / (2.0 * m[p][q]);
            let t = theta.signum() / (theta.abs() + (theta * theta + 1.0).sqrt());
            let c = 1.0 / (t * t + 1.0).sqrt();
            let s = t * c;
            for row in &mut m {
                (row[p], row[q]) = (c * row[p] - s * row[q], s * row[p] + c * row[q]);
            }
            for k in 0..3 {
                let (a, b) = (m[p][k], m[q][k]);
                (m[p][k], m[q][k]) = (c * a - s * b, s * a + c * b);
                let (a, b) = (v[p][k], v[q][k]);
                (v[p][k], v[q][k]) = (c * a - s * b, s * a + c * b);
            }
        }
    }
    let mut order = [0, 1, 2];
    order.sort_by(|&a, &b| m[b][b].total_cmp(&m[a][a]));
    let vectors = order.map(|k| {
        // A direction has two signs: the one whose largest part is positive, or two machines would name it differently.
        let largest = v[k].into_iter().fold(0.0, |best: f64, x| if x.abs() > best.abs() + 1e-12 { x } else { best });
        v[k].map(|x| if largest < 0.0 { -x } else { x })
    });
    (order.map(|k| m[k][k]), vectors)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_ellipse_of_colours() {
        // Colours along (2, 2, 1)/3 with deviation 30 and along (1, -1, 0)/sqrt 2 with 10, about (100, 120, 140).
        let mut pixels = Vec::new();
        for a in [-30.0, 30.0f64] {
            for b in [-10.0, 10.0f64] {
                let at = [2.0 * a / 3.0 + b / 2f64.sqrt(), 2.0 * a / 3.0 - b / 2f64.sqrt(), a / 3.0];
                pixels.extend([100.0 + at[0], 120.0 + at[1], 140.0 + at[2]].map(|v| v.round() as u8));
            }
        }
        let picture = Picture { width: 4, height: 1, pixels };
        let mut half = Moments::default();
        half.add(&picture);
        let stats = half.merged(&half).stats().expect("pixels");
        assert_eq!(Moments::default().stats(), None);
        assert!((stats.mean[1] - 120.0 / 255.0).abs() < 1e-6, "{stats:?}");
        assert!((stats.eigenvalues[0].sqrt() * 255.0 - 30.0).abs() < 0.5, "{stats:?}");
        assert!((stats.eigenvalues[1].sqrt() * 255.0 - 10.0).abs() < 0.5, "{stats:?}");
        assert!(stats.eigenvalues[2].sqrt() * 255.0 < 0.5, "{stats:?}");
        for (got, wanted) in stats.eigenvectors[0].iter().zip([2.0 / 3.0, 2.0 / 3.0, 1.0 / 3.0]) {
            assert!((got - wanted).abs() < 0.02, "{stats:?}");
        }
        let total: f32 = stats.std.iter().map(|s| s * s).sum();
        assert!((total - stats.eigenvalues.iter().sum::<f32>()).abs() < 1e-6);
    }
}
