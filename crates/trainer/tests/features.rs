//! Features kept in files, linear classifiers on them, and the classifier as a network's head.

mod common;

use common::{device, splits};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use wgrad_layers::{Conv2d, Dropout, Flatten, GlobalAvgPool, Layer, Linear, MaxPool2d, Relu};
use wgrad_tensor::{Device, Params};
use wgrad_trainer::data::record::parse::{self, FeatureMeta, Meta};
use wgrad_trainer::data::record::{self, Access, ENTRY_BYTES, HEADER_BYTES, Writer};
use wgrad_trainer::data::{Features, features as files};
use wgrad_trainer::features::{
    ExtractOptions, FeatureStep, LinearClassifier, LinearFit, LinearLoss, Tap, extract, source, weights_crc,
};
use wgrad_trainer::{Dataset, EvalStep, Loader, LoaderOptions, Parts, StepOptions, TrainError, evaluate};

/// SqueezeNet's kind of head.
fn convolutional() -> impl Layer {
    let body = (Conv2d::new(1, 16, 3).padding(1), Relu, MaxPool2d::new(2));
    (body, Dropout::new(0.5), Conv2d::new(16, 4, 1), Relu, GlobalAvgPool)
}

/// A last matrix on a feature map.
fn flat() -> impl Layer {
    (Conv2d::new(1, 8, 3).stride(2).padding(1), Relu, Flatten, Linear::new(128, 4))
}

fn loader(set: &Dataset, batch: usize) -> Loader {
    Loader::new(Arc::new(set.clone()), LoaderOptions::eval(batch)).expect("loads")
}

/// Extracts a set to `path` and reads it back.
fn cached(device: &Device, model: &dyn Layer, set: &Dataset, path: &Path, options: &ExtractOptions) -> Features {
    let mut params = Params::new(device, 1);
    let mut step = FeatureStep::new(device, &mut params, model, set, options).expect("compiles");
    let crc = weights_crc(&params, &step, &Parts::of(model, set.input(1))).expect("reads");
    let loader = loader(set, options.batch_size);
    let mut told = 0;
    let done = extract(&mut step, &loader, (path, options), ("net", crc), |images| told = images).expect("extracts");
    assert_eq!((done.images, done.left_out, told), (set.len(), 0, set.len()));
    assert_eq!(done.paths.len(), options.shards as usize);
    let got = files::open(&done.paths[0]).expect("opens");
    let images = source(&loader, options.shards).expect("reads");
    assert_eq!(got.source_crcs, images.into_iter().map(|images| [images, crc]).collect::<Vec<_>>());
    got
}

#[test]
fn features_are_the_same_whatever_the_batch_and_the_files() {
    let (device, dir) = (device(), tempfile::tempdir().expect("tmp"));
    let (model, set) = (convolutional(), splits().test);
    let path = |name: &str| dir.path().join(name);
    let layer = Tap::Layer("0".to_string());
    let all = ExtractOptions { tap: layer.clone(), pool: false, batch_size: 43, ..ExtractOptions::default() };
    let whole = cached(&device, &model, &set, &path("whole.wgr"), &all);
    assert_eq!((whole.meta.shape.as_slice(), whole.width(), whole.len()), ([16, 4, 4].as_slice(), 256, 43));
    assert_eq!((whole.labels.as_slice(), &whole.class_names), (set.labels.as_slice(), &set.class_names));
    let sharded = ExtractOptions { shards: 3, batch_size: 8, ..all.clone() };
    let parts = cached(&device, &model, &set, &path("parts.wgr"), &sharded);
    let close =
        |a: &[f32], b: &[f32], within: f32| a.iter().zip(b).all(|(a, b)| (a - b).abs() <= within * (1.0 + a.abs()));
    assert!(parts.labels == whole.labels && close(&whole.x, &parts.x, 1e-6));
    let half = cached(&device, &model, &set, &path("half.wgr"), &ExtractOptions { half: true, ..all.clone() });
    assert!(half.x != whole.x && close(&whole.x, &half.x, 1e-3));
    // What the head works on is what leaves the body, dropout aside; pooled it is the mean.
    let pooled = ExtractOptions { tap: Tap::BeforeHead, pool: true, ..all };
    let pooled = cached(&device, &model, &set, &path("pooled.wgr"), &pooled);
    let means: Vec<f32> = whole.x.chunks_exact(16).map(|map| map.iter().sum::<f32>() / 16.0).collect();
    assert!(pooled.meta.pooled && pooled.width() == 16 && close(&means, &pooled.x, 1e-5));

    let mut params = Params::new(&device, 1);
    let options = ExtractOptions { tap: layer, batch_size: 43, ..ExtractOptions::default() };
    let mut step = FeatureStep::new(&device, &mut params, &model, &set, &options).expect("compiles");
    let before = fs::read(path("whole.wgr")).expect("there");
    let again = extract(&mut step, &loader(&set, 43), (&path("whole.wgr"), &options), ("net", 0), |_| ());
    assert!(again.expect_err("there").to_string().contains("whole.wgr"));
    assert_eq!(fs::read(path("whole.wgr")).expect("there"), before);
    let head = ExtractOptions { tap: Tap::Layer("2".to_string()), ..options.clone() };
    let refused = FeatureStep::new(&device, &mut Params::new(&device, 1), &model, &set, &head).expect_err("the head");
    assert!(refused.to_string().contains("below the head"), "{refused}");
    let other = ExtractOptions { tap: Tap::Layer("features".to_string()), ..options };
    let error = FeatureStep::new(&device, &mut params, &model, &set, &other).expect_err("no such layer").to_string();
    assert!(error.contains("features (0 values)") && error.contains("0.0, 0.1, 0.2"), "{error}");
}

#[test]
fn a_linear_classifier_becomes_the_head() {
    let (device, dir) = (device(), tempfile::tempdir().expect("tmp"));
    let splits = splits();
    let models: [(&str, Box<dyn Layer>, Tap, bool); 2] = [
        ("flat", Box::new(flat()), Tap::BeforeHead, true),
        ("convolutional", Box::new(convolutional()), Tap::Layer("0".to_string()), false),
    ];
    for (name, model, tap, learns) in models {
        let options = ExtractOptions { tap: tap.clone(), ..ExtractOptions::default() };
        let path = |half: &str| dir.path().join(format!("{name}-{half}.wgr"));
        let train = cached(&device, &*model, &splits.train, &path("train"), &options);
        cached(&device, &*model, &splits.test, &path("val"), &options);
        let (again, test) = files::open_splits(&dir.path().join(format!("{name}.wgr"))).expect("both");
        assert_eq!(again, train);
        for loss in [LinearLoss::Softmax, LinearLoss::Svm] {
            let fit = LinearFit { batch_size: 64, epochs: 60, ..LinearFit::new(loss) };
            let classifier = fit.run(&device, &train).expect("fits");
            assert_eq!(classifier, fit.run(&device, &train).expect("fits"), "the same bits");
            let alone = classifier.evaluate(&test).expect("evaluates");
            // Means over the whole image cannot tell quarters.
            assert!(!learns || alone.accuracy > 0.9, "{name} {loss:?}: {alone:?}");
            let mut params = Params::new(&device, 1);
            let step = StepOptions::new(&splits.test, 16);
            let mut step = EvalStep::new(&device, &mut params, &*model, &step).expect("compiles");
            classifier.into_head(&mut params, &*model, &splits.test, &tap).expect("fits the head");
            let whole = evaluate(&mut step, &loader(&splits.test, 16), 0).expect("evaluates");
            assert_eq!(whole.correct, alone.correct, "{name} {loss:?}");
            assert!((whole.loss - alone.loss).abs() < 1e-3 * (1.0 + alone.loss), "{whole:?} {alone:?}");
        }
    }
}

#[test]
fn heads_and_features_that_do_not_fit_are_refused() {
    let device = device();
    let set = splits().test;
    let mut params = Params::new(&device, 1);
    let train = features(&[[0.0, 1.0], [1.0, 0.0]]);
    let classifier = LinearFit::new(LinearLoss::Softmax).run(&device, &train).expect("fits");
    let mut says = |classifier: &LinearClassifier, model: &dyn Layer, tap: Tap, part: &str| {
        let error = classifier.into_head(&mut params, model, &set, &tap).expect_err("bad").to_string();
        assert!(error.contains(part), "{error}");
    };
    says(&classifier, &flat(), Tap::BeforeHead, "wanted one matrix [2, 2]");
    says(&classifier, &convolutional(), Tap::Layer("0.0".to_string()), "right before the head");
    let padded = (Conv2d::new(1, 2, 3), Conv2d::new(2, 2, 1).padding(1), GlobalAvgPool);
    says(&classifier, &padded, Tap::BeforeHead, "without padding");
    let squashed = (Conv2d::new(1, 2, 3), Conv2d::new(2, 2, 1), wgrad_layers::Tanh, GlobalAvgPool);
    says(&classifier, &squashed, Tap::BeforeHead, "activation");

    let other = Features { class_names: vec!["a".into(), "c".into()], ..train.clone() };
    assert!(classifier.evaluate(&other).expect_err("other classes").to_string().contains("classes a, c"));
    let refused = |fit: LinearFit, set: &Features, part: &str| {
        let error = fit.run(&device, set).expect_err("bad").to_string();
        assert!(error.contains(part), "{error}");
    };
    let fit = LinearFit::new(LinearLoss::Softmax);
    refused(LinearFit { epochs: 0, ..fit }, &train, "epochs");
    refused(LinearFit { lr: f32::NAN, ..fit }, &train, "learning rate");
    refused(fit, &Features { labels: vec![0, 2], ..train.clone() }, "label: wanted one below 2");
    refused(fit, &Features { x: vec![1.0], ..train.clone() }, "2 images of 2 numbers");
    let wild = LinearFit { lr: 1e38, weight_decay: 1e30, ..fit }.run(&device, &train);
    assert!(matches!(wild, Err(TrainError::Diverged { .. })), "{wild:?}");
}

fn meta() -> FeatureMeta {
    FeatureMeta { model: "net".into(), layer: "0".into(), shape: vec![2], pooled: false, image: [8, 8] }
}

/// Two classes, a row for each.
fn features(rows: &[[f32; 2]]) -> Features {
    Features {
        name: "f".into(),
        class_names: vec!["a".into(), "b".into()],
        meta: meta(),
        x: rows.concat(),
        labels: (0..rows.len() as u32).map(|i| i % 2).collect(),
        source_crcs: vec![[1, 2]],
    }
}

/// A file of these rows, whatever they hold.
fn file(rows: &[impl AsRef<[f32]>], meta: Option<FeatureMeta>) -> Vec<u8> {
    let meta = Meta {
        name: "f".into(),
        class_names: vec!["a".into(), "b".into()],
        shards: 1,
        features: meta,
        ..Meta::default()
    };
    let mut writer = Writer::new(std::io::Cursor::new(Vec::new()), &meta).expect("memory");
    for (i, row) in rows.iter().enumerate() {
        writer.push_features(row.as_ref(), false, i as u32 % 2).expect("memory");
    }
    writer.set_source(1, 2);
    writer.finish().expect("memory").into_inner()
}

fn opened(bytes: &[u8]) -> Result<Features, wgrad_trainer::DataError> {
    let dir = tempfile::tempdir().expect("tmp");
    fs::write(dir.path().join("f.wgr"), bytes).expect("write");
    files::open(&dir.path().join("f.wgr"))
}

#[test]
fn every_damaged_byte_is_found() {
    let rows = [[0.5, -1.0], [2.0, 1e-30]];
    let good = file(&rows, Some(meta()));
    assert_eq!(opened(&good).expect("good"), features(&rows));
    for at in 0..good.len() {
        assert!(opened(&good[..at]).is_err(), "cut at {at}");
        let mut bad = good.clone();
        bad[at] ^= 1 << (at % 8);
        assert!(opened(&bad).is_err(), "byte {at}");
    }
}

#[test]
fn what_no_features_are_is_refused_though_its_sums_are_right() {
    let rows = [[0.5, -1.0], [2.0, 3.0]];
    let good = file(&rows, Some(meta()));
    let header = parse::header(&good, good.len() as u64, "f").expect("good");
    let (index_at, first) = (header.index_at_byte as usize, HEADER_BYTES + header.meta_bytes as usize);
    // The file with one record's bytes or index entry changed, and sums that fit.
    let with = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = good.clone();
        change(&mut bytes);
        let crc = crc32fast::hash(&bytes[first..first + 8]);
        bytes[index_at + 12..index_at + 16].copy_from_slice(&crc.to_le_bytes());
        let header = parse::Header { index_crc: crc32fast::hash(&bytes[index_at..]), ..header };
        bytes[..HEADER_BYTES].copy_from_slice(&header.to_bytes());
        bytes
    };
    let says = |bytes: &[u8], part: &str| {
        let error = opened(bytes).expect_err("bad").to_string();
        assert!(error.contains(part), "wanted {part:?} in {error}");
    };
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        says(
            &with(&|b| b[first + 4..first + 8].copy_from_slice(&bad.to_le_bytes())),
            "record 0: wanted finite numbers",
        );
        let mut writer = Writer::new(std::io::Cursor::new(Vec::new()), &Meta::default()).expect("memory");
        assert!(writer.push_features(&[1.0, bad], false, 0).expect_err("bad").to_string().contains("at place 1"));
        assert!(writer.push_features(&[70_000.0], true, 0).is_err(), "more than f16 holds");
    }
    says(&with(&|b| b[index_at + 8] = 4), "features of the extents stated");
    says(&with(&|b| b[index_at + 24] = 3), "features of the extents stated");
    says(&with(&|b| b[index_at + 24] = 4), "a known kind");
    says(&with(&|b| b[index_at + ENTRY_BYTES..][..8].copy_from_slice(&u64::MAX.to_le_bytes())), "before the index");
    says(&file(&rows, None), "wanted a file of features");
    let shape = |shape: &[u32]| file(&rows, Some(FeatureMeta { shape: shape.to_vec(), ..meta() }));
    says(&shape(&[]), "extents of features");
    says(&shape(&[u32::MAX, u32::MAX, 4]), "extents of features");
    says(&shape(&[3]), "features of the extents stated");
    // Twenty records of one place, together more than the file.
    let mut crowded = file(&[[1.0; 64]], Some(FeatureMeta { shape: vec![8, 8], ..meta() }));
    let header = parse::header(&crowded, crowded.len() as u64, "f").expect("good");
    let index_at = header.index_at_byte as usize;
    let entry = crowded[index_at..].to_vec();
    (1..20).for_each(|_| crowded.extend(&entry));
    let index_crc = crc32fast::hash(&crowded[index_at..]);
    let header = parse::Header { records: 20, file_bytes: crowded.len() as u64, index_crc, ..header };
    crowded[..HEADER_BYTES].copy_from_slice(&header.to_bytes());
    says(&crowded, "records beside each other");
    let dir = tempfile::tempdir().expect("tmp");
    fs::write(dir.path().join("f.wgr"), &good).expect("write");
    let error = record::open(&dir.path().join("f.wgr"), 8, Access::Positions).expect_err("no images").to_string();
    assert!(error.contains("features of net, layer 0"), "{error}");
}
