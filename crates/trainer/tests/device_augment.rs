//! Crop, flips, translation and cutout on the device: the same pixels as on the host, and so the same weights.

mod common;

use common::{bits, device, net, quarters, quiet};
use std::sync::Arc;
use wgrad_tensor::{Device, Feed, Graph, Params, Plan, TensorDesc};
use wgrad_trainer::augment::ColourJitter;
use wgrad_trainer::data::{ImageStore, Picture};
use wgrad_trainer::{
    Augment, Batch, Border, DataError, Dataset, Loader, LoaderOptions, Mix, Pixels, StepOptions, TrainStep, View,
};

/// Images of any size whose pixels all differ from their neighbours'.
fn made(images: usize, [channels, height, width]: [usize; 3]) -> Dataset {
    let pixels = (0..images * channels * height * width).map(|i| (i * 31 % 251) as u8);
    Dataset {
        name: "made".into(),
        images: pixels.collect::<Vec<_>>().into(),
        labels: (0..images as u32).map(|i| i % 4).collect(),
        channels,
        height,
        width,
        mean: [0.3, 0.55, 0.8],
        ..quarters(4, 1)
    }
}

/// Everything that a device can do, with both borders and shifts above the image.
fn changes() -> Vec<Augment> {
    let with = |pad, border| Augment::none().pad_crop(pad, border).translate(2).cutout(2);
    [Border::Zero, Border::Reflect]
        .into_iter()
        .flat_map(|border| [with(2, border).flip(), with(1, border).flip_alternating(), with(50, border).flip()])
        .collect()
}

/// A plan that only moves pixels.
fn mover(device: &Device, dataset: &Dataset, batch: usize) -> Plan {
    let graph = Graph::new();
    let pixels = graph.feed("pixels", TensorDesc::u32([batch, dataset.height, dataset.width]));
    let [r, g, b] = dataset.geometry().mean_colour;
    let fill = if dataset.channels == 1 { r.into() } else { u32::from_le_bytes([r, g, b, 0]) };
    graph.output("y", pixels.move_pixels(graph.feed("moves", TensorDesc::u32([batch, 8])), fill));
    Plan::compile(device, &graph, &mut Params::new(device, 0), &Default::default()).expect("compiles")
}

/// The batches of two epochs.
fn batches(dataset: &Arc<Dataset>, options: &LoaderOptions) -> Vec<Batch> {
    let loader = Loader::new(Arc::clone(dataset), options.clone()).expect("loads");
    (0..2).flat_map(|epoch| loader.epoch(epoch).map(|batch| batch.expect("batch")).collect::<Vec<_>>()).collect()
}

fn same_pixels(device: &Device, dataset: Dataset, augment: Augment, seed: u64) {
    let said = format!("{:?} {augment:?} seed {seed}", dataset.geometry());
    let mut plan = mover(device, &dataset, 8);
    let dataset = Arc::new(dataset);
    let host = LoaderOptions::train(8, seed).augment(augment);
    let (wanted, left) = (batches(&dataset, &host), batches(&dataset, &host.clone().device_moves()));
    assert!(!wanted.is_empty() && wanted.len() == left.len());
    for (wanted, left) in wanted.iter().zip(&left) {
        assert!(wanted.moves.is_empty() && left.moves.len() == 8 * 8);
        assert_eq!((&wanted.labels, &wanted.indices), (&left.labels, &left.indices));
        let feeds = [("pixels", Feed::U32(&left.images)), ("moves", Feed::U32(&left.moves))];
        let ticket = plan.run(&feeds).expect("runs");
        assert!(plan.read_words(ticket, "y").expect("reads") == wanted.images, "{said}");
    }
}

#[test]
fn pixels_are_those_of_the_host() {
    let device = device();
    for shape in [[1, 7, 5], [3, 9, 13], [3, 1, 6], [1, 8, 1], [3, 8, 8]] {
        for augment in changes() {
            for seed in [1, 77, u64::MAX] {
                same_pixels(&device, made(20, shape), augment.clone(), seed);
            }
        }
    }
}

/// Images of another size than the network's.
#[derive(Debug)]
struct Pictures;

impl ImageStore for Pictures {
    fn count(&self) -> usize {
        20
    }

    fn origin(&self, i: usize) -> String {
        i.to_string()
    }

    fn picture(&self, i: usize) -> Result<Picture, DataError> {
        let (width, height) = (20 + i, 30);
        Ok(Picture { width, height, pixels: (0..width * height * 3).map(|at| (at * 7 + i) as u8).collect() })
    }

    fn encoded(&self, _: usize) -> Result<Option<Vec<u8>>, DataError> {
        Ok(None)
    }
}

#[test]
fn pixels_of_views_of_stored_images_are_those_of_the_host() {
    let device = device();
    for channels in [1, 3] {
        for augment in changes() {
            let set = Dataset { images: Pixels::Stored(Arc::new(Pictures)), ..made(20, [channels, 11, 9]) };
            same_pixels(&device, set, augment.view(View::RANDOM_RESIZED), 5);
        }
    }
}

#[test]
fn five_steps_give_the_same_weights() {
    let device = device();
    let dataset = Arc::new(quarters(60, 1));
    let after = |on_device: bool| {
        let mut params = Params::new(&device, 4);
        let options = StepOptions { device_moves: on_device, ..StepOptions::new(&dataset, 10) };
        let mut step = TrainStep::new(&device, &mut params, &net(), &options).expect("compiles");
        let augment = Augment::none().pad_crop(2, Border::Reflect).flip().translate(1).cutout(3);
        let loading = LoaderOptions { device_moves: on_device, ..LoaderOptions::train(10, 3).augment(augment) };
        let loader = Loader::new(Arc::clone(&dataset), loading).expect("loads");
        for batch in loader.epoch(0).take(5) {
            step.run_batch(&batch.expect("batch"), 0.1).expect("runs");
        }
        bits(&params)
    };
    assert!(after(true) == after(false));
}

#[test]
fn a_run_has_the_same_weights_and_the_same_preview() {
    let device = device();
    let folder = tempfile::tempdir().expect("a folder");
    let run = |on_device: bool| {
        let (out, sheet) = (folder.path().join(format!("{on_device}")), folder.path().join(format!("{on_device}.png")));
        let augment = Augment::none().pad_crop(1, Border::Zero).flip_alternating().cutout(2);
        let trainer = quiet(&device).augment(augment).augment_on_device(on_device).out(&out).preview(&sheet);
        let trained = trainer.run().expect("trains");
        let settings = std::fs::read_to_string(out.join("run.json")).expect("written");
        assert!(settings.contains(&format!("\"augment_on_device\": {on_device}")), "{settings}");
        (bits(&trained.params), std::fs::read(sheet).expect("a sheet"))
    };
    let (host, on_device) = (run(false), run(true));
    assert!(host.0 == on_device.0, "other weights");
    assert!(host.1 == on_device.1, "another sheet");
}

#[test]
fn a_step_takes_moves_only_where_it_was_compiled_for_them() {
    let device = device();
    let dataset = Arc::new(quarters(40, 1));
    let options = LoaderOptions::train(10, 3).augment(Augment::none().flip());
    let moved = batches(&dataset, &options.clone().device_moves()).remove(0);
    let mut params = Params::new(&device, 4);
    let plain = StepOptions::new(&dataset, 10);
    let mut step = TrainStep::new(&device, &mut params, &net(), &plain).expect("compiles");
    let error = step.run_batch(&moved, 0.1).expect_err("moves").to_string();
    assert!(error.contains("device_moves"), "{error}");
    // Without moves, a step that could make them leaves pixels as they are.
    let on_host = batches(&dataset, &options).remove(0);
    let losses = [false, true].map(|device_moves| {
        let mut params = Params::new(&device, 4);
        let options = StepOptions { device_moves, ..plain.clone() };
        let mut step = TrainStep::new(&device, &mut params, &net(), &options).expect("compiles");
        let of_batch = step.run_batch(&on_host, 0.1).expect("runs");
        let of_slices = step.run(&on_host.images, &on_host.labels, 0.1).expect("runs");
        [of_batch, of_slices].map(|ticket| step.read(ticket).expect("reads").loss.to_bits())
    });
    assert_eq!(losses[0], losses[1]);
}

#[test]
fn what_the_device_cannot_do_is_refused() {
    let device = device();
    let says = |trainer: wgrad_trainer::Trainer, part: &str| {
        let error = trainer.augment_on_device(true).check().expect_err("bad");
        assert!(matches!(error, wgrad_trainer::TrainError::Setting { .. }), "{error}");
        assert!(error.to_string().contains(part), "{error}");
    };
    let colour = ColourJitter { brightness: 0.4, ..ColourJitter::default() };
    says(quiet(&device).augment(Augment::none().flip().colour(colour)), "computes pixels");
    says(quiet(&device).augment(Augment::none().trivial()), "computes pixels");
    says(quiet(&device).mixup(0.2), "mixed images");
    quiet(&device).augment(Augment::none().flip().cutout(2)).augment_on_device(true).check().expect("good");
    let loading = LoaderOptions::train(4, 0).mix(Mix::MixUp { alpha: 1.0 }).device_moves();
    assert!(loading.check().is_err_and(|error| error.to_string().contains("mixed images")));
    let custom = LoaderOptions { custom: Some(Arc::new(|_, _, _| ())), ..LoaderOptions::train(4, 0).device_moves() };
    assert!(custom.check().is_err_and(|error| error.to_string().contains("caller's own")));
}
