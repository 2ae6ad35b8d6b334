//! Learning-rate schedules as plain data: the rate at a step is a pure function of the step's number.
//!
//! Lengths are in epochs (fractions allowed) and the rate changes with every step. A PyTorch equivalent is one whose
//! scheduler is stepped after each batch, with lengths times the batches of an epoch. Past its end, a schedule keeps its last
//! rate.

use std::f64::consts::PI;

/// The largest learning rate accepted. Above it lie only slips of the keyboard.
pub const MAX_LR: f64 = 1e4;
/// The largest length accepted, in epochs.
pub const MAX_EPOCHS: f64 = 1e9;

/// How the learning rate changes over a run. Make one with the constructors, which check every number.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Schedule {
    /// See [`Schedule::constant`].
    Constant {
        /// The rate.
        lr: f64,
    },
    /// See [`Schedule::step`].
    Step {
        /// The first rate.
        lr: f64,
        /// Epochs between two changes.
        every: f64,
        /// What the rate is multiplied by.
        gamma: f64,
    },
    /// See [`Schedule::multi_step`].
    MultiStep {
        /// The first rate.
        lr: f64,
        /// Epochs at which the rate changes, rising.
        milestones: Vec<f64>,
        /// What the rate is multiplied by.
        gamma: f64,
    },
    /// See [`Schedule::cosine`].
    Cosine {
        /// The first rate.
        lr: f64,
        /// Length in epochs.
        epochs: f64,
        /// The last rate.
        min_lr: f64,
    },
    /// See [`Schedule::one_cycle`].
    OneCycle {
        /// The largest rate.
        max_lr: f64,
        /// Length in epochs.
        epochs: f64,
        /// Part of the length in which the rate rises.
        pct_start: f64,
        /// The largest rate over the first.
        div_factor: f64,
        /// The first rate over the last.
        final_div_factor: f64,
    },
    /// See [`Schedule::piecewise_linear`].
    PiecewiseLinear {
        /// (epoch, rate), epochs rising.
        points: Vec<(f64, f64)>,
    },
    /// See [`Schedule::warm_up`].
    WarmUp {
        /// Length of the warm-up in epochs.
        epochs: f64,
        /// The factor at step 0.
        start_factor: f64,
        /// The schedule that is scaled.
        then: Box<Schedule>,
    },
}

/// A number that no schedule can have.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("learning-rate schedule: {key}: wanted {wanted}, got {got}")]
pub struct ScheduleError {
    /// Name of the argument.
    pub key: &'static str,
    /// What would have been right.
    pub wanted: &'static str,
    /// What was given.
    pub got: String,
}

impl Schedule {
    /// `lr` throughout.
    ///
    /// # Errors
    /// A rate that is NaN, infinite, negative or above [`MAX_LR`]; so for every rate below.
    pub fn constant(lr: f64) -> Result<Self, ScheduleError> {
        Self::Constant { lr }.checked()
    }

    /// `lr * gamma^floor(epoch / every)`: torch `StepLR(step_size=every, gamma)`. The ImageNet recipe of He et al. has lr .1,
    /// every 30, gamma .1.
    ///
    /// # Errors
    /// A bad rate, a length that is not positive, `gamma` not in `0..=1`.
    pub fn step(lr: f64, every: f64, gamma: f64) -> Result<Self, ScheduleError> {
        Self::Step { lr, every, gamma }.checked()
    }

    /// `lr * gamma^(number of milestones passed)`: torch `MultiStepLR(milestones, gamma)`. The CIFAR recipe of He et al. has
    /// lr .1, milestones 100 and 150 of 200 epochs, gamma .1.
    ///
    /// # Errors
    /// A bad rate, milestones that do not rise, `gamma` not in `0..=1`.
    pub fn multi_step(lr: f64, milestones: &[f64], gamma: f64) -> Result<Self, ScheduleError> {
        Self::MultiStep { lr, milestones: milestones.to_vec(), gamma }.checked()
    }

    /// `min_lr + (lr - min_lr) * (1 + cos(pi * epoch / epochs)) / 2`, then `min_lr`: torch
    /// `CosineAnnealingLR(T_max=epochs, eta_min=min_lr)`. Loshchilov and Hutter, arXiv:1608.03983, without restarts.
    ///
    /// # Errors
    /// A bad rate, a length that is not positive.
    pub fn cosine(lr: f64, epochs: f64, min_lr: f64) -> Result<Self, ScheduleError> {
        Self::Cosine { lr, epochs, min_lr }.checked()
    }

    /// Up and down again, half a cosine each: torch `OneCycleLR(max_lr, total_steps)` with its defaults (rises over 30 % of
    /// the steps from `max_lr / 25`, ends at `max_lr / 25 / 10^4`). Smith and Topin, arXiv:1708.07120.
    ///
    /// # Errors
    /// As [`Schedule::one_cycle_with`].
    pub fn one_cycle(max_lr: f64, epochs: f64) -> Result<Self, ScheduleError> {
        Self::one_cycle_with(max_lr, epochs, 0.3, 25.0, 1e4)
    }

    /// [`Schedule::one_cycle`] with all its numbers. With `T` steps in all, `a = pct_start * T - 1` and `b = T - 1`, step `s`
    /// has the rate `mix(max_lr / div_factor, max_lr, s / a)` up to `a`, then
    /// `mix(max_lr, max_lr / div_factor / final_div_factor, (s - a) / (b - a))`, where
    /// `mix(from, to, x) = to + (from - to) * (1 + cos(pi * x)) / 2`.
    ///
    /// # Errors
    /// A bad rate, a length that is not positive, `pct_start` not in `0..=1`, a divisor below 1.
    pub fn one_cycle_with(
        max_lr: f64,
        epochs: f64,
        pct_start: f64,
        div_factor: f64,
        final_div_factor: f64,
    ) -> Result<Self, ScheduleError> {
        Self::OneCycle { max_lr, epochs, pct_start, div_factor, final_div_factor }.checked()
    }

    /// Straight lines between the points `(epoch, lr)`; the first and the last rate hold outside. torch `LambdaLR` with
    /// `numpy.interp`. cifar10-fast trains ResNet-9 with `[(0, 0), (5, .4), (24, 0)]`.
    ///
    /// # Errors
    /// No point, a bad rate, epochs that do not rise.
    pub fn piecewise_linear(points: &[(f64, f64)]) -> Result<Self, ScheduleError> {
        Self::PiecewiseLinear { points: points.to_vec() }.checked()
    }

    /// This schedule times a factor that rises in a straight line from `start_factor` at step 0 to 1 after `epochs`: torch
    /// `ChainedScheduler([LinearLR(start_factor, total_iters=epochs), self])`. The schedule itself is not moved. Goyal et al.,
    /// arXiv:1706.02677, use 5 epochs.
    ///
    /// # Errors
    /// A length that is not positive, `start_factor` not in `0..=1`.
    pub fn warm_up(self, epochs: f64, start_factor: f64) -> Result<Self, ScheduleError> {
        Self::WarmUp { epochs, start_factor, then: Box::new(self) }.checked()
    }

    /// This schedule with every rate multiplied by `factor`.
    ///
    /// # Errors
    /// A factor that makes a rate one that no schedule can have.
    pub fn times(self, factor: f64) -> Result<Self, ScheduleError> {
        let mut schedule = self;
        schedule.multiply(factor);
        schedule.checked()
    }

    fn multiply(&mut self, factor: f64) {
        match self {
            Self::Constant { lr } | Self::Step { lr, .. } | Self::MultiStep { lr, .. } => *lr *= factor,
            Self::Cosine { lr, min_lr, .. } => {
                *lr *= factor;
                *min_lr *= factor;
            }
            Self::OneCycle { max_lr, .. } => *max_lr *= factor,
            Self::PiecewiseLinear { points } => points.iter_mut().for_each(|(_, lr)| *lr *= factor),
            Self::WarmUp { then, .. } => then.multiply(factor),
        }
    }

    /// The rates of a batch of `reference` images for one of `batch`: times `batch / reference`, the linear scaling rule of Goyal et al.
    /// (arXiv:1706.02677), for SGD with momentum. Large batches need [`Schedule::gradual_warm_up`] with it.
    ///
    /// # Errors
    /// A batch of 0 images, a rate above [`MAX_LR`].
    pub fn scale_linearly(self, batch: usize, reference: usize) -> Result<Self, ScheduleError> {
        self.times(batch_ratio(batch, reference)?)
    }

    /// Times `sqrt(batch / reference)`, the square-root rule of Krizhevsky (arXiv:1404.5997), which keeps the variance of an update;
    /// also the usual one for Adam and its kin.
    ///
    /// # Errors
    /// As [`Schedule::scale_linearly`].
    pub fn scale_by_root(self, batch: usize, reference: usize) -> Result<Self, ScheduleError> {
        self.times(batch_ratio(batch, reference)?.sqrt())
    }

    /// The gradual warm-up of Goyal et al. (arXiv:1706.02677, section 2.2) for a schedule that was scaled from `reference` images a
    /// batch to `batch` by [`Schedule::scale_linearly`]: starts at the rate before scaling and rises in a straight line, over 5 epochs in the paper. Where the batch is
    /// no larger there is no warm-up.
    ///
    /// # Errors
    /// A batch of 0 images, a length that is not positive.
    pub fn gradual_warm_up(self, batch: usize, reference: usize, epochs: f64) -> Result<Self, ScheduleError> {
        let ratio = batch_ratio(batch, reference)?;
        if ratio <= 1.0 {
            return length_ok("warm_up epochs", epochs).map(|()| self);
        }
        self.warm_up(epochs, 1.0 / ratio)
    }

    /// The rate of the step number `step` (from 0, counted through all epochs) where an epoch has `steps_per_epoch` steps.
    #[must_use]
    pub fn lr(&self, step: u64, steps_per_epoch: u64) -> f32 {
        self.rate(step as f64, steps_per_epoch.max(1) as f64) as f32
    }

    fn rate(&self, step: f64, per_epoch: f64) -> f64 {
        let epoch = step / per_epoch;
        // 0.1 * 390 is a little more than 39: a whole number of steps must not be missed by a rounding error.
        let reached = |milestone: f64| step + 1e-6 >= milestone * per_epoch;
        match self {
            Self::Constant { lr } => *lr,
            Self::Step { lr, every, gamma } => {
                let passed = ((step + 1e-6) / (every * per_epoch)).floor();
                lr * gamma.powf(passed)
            }
            Self::MultiStep { lr, milestones, gamma } => {
                let passed = milestones.iter().filter(|&&m| reached(m)).count();
                lr * gamma.powi(i32::try_from(passed).unwrap_or(i32::MAX))
            }
            Self::Cosine { lr, epochs, min_lr } => half_cosine(*lr, *min_lr, epoch / epochs),
            Self::OneCycle { max_lr, epochs, pct_start, div_factor, final_div_factor } => {
                let total = epochs * per_epoch;
                let (top, end) = ((pct_start * total - 1.0).max(0.0), (total - 1.0).max(0.0));
                let first = max_lr / div_factor;
                if step < top {
                    half_cosine(first, *max_lr, step / top)
                } else if top < end {
                    let last = first / final_div_factor;
                    half_cosine(*max_lr, last, (step - top) / (end - top))
                } else {
                    *max_lr
                }
            }
            Self::PiecewiseLinear { points } => interpolate(points, epoch),
            Self::WarmUp { epochs, start_factor, then } => {
                let factor = start_factor + (1.0 - start_factor) * (epoch / epochs).min(1.0);
                factor * then.rate(step, per_epoch)
            }
        }
    }

    /// Whether every number is in its range; the constructors ask, and so should who reads a schedule from a file.
    ///
    /// # Errors
    /// The first number that is not.
    pub fn check(&self) -> Result<(), ScheduleError> {
        match self {
            Self::Constant { lr } => rate_ok("lr", *lr),
            Self::Step { lr, every, gamma } => {
                rate_ok("lr", *lr)?;
                length_ok("every", *every)?;
                within("gamma", *gamma, 0.0, 1.0, "a number from 0 to 1")
            }
            Self::MultiStep { lr, milestones, gamma } => {
                rate_ok("lr", *lr)?;
                within("gamma", *gamma, 0.0, 1.0, "a number from 0 to 1")?;
                rising("milestones", milestones.iter().copied())
            }
            Self::Cosine { lr, epochs, min_lr } => {
                rate_ok("lr", *lr)?;
                rate_ok("min_lr", *min_lr)?;
                length_ok("epochs", *epochs)
            }
            Self::OneCycle { max_lr, epochs, pct_start, div_factor, final_div_factor } => {
                rate_ok("max_lr", *max_lr)?;
                length_ok("epochs", *epochs)?;
                within("pct_start", *pct_start, 0.0, 1.0, "a number from 0 to 1")?;
                let wanted = "a number from 1 to 1e12";
                within("div_factor", *div_factor, 1.0, 1e12, wanted)?;
                within("final_div_factor", *final_div_factor, 1.0, 1e12, wanted)
            }
            Self::PiecewiseLinear { points } => {
                if points.is_empty() {
                    return Err(ScheduleError {
                        key: "points",
                        wanted: "at least one (epoch, lr)",
                        got: "none".into(),
                    });
                }
                rising("points", points.iter().map(|p| p.0))?;
                points.iter().try_for_each(|p| rate_ok("points", p.1))
            }
            Self::WarmUp { epochs, start_factor, then } => {
                length_ok("warm_up epochs", *epochs)?;
                within("start_factor", *start_factor, 0.0, 1.0, "a number from 0 to 1")?;
                then.check()
            }
        }
    }

    fn checked(self) -> Result<Self, ScheduleError> {
        self.check().map(|()| self)
    }
}

/// From `from` at 0 to `to` at 1 and beyond.
fn half_cosine(from: f64, to: f64, x: f64) -> f64 {
    to + (from - to) * (1.0 + (PI * x.clamp(0.0, 1.0)).cos()) / 2.0
}

fn interpolate(points: &[(f64, f64)], at: f64) -> f64 {
    let after = points.partition_point(|p| p.0 <= at);
    match (after.checked_sub(1).and_then(|i| points.get(i)), points.get(after)) {
        (Some(a), Some(b)) => a.1 + (b.1 - a.1) * (at - a.0) / (b.0 - a.0),
        (Some(only), None) | (None, Some(only)) => only.1,
        (None, None) => 0.0,
    }
}

fn batch_ratio(batch: usize, reference: usize) -> Result<f64, ScheduleError> {
    match (batch, reference) {
        (0, _) | (_, 0) => Err(ScheduleError { key: "batch size", wanted: "at least 1 image", got: "0".into() }),
        _ => Ok(batch as f64 / reference as f64),
    }
}

fn within(key: &'static str, got: f64, low: f64, high: f64, wanted: &'static str) -> Result<(), ScheduleError> {
    // NaN is in no range.
    if (low..=high).contains(&got) { Ok(()) } else { Err(ScheduleError { key, wanted, got: got.to_string() }) }
}

fn rate_ok(key: &'static str, got: f64) -> Result<(), ScheduleError> {
    within(key, got, 0.0, MAX_LR, "a learning rate from 0 to 1e4")
}

fn length_ok(key: &'static str, got: f64) -> Result<(), ScheduleError> {
    within(key, got, f64::MIN_POSITIVE, MAX_EPOCHS, "a length above 0 and at most 1e9 epochs")
}

fn rising(key: &'static str, epochs: impl Iterator<Item = f64>) -> Result<(), ScheduleError> {
    let mut last = -1.0;
    for e in epochs {
        within(key, e, 0.0, MAX_EPOCHS, "epochs from 0 to 1e9")?;
        if e <= last {
            let got = format!("{e} after {last}");
            return Err(ScheduleError { key, wanted: "epochs that rise", got });
        }
        last = e;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn same(s: &Schedule, per_epoch: u64, want: &[(u64, f64)]) {
        for &(step, lr) in want {
            let got = f64::from(s.lr(step, per_epoch));
            assert!((got - lr).abs() <= 1e-6 * lr.abs() + 1e-12, "{s:?} at {step}: {got}, wanted {lr}");
        }
    }

    #[test]
    fn constant_step_and_multi_step() {
        same(&Schedule::constant(0.1).expect("good"), 10, &[(0, 0.1), (999, 0.1)]);
        let s = Schedule::step(0.1, 30.0, 0.1).expect("good");
        same(&s, 10, &[(0, 0.1), (299, 0.1), (300, 0.01), (600, 0.001)]);
        let m = Schedule::multi_step(0.1, &[100.0, 150.0], 0.1).expect("good");
        same(&m, 391, &[(39_099, 0.1), (39_100, 0.01), (58_649, 0.01), (58_650, 0.001)]);
        // 0.1 epochs of 390 steps are 39 steps.
        let fraction = Schedule::multi_step(1.0, &[0.1], 0.5).expect("good");
        same(&fraction, 390, &[(38, 1.0), (39, 0.5)]);
        same(&Schedule::step(1.0, 0.1, 0.5).expect("good"), 390, &[(38, 1.0), (39, 0.5), (117, 0.125)]);
    }

    #[test]
    fn cosine() {
        let s = Schedule::cosine(0.4, 4.0, 0.0).expect("good");
        // cos(pi/4) = 0.70710678: 0.2 * 1.70710678.
        same(&s, 5, &[(0, 0.4), (5, 0.341_421_356), (10, 0.2), (20, 0.0), (99, 0.0)]);
        let floor = Schedule::cosine(0.5, 2.0, 0.1).expect("good");
        same(&floor, 2, &[(0, 0.5), (2, 0.3), (4, 0.1)]);
    }

    #[test]
    fn one_cycle_is_torch() {
        // torch.optim.lr_scheduler.OneCycleLR(max_lr=1, total_steps=10): the top is at step 2, the end at step 9.
        let s = Schedule::one_cycle(1.0, 2.0).expect("good");
        same(
            &s,
            5,
            &[
                (0, 0.04),
                (1, 0.52),
                (2, 1.0),
                // 4e-6 + (1 - 4e-6) * (1 + cos(pi / 7)) / 2, cos(pi / 7) = 0.900968868.
                (3, 0.950_484_632),
                // cos(3 pi / 7) = 0.222520934.
                (5, 0.611_262_022),
                (9, 4e-6),
                (50, 4e-6),
            ],
        );
        // Runs too short to rise or to fall.
        same(&Schedule::one_cycle(1.0, 1.0).expect("good"), 1, &[(0, 1.0), (1, 1.0)]);
        let all_rise = Schedule::one_cycle_with(1.0, 1.0, 1.0, 10.0, 10.0).expect("good");
        same(&all_rise, 3, &[(0, 0.1), (1, 0.55), (2, 1.0), (3, 1.0)]);
    }

    #[test]
    fn piecewise_linear() {
        let s = Schedule::piecewise_linear(&[(0.0, 0.0), (5.0, 0.4), (24.0, 0.0)]).expect("good");
        same(&s, 10, &[(0, 0.0), (25, 0.2), (50, 0.4), (145, 0.2), (240, 0.0), (999, 0.0)]);
        let late = Schedule::piecewise_linear(&[(2.0, 0.3)]).expect("good");
        same(&late, 10, &[(0, 0.3), (20, 0.3), (30, 0.3)]);
    }

    #[test]
    fn warm_up_scales() {
        let s = Schedule::constant(0.8).and_then(|s| s.warm_up(2.0, 0.25)).expect("good");
        same(&s, 4, &[(0, 0.2), (4, 0.5), (8, 0.8), (100, 0.8)]);
        let s = Schedule::step(1.0, 1.0, 0.5).and_then(|s| s.warm_up(2.0, 0.0)).expect("good");
        same(&s, 10, &[(0, 0.0), (5, 0.25), (10, 0.25), (20, 0.25)]);
    }

    #[test]
    fn bad_numbers_are_named() {
        let says = |s: Result<Schedule, ScheduleError>, part: &str| {
            let e = s.expect_err("bad").to_string();
            assert!(e.contains(part), "{e}");
        };
        says(Schedule::constant(f64::NAN), "lr: wanted a learning rate from 0 to 1e4, got NaN");
        says(Schedule::constant(-0.1), "got -0.1");
        says(Schedule::constant(1e30), "lr: ");
        says(Schedule::constant(f64::INFINITY), "got inf");
        says(Schedule::step(0.1, 0.0, 0.1), "every: wanted a length");
        says(Schedule::step(0.1, 1.0, f64::NAN), "gamma: ");
        says(Schedule::multi_step(0.1, &[5.0, 5.0], 0.1), "milestones: wanted epochs that rise, got 5 after 5");
        says(Schedule::multi_step(0.1, &[-1.0], 0.1), "milestones: ");
        says(Schedule::cosine(0.1, f64::NAN, 0.0), "epochs: ");
        says(Schedule::cosine(0.1, 1.0, -1.0), "min_lr: ");
        says(Schedule::one_cycle_with(0.1, 1.0, 1.5, 25.0, 1e4), "pct_start: ");
        says(Schedule::one_cycle_with(0.1, 1.0, 0.5, 0.0, 1e4), "div_factor: ");
        says(Schedule::piecewise_linear(&[]), "points: wanted at least one");
        says(Schedule::piecewise_linear(&[(0.0, 0.1), (1.0, f64::NAN)]), "points: ");
        says(Schedule::constant(0.1).and_then(|s| s.warm_up(-1.0, 0.0)), "warm_up epochs: ");
        says(Schedule::constant(0.1).and_then(|s| s.warm_up(1.0, 2.0)), "start_factor: ");
    }

    #[test]
    fn rates_follow_the_batch() {
        // Goyal et al.: 0.1 for 256 images, 8192 images, warm-up from 0.1 to 3.2 over 5 epochs, then a tenth at 30.
        let base = || Schedule::step(0.1, 30.0, 0.1).expect("good");
        let large = base().scale_linearly(8192, 256).and_then(|s| s.gradual_warm_up(8192, 256, 5.0)).expect("good");
        same(&large, 10, &[(0, 0.1), (25, 1.65), (50, 3.2), (299, 3.2), (300, 0.32)]);
        same(&base().scale_by_root(1024, 256).expect("good"), 10, &[(0, 0.2), (300, 0.02)]);
        // A smaller batch has a smaller rate and nothing to warm up for.
        let small = base().scale_linearly(64, 256).and_then(|s| s.gradual_warm_up(64, 256, 5.0)).expect("good");
        same(&small, 10, &[(0, 0.025), (300, 0.0025)]);
        let all = [
            Schedule::cosine(0.4, 4.0, 0.1),
            Schedule::one_cycle(0.4, 4.0),
            Schedule::piecewise_linear(&[(0.0, 0.1), (1.0, 0.5), (2.0, 0.0)]),
            Schedule::multi_step(0.4, &[1.0], 0.1).and_then(|s| s.warm_up(1.0, 0.5)),
        ];
        for s in all.map(|s| s.expect("good")) {
            let twice = s.clone().times(2.0).expect("good");
            assert!((0..50).all(|step| (twice.lr(step, 10) - 2.0 * s.lr(step, 10)).abs() < 1e-6), "{s:?}");
        }
        assert!(base().scale_linearly(0, 256).is_err() && base().scale_by_root(256, 0).is_err());
        assert!(base().times(f64::NAN).is_err() && base().times(-1.0).is_err() && base().times(1e9).is_err());
        assert!(base().gradual_warm_up(1, 256, 0.0).is_err());
    }

    #[test]
    fn rates_are_never_nan_or_negative() {
        let all = [
            Schedule::step(0.1, 1e-300, 0.5).expect("good"),
            Schedule::one_cycle_with(0.1, 1e-3, 0.0, 1.0, 1.0).expect("good"),
            Schedule::cosine(0.1, 1e9, 0.2).expect("good"),
        ];
        for s in &all {
            for step in [0, 1, 1000, u64::MAX] {
                for per_epoch in [0, 1, 390] {
                    let lr = s.lr(step, per_epoch);
                    assert!(lr.is_finite() && lr >= 0.0, "{s:?} {step} {per_epoch}: {lr}");
                }
            }
        }
    }

    #[test]
    fn plain_data_survives_json() {
        let s = Schedule::one_cycle(0.4, 8.0).and_then(|s| s.warm_up(1.0, 0.1)).expect("good");
        let json = serde_json::to_string(&s).expect("json");
        assert_eq!(serde_json::from_str::<Schedule>(&json).expect("back"), s);
        assert!(serde_json::from_str::<Schedule>(r#"{"kind":"constant","lr":1,"x":2}"#).is_err());
    }
}
