//! Defaults that follow from other settings: from the data set the network and the augmentation, from the network the size, from
//! optimiser and schedule their numbers.

use super::{OptimizerKind, ScheduleKind, Settings};
use crate::models::usual;
use wgrad::prelude::{Augment, Border};
use wgrad::trainer::View;

/// What kind of data a run learns from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Cifar10,
    Cifar100,
    Mnist,
    FashionMnist,
    /// A folder of images or record files.
    Files,
}

impl Source {
    /// Names of data sets; everything else is a path.
    pub(crate) fn of(data: &str) -> Source {
        match data {
            "cifar10" => Source::Cifar10,
            "cifar100" => Source::Cifar100,
            "mnist" => Source::Mnist,
            "fashion-mnist" => Source::FashionMnist,
            _ => Source::Files,
        }
    }

    fn model(self) -> &'static str {
        match self {
            Source::Cifar10 | Source::Cifar100 => "resnet20",
            Source::Mnist | Source::FashionMnist => "resnet8",
            Source::Files => "resnet18",
        }
    }

    /// Crops have at least 35 % of the area: short runs learn more of them than of ImageNet's usual 8 %.
    fn augment(self) -> Augment {
        match self {
            Source::Cifar10 | Source::Cifar100 => Augment::none().pad_crop(4, Border::Zero).flip(),
            // A digit's mirror image is none.
            Source::Mnist => Augment::none(),
            Source::FashionMnist => Augment::none().flip(),
            Source::Files => {
                Augment::none().view(View::RandomResized { area: [0.35, 1.0], ratio: [0.75, 4.0 / 3.0] }).flip()
            }
        }
    }
}

impl Settings {
    /// Fills in what was not said. Learning rates of LARS and Muon depend on too much to be guessed.
    pub(super) fn fill(&mut self) {
        let source = Source::of(&self.data);
        let model = self.model.get_or_insert_with(|| source.model().to_string());
        if source == Source::Files {
            self.size.get_or_insert(usual(model).size);
        }
        self.augment.get_or_insert_with(|| source.augment());
        let (lr, momentum, decay) = match self.optimizer {
            OptimizerKind::Sgd => (Some(0.1), Some(0.9), 5e-4),
            OptimizerKind::Adam => (Some(0.001), None, 5e-4),
            OptimizerKind::Adamw => (Some(0.001), None, 0.01),
            OptimizerKind::Rmsprop => (Some(0.01), Some(0.0), 5e-4),
            OptimizerKind::Adagrad => (Some(0.01), None, 5e-4),
            OptimizerKind::Lars => (None, Some(0.9), 5e-4),
            OptimizerKind::Muon => (None, Some(0.95), 5e-4),
        };
        self.lr = self.lr.or(lr);
        self.momentum = self.momentum.or(momentum);
        self.weight_decay.get_or_insert(decay);
        if self.optimizer == OptimizerKind::Sgd {
            self.nesterov.get_or_insert(self.momentum != Some(0.0));
        }
        let epochs = f64::from(self.epochs);
        match self.schedule {
            ScheduleKind::OneCycle => {
                self.pct_start.get_or_insert(0.3);
                self.div_factor.get_or_insert(25.0);
                self.final_div_factor.get_or_insert(1e4);
            }
            ScheduleKind::Step => {
                self.step_every.get_or_insert(epochs / 3.0);
                self.gamma.get_or_insert(0.1);
            }
            ScheduleKind::MultiStep => {
                self.milestones.get_or_insert_with(|| vec![0.5 * epochs, 0.75 * epochs]);
                self.gamma.get_or_insert(0.1);
            }
            ScheduleKind::Cosine => {
                self.min_lr.get_or_insert(0.0);
            }
            ScheduleKind::Constant => {}
        }
    }
}
