//! Filters that whiten small patches of images.

use wgrad_tensor::Array;

/// The frozen first filters of [`AirbenchNet`](super::AirbenchNet): the principal directions of the `size`x`size` patches of some
/// images, each divided by the square root of its variance plus `eps`, and the same with the sign turned.
///
/// `images`: rank 4, `[N, C, H, W]`, normalised as for training (airbench takes the first 5,000 and `eps` 5e-4). The result is
/// `[2 C size size, C, size, size]`, the directions of largest variance first. Second moments are taken without subtracting a
/// mean, in f64. The sign of a direction is that which makes its first non-zero element positive.
///
/// `None` where the images hold no patch of that size, or a number that is not finite.
pub fn whitening_filters(images: &Array, size: usize, eps: f64) -> Option<Array> {
    let [n, c, h, w] = [0, 1, 2, 3].map(|i| images.shape.dim(i));
    let fits = images.shape.rank() == 4 && images.data.len() == n * c * h * w;
    if !fits || size == 0 || h < size || w < size || n * c == 0 || images.data.iter().any(|v| !v.is_finite()) {
        return None;
    }
    let length = c.checked_mul(size * size).filter(|&length| length <= 1024)?;
    let mut moments = vec![vec![0.0; length]; length];
    let mut patch = vec![0.0; length];
    for place in 0..n * (h - size + 1) * (w - size + 1) {
        let (image, rest) = (place / ((h - size + 1) * (w - size + 1)), place % ((h - size + 1) * (w - size + 1)));
        let (top, left) = (rest / (w - size + 1), rest % (w - size + 1));
        for (i, value) in patch.iter_mut().enumerate() {
            let (channel, row, column) = (i / (size * size), i / size % size, i % size);
            *value = f64::from(images.data[((image * c + channel) * h + top + row) * w + left + column]);
        }
        for (i, line) in moments.iter_mut().enumerate() {
            // The matrix is symmetric; the other half follows below.
            (i..length).for_each(|j| line[j] += patch[i] * patch[j]);
        }
    }
    let count = (n * (h - size + 1) * (w - size + 1)) as f64;
    let whole = |i: usize| (0..length).map(|j| moments[i.min(j)][i.max(j)] / count).collect();
    let mut directions = eigenvectors((0..length).map(whole).collect());
    directions.sort_by(|a, b| b.0.total_cmp(&a.0));
    let filters: Vec<f32> = directions
        .iter()
        .flat_map(|(variance, direction)| {
            let sign = direction.iter().find(|v| v.abs() > 1e-9).map_or(1.0, |v| v.signum());
            direction.iter().map(move |v| (sign * v / (variance.max(0.0) + eps).sqrt()) as f32)
        })
        .collect();
    let turned = filters.iter().map(|v| -v);
    let data = filters.iter().copied().chain(turned).collect();
    Array::new([2 * length, c, size, size], data)
}

/// Eigenvalues and unit eigenvectors of a symmetric matrix, by Jacobi's rotations (Golub and Van Loan, Matrix Computations, 8.5).
fn eigenvectors(mut a: Vec<Vec<f64>>) -> Vec<(f64, Vec<f64>)> {
    let n = a.len();
    let mut vectors: Vec<Vec<f64>> = (0..n).map(|i| (0..n).map(|j| f64::from(u8::from(i == j))).collect()).collect();
    let scale: f64 = a.iter().flatten().map(|v| v * v).sum::<f64>();
    // Convergence is quadratic: some ten sweeps suffice, and the bound is never met.
    for _ in 0..100 {
        let off: f64 = (0..n).flat_map(|i| (0..i).map(move |j| (i, j))).map(|(i, j)| a[i][j] * a[i][j]).sum();
        if off <= 1e-30 * scale {
            break;
        }
        for p in 0..n {
            for q in p + 1..n {
                if a[p][q] == 0.0 {
                    continue;
                }
                let theta = (a[q][q] - a[p][p]) / (2.0 * a[p][q]);
                let t = 1.0 / (theta.abs() + (theta * theta + 1.0).sqrt()) * if theta < 0.0 { -1.0 } else { 1.0 };
                let cos = 1.0 / (t * t + 1.0).sqrt();
                let sin = t * cos;
                for line in a.iter_mut() {
                    (line[p], line[q]) = (cos * line[p] - sin * line[q], sin * line[p] + cos * line[q]);
                }
                for k in 0..n {
                    (a[p][k], a[q][k]) = (cos * a[p][k] - sin * a[q][k], sin * a[p][k] + cos * a[q][k]);
                    let (v, u) = (vectors[p][k], vectors[q][k]);
                    (vectors[p][k], vectors[q][k]) = (cos * v - sin * u, sin * v + cos * u);
                }
            }
        }
    }
    vectors.into_iter().enumerate().map(|(i, vector)| (a[i][i], vector)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use wgrad_tensor::philox::Stream;

    /// Filtered patches have second moments of one, and filters are in pairs.
    #[test]
    fn filtered_patches_are_white() {
        let mut stream = Stream::new(1, 99, 0, 0);
        let (n, c, h, w) = (4, 3, 9, 8);
        // Neighbours are alike, and channels too.
        let mut data: Vec<f32> = (0..n * c * h * w).map(|_| stream.unit_f32()).collect();
        (1..data.len()).for_each(|i| data[i] = 0.7 * data[i - 1] + 0.3 * data[i]);
        let images = Array::new([n, c, h, w], data).expect("fits");
        let filters = whitening_filters(&images, 2, 0.0).expect("patches");
        assert_eq!(filters.shape.dims(), [24, 3, 2, 2]);
        let (first, second) = filters.data.split_at(144);
        assert!(first.iter().zip(second).all(|(a, b)| *a == -b));
        let mut moments = [[0.0f64; 12]; 12];
        for place in 0..n * (h - 1) * (w - 1) {
            let (image, top, left) = (place / ((h - 1) * (w - 1)), place / (w - 1) % (h - 1), place % (w - 1));
            let out: Vec<f64> = first
                .chunks(12)
                .map(|filter| {
                    let tap = |i: usize| {
                        let at = ((image * c + i / 4) * h + top + i / 2 % 2) * w + left + i % 2;
                        f64::from(filter[i]) * f64::from(images.data[at])
                    };
                    (0..12).map(tap).sum()
                })
                .collect();
            for (i, line) in moments.iter_mut().enumerate() {
                (0..12).for_each(|j| line[j] += out[i] * out[j] / (n * (h - 1) * (w - 1)) as f64);
            }
        }
        for (i, line) in moments.iter().enumerate() {
            for (j, moment) in line.iter().enumerate() {
                assert!((moment - f64::from(u8::from(i == j))).abs() < 1e-3, "{i} {j} {moment}");
            }
        }
        assert!(whitening_filters(&images, 10, 0.0).is_none());
        let spoilt = Array::new([1, 1, 2, 2], vec![0.0, f32::NAN, 1.0, 2.0]).expect("fits");
        assert!(whitening_filters(&spoilt, 2, 0.0).is_none());
    }
}
