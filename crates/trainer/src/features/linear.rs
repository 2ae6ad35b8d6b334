//! Linear classifiers on features: multinomial logistic regression and a support vector machine.

use crate::data::Features;
use crate::error::TrainError;
use crate::inference::{Tally, softmax};
use crate::step::{Decay, SgdConfig};
use crate::train::Evaluation;
use crate::update::UpdateConfig;
use wgrad_layers::{Layer, Linear, losses};
use wgrad_tensor::philox::{permutation, purpose};
use wgrad_tensor::{
    Array, CompileOptions, Device, Feed, Graph, Init, Mode, Params, Plan, Scope, Shape, TensorDesc, Value, gradients,
    weights,
};

/// What a linear classifier minimises, beside the squares of its weights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LinearLoss {
    /// Softmax cross-entropy: multinomial logistic regression, whose scores are the logits of probabilities.
    #[default]
    Softmax,
    /// Squared multi-class hinge ([`losses::squared_hinge`]): a linear support vector machine. Its scores are margins.
    Svm,
}

/// How a linear classifier is fitted: on the device, from zero, by gradient descent with Nesterov's momentum 0.9 and a rate that
/// falls to 0 in a straight line.
///
/// Features are standardised with mean and deviation of the training set and divided by the root of their number, so that rows
/// have a length of about 1 and one learning rate suits all networks. Up to [`LinearFit::batch_size`] images are one batch; more
/// are shuffled, the rest of an epoch dropped. The same features give the same bits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LinearFit {
    /// What is minimised.
    pub loss: LinearLoss,
    /// Passes over the features.
    pub epochs: u32,
    /// Rows of a batch, at most.
    pub batch_size: usize,
    /// The first learning rate.
    pub lr: f32,
    /// Weight decay, of the matrix alone.
    pub weight_decay: f32,
    /// What the order follows from, where there is more than one batch.
    pub seed: u64,
}

impl LinearFit {
    /// 200 epochs, batches of 256, weight decay 1e-5; learning rate 1 for softmax, 0.25 for the SVM, whose loss is steeper.
    #[must_use]
    pub fn new(loss: LinearLoss) -> LinearFit {
        let lr = if loss == LinearLoss::Softmax { 1.0 } else { 0.25 };
        LinearFit { loss, epochs: 200, batch_size: 256, lr, weight_decay: 1e-5, seed: 1 }
    }

    fn check(&self, train: &Features) -> Result<(), TrainError> {
        let numbers = [("epochs", u64::from(self.epochs)), ("batch size", self.batch_size as u64)];
        if let Some((name, _)) = numbers.into_iter().find(|(_, number)| *number == 0) {
            return Err(TrainError::setting(name, "at least 1", 0));
        }
        for (name, value) in [("learning rate", self.lr), ("weight decay", self.weight_decay)] {
            if !(value.is_finite() && value >= 0.0) {
                return Err(TrainError::setting(name, "a finite number of at least 0", value));
            }
        }
        check(train)
    }

    /// Fits a classifier.
    ///
    /// # Errors
    /// A setting out of its range; features that do not fit together; a rate at which weights become infinite; a lost device.
    pub fn run(&self, device: &Device, train: &Features) -> Result<LinearClassifier, TrainError> {
        self.check(train)?;
        let (n, width, classes) = (train.len(), train.width(), train.class_names.len());
        let scaling = Scaling::of(train);
        let x = scaling.apply(train);
        let size = self.batch_size.min(n);
        let mut params = Params::new(device, self.seed);
        let mut plan = self.compile(device, &mut params, [size, width, classes])?;
        let per_epoch = n / size;
        let steps = self.epochs as usize * per_epoch;
        let (mut rows, mut labels) = (vec![0.0; size * width], vec![0; size]);
        let mut order: Vec<u32> = (0..n as u32).collect();
        for step in 0..steps {
            if per_epoch > 1 && step % per_epoch == 0 {
                order = permutation(self.seed, purpose::SHUFFLE, (step / per_epoch) as u32, n as u32);
            }
            let first = step % per_epoch * size;
            for (i, &from) in order[first..first + size].iter().enumerate() {
                let from = from as usize;
                rows[i * width..(i + 1) * width].copy_from_slice(&x[from * width..(from + 1) * width]);
                labels[i] = train.labels[from];
            }
            let lr = [self.lr * (1.0 - step as f32 / steps as f32)];
            plan.run(&[("x", Feed::F32(&rows)), ("labels", Feed::U32(&labels)), ("lr", Feed::F32(&lr))])?;
        }
        let classifier = scaling.undo(&params.get("weight")?, &params.get("bias")?, train);
        if !classifier.weight.data.iter().chain(&classifier.bias.data).all(|value| value.is_finite()) {
            let what = "a weight of the linear classifier is no number".to_string();
            let (epoch, step, lr) = (self.epochs - 1, steps as u64 - 1, self.lr);
            return Err(TrainError::Diverged { what, epoch, step, lr });
        }
        Ok(classifier)
    }

    fn compile(
        &self,
        device: &Device,
        params: &mut Params,
        [n, width, classes]: [usize; 3],
    ) -> Result<Plan, TrainError> {
        let usage = wgrad_tensor::Error::from;
        let graph = Graph::new();
        let x = graph.feed("x", TensorDesc::f32([n, width]));
        let labels = graph.feed("labels", TensorDesc::u32([n]));
        let zero = Init::Constant(0.0);
        let scores =
            Linear::new(width, classes).init(zero).bias_init(zero).forward(&Scope::new(&graph, Mode::Train), x);
        let loss = match self.loss {
            LinearLoss::Softmax => losses::cross_entropy(scores, labels, 0.0),
            LinearLoss::Svm => losses::squared_hinge(scores, labels),
        };
        let own: Vec<Value<'_>> = weights(&graph);
        let slopes = gradients(loss, &own)?;
        let named =
            |weight: &Value<'_>| graph.data().param(weight.id()).map(|decl| decl.name.clone()).unwrap_or_default();
        let members = own.into_iter().zip(slopes).filter_map(|(w, slope)| Some((named(&w), w, slope?)));
        let (weight_decay, decay) = (self.weight_decay, Decay::Matrices);
        let sgd = SgdConfig { momentum: 0.9, nesterov: true, weight_decay, decay, ..SgdConfig::default() };
        let update = UpdateConfig::default();
        let groups = update.groups(&sgd, members);
        let lr = graph.feed("lr", TensorDesc::f32(Shape::scalar()));
        update.trace(&graph, &sgd, &groups, lr, None).map_err(usage)?;
        Ok(Plan::compile(device, &graph, params, &CompileOptions::default())?)
    }
}

/// Features that a classifier can work with.
fn check(set: &Features) -> Result<(), TrainError> {
    let wanted = format!("{} images of {} numbers", set.len(), set.width());
    if set.is_empty() || set.width() == 0 || set.x.len() != set.len() * set.width() {
        return Err(TrainError::setting("features", wanted, format!("{} numbers in all", set.x.len())));
    }
    match set.labels.iter().find(|&&label| label as usize >= set.class_names.len()) {
        Some(label) => Err(TrainError::setting("label", format!("one below {}", set.class_names.len()), label)),
        None => Ok(()),
    }
}

/// `(x - mean) * factor`, one of each for every feature.
struct Scaling {
    mean: Vec<f64>,
    factor: Vec<f64>,
}

impl Scaling {
    fn of(set: &Features) -> Scaling {
        let (n, width) = (set.len() as f64, set.width());
        let (mut mean, mut square) = (vec![0.0; width], vec![0.0; width]);
        for row in set.rows() {
            mean.iter_mut().zip(row).for_each(|(mean, &x)| *mean += f64::from(x) / n);
        }
        for row in set.rows() {
            let parts = square.iter_mut().zip(&mean).zip(row);
            parts.for_each(|((square, mean), &x)| *square += (f64::from(x) - mean).powi(2) / n);
        }
        // A feature that is the same everywhere says nothing; rounding must not be blown up into something.
        let floor = square.iter().copied().fold(0.0, f64::max).sqrt() * 1e-4;
        let factor = |square: f64| if square.sqrt() > floor { 1.0 / (square * width as f64).sqrt() } else { 0.0 };
        let factor = square.into_iter().map(factor).collect();
        Scaling { mean, factor }
    }

    fn apply(&self, set: &Features) -> Vec<f32> {
        let scaled = |row: &[f32]| {
            let parts = row.iter().zip(&self.mean).zip(&self.factor);
            parts.map(|((&x, mean), factor)| ((f64::from(x) - mean) * factor) as f32).collect::<Vec<_>>()
        };
        set.rows().flat_map(scaled).collect()
    }

    /// The classifier on features as they are: `W (x - mean) factor + b = (W factor) x + (b - W factor mean)`.
    fn undo(&self, weight: &Array, bias: &Array, train: &Features) -> LinearClassifier {
        let width = self.mean.len();
        let (mut own, mut offsets) = (Vec::with_capacity(weight.data.len()), Vec::with_capacity(bias.data.len()));
        for (row, &b) in weight.data.chunks_exact(width).zip(&bias.data) {
            let scaled: Vec<f64> = row.iter().zip(&self.factor).map(|(&w, factor)| f64::from(w) * factor).collect();
            offsets.push((f64::from(b) - scaled.iter().zip(&self.mean).map(|(w, mean)| w * mean).sum::<f64>()) as f32);
            own.extend(scaled.into_iter().map(|w| w as f32));
        }
        let mut classifier = LinearClassifier {
            weight: Array { shape: weight.shape, data: own },
            bias: Array { shape: bias.shape, data: offsets },
            class_names: train.class_names.clone(),
            largest_score: 0.0,
        };
        let all = train.rows().flat_map(|row| classifier.scores(row));
        classifier.largest_score = all.map(|score| score.abs() as f32).fold(0.0, f32::max);
        classifier
    }
}

/// `scores = W x + b`, one for each class; the largest is the class.
#[derive(Clone, Debug, PartialEq)]
pub struct LinearClassifier {
    /// `W`, shape `[classes, features]`.
    pub weight: Array,
    /// `b`, shape `[classes]`.
    pub bias: Array,
    /// Name of each class.
    pub class_names: Vec<String>,
    /// The largest absolute score of the images that it was fitted to.
    pub largest_score: f32,
}

impl LinearClassifier {
    /// The score of each class.
    #[must_use]
    pub fn scores(&self, features: &[f32]) -> Vec<f64> {
        let rows = self.weight.data.chunks_exact(features.len().max(1)).zip(&self.bias.data);
        let product = |row: &[f32]| row.iter().zip(features).map(|(&w, &x)| f64::from(w) * f64::from(x)).sum::<f64>();
        rows.map(|(row, &b)| product(row) + f64::from(b)).collect()
    }

    /// Accuracy on features of the same layer and classes. The loss is the softmax cross-entropy of the scores, of an SVM too.
    ///
    /// # Errors
    /// Features of another width or other classes.
    pub fn evaluate(&self, set: &Features) -> Result<Evaluation, TrainError> {
        check(set)?;
        let wanted = (self.weight.data.len() / self.bias.data.len().max(1), &self.class_names);
        if wanted != (set.width(), &set.class_names) {
            let text = |(width, names): (usize, &Vec<String>)| format!("{width} numbers, classes {}", names.join(", "));
            return Err(TrainError::setting("features", text(wanted), text((set.width(), &set.class_names))));
        }
        let mut tally = Tally::new(self.class_names.len());
        for (row, &label) in set.rows().zip(&set.labels) {
            tally.add(label, &softmax(&self.scores(row)));
        }
        Ok(tally.evaluation())
    }
}
