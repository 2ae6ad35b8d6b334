//! The whole loop behind a builder.

mod attached;
mod epochs;
mod evaluate;
mod finetune;
mod lock;
mod output;
mod recipe;
mod report;
mod resume;
mod run;
mod saver;
mod state;
mod stop;
mod translate;
mod views;

pub use evaluate::{Evaluation, evaluate};
pub use finetune::BodyRates;
pub use output::Output;
pub use recipe::Airbench94;
pub use report::{Report, Trained};
pub use resume::Resume;
pub use saver::FileWriter;
pub use stop::{Stop, StopReason};
pub use translate::evaluate_mirror_translate;
pub use views::evaluate_views;

use crate::augment::{Augment, View};
use crate::data::{Dataset, Splits};
use crate::error::TrainError;
use crate::loader::{BAD_IMAGE_SHARE, LastBatch, LoaderOptions, Mix};
use crate::precision::Precision;
use crate::schedule::Schedule;
use crate::step::{SgdConfig, StepOptions};
use crate::tuning::TuningFile;
use crate::update::{GroupRule, Optimizer, UpdateConfig};
use crate::weights::LoadOptions;
use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use wgrad_layers::Layer;
use wgrad_tensor::{CompileOptions, Device, DeviceOptions, Params};

/// Steps under way while the loss of an earlier one is read: the loss of step N-2 is read after step N was handed in.
const LAG: usize = 2;

/// How a run shows its progress.
pub enum Show {
    /// A bar on a terminal, a line every ten seconds elsewhere; lines go to standard output.
    Auto,
    /// Lines only, to this writer.
    Lines(Box<dyn Write + Send>),
    /// Nothing.
    Nothing,
}

impl std::fmt::Debug for Show {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Show::Auto => "Auto",
            Show::Lines(_) => "Lines",
            Show::Nothing => "Nothing",
        })
    }
}

/// Trains a network on a data set: SGD with a learning-rate schedule, augmentation on prefetch threads, a test after each
/// epoch, logs, curves and checkpoints in a folder of the run's own.
///
/// Every setting has a default; all of them are checked before anything is opened, made or written. Two runs with the same
/// settings on the same device give the same weights, whatever the number of threads.
///
/// ```no_run
/// use wgrad_trainer::{Augment, Border, Schedule, Trainer, data};
/// # fn run(model: Box<dyn wgrad_layers::Layer>) -> Result<(), Box<dyn std::error::Error>> {
/// let splits = data::open::cifar10("data/cifar-10-batches-bin".as_ref())?;
/// let trained = Trainer::new(model, splits)
///     .epochs(30)
///     .batch_size(128)
///     .schedule(Schedule::one_cycle(0.4, 30.0)?)
///     .augment(Augment::none().pad_crop(4, Border::Zero).flip())
///     .run()?;
/// println!("{}", trained.report.result_line());
/// # Ok(())
/// # }
/// ```
pub struct Trainer {
    model: Box<dyn Layer>,
    data: Splits,
    name: String,
    architecture: Option<String>,
    epochs: u32,
    batch_size: usize,
    eval_batch_size: Option<usize>,
    eval_every: u32,
    log_every: u32,
    schedule: Schedule,
    sgd: SgdConfig,
    update: UpdateConfig,
    /// What was asked for one by one; it holds over `update`, whichever came first.
    optimizer: Option<Optimizer>,
    rules: Vec<GroupRule>,
    body: BodyRates,
    label_smoothing: f32,
    augment: Augment,
    augment_on_device: bool,
    mix: Option<Mix>,
    eval_view: Option<View>,
    bad_image_share: f64,
    preview: Option<PathBuf>,
    last: LastBatch,
    threads: usize,
    seed: u64,
    weights: Option<PathBuf>,
    first_weights: Option<FirstWeights>,
    pretrained: Option<(PathBuf, LoadOptions)>,
    replace_head: bool,
    device: Option<Device>,
    device_options: DeviceOptions,
    output: Output,
    show: Show,
    precision: Precision,
    compile: CompileOptions,
    tuning: TuningFile,
    tune: Duration,
    started: Option<Instant>,
    resume: Option<Resume>,
    checkpoint_every: Option<u64>,
    keep: usize,
    patience: Option<u32>,
    stop: Stop,
    checkpoint_writer: Option<FileWriter>,
    /// Files of the caller's for the run's folder: name and contents.
    attached: Vec<(&'static str, Vec<u8>)>,
}

impl std::fmt::Debug for Trainer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Trainer")
            .field("name", &self.name)
            .field("data", &self.data.train.name)
            .field("epochs", &self.epochs)
            .field("batch_size", &self.batch_size)
            .field("schedule", &self.schedule)
            .field("sgd", &self.sgd)
            .field("augment", &self.augment)
            .field("seed", &self.seed)
            .field("weights", &self.weights)
            .field("output", &self.output)
            .finish_non_exhaustive()
    }
}

/// Changes the weights that a run starts with.
type FirstWeights = Box<dyn FnOnce(&mut Params, &Dataset) -> Result<(), TrainError>>;

/// Seed where none is given.
const DEFAULT_SEED: u64 = 1;
/// Epochs where no number is given.
const DEFAULT_EPOCHS: u32 = 10;
/// Checkpoints that are kept where no number is given.
const DEFAULT_KEEP: usize = 3;
/// Learning rate where no schedule is given.
const DEFAULT_LR: f64 = 0.05;

impl Trainer {
    /// A run of `model` on `data`: 10 epochs, batch 128, learning rate 0.05, momentum 0.9, weight decay 1e-4, no
    /// augmentation, 2 prefetch threads, seed 1, results in `runs/`.
    #[must_use]
    pub fn new(model: impl Layer + 'static, data: Splits) -> Trainer {
        Trainer {
            model: Box::new(model),
            name: data.train.name.clone(),
            data,
            architecture: None,
            epochs: DEFAULT_EPOCHS,
            batch_size: 128,
            eval_batch_size: None,
            eval_every: 1,
            log_every: 10,
            schedule: Schedule::Constant { lr: DEFAULT_LR },
            sgd: SgdConfig::default(),
            update: UpdateConfig::default(),
            optimizer: None,
            rules: Vec::new(),
            body: BodyRates::default(),
            label_smoothing: 0.0,
            augment: Augment::none(),
            augment_on_device: false,
            mix: None,
            eval_view: None,
            bad_image_share: BAD_IMAGE_SHARE,
            preview: None,
            last: LastBatch::Drop,
            threads: 2,
            seed: DEFAULT_SEED,
            weights: None,
            first_weights: None,
            pretrained: None,
            replace_head: false,
            device: None,
            device_options: DeviceOptions::default(),
            output: Output::default(),
            show: Show::Auto,
            precision: Precision::default(),
            compile: CompileOptions::default(),
            tuning: TuningFile::default(),
            tune: Duration::ZERO,
            started: None,
            resume: None,
            checkpoint_every: None,
            keep: DEFAULT_KEEP,
            patience: None,
            stop: Stop::default(),
            checkpoint_writer: None,
            attached: Vec::new(),
        }
    }

    /// What the run, its folder and its checkpoints are called; the data set's name if not given.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Trainer {
        self.name = name.into();
        self
    }

    /// The network's name as [`by_name`](wgrad_layers::models::by_name) takes it, for the files of this run: with it a
    /// [`Classifier`](crate::Classifier) needs nothing but the file. A network of one's own has none.
    #[must_use]
    pub fn architecture(mut self, name: impl Into<String>) -> Trainer {
        self.architecture = Some(name.into());
        self
    }

    /// Passes over the training set.
    #[must_use]
    pub fn epochs(mut self, epochs: u32) -> Trainer {
        self.epochs = epochs;
        self
    }

    /// Images in a training step.
    #[must_use]
    pub fn batch_size(mut self, batch_size: usize) -> Trainer {
        self.batch_size = batch_size;
        self
    }

    /// Images in an evaluation step; the training batch size if not given. Changes no result but its last bits.
    #[must_use]
    pub fn eval_batch_size(mut self, batch_size: usize) -> Trainer {
        self.eval_batch_size = Some(batch_size);
        self
    }

    /// Tests after every so many epochs, and always after the last.
    #[must_use]
    pub fn eval_every(mut self, epochs: u32) -> Trainer {
        self.eval_every = epochs;
        self
    }

    /// Writes a step record, a mean over the steps since the last one, after every so many steps.
    #[must_use]
    pub fn log_every(mut self, steps: u32) -> Trainer {
        self.log_every = steps;
        self
    }

    /// The learning rate of every step.
    #[must_use]
    pub fn schedule(mut self, schedule: Schedule) -> Trainer {
        self.schedule = schedule;
        self
    }

    /// All settings of the optimiser.
    #[must_use]
    pub fn sgd(mut self, sgd: SgdConfig) -> Trainer {
        self.sgd = sgd;
        self
    }

    /// Momentum, in `0..1`.
    #[must_use]
    pub fn momentum(mut self, momentum: f32) -> Trainer {
        self.sgd.momentum = momentum;
        self
    }

    /// Whether momentum looks ahead (Nesterov).
    #[must_use]
    pub fn nesterov(mut self, nesterov: bool) -> Trainer {
        self.sgd.nesterov = nesterov;
        self
    }

    /// Weight decay, at least 0.
    #[must_use]
    pub fn weight_decay(mut self, weight_decay: f32) -> Trainer {
        self.sgd.weight_decay = weight_decay;
        self
    }

    /// Label smoothing, in `0..1`.
    #[must_use]
    pub fn label_smoothing(mut self, label_smoothing: f32) -> Trainer {
        self.label_smoothing = label_smoothing;
        self
    }

    /// Random changes of the training images.
    #[must_use]
    pub fn augment(mut self, augment: Augment) -> Trainer {
        self.augment = augment;
        self
    }

    /// Whether the device does what of [`Trainer::augment`] only moves pixels: crop, flips, translation and cutout, with the same
    /// pixels and so the same weights. An augmentation that changes pixels in another way after the view, a mixed one too, is then
    /// refused. The default is no: prefetch threads do it.
    #[must_use]
    pub fn augment_on_device(mut self, on_device: bool) -> Trainer {
        self.augment_on_device = on_device;
        self
    }

    /// Mixes the images of each training batch pixel by pixel, and their labels alike ([`Mix::MixUp`]); with
    /// [`Trainer::cutmix`] each batch gets one of the two. The accuracy in training is then that of the images' own labels.
    #[must_use]
    pub fn mixup(mut self, alpha: f32) -> Trainer {
        self.mix = Some(Mix::and_mixup(self.mix, alpha));
        self
    }

    /// Pastes a rectangle of another image into each image of a training batch, and shares the labels by area
    /// ([`Mix::CutMix`]); see [`Trainer::mixup`].
    #[must_use]
    pub fn cutmix(mut self, alpha: f32) -> Trainer {
        self.mix = Some(Mix::and_cutmix(self.mix, alpha));
        self
    }

    /// Which part of a test image is seen; if not given, all of an image of the data set's size, and the middle of others.
    #[must_use]
    pub fn eval_view(mut self, view: View) -> Trainer {
        self.eval_view = Some(view);
        self
    }

    /// Part of the images that may be unreadable, 0.001 if not given: in training the next one stands in for each, in tests it
    /// is left out. Each is named once.
    #[must_use]
    pub fn bad_image_share(mut self, share: f64) -> Trainer {
        self.bad_image_share = share;
        self
    }

    /// Writes the first images of the first epoch, as the network will get them, to this PNG before training begins. It may lie
    /// in the folder for the results, which is made before; a file of that name is replaced.
    #[must_use]
    pub fn preview(mut self, path: impl Into<PathBuf>) -> Trainer {
        self.preview = Some(path.into());
        self
    }

    /// What becomes of the images that fill no batch at the end of an epoch: dropped (the default) or wrapped around.
    #[must_use]
    pub fn last_batch(mut self, last: LastBatch) -> Trainer {
        self.last = last;
        self
    }

    /// Prefetch threads; 0 makes each batch when it is asked for. The number changes no result.
    #[must_use]
    pub fn threads(mut self, threads: usize) -> Trainer {
        self.threads = threads;
        self
    }

    /// What initial weights, order, augmentation and dropout follow from.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Trainer {
        self.seed = seed;
        self
    }

    /// Starts from the weights and running statistics of this checkpoint or model file, which must be of this very model;
    /// steps are counted from 0 and momentum starts at zero.
    #[must_use]
    pub fn weights(mut self, path: impl Into<PathBuf>) -> Trainer {
        self.weights = Some(path.into());
        self
    }

    /// Changes the first weights before the first step, after they were drawn or loaded: filters that come from the training images, a
    /// scale of one's own. `change` is handed the parameters and the training set.
    #[must_use]
    pub fn first_weights(
        mut self,
        change: impl FnOnce(&mut Params, &Dataset) -> Result<(), TrainError> + 'static,
    ) -> Trainer {
        self.first_weights = Some(Box::new(change));
        self
    }

    /// An open device to train on.
    #[must_use]
    pub fn device(mut self, device: Device) -> Trainer {
        self.device = Some(device);
        self
    }

    /// Which device to open, where none is given.
    #[must_use]
    pub fn device_options(mut self, options: DeviceOptions) -> Trainer {
        self.device_options = options;
        self
    }

    /// The folder for the results, which must be new or empty.
    #[must_use]
    pub fn out(mut self, folder: impl Into<PathBuf>) -> Trainer {
        self.output = Output::Folder(folder.into());
        self
    }

    /// Where the results go.
    #[must_use]
    pub fn output(mut self, output: Output) -> Trainer {
        self.output = output;
        self
    }

    /// How progress is shown.
    #[must_use]
    pub fn show(mut self, show: Show) -> Trainer {
        self.show = show;
        self
    }

    /// With which numbers is computed; f32 if not given.
    #[must_use]
    pub fn precision(mut self, precision: Precision) -> Trainer {
        self.precision = precision;
        self
    }

    /// How the plans are compiled; how algorithms are chosen is said by [`Trainer::tuning`] and [`Trainer::tune`].
    #[must_use]
    pub fn compile_options(mut self, options: CompileOptions) -> Trainer {
        self.compile = options;
        self
    }

    /// Measured choices among algorithms: those that it holds are taken, what [`Trainer::tune`] measures is added. None if
    /// not given: the rules choose.
    #[must_use]
    pub fn tuning(mut self, file: TuningFile) -> Trainer {
        self.tuning = file;
        self
    }

    /// Times algorithms for at most so long before training begins. Zero if not given: what is chosen, and so every bit of
    /// the result, depends on no clock.
    #[must_use]
    pub fn tune(mut self, budget: Duration) -> Trainer {
        self.tune = budget;
        self
    }

    /// When the program started, so that the report's `first_step_s` counts all of the way to the first step. The start of
    /// [`Trainer::run`] if not given.
    #[must_use]
    pub fn started(mut self, at: Instant) -> Trainer {
        self.started = Some(at);
        self
    }

    /// Whether all settings make sense together. Opens, makes and writes nothing; [`Trainer::run`] asks first of all.
    ///
    /// # Errors
    /// The first setting that does not.
    pub fn check(&self) -> Result<(), TrainError> {
        let (train, test) = (&self.data.train, &self.data.test);
        for (name, number) in [("epochs", self.epochs), ("eval_every", self.eval_every), ("log_every", self.log_every)]
        {
            if number == 0 {
                return Err(TrainError::setting(name, "at least 1", 0));
            }
        }
        for (name, number) in [
            ("checkpoint_every", self.checkpoint_every),
            ("keep", Some(self.keep as u64)),
            ("patience", self.patience.map(u64::from)),
        ] {
            if number == Some(0) {
                return Err(TrainError::setting(name, "at least 1", 0));
            }
        }
        if self.eval_batch_size == Some(0) {
            return Err(TrainError::setting("eval batch size", "at least 1", 0));
        }
        self.step_options(self.batch_size, Duration::ZERO).check()?;
        self.schedule.check()?;
        train.check()?;
        test.check()?;
        let images = |set: &Dataset| [set.channels, set.height, set.width, set.classes()];
        if images(train) != images(test) {
            let text = |set: &Dataset| format!("{:?}", images(set));
            let wanted = format!("[channels, height, width, classes] {} as the training set has", text(train));
            return Err(TrainError::setting("test set", wanted, text(test)));
        }
        if self.batch_size > train.len() {
            let wanted = format!("at most the {} images of data set {}", train.len(), train.name);
            return Err(TrainError::setting("batch size", wanted, self.batch_size));
        }
        if self.mix.is_some() && self.batch_size < 2 {
            return Err(TrainError::setting("batch size", "at least 2 images to mix", self.batch_size));
        }
        if self.last == LastBatch::Pad {
            return Err(TrainError::setting("last batch", "drop or wrap for training", "pad"));
        }
        if let (Some(weights), Some((pretrained, _))) = (&self.weights, &self.pretrained) {
            let got = format!("{} and {}", weights.display(), pretrained.display());
            return Err(TrainError::setting("first weights", "weights or pretrained, not both", got));
        }
        let loading = self.loader_options();
        if let Some(got) = loading.not_on_device().filter(|_| self.augment_on_device) {
            let wanted = "crop, flips, translation and cutout alone after the view";
            return Err(TrainError::setting("augmentation on the device", wanted, got));
        }
        loading.check()?;
        match (&self.resume, &self.output) {
            (None, output) => output.check(),
            (Some(_), Output::Folder(_)) => Ok(()),
            (Some(_), output) => {
                Err(TrainError::setting("resume", "the run's folder, given by `out`", format!("{output:?}")))
            }
        }
    }

    fn step_options(&self, batch_size: usize, tune: Duration) -> StepOptions {
        let tuning = self.tuning.tuning(tune);
        StepOptions {
            label_smoothing: self.label_smoothing,
            soft_targets: self.mix.is_some(),
            device_moves: self.augment_on_device,
            sgd: self.sgd,
            update: self.update_config(),
            precision: self.precision,
            compile: CompileOptions { tuning, ..self.compile.clone() },
            ..StepOptions::new(&self.data.train, batch_size)
        }
    }

    fn loader_options(&self) -> LoaderOptions {
        let options = LoaderOptions::train(self.batch_size, self.seed).augment(self.augment.clone());
        LoaderOptions {
            last: self.last,
            mix: self.mix,
            device_moves: self.augment_on_device,
            bad_image_share: self.bad_image_share,
            queue: self.threads.saturating_mul(2).max(4),
            ..options.threads(self.threads)
        }
    }
}
