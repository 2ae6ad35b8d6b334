//! Features of a data set into record files.

use super::Tap;
use crate::data::record::parse::{FeatureMeta, Meta};
use crate::data::record::{shard_name, write_file};
use crate::data::{DataError, Dataset};
use crate::error::TrainError;
use crate::loader::{Batch, LastBatch, Loader, OnBadImage};
use crate::parts::{Parts, Walk};
use crate::pattern::Pattern;
use crate::precision::Precision;
use std::path::{Path, PathBuf};
use wgrad_layers::Layer;
use wgrad_tensor::{CompileOptions, Device, Feed, Graph, Mode, Params, Plan, Scope, Storage, TensorDesc, Ticket};

/// A network up to one of its layers, compiled: of the rest there are weights, but nothing is computed.
#[derive(Debug)]
pub struct FeatureStep {
    plan: Plan,
    pixels: usize,
    batch_size: usize,
    shape: Vec<u32>,
    is_pooled: bool,
    normalisation: [f32; 6],
}

impl FeatureStep {
    /// Compiles `model` in evaluation up to `tap`, for images of `dataset`; with `pool` a feature map becomes its means over
    /// height and width.
    ///
    /// # Errors
    /// A layer that is not there; the shape mistakes of the model; a device that is too small.
    pub fn new(
        device: &Device,
        params: &mut Params,
        model: &(impl Layer + ?Sized),
        dataset: &Dataset,
        options: &ExtractOptions,
    ) -> Result<FeatureStep, TrainError> {
        let (batch_size, height, width) = (options.batch_size, dataset.height, dataset.width);
        if batch_size == 0 {
            return Err(TrainError::setting("batch size", "at least 1", 0));
        }
        let graph = Graph::new();
        let pixels = graph.feed("pixels", TensorDesc::u32([batch_size, height, width]));
        let images = pixels.decode_image(dataset.channels, dataset.mean, dataset.std);
        let logits = model.forward(&Scope::new(&graph, Mode::Eval), images);
        graph.data().check().map_err(wgrad_tensor::Error::from)?;
        let value = options.tap.value(&graph, logits)?;
        if Walk::is_above_head(&graph.data(), value.id(), logits.id()) {
            let wanted = "a layer below the head, whose weights are those of other classes";
            return Err(TrainError::setting("layer", wanted, &options.tap));
        }
        let is_pooled = options.pool && value.shape().rank() == 4;
        let value = if is_pooled { value.global_avg_pool() } else { value };
        graph.output("features", value);
        let storage = options.precision.for_evaluation();
        let plan = Plan::compile(device, &graph, params, &CompileOptions { storage, ..options.compile.clone() })?;
        let shape = value.shape().dims()[1..].iter().map(|&extent| extent as u32).collect();
        let (m, s) = (dataset.mean, dataset.std);
        let normalisation = [m[0], m[1], m[2], s[0], s[1], s[2]];
        Ok(FeatureStep { plan, pixels: batch_size * height * width, batch_size, shape, is_pooled, normalisation })
    }

    /// Whether feature maps became their means.
    #[must_use]
    pub fn is_pooled(&self) -> bool {
        self.is_pooled
    }

    /// Extents of one image's features.
    #[must_use]
    pub fn shape(&self) -> &[u32] {
        &self.shape
    }

    /// Runs one step on pixels as the loader packs them. Returns before the device is done.
    ///
    /// # Errors
    /// A batch of another size, a lost device.
    pub fn run(&mut self, images: &[u32]) -> Result<Ticket, TrainError> {
        if images.len() != self.pixels {
            return Err(TrainError::setting("images", format!("{} pixels", self.pixels), images.len()));
        }
        Ok(self.plan.run(&[("pixels", Feed::U32(images))])?)
    }

    /// The features of a step, `[batch_size, …]`, row by row.
    ///
    /// # Errors
    /// A ticket that is too old, a lost device.
    pub fn read(&mut self, ticket: Ticket) -> Result<Vec<f32>, TrainError> {
        Ok(self.plan.read(ticket, "features")?)
    }
}

/// What is extracted, and how it is kept.
#[derive(Clone, Debug)]
pub struct ExtractOptions {
    /// Which layer.
    pub tap: Tap,
    /// Whether feature maps become their means over height and width.
    pub pool: bool,
    /// Images in a step.
    pub batch_size: usize,
    /// With which numbers is computed.
    pub precision: Precision,
    /// How the plan is compiled.
    pub compile: CompileOptions,
    /// Whether features are kept in f16.
    pub half: bool,
    /// Files that a set is divided into.
    pub shards: u32,
}

impl Default for ExtractOptions {
    /// What the head works on, pooled, 32 images in a step, f32, one file.
    fn default() -> ExtractOptions {
        ExtractOptions {
            tap: Tap::default(),
            pool: true,
            batch_size: 32,
            precision: Precision::default(),
            compile: CompileOptions::default(),
            half: false,
            shards: 1,
        }
    }
}

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extracted {
    /// The files.
    pub paths: Vec<PathBuf>,
    /// Images in them.
    pub images: usize,
    /// Images of the data set that could not be read, and are in none.
    pub left_out: usize,
}

/// CRC-32 of what features follow from beside the images: the weights and running statistics of the body in f32, by name, and the
/// normalisation of `step`. Heads are left out: a new one starts anew with every seed, and no feature follows from it.
///
/// # Errors
/// A lost device.
pub fn weights_crc(params: &Params, step: &FeatureStep, parts: &Parts) -> Result<u32, TrainError> {
    let mut sum = crc32fast::Hasher::new();
    let is_head = |name: &str| parts.heads.iter().any(|head| Pattern::new(head).matches(name));
    for (name, array) in crate::Weights::of(params)?.tensors.into_iter().filter(|(name, _)| !is_head(name)) {
        sum.update(name.as_bytes());
        sum.update(&Storage::F32.encode_all(&array.data));
    }
    sum.update(&Storage::F32.encode_all(&step.normalisation));
    Ok(sum.finalize())
}

/// CRC-32 of the images of each shard as a network gets them, with their labels: decoded, cut and resized as `loader` does. To
/// know whether kept features are those of these images costs reading them, but no network.
///
/// # Errors
/// A batch that cannot be made.
pub fn source(loader: &Loader, shards: u32) -> Result<Vec<u32>, TrainError> {
    let mut sums = vec![crc32fast::Hasher::new(); shards.max(1) as usize];
    for batch in loader.epoch(0) {
        let batch = batch?;
        for i in 0..batch.valid {
            let shard = shard_of(batch.indices[i], loader.dataset().len(), shards.max(1));
            add_image(&mut sums[shard as usize], &batch, i);
        }
        loader.recycle(batch);
    }
    Ok(sums.into_iter().map(crc32fast::Hasher::finalize).collect())
}

/// Which shard image `index` of `len` is in: the first `len / shards` of them in the first, and so on.
fn shard_of(index: u32, len: usize, shards: u32) -> u32 {
    // Shard k holds the images from len k / shards up to len (k + 1) / shards, both rounded down.
    ((u64::from(index) * u64::from(shards) + u64::from(shards) - 1) / len.max(1) as u64) as u32
}

fn add_image(sum: &mut crc32fast::Hasher, batch: &Batch, i: usize) {
    let pixels = batch.images.len() / batch.labels.len().max(1);
    sum.update(&batch.labels[i].to_le_bytes());
    batch.images[i * pixels..(i + 1) * pixels].iter().for_each(|pixel| sum.update(&pixel.to_le_bytes()));
}

/// Writes the features of all images of `loader`, in order, into record files at `path`; `model` is the network's name and
/// `weights_crc` what [`weights_crc`] says. A loader for evaluation ([`LoaderOptions::eval`](crate::LoaderOptions::eval)) with
/// the step's batch size is wanted. After every step `progress` is told how many images are done. Files that are there are never
/// overwritten, and a run that fails leaves none of the file it was at.
///
/// # Errors
/// An image beyond the budget of bad ones; a feature that is no number; a file that is there or cannot be written; a lost device.
pub fn extract(
    step: &mut FeatureStep,
    loader: &Loader,
    (path, options): (&Path, &ExtractOptions),
    (model, weights_crc): (&str, u32),
    mut progress: impl FnMut(usize),
) -> Result<Extracted, TrainError> {
    let (set, shards) = (loader.dataset(), options.shards);
    if shards == 0 || shards as usize > set.len() {
        return Err(TrainError::setting("shards", format!("1 to {}, the number of images", set.len()), shards));
    }
    let own = loader.options();
    let is_eval =
        !own.shuffle && own.last == LastBatch::Pad && own.on_bad_image == OnBadImage::Skip && own.mix.is_none();
    if own.batch_size != step.batch_size || !is_eval {
        let wanted = format!("a loader for evaluation with batches of {}", step.batch_size);
        return Err(TrainError::setting("loader", wanted, format!("{own:?}")));
    }
    let features = FeatureMeta {
        model: model.to_owned(),
        layer: options.tap.to_string(),
        shape: step.shape.clone(),
        pooled: step.is_pooled,
        image: [set.height as u32, set.width as u32],
    };
    if features.numbers().is_none() {
        let wanted = "one to three extents, together at most 2^26 numbers; pool the feature map";
        return Err(TrainError::setting("layer", wanted, format!("{:?}", features.shape)));
    }
    let paths: Vec<PathBuf> = (0..shards).map(|shard| shard_name(path, shard, shards)).collect();
    // Asked before anything is computed.
    if let Some(there) = paths.iter().find(|path| path.symlink_metadata().is_ok()) {
        let source = std::io::Error::from(std::io::ErrorKind::AlreadyExists);
        return Err(DataError::Unwritable { path: there.clone(), source }.into());
    }
    let mut rows =
        Rows { step, batches: loader.epoch(0), loader, ahead: None, batch: None, progress: &mut progress, done: 0 };
    let mut write = |(shard, path): (usize, &PathBuf)| {
        let meta = Meta {
            name: set.name.clone(),
            class_names: set.class_names.clone(),
            shard: shard as u32,
            shards,
            features: Some(features.clone()),
            ..Meta::default()
        };
        write_file::<TrainError>(path, &meta, |writer| {
            let mut images = crc32fast::Hasher::new();
            while let Some((batch, features, i)) =
                rows.next_of(|index| shard_of(index, set.len(), shards) == shard as u32)?
            {
                add_image(&mut images, batch, i);
                let failed = |source: std::io::Error| -> TrainError {
                    let what = format!("image {} of {}: {source}", batch.indices[i], set.name);
                    let source = std::io::Error::new(source.kind(), what);
                    DataError::Unwritable { path: path.clone(), source }.into()
                };
                writer.push_features(features, options.half, batch.labels[i]).map_err(failed)?;
            }
            writer.set_source(images.finalize(), weights_crc);
            Ok(())
        })
    };
    for file in paths.iter().enumerate() {
        if let Err(error) = write(file) {
            // Part of a set would stand in the way of the next try.
            paths.iter().take(file.0).for_each(|path| drop(std::fs::remove_file(path)));
            return Err(error);
        }
    }
    let images = rows.done;
    Ok(Extracted { paths, images, left_out: set.len() - images })
}

/// An image's batch, its features, and its place in the batch.
type Row<'r> = (&'r Batch, &'r [f32], usize);

/// The features of each image in turn, one step computing while those of the last are handed out.
struct Rows<'r> {
    step: &'r mut FeatureStep,
    batches: crate::loader::Epoch<'r>,
    loader: &'r Loader,
    /// A step under way.
    ahead: Option<(Ticket, Batch)>,
    /// The batch being handed out, its features, and how many are.
    batch: Option<(Batch, Vec<f32>, usize)>,
    progress: &'r mut dyn FnMut(usize),
    done: usize,
}

impl Rows<'_> {
    /// The next image, if its index is one that is wanted.
    fn next_of(&mut self, is_wanted: impl Fn(u32) -> bool) -> Result<Option<Row<'_>>, TrainError> {
        while self.batch.as_ref().is_none_or(|(batch, _, at)| *at == batch.valid) {
            if let Some((batch, ..)) = self.batch.take() {
                self.loader.recycle(batch);
                (self.progress)(self.done);
            }
            let next = match self.batches.next().transpose()? {
                Some(batch) => Some((self.step.run(&batch.images)?, batch)),
                None => None,
            };
            let is_last = next.is_none();
            if let Some((ticket, batch)) = std::mem::replace(&mut self.ahead, next) {
                self.batch = Some((batch, self.step.read(ticket)?, 0));
            } else if is_last {
                return Ok(None);
            }
        }
        let Some((batch, features, at)) = &mut self.batch else { return Ok(None) };
        if !is_wanted(batch.indices[*at]) {
            return Ok(None);
        }
        let i = *at;
        *at += 1;
        self.done += 1;
        let width = features.len() / batch.labels.len().max(1);
        Ok(Some((batch, &features[i * width..(i + 1) * width], i)))
    }
}
