//! Whether the settings make sense: every number in its range, every name known, before data or device are touched.

use super::derived::Source;
use super::{OptimizerKind, ScheduleKind, Settings, keys};
use crate::models::names;
use wgrad::tensor::Tier;
use wgrad::trainer::TrainError;
use wgrad::trainer::schedule::{MAX_EPOCHS, MAX_LR};

/// Most pixels of a side.
const MAX_SIZE: usize = 8192;
/// Most threads; above lie only slips of the keyboard.
const MAX_THREADS: usize = 1024;
/// Largest budget of memory in MiB.
const MAX_MEMORY_MIB: u64 = 1 << 32;

fn refused(name: &'static str, wanted: impl Into<String>, got: impl ToString) -> TrainError {
    TrainError::Setting { name, wanted: wanted.into(), got: got.to_string() }
}

impl Settings {
    /// Whether nothing was said of what the schedule and the optimiser do not know. Asked before defaults are filled in.
    pub(super) fn check_use(&self) -> Result<(), TrainError> {
        use ScheduleKind::{Cosine, MultiStep, OneCycle, Step};
        let of_schedules: [(&'static str, bool, &[ScheduleKind]); 7] = [
            ("step_every", self.step_every.is_some(), &[Step]),
            ("milestones", self.milestones.is_some(), &[MultiStep]),
            ("gamma", self.gamma.is_some(), &[Step, MultiStep]),
            ("min_lr", self.min_lr.is_some(), &[Cosine]),
            ("pct_start", self.pct_start.is_some(), &[OneCycle]),
            ("div_factor", self.div_factor.is_some(), &[OneCycle]),
            ("final_div_factor", self.final_div_factor.is_some(), &[OneCycle]),
        ];
        for (name, is_given, knows) in of_schedules {
            if is_given && !knows.contains(&self.schedule) {
                return Err(refused(name, format!("none with schedule {:?}", self.schedule), "one"));
            }
        }
        use OptimizerKind::{Adagrad, Adam, Adamw, Sgd};
        if self.momentum.is_some() && [Adam, Adamw, Adagrad].contains(&self.optimizer) {
            return Err(refused("momentum", format!("none with optimizer {:?}", self.optimizer), "one"));
        }
        if self.nesterov.is_some() && self.optimizer != Sgd {
            return Err(refused("nesterov", format!("none with optimizer {:?}", self.optimizer), "one"));
        }
        Ok(())
    }

    /// Whether every setting is in its range.
    pub(super) fn check(&self) -> Result<(), TrainError> {
        self.check_counts()?;
        self.check_numbers()?;
        self.check_names()?;
        self.lr_schedule()?;
        if self.optimizer == OptimizerKind::Sgd {
            self.sgd().check()?;
        }
        self.update().check(&self.numbers()?)?;
        match self.augment.as_ref().and_then(|augment| augment.wrong_setting()) {
            Some(name) => Err(refused("augment", "numbers in their ranges", format!("another for {name}"))),
            None => Ok(()),
        }
    }

    fn check_counts(&self) -> Result<(), TrainError> {
        let counts = [
            ("every", Some(self.every as u64)),
            ("size", self.size.map(|size| size as u64)),
            ("epochs", Some(self.epochs.into())),
            ("batch_size", Some(self.batch_size as u64)),
            ("accumulate", Some(self.accumulate.into())),
            ("memory", self.memory),
            ("checkpoint_every", self.checkpoint_every),
            ("keep", Some(self.keep as u64)),
            ("patience", self.patience.map(u64::from)),
        ];
        if let Some((name, _)) = counts.into_iter().find(|(_, count)| *count == Some(0)) {
            return Err(refused(name, "at least 1", 0));
        }
        if let Some(size) = self.size.filter(|size| *size > MAX_SIZE) {
            return Err(refused("size", format!("at most {MAX_SIZE} pixels"), size));
        }
        if self.threads > MAX_THREADS {
            return Err(refused("threads", format!("at most {MAX_THREADS}"), self.threads));
        }
        match self.memory.filter(|memory| *memory > MAX_MEMORY_MIB) {
            Some(memory) => Err(refused("memory", format!("at most {MAX_MEMORY_MIB} MiB"), memory)),
            None => Ok(()),
        }
    }

    fn check_numbers(&self) -> Result<(), TrainError> {
        let Some(lr) = self.lr else {
            return Err(refused("lr", format!("a rate: optimizer {:?} has no usual one", self.optimizer), "none"));
        };
        type Range = fn(f64) -> bool;
        let part: Range = |share| (0.0..1.0).contains(&share);
        let alpha: Range = |alpha| alpha > 0.0 && alpha <= 100.0;
        let length: Range = |epochs| epochs > 0.0 && epochs <= MAX_EPOCHS;
        let from_0_to_10000: Range = |number| (0.0..=MAX_LR).contains(&number);
        let numbers = [
            ("lr", Some(lr), from_0_to_10000, "a number from 0 to 10000"),
            ("step_every", self.step_every, length, "a number of epochs above 0"),
            ("warm_up", self.warm_up, length, "a number of epochs above 0"),
            ("momentum", self.momentum, part, "a number from 0 to below 1"),
            ("weight_decay", self.weight_decay, from_0_to_10000, "a number from 0 to 10000"),
            ("clip_norm", self.clip_norm, |norm| norm > 0.0 && norm <= 1e30, "a number above 0"),
            ("label_smoothing", Some(self.label_smoothing), part, "a number from 0 to below 1"),
            ("mixup", self.mixup, alpha, "a number above 0, at most 100"),
            ("cutmix", self.cutmix, alpha, "a number above 0, at most 100"),
            (
                "bad_image_share",
                Some(self.bad_image_share),
                |share| (0.0..=1.0).contains(&share),
                "a number from 0 to 1",
            ),
            ("tune", Some(self.tune), |seconds| (0.0..=1e6).contains(&seconds), "seconds from 0 to 1000000"),
        ];
        for (name, number, is_good, wanted) in numbers {
            if let Some(number) = number.filter(|number| !is_good(*number)) {
                return Err(refused(name, wanted, number));
            }
        }
        Ok(())
    }

    fn check_names(&self) -> Result<(), TrainError> {
        let model = self.model.as_deref().unwrap_or_default();
        if !names().any(|name| name == model) {
            let hint = keys::hint(model, names());
            return Err(refused("model", "a network of the zoo", format!("{model:?}{hint}")));
        }
        if let Some(tier) = self.tier.as_ref().filter(|tier| tier.parse::<Tier>().is_err()) {
            return Err(refused("tier", format!("one of {}", Tier::NAMES.join(", ")), format!("{tier:?}")));
        }
        match (Source::of(&self.data), self.size, &self.data_folder) {
            (Source::Files, _, Some(folder)) => {
                let wanted = "none: `data` says where images of files are; or the name of a data set there";
                Err(refused("data_folder", wanted, format!("{}, and data {:?}", folder.display(), self.data)))
            }
            (Source::Files, ..) | (_, None, _) => Ok(()),
            (_, Some(size), _) => Err(refused("size", format!("none: images of {} have their own", self.data), size)),
        }
    }
}
