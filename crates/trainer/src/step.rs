//! The explicit loop: one compiled plan for a training step, one for an evaluation step, over one parameter store.
//!
//! A training step is traced as `pixels -> decode_image -> model -> cross_entropy -> mean`, differentiated, and closed by
//! SGD; an evaluation step is the same model in [`Mode::Eval`] with counts instead of gradients. After `new` a step
//! allocates nothing on the device. Both return a [`Ticket`] at once; reading a ticket waits for that step, so read the one
//! two steps back to keep the device busy (the last three can be read).

use crate::data::{Dataset, Geometry, whole_steps};
use crate::error::TrainError;
use crate::loader::{Batch, NO_LABEL, soft_targets};
use crate::lookahead::LookaheadPlan;
use crate::precision::Precision;
use crate::update::{EMA_FEED, UpdateConfig};
use std::collections::HashSet;
use wgrad_layers::{Layer, losses};
use wgrad_tensor::graph::TensorId;
use wgrad_tensor::ops::clip::CLIP_SKIPPED_STEPS;
use wgrad_tensor::ops::loss_scale::SKIPPED_STEPS;
use wgrad_tensor::ops::move_pixels::MOVE_WORDS;
use wgrad_tensor::ops::optimizer::ParamGroup;
use wgrad_tensor::passes::differentiate::gradients_seeded;
use wgrad_tensor::passes::quantize::quantize;
use wgrad_tensor::{
    CompileOptions, Device, Feed, Graph, Mode, ParamKind, Params, Plan, Rounding, Scope, Shape, Storage, TensorDesc,
    Ticket, Value, gradients, weights,
};

pub use crate::eval_step::{EvalResult, EvalStep};
pub use crate::sgd::{Decay, SgdConfig};

/// What the two steps are compiled for.
#[derive(Clone, Debug)]
pub struct StepOptions {
    /// Images in a batch.
    pub batch_size: usize,
    /// Colours per pixel, at most 3.
    pub channels: usize,
    /// Rows, in pixels.
    pub height: usize,
    /// Columns, in pixels.
    pub width: usize,
    /// Mean of each channel, where pixels run from 0 to 1.
    pub mean: [f32; 3],
    /// Standard deviation of each channel, where pixels run from 0 to 1.
    pub std: [f32; 3],
    /// Part of the target that is spread evenly over all classes, in `0..1`. Training only: the test loss has none.
    pub label_smoothing: f32,
    /// Whether the training loss takes shares of the classes, which mixed images ([`Mix`](crate::Mix)) need. Label smoothing then
    /// goes into the targets, with the same loss.
    pub soft_targets: bool,
    /// Whether a training step first moves the pixels as [`Batch::moves`] says
    /// ([`LoaderOptions::device_moves`](crate::LoaderOptions::device_moves)). An [`EvalStep`] never does.
    pub device_moves: bool,
    /// Momentum, and weight decay of all optimisers.
    pub sgd: SgdConfig,
    /// Which optimiser, frozen layers and rates of their own, clipping, averages.
    pub update: UpdateConfig,
    /// Whether an [`EvalStep`] also returns the logits.
    pub logits: bool,
    /// With which numbers is computed. The parameter store must be made with [`Precision::weights`].
    pub precision: Precision,
    /// How plans are compiled; `storage` is the precision's.
    pub compile: CompileOptions,
}

impl StepOptions {
    /// For the images of a data set, with the default optimiser and no label smoothing.
    #[must_use]
    pub fn new(dataset: &Dataset, batch_size: usize) -> StepOptions {
        StepOptions {
            batch_size,
            channels: dataset.channels,
            height: dataset.height,
            width: dataset.width,
            mean: dataset.mean,
            std: dataset.std,
            label_smoothing: 0.0,
            soft_targets: false,
            device_moves: false,
            sgd: SgdConfig::default(),
            update: UpdateConfig::default(),
            logits: false,
            precision: Precision::default(),
            compile: CompileOptions::default(),
        }
    }

    /// Whether every number is in its range. Needs no device.
    ///
    /// # Errors
    /// The first that is not.
    pub fn check(&self) -> Result<(), TrainError> {
        let sizes = [
            ("batch size", self.batch_size),
            ("channels", self.channels),
            ("image height", self.height),
            ("image width", self.width),
        ];
        if let Some((name, _)) = sizes.iter().find(|(_, size)| *size == 0) {
            return Err(TrainError::setting(name, "at least 1", 0));
        }
        if self.channels > 3 {
            return Err(TrainError::setting("channels", "at most 3", self.channels));
        }
        // Indices are u32 on the device.
        let numbers = sizes.iter().fold(1u64, |product, &(_, size)| product.saturating_mul(size as u64));
        if numbers > u64::from(u32::MAX) {
            let [_, channels, height, width] = sizes.map(|(_, size)| size as u64);
            let image = channels.saturating_mul(height).saturating_mul(width);
            let wanted = format!("at most {} images of {image} numbers", u64::from(u32::MAX) / image);
            return Err(TrainError::setting("batch size", wanted, self.batch_size));
        }
        let (storage, scaled) = (self.precision.storage, self.precision.loss_scale.is_some());
        if scaled && storage.activations == Storage::F16 && storage.activation_rounding == Rounding::Stochastic {
            // Stochastic rounding saturates, so that an overflow would never be found.
            return Err(TrainError::setting("precision", "nearest rounding of f16 under a loss scale", "stochastic"));
        }
        if let Some(mean) = self.mean.iter().find(|mean| !mean.is_finite()) {
            return Err(TrainError::setting("mean", "finite numbers", mean));
        }
        if let Some(std) = self.std.iter().find(|std| !(std.is_finite() && **std > 0.0)) {
            return Err(TrainError::setting("std", "finite numbers above 0", std));
        }
        if !(0.0..1.0).contains(&self.label_smoothing) {
            return Err(TrainError::setting("label smoothing", "a number of 0..1", self.label_smoothing));
        }
        self.update.check(&self.precision)?;
        self.sgd.check()
    }

    /// Traces `pixels -> decode_image -> model` and checks that logits come out; in training, pixels may be moved before. Returns
    /// logits and labels.
    pub(crate) fn trace<'g>(
        &self,
        graph: &'g Graph,
        mode: Mode,
        model: &(impl Layer + ?Sized),
    ) -> (Value<'g>, Value<'g>, usize) {
        let pixels = graph.feed("pixels", TensorDesc::u32([self.batch_size, self.height, self.width]));
        let labels = graph.feed("labels", TensorDesc::u32([self.batch_size]));
        let pixels = match mode == Mode::Train && self.device_moves {
            true => {
                let moves = graph.feed(MOVES_FEED, TensorDesc::u32([self.batch_size, MOVE_WORDS]));
                pixels.move_pixels(moves, self.mean_pixel())
            }
            false => pixels,
        };
        let images = pixels.decode_image(self.channels, self.mean, self.std);
        let logits = model.forward(&Scope::new(graph, mode), images);
        let shape = logits.shape();
        if !logits.is_poison() && (shape.rank() != 2 || shape.dim(0) != self.batch_size) {
            let message = format!(
                "the model must return logits [{}, classes], got {shape}; end it in Flatten and Linear",
                self.batch_size
            );
            return (graph.mistake("loss", message), labels, 0);
        }
        (logits, labels, shape.dim(1))
    }

    /// The colour that translation and cutout bring in, as the loader has it.
    fn mean_pixel(&self) -> u32 {
        let StepOptions { channels, height, width, .. } = *self;
        Geometry { channels, height, width, mean_colour: whole_steps(self.mean) }.mean_pixel()
    }

    /// Compiles the update from gradients that a plan of `graph` adds up: a graph of its own over the same parameters.
    fn update_plan(
        &self,
        device: &Device,
        params: &mut Params,
        graph: &Graph,
        groups: &[ParamGroup<'_>],
    ) -> Result<Plan, TrainError> {
        let usage = wgrad_tensor::Error::from;
        let (own, data) = (Graph::new(), graph.data());
        let scope = Scope::new(&own, Mode::Train);
        // Declared as the model declares them, so that they lie in its order within each group.
        let places =
            groups.iter().enumerate().flat_map(|(i, group)| group.members.iter().map(move |(w, _)| (w.id(), i)));
        let mut places: Vec<_> = places.collect();
        places.sort();
        let empty = |group: &ParamGroup<'_>| ParamGroup { members: Vec::new(), ..*group };
        let mut own_groups: Vec<ParamGroup<'_>> = groups.iter().map(empty).collect();
        for (id, group) in places {
            let Some(decl) = data.param(id) else { continue };
            let weight = scope.parameter(decl.clone());
            own_groups[group].members.push((weight, own.accumulated(weight, group)));
        }
        let scaled = self.precision.loss_scale.map(|rule| own.loss_scale(rule)).transpose().map_err(usage)?;
        let factor = own.gradient_factor(&own_groups, scaled.as_ref(), self.update.clip_norm).map_err(usage)?.factor;
        let lr = own.feed("lr", TensorDesc::f32(Shape::scalar()));
        self.update.trace(&own, &self.sgd, &own_groups, lr, factor).map_err(usage)?;
        Ok(Plan::compile(device, &own, params, &self.compile_options())?)
    }

    fn compile_options(&self) -> CompileOptions {
        CompileOptions { storage: self.precision.storage, ..self.compile.clone() }
    }

    /// Whether the store keeps weights as the precision wants.
    fn check_store(&self, params: &Params) -> Result<(), TrainError> {
        let (wanted, got) = (self.precision.weights, params.weight_storage());
        if wanted == got {
            return Ok(());
        }
        let wanted = format!("a store made by Params::with_weights(.., Storage::{wanted:?})");
        Err(TrainError::setting("precision", wanted, format!("one whose weights are {got}")))
    }

    /// Errors that the device would turn into garbage.
    pub(crate) fn check_batch(&self, images: &[u32], labels: &[u32], classes: usize) -> Result<(), TrainError> {
        let pixels = self.batch_size * self.height * self.width;
        if images.len() != pixels {
            return Err(TrainError::setting("images", format!("{pixels} pixels, one in each word"), images.len()));
        }
        if labels.len() != self.batch_size {
            return Err(TrainError::setting("labels", format!("{} of them", self.batch_size), labels.len()));
        }
        match labels.iter().find(|&&label| label != NO_LABEL && label as usize >= classes) {
            Some(label) => Err(TrainError::setting("label", format!("one below {classes}, or NO_LABEL"), label)),
            None => Ok(()),
        }
    }
}

/// What a training step says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepResult {
    /// Mean loss of the batch, before the update.
    pub loss: f32,
    /// Images classified rightly, before the update. Of mixed images the class of the image itself is the right one, however small
    /// its share.
    pub correct: u32,
}

/// Feed with the shares of the classes, `[batch_size, classes]`.
const TARGETS_FEED: &str = "targets";
/// Feed with what is to be done with the pixels of each image, `[batch_size, 8]`.
const MOVES_FEED: &str = "moves";
/// Feed with the factors of the gradients so far and of this batch's.
const ACCUMULATE_FEED: &str = "accumulate";

/// A training step, compiled: forward, backward, update.
#[derive(Debug)]
pub struct TrainStep {
    plan: Plan,
    /// The update from the gradients of several batches, where it is not part of every step.
    apply: Option<Plan>,
    lookahead: Option<LookaheadPlan>,
    options: StepOptions,
    classes: usize,
    seed: u64,
    done: u64,
    has_rng: bool,
}

impl TrainStep {
    /// Compiles a training step. Parameters that `params` does not hold yet are made and initialised.
    ///
    /// # Errors
    /// A setting out of its range; all shape mistakes of the model together; a device that is too small.
    pub fn new(
        device: &Device,
        params: &mut Params,
        model: &(impl Layer + ?Sized),
        options: &StepOptions,
    ) -> Result<TrainStep, TrainError> {
        options.check()?;
        options.check_store(params)?;
        let graph = Graph::new();
        let (logits, labels, classes) = options.trace(&graph, Mode::Train, model);
        let targets = options
            .soft_targets
            .then(|| graph.feed(TARGETS_FEED, TensorDesc::f32([options.batch_size, classes.max(1)])));
        let loss = losses::with_auxiliary(logits, |logits| match targets {
            Some(targets) => losses::soft_cross_entropy(logits, targets),
            None => losses::cross_entropy(logits, labels, options.label_smoothing),
        });
        graph.output("loss", loss);
        graph.output("correct", logits.top_k_correct(labels, 1));
        let (update, precision) = (&options.update, options.precision);
        let named = |weight: Value<'_>| {
            graph.data().param(weight.id()).map(|decl| decl.whole_name().to_string()).unwrap_or_default()
        };
        let all: Vec<(String, Value<'_>)> = weights(&graph).into_iter().map(|weight| (named(weight), weight)).collect();
        if let Some(pattern) = update.idle(all.iter().map(|(name, _)| name.as_str())).filter(|_| !all.is_empty()) {
            let known: Vec<&str> = all.iter().map(|(name, _)| name.as_str()).take(8).collect();
            let wanted = format!("one that matches a weight: {}, … ({} in all)", known.join(", "), all.len());
            return Err(TrainError::setting("pattern", wanted, pattern));
        }
        // Without a gradient that is asked for, nothing of the backward pass below the last layer that learns is traced.
        let learns = |name: &str, weight: &Value<'_>| update.of(name, weight.shape().rank(), &options.sgd).0 > 0.0;
        let (names, wanted): (Vec<String>, Vec<Value<'_>>) =
            all.into_iter().filter(|(name, weight)| learns(name, weight)).unzip();
        let learned = names.clone();
        let scaled =
            precision.loss_scale.map(|rule| graph.loss_scale(rule)).transpose().map_err(wgrad_tensor::Error::from)?;
        let gradients = match &scaled {
            Some(scaled) => gradients_seeded(&[(loss, scaled.scale)], &wanted)?,
            None => gradients(loss, &wanted)?,
        };
        let members = names.into_iter().zip(wanted).zip(gradients);
        let members = members.filter_map(|((name, weight), gradient)| Some((name, weight, gradient?)));
        let groups = update.groups(&options.sgd, members);
        if groups.is_empty() && graph.data().errors.is_empty() {
            graph.mistake(
                "train step",
                "the loss depends on no weight that is not frozen, so there is nothing to learn",
            );
        }
        let apply = match update.accumulate {
            1 => {
                let lr = graph.feed("lr", TensorDesc::f32(Shape::scalar()));
                let factor = graph.gradient_factor(&groups, scaled.as_ref(), update.clip_norm);
                let factor = factor.map_err(wgrad_tensor::Error::from)?.factor;
                update.trace(&graph, &options.sgd, &groups, lr, factor).map_err(wgrad_tensor::Error::from)?;
                None
            }
            _ => {
                let apply = options.update_plan(device, params, &graph, &groups)?;
                let factors = graph.feed(ACCUMULATE_FEED, TensorDesc::f32([2]));
                let pairs: Vec<_> = groups.iter().flat_map(|group| group.members.clone()).collect();
                graph.accumulate_gradients(&pairs, factors);
                Some(apply)
            }
        };
        if let Some(format) = &precision.format {
            quantize(&graph, format);
        }
        let plan = Plan::compile(device, &graph, params, &options.compile_options())?;
        let moves: HashSet<String> = learned.into_iter().chain(written(&graph)).collect();
        let has_rng = plan.desc().feeds.iter().any(|feed| feed.name == "rng");
        let average = |rule| LookaheadPlan::new(device, params, rule, &moves, &options.compile_options());
        let lookahead = update.lookahead.map(average).transpose()?;
        Ok(TrainStep {
            plan,
            apply,
            lookahead,
            options: options.clone(),
            classes,
            seed: params.seed(),
            done: 0,
            has_rng,
        })
    }

    /// Classes that the model tells apart.
    #[must_use]
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// Batches whose gradients make one update.
    #[must_use]
    pub fn accumulate(&self) -> u32 {
        self.options.update.accumulate
    }

    /// Steps run so far.
    #[must_use]
    pub fn steps_done(&self) -> u64 {
        self.done
    }

    /// Goes on counting from `steps`, after weights were loaded from a checkpoint: random operations (dropout) draw from
    /// the seed and the step's number.
    pub fn set_steps_done(&mut self, steps: u64) {
        self.done = steps;
    }

    /// The compiled plan, for dumps, profiles and memory figures.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The compiled plan, to profile it or to read outputs of one's own.
    pub fn plan_mut(&mut self) -> &mut Plan {
        &mut self.plan
    }

    /// The plan of the update, where it follows several batches ([`UpdateConfig::accumulate`]).
    #[must_use]
    pub fn update_plan(&self) -> Option<&Plan> {
        self.apply.as_ref()
    }

    /// The plan of [`UpdateConfig::lookahead`], if there is one.
    #[must_use]
    pub fn lookahead_plan(&self) -> Option<&Plan> {
        self.lookahead.as_ref().map(LookaheadPlan::plan)
    }

    /// Runs one step on a batch as the loader packs it: pixels `[batch_size, height, width]` with channel `c` in byte `c`,
    /// labels `[batch_size]`. Returns before the device is done. Where an update takes several batches, the last of them brings it,
    /// with the learning rate of that call. Where the step was compiled with [`StepOptions::device_moves`], the pixels stay where
    /// they are; [`TrainStep::run_batch`] moves them.
    ///
    /// # Errors
    /// A batch of another size, a label outside the classes, a learning rate that is negative or no number, a lost device.
    pub fn run(&mut self, images: &[u32], labels: &[u32], lr: f32) -> Result<Ticket, TrainError> {
        let targets = self.options.soft_targets.then(|| soft_targets(labels, &[], 1.0, self.classes));
        self.launch(images, labels, targets, &[], lr)
    }

    /// [`TrainStep::run`] on a batch of the loader, whose images may be mixed.
    ///
    /// # Errors
    /// As [`TrainStep::run`]; mixed images where the step was compiled without [`StepOptions::soft_targets`], moves left to the
    /// device where it was compiled without [`StepOptions::device_moves`].
    pub fn run_batch(&mut self, batch: &Batch, lr: f32) -> Result<Ticket, TrainError> {
        let targets = self.options.soft_targets.then(|| batch.soft_targets(self.classes));
        if targets.is_none() && !batch.partner_labels.is_empty() {
            let wanted = "images that are not mixed, or a step with soft_targets";
            return Err(TrainError::setting("batch", wanted, "mixed images"));
        }
        let most = if self.options.device_moves { self.options.batch_size * MOVE_WORDS } else { 0 };
        if ![0, most].contains(&batch.moves.len()) {
            let wanted = "pixels that the host has moved, or a step of the same batch size with device_moves";
            return Err(TrainError::setting("batch", wanted, format!("{} words of moves", batch.moves.len())));
        }
        self.launch(&batch.images, &batch.labels, targets, &batch.moves, lr)
    }

    fn launch(
        &mut self,
        images: &[u32],
        labels: &[u32],
        targets: Option<Vec<f32>>,
        moves: &[u32],
        lr: f32,
    ) -> Result<Ticket, TrainError> {
        if !(lr.is_finite() && lr >= 0.0) {
            return Err(TrainError::setting("learning rate", "a finite number of at least 0", lr));
        }
        self.options.check_batch(images, labels, self.classes)?;
        let first_sample = self.done.wrapping_mul(self.options.batch_size as u64);
        let rng = [self.seed as u32, (self.seed >> 32) as u32, self.done as u32, first_sample as u32];
        let lr = [lr];
        let batches = u64::from(self.options.update.accumulate);
        let ema = self.options.update.ema_factors(self.done / batches);
        let mut update = vec![("lr", Feed::F32(&lr))];
        if self.options.update.ema.is_some() {
            update.push((EMA_FEED, Feed::F32(&ema)));
        }
        let first = self.done.is_multiple_of(batches);
        let share = [if first { 0.0 } else { 1.0 }, 1.0 / batches as f32];
        let mut feeds = vec![("pixels", Feed::U32(images)), ("labels", Feed::U32(labels))];
        let targets = targets.map(|targets| smoothed(targets, self.classes, self.options.label_smoothing));
        if let Some(targets) = &targets {
            feeds.push((TARGETS_FEED, Feed::F32(targets)));
        }
        // Eight zeros leave an image as it is.
        let still = vec![0; if self.options.device_moves { self.options.batch_size * MOVE_WORDS } else { 0 }];
        if self.options.device_moves {
            feeds.push((MOVES_FEED, Feed::U32(if moves.is_empty() { &still } else { moves })));
        }
        match self.apply {
            Some(_) => feeds.push((ACCUMULATE_FEED, Feed::F32(&share))),
            None => feeds.extend_from_slice(&update),
        }
        if self.has_rng {
            feeds.push(("rng", Feed::U32(&rng)));
        }
        let ticket = self.plan.run(&feeds)?;
        self.done += 1;
        if let Some(apply) = self.apply.as_mut().filter(|_| self.done.is_multiple_of(batches)) {
            if apply.desc().feeds.iter().any(|feed| feed.name == "rng") {
                update.push(("rng", Feed::U32(&rng)));
            }
            apply.run(&update)?;
        }
        if let Some(lookahead) = self.lookahead.as_mut().filter(|_| self.done.is_multiple_of(batches)) {
            lookahead.after(self.done / batches)?;
        }
        Ok(ticket)
    }

    /// Updates that the dynamic loss scale or clipping has skipped since the beginning, because gradients were not finite; waits for
    /// all steps under way.
    ///
    /// # Errors
    /// A lost device.
    pub fn skipped_steps(&self, params: &Params) -> Result<u64, TrainError> {
        let by_scale = self.options.precision.loss_scale.map(|_| SKIPPED_STEPS);
        let by_clipping = self.options.update.clip_norm.map(|_| CLIP_SKIPPED_STEPS);
        let mut skipped = 0;
        for name in by_scale.into_iter().chain(by_clipping) {
            skipped += params.get(name)?.data.first().map_or(0, |&count| count as u64);
        }
        Ok(skipped)
    }

    /// What a step said, once it is done. The last three steps can be read.
    ///
    /// # Errors
    /// A ticket that is too old, a lost device.
    pub fn read(&mut self, ticket: Ticket) -> Result<StepResult, TrainError> {
        let loss = scalar_f32(&mut self.plan, ticket, "loss")?;
        Ok(StepResult { loss, correct: scalar_u32(&mut self.plan, ticket, "correct")? })
    }
}

/// Shares of `classes` classes row by row, of which the part `smoothing` is spread evenly; a row of zeros stays as it is.
fn smoothed(mut targets: Vec<f32>, classes: usize, smoothing: f32) -> Vec<f32> {
    if smoothing > 0.0 {
        for row in targets.chunks_exact_mut(classes.max(1)) {
            let even = smoothing * row.iter().sum::<f32>() / classes as f32;
            row.iter_mut().for_each(|share| *share = (1.0 - smoothing) * *share + even);
        }
    }
    targets
}

pub(crate) fn scalar_u32(plan: &mut Plan, ticket: Ticket, name: &str) -> Result<u32, TrainError> {
    // An output of shape [] has one element; an empty answer cannot come, and counts as nothing if it does.
    Ok(plan.read_words(ticket, name)?.first().copied().unwrap_or(0))
}

pub(crate) fn scalar_f32(plan: &mut Plan, ticket: Ticket, name: &str) -> Result<f32, TrainError> {
    Ok(f32::from_bits(scalar_u32(plan, ticket, name)?))
}

/// Buffers that a step of this graph writes: running statistics.
fn written(graph: &Graph) -> Vec<String> {
    let data = graph.data();
    let buffers = data.params().filter(|(_, decl)| decl.kind == ParamKind::Buffer);
    let is_written = |id: TensorId| data.write_backs.iter().any(|(written, _)| *written == id);
    buffers.filter(|(id, _)| is_written(*id)).map(|(_, decl)| decl.whole_name().to_string()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> StepOptions {
        StepOptions {
            batch_size: 4,
            channels: 1,
            height: 2,
            width: 3,
            mean: [0.5; 3],
            std: [0.5; 3],
            label_smoothing: 0.0,
            soft_targets: false,
            device_moves: false,
            sgd: SgdConfig::default(),
            update: UpdateConfig::default(),
            logits: false,
            precision: Precision::default(),
            compile: CompileOptions::default(),
        }
    }

    #[test]
    fn bad_settings_are_named_before_a_device_is_opened() {
        options().check().expect("good");
        let says = |options: StepOptions, part: &str| {
            let error = options.check().expect_err("bad").to_string();
            assert!(error.contains(part), "{error}");
        };
        let sgd = SgdConfig::default();
        says(StepOptions { batch_size: 0, ..options() }, "batch size: wanted at least 1, got 0");
        says(
            StepOptions { batch_size: usize::MAX, ..options() },
            "batch size: wanted at most 715827882 images of 6 numbers",
        );
        says(StepOptions { height: usize::MAX, width: 2, ..options() }, "batch size: wanted at most 0 images");
        says(StepOptions { channels: 4, ..options() }, "channels");
        says(StepOptions { std: [0.0; 3], ..options() }, "std");
        says(StepOptions { mean: [f32::NAN; 3], ..options() }, "mean");
        says(StepOptions { label_smoothing: 1.0, ..options() }, "label smoothing");
        says(StepOptions { sgd: SgdConfig { momentum: 1.0, ..sgd }, ..options() }, "momentum");
        says(StepOptions { sgd: SgdConfig { momentum: f32::NAN, ..sgd }, ..options() }, "momentum");
        says(StepOptions { sgd: SgdConfig { momentum: 0.0, nesterov: true, ..sgd }, ..options() }, "nesterov");
        says(StepOptions { sgd: SgdConfig { weight_decay: -1.0, ..sgd }, ..options() }, "weight decay");
    }

    #[test]
    fn a_batch_that_does_not_fit_is_named() {
        let says = |images: usize, labels: &[u32], part: &str| {
            let error = options().check_batch(&vec![0; images], labels, 3).expect_err("bad").to_string();
            assert!(error.contains(part), "{error}");
        };
        options().check_batch(&[0; 24], &[0, 1, 2, NO_LABEL], 3).expect("good");
        says(23, &[0; 4], "24 pixels");
        says(24, &[0; 3], "labels: wanted 4 of them, got 3");
        says(24, &[0, 0, 3, 0], "label: wanted one below 3");
    }
}
