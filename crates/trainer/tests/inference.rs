//! What was trained is used: files say how, images get probabilities, bad ones are named.

mod common;
mod images;

use common::{device, quarters};
use images::{jpeg, put};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use wgrad_layers::models;
use wgrad_tensor::{CompileOptions, Params};
use wgrad_trainer::data::{Pixels, folder, open};
use wgrad_trainer::inference::{Crops, Tally, top};
use wgrad_trainer::{
    Classifier, Dataset, EvalStep, InferenceError, Loader, LoaderOptions, ModelCard, Overrides, Schedule, Show, Splits,
    StepOptions, Trainer, View, Weights, WeightsError, checkpoint,
};

/// Greyish images whose left or right half is bright; the file names sort like the classes.
fn tree(root: &Path) {
    for (half, each) in [("train", 20), ("val", 9)] {
        for (class, bright_left) in [("left", true), ("right", false)] {
            for i in 0..each {
                let image = image::RgbImage::from_fn(20, 20, |x, y| {
                    let light = if (x < 10) == bright_left { 150 } else { 20 };
                    image::Rgb([0, 13, 26].map(|c| (light + (x * 7 + y * 11 + i * 29 + c) % 60) as u8))
                });
                put(root, &format!("{half}/{class}/{i:02}.jpg"), &jpeg(&image));
            }
        }
    }
}

fn classifier(name: &str, given: &Overrides) -> Result<Classifier, InferenceError> {
    let bytes = checkpoint::read(name.as_ref()).expect("there");
    let weights = Weights::parse(&bytes, name)?;
    let card = given.resolve(&weights, name)?;
    Classifier::new(&device(), &weights, card, 4, CompileOptions::default(), name)
}

/// A run on the folder; returns its files of weights.
fn trained(root: &Path) -> [String; 2] {
    let splits = folder::open(root, 16).expect("good");
    let net = models::by_name("resnet8", 3, 2).expect("known");
    let out = root.join("run");
    let trainer = Trainer::new(net, splits).device(device()).architecture("resnet8").batch_size(10).epochs(6).out(&out);
    let trainer = trainer.schedule(Schedule::constant(0.05).expect("good")).show(Show::Nothing).eval_view(View::Whole);
    let report = trainer.run().expect("trains").report;
    assert!(report.test.accuracy > 0.9, "{:?}", report.test);
    // 4 batches an epoch.
    ["model.safetensors", "checkpoints/step-000000000024.safetensors"].map(|name| out.join(name).display().to_string())
}

#[test]
fn a_trained_model_is_used_from_its_file_alone() {
    let dir = tempfile::tempdir().expect("tmp");
    tree(dir.path());
    let [model, checkpoint] = trained(dir.path());

    // Images without labels: files as they are given, a folder in the order of its paths, and what is no image.
    put(dir.path(), "loose/b.jpg", b"<html>");
    let right = std::fs::read(dir.path().join("val/right/00.jpg")).expect("there");
    put(dir.path(), "loose/a.jpg", &right);
    put(dir.path(), "loose/notes.txt", b"no image by its name");
    let paths = ["val/left/03.jpg", "gone.jpg", "loose", "val/right/08.jpg"];
    let paths: Vec<PathBuf> = paths.iter().map(|path| dir.path().join(path)).collect();
    let mut own = classifier(&model, &Overrides::default()).expect("says all");
    assert_eq!(own.card().class_names, ["left", "right"]);
    assert_eq!(
        (own.card().architecture.as_deref(), own.card().preprocessing.view),
        (Some("resnet8"), Some(View::Whole))
    );
    let images = Arc::new(own.prepare(folder::unlabelled(&paths, 0).expect("five")).expect("fits"));
    let options = LoaderOptions { bad_image_share: 1.0, ..LoaderOptions::eval(1) };
    let views = Crops::Flip.views(&own.card().preprocessing, 0);
    let mut first = Vec::new();
    own.classify(&images, &[None], &options, |i, p| first.push((i, p.map(|p| top(p, 1)[0].0).map_err(str::to_string))))
        .expect("runs");
    let class = |i: usize| first[i].1.clone();
    assert_eq!(first.iter().map(|(i, _)| *i).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
    assert_eq!([class(0), class(2), class(4)], [Ok(0), Ok(1), Ok(1)]);
    assert!(class(1).is_err_and(|text| text.contains("gone.jpg") && text.contains("cannot be read")));
    assert!(class(3).is_err_and(|text| text.contains("b.jpg") && text.contains("web page")));
    // Left and right change places in the mirror: together they are half and half.
    let mut both = Vec::new();
    own.classify(&images, &views, &options, |_, p| both.push(p.map(|p| p[0]).map_err(str::to_string))).expect("runs");
    assert!(both[0].as_ref().is_ok_and(|share| (0.1..0.9).contains(share)) && both[1].is_err(), "{both:?}");
    assert!(folder::unlabelled(&[], 0).is_err());

    // A checkpoint holds the optimiser's state, too. Both count as the run's own test did.
    let test = open::labelled(dir.path(), 16, folder::Half::Val).expect("good");
    let mut counts = Vec::new();
    for file in [&model, &checkpoint] {
        let mut classifier = classifier(file, &Overrides::default()).expect("loads");
        let names = classifier.card().class_names.clone();
        let test = classifier.prepare(test.clone().with_labels_of(&names, None).expect("the same")).expect("fits");
        let (test, mut tally) = (Arc::new(test), Tally::new(2));
        let views = Crops::Model.views(&classifier.card().preprocessing, 0);
        let add = |i: usize, p: Result<&[f64], &str>| tally.add(test.labels[i], p.expect("good"));
        classifier.classify(&test, &views, &LoaderOptions::eval(9), add).expect("runs");
        counts.push(tally.evaluation());
    }
    assert!(counts[0].accuracy > 0.9 && counts[0].images == 18, "{counts:?}");
    assert_eq!(counts[0], counts[1]);
}

#[test]
fn weights_of_another_network_or_of_no_numbers_are_refused() {
    let device = device();
    let dir = tempfile::tempdir().expect("tmp");
    let path = dir.path().join("old.safetensors").display().to_string();
    let (set, given) = (quarters(8, 1), |name: &str| Overrides {
        architecture: Some(name.to_string()),
        size: Some(32),
        mean: Some([0.35; 3]),
        std: Some([0.25; 3]),
        ..Overrides::default()
    });
    let set = Dataset { channels: 3, images: vec![0; 8 * 32 * 32 * 3].into(), height: 32, width: 32, ..set };
    let mut params = Params::new(&device, 1);
    let net = models::by_name("resnet20", 3, 4).expect("known");
    EvalStep::new(&device, &mut params, &*net, &StepOptions::new(&set, 2)).expect("compiles");
    let mut weights = Weights::of(&params).expect("read");
    checkpoint::save_bytes(path.as_ref(), &weights.to_bytes()).expect("written");
    // An old file needs to be told, and then loads.
    let unsaid = classifier(&path, &Overrides::default()).expect_err("says nothing");
    assert!(matches!(unsaid, InferenceError::Unsaid { .. }), "{unsaid}");
    let mut whole = classifier(&path, &given("resnet20")).expect("loads");
    assert_eq!(whole.card().class_names, ["0", "1", "2", "3"]);
    let small = whole.prepare(quarters(4, 1)).expect_err("8x8 of one channel").to_string();
    assert!(small.contains("32x32x3") && small.contains("8x8x1"), "{small}");
    let mut seen = 0;
    let set = Arc::new(whole.prepare(set).expect("fits"));
    whole.classify(&set, &[None], &LoaderOptions::eval(1), |_, p| seen += usize::from(p.is_ok())).expect("runs");
    assert_eq!(seen, 8);
    assert!(whole.classify(&set, &[], &LoaderOptions::eval(1), |_, _| ()).is_err(), "no view");
    // ResNet-8's tensors are all in ResNet-20's file, but not the other way round.
    for name in ["resnet8", "resnet32"] {
        let error = classifier(&path, &given(name)).expect_err("another depth");
        assert!(matches!(error, InferenceError::Weights(WeightsError::OtherModel { .. })), "{error}");
    }
    for array in weights.tensors.values_mut() {
        array.data[0] = f32::NAN;
    }
    checkpoint::save_bytes(path.as_ref(), &weights.to_bytes()).expect("written");
    let error = classifier(&path, &given("resnet20")).expect_err("NaN");
    assert!(matches!(error, InferenceError::NotFinite { .. }), "{error}");
}

#[test]
fn a_network_of_grey_images_takes_colour_files() {
    let dir = tempfile::tempdir().expect("tmp");
    tree(dir.path());
    let half = |half| open::labelled(dir.path(), 16, half).expect("good");
    let grey = |half| Dataset { channels: 1, ..folder::half(dir.path(), half).expect("good").dataset(16) };
    let splits = Splits { train: grey(folder::Half::Train), test: grey(folder::Half::Val) };
    let net = models::by_name("resnet8", 1, 2).expect("known");
    let out = dir.path().join("run");
    let trainer = Trainer::new(net, splits).device(device()).architecture("resnet8").batch_size(10).epochs(6).out(&out);
    let report = trainer.show(Show::Nothing).run().expect("trains").report;
    assert!(report.test.accuracy > 0.9, "{:?}", report.test);
    let name = out.join("model.safetensors").display().to_string();
    let mut own = classifier(&name, &Overrides::default()).expect("says all");
    assert_eq!(own.card().preprocessing.channels, 1);
    let set = Arc::new(own.prepare(half(folder::Half::Val).every(3)).expect("fits"));
    let mut correct = 0;
    own.classify(&set, &[None], &LoaderOptions::eval(1), |i, p| {
        correct += usize::from(top(p.expect("good"), 1)[0].0 == set.labels[i] as usize);
    })
    .expect("runs");
    assert!(set.len() == 6 && correct >= 5, "{correct} of {}", set.len());
    assert!(matches!(set.images, Pixels::Stored(_)));
    let loader = Loader::new(Arc::clone(&set), LoaderOptions::eval(2)).expect("good");
    let batch = loader.epoch(0).next().expect("one").expect("good");
    assert!(batch.images.iter().all(|&word| word < 256), "one byte for each pixel");
}

/// A network that no zoo has, from what its run left.
#[test]
fn a_network_of_ones_own_is_used_by_its_layers() {
    let dir = tempfile::tempdir().expect("tmp");
    let out = dir.path().join("run");
    let device = device();
    let trained = common::quiet(&device).epochs(3).out(&out).run().expect("trains");
    let name = out.join("best.safetensors").display().to_string();
    let weights = Weights::parse(&checkpoint::read(name.as_ref()).expect("there"), &name).expect("whole");
    let card = ModelCard::from_metadata(&weights.metadata, &name).expect("good").expect("it says how it is used");
    let open = |net: &dyn wgrad_layers::Layer, card: ModelCard| {
        Classifier::of_network(&device, net, &weights, card, 4, CompileOptions::default(), &name)
    };
    let mut own = open(&common::net(), card.clone()).expect("the same layers");
    let (test, view) = (own.prepare(quarters(43, 2)).expect("of its size"), [own.card().preprocessing.view]);
    let (mut right, labels) = (0, test.labels.clone());
    own.classify(&Arc::new(test), &view, &LoaderOptions::eval(4), |image, probabilities| {
        right += u64::from(top(probabilities.expect("in memory"), 1)[0].0 == labels[image] as usize);
    })
    .expect("runs");
    let best = trained.report.epochs.iter().filter_map(|epoch| epoch.test_accuracy).fold(0.0, f64::max);
    assert_eq!(right as f64 / 43.0, best);

    let two = ModelCard { class_names: vec!["a".into(), "b".into()], ..card.clone() };
    assert!(matches!(open(&common::net(), two), Err(InferenceError::ClassNames { classes: 4, names: 2, .. })));
    let other = (wgrad_layers::Flatten, wgrad_layers::Linear::new(64, 4));
    assert!(matches!(open(&other, card), Err(InferenceError::Weights(_))));
}
