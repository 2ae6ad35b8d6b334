//! What the settings come to: schedule, optimiser, precision, device.

use super::{DecayKind, OptimizerKind, ScheduleKind, Settings};
use wgrad::prelude::{DeviceOptions, Schedule, SgdConfig};
use wgrad::tensor::ops::optimizer::{Adagrad, AdamW, Lars, Muon, RmsProp};
use wgrad::trainer::{Decay, Optimizer, Precision, ScheduleError, TrainError, UpdateConfig};

/// What a number that [`Settings::fill`] fills in comes to where nobody did.
fn number(value: Option<f64>) -> f64 {
    value.unwrap_or(f64::NAN)
}

impl Settings {
    /// The learning rate of every step.
    pub(crate) fn lr_schedule(&self) -> Result<Schedule, ScheduleError> {
        let (lr, epochs) = (number(self.lr), f64::from(self.epochs));
        let schedule = match self.schedule {
            ScheduleKind::Constant => Schedule::constant(lr),
            ScheduleKind::Step => Schedule::step(lr, number(self.step_every), number(self.gamma)),
            ScheduleKind::MultiStep => {
                Schedule::multi_step(lr, self.milestones.as_deref().unwrap_or_default(), number(self.gamma))
            }
            ScheduleKind::Cosine => Schedule::cosine(lr, epochs, number(self.min_lr)),
            ScheduleKind::OneCycle => {
                let (div, last) = (number(self.div_factor), number(self.final_div_factor));
                Schedule::one_cycle_with(lr, epochs, number(self.pct_start), div, last)
            }
        }?;
        match self.warm_up {
            // From a hundredth: at a rate of 0 the first step would be for nothing.
            Some(epochs) => schedule.warm_up(epochs, 0.01),
            None => Ok(schedule),
        }
    }

    /// Momentum and weight decay.
    pub(crate) fn sgd(&self) -> SgdConfig {
        SgdConfig {
            momentum: self.momentum.unwrap_or(0.0) as f32,
            nesterov: self.nesterov.unwrap_or(false),
            weight_decay: number(self.weight_decay) as f32,
            decay: match self.decay {
                DecayKind::All => Decay::All,
                DecayKind::Matrices => Decay::Matrices,
            },
            ..SgdConfig::default()
        }
    }

    /// How gradients become new weights.
    pub(crate) fn update(&self) -> UpdateConfig {
        let momentum = self.momentum.unwrap_or(0.0) as f32;
        let optimizer = match self.optimizer {
            OptimizerKind::Sgd => Optimizer::Sgd,
            OptimizerKind::Adam => Optimizer::AdamW(AdamW { decoupled: false, ..AdamW::default() }),
            OptimizerKind::Adamw => Optimizer::AdamW(AdamW::default()),
            OptimizerKind::Rmsprop => Optimizer::RmsProp(RmsProp { momentum, ..RmsProp::default() }),
            OptimizerKind::Adagrad => Optimizer::Adagrad(Adagrad::default()),
            OptimizerKind::Lars => Optimizer::Lars(Lars { momentum, ..Lars::default() }),
            OptimizerKind::Muon => Optimizer::Muon(Muon { momentum, ..Muon::default() }),
        };
        let clip_norm = self.clip_norm.map(|norm| norm as f32);
        UpdateConfig { optimizer, clip_norm, accumulate: self.accumulate, ..UpdateConfig::default() }
    }

    /// The numbers to compute with.
    pub(crate) fn numbers(&self) -> Result<Precision, TrainError> {
        self.precision.parse()
    }

    /// Which device to open.
    pub(crate) fn device_options(&self) -> DeviceOptions {
        // That the tier has a name that is known, `check` has asked.
        let tier = self.tier.as_ref().and_then(|name| name.parse().ok());
        DeviceOptions { adapter: self.adapter.clone(), tier, ..DeviceOptions::default() }
    }
}
