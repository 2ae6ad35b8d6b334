//! Numbers drawn from distributions, with the same bits on every platform.

use wgrad_tensor::philox::Stream;

/// An even number of `low..=high`.
pub(crate) fn uniform(low: f32, high: f32, rng: &mut Stream) -> f32 {
    low + (high - low) * rng.unit_f32()
}

/// A normal number of mean 0 and deviation 1 (Box and Muller, 1958).
pub(crate) fn normal(rng: &mut Stream) -> f64 {
    // 1 - u is never 0.
    let radius = (-2.0 * libm::log(1.0 - f64::from(rng.unit_f32()))).sqrt();
    radius * libm::cos(std::f64::consts::TAU * f64::from(rng.unit_f32()))
}

/// A number of the beta distribution with both parameters `alpha`, in `0..=1`.
pub(crate) fn beta(alpha: f64, rng: &mut Stream) -> f64 {
    let (a, b) = (gamma(alpha, rng), gamma(alpha, rng));
    // Both can be 0 where alpha is tiny: then the limit of the distribution is one end or the other.
    if a + b > 0.0 { a / (a + b) } else { f64::from(rng.next_u32() & 1) }
}

/// A number of the gamma distribution of this shape: Marsaglia and Tsang, "A simple method for generating gamma variables", 2000.
fn gamma(shape: f64, rng: &mut Stream) -> f64 {
    if shape < 1.0 {
        let u = 1.0 - f64::from(rng.unit_f32());
        return gamma(shape + 1.0, rng) * libm::pow(u, 1.0 / shape);
    }
    let d = shape - 1.0 / 3.0;
    let c = 1.0 / (9.0 * d).sqrt();
    // Each try succeeds in more than 95 of 100 cases.
    loop {
        let x = normal(rng);
        let v = 1.0 + c * x;
        if v <= 0.0 {
            continue;
        }
        let v = v * v * v;
        let u = 1.0 - f64::from(rng.unit_f32());
        if libm::log(u) < 0.5 * x * x + d - d * v + d * libm::log(v) {
            return d * v;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_of_the_distributions() {
        let mut rng = Stream::new(5, 99, 0, 0);
        let n = 40_000;
        let moments = |draw: &mut dyn FnMut() -> f64| {
            let all: Vec<f64> = (0..n).map(|_| draw()).collect();
            let mean = all.iter().sum::<f64>() / f64::from(n);
            (mean, all.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / f64::from(n))
        };
        let (mean, variance) = moments(&mut || normal(&mut rng));
        assert!(mean.abs() < 0.02 && (variance - 1.0).abs() < 0.03, "{mean} {variance}");
        for alpha in [0.2, 1.0, 4.0] {
            // The variance of Beta(a, a) is 1 / (4 (2a + 1)).
            let (mean, variance) = moments(&mut || beta(alpha, &mut rng));
            let wanted = 1.0 / (4.0 * (2.0 * alpha + 1.0));
            assert!((mean - 0.5).abs() < 0.01 && (variance / wanted - 1.0).abs() < 0.05, "{alpha}: {mean} {variance}");
        }
    }
}
