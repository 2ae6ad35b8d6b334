//! Training and evaluation on images in files, on a device.

mod images;

use images::{jpeg, put};
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex};
use wgrad_layers::{AdaptiveAvgPool2d, BatchNorm2d, Conv2d, Flatten, Layer, Linear, Relu};
use wgrad_tensor::{Device, DeviceOptions, Params};
use wgrad_trainer::checkpoint::Checkpoints;
use wgrad_trainer::data::{folder, record};
use wgrad_trainer::{
    Augment, EvalStep, Loader, LoaderOptions, Output, Show, StepOptions, Trainer, View, data, evaluate, evaluate_views,
};

fn device() -> Device {
    Device::open(&DeviceOptions::default()).expect("tests on a device need an adapter")
}

fn net() -> impl Layer + Clone + 'static {
    (
        Conv2d::new(3, 8, 3).padding(1).stride(2).bias(false),
        BatchNorm2d::new(8),
        Relu,
        AdaptiveAvgPool2d::new(1),
        Flatten,
        Linear::new(8, 2),
    )
}

/// A writer, and what was written to it.
fn lines() -> (impl Write + Send + 'static, Arc<Mutex<Vec<u8>>>) {
    struct Lines(Arc<Mutex<Vec<u8>>>);
    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("whole").extend(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let shown = Arc::new(Mutex::new(Vec::new()));
    (Lines(Arc::clone(&shown)), shown)
}

/// Reddish and bluish images.
fn tree(root: &Path) {
    for (half, each) in [("train", 24), ("val", 9)] {
        for (class, red) in [("blue", 40u32), ("red", 200)] {
            for i in 0..each {
                let noise = |x: u32, y: u32| (x * 7 + y * 13 + i * 29) % 55;
                let image = image::RgbImage::from_fn(20 + i % 5, 18, |x, y| {
                    image::Rgb([(red + noise(x, y)) as u8, 100, (240 - red + noise(y, x)) as u8])
                });
                put(root, &format!("{half}/{class}/{i}.jpg"), &jpeg(&image));
            }
        }
    }
}

#[test]
fn a_folder_and_its_record_file_train_alike_and_a_bad_image_ends_nothing() {
    let dir = tempfile::tempdir().expect("tmp");
    tree(dir.path());
    put(dir.path(), "train/blue/7.jpg", b"<html>");
    let device = device();
    let sheet = dir.path().join("sheet.png");
    let run = |splits: data::Splits| {
        let trainer = Trainer::new(net(), splits).device(device.clone()).batch_size(8).epochs(3);
        let trainer = trainer.augment(Augment::none().view(View::RANDOM_RESIZED).flip()).preview(&sheet);
        trainer.output(Output::Nowhere).show(Show::Nothing).run().expect("trains").report
    };
    let splits = folder::open(dir.path(), 16).expect("good");
    let report = run(splits.clone());
    assert!(report.test.accuracy > 0.9 && report.test.images == 18, "{:?}", report.test);
    assert!(std::fs::read(&sheet).expect("sheet").starts_with(b"\x89PNG"));

    // The bytes of every image as they are, the bad one too: a record that is no image.
    for (half, set) in [("train", &splits.train), ("val", &splits.test)] {
        let data::Pixels::Stored(store) = &set.images else { panic!("in files") };
        let meta = record::parse::Meta {
            name: set.name.clone(),
            class_names: set.class_names.clone(),
            shards: 1,
            ..record::parse::Meta::default()
        };
        let path = dir.path().join(format!("x-{half}.wgr"));
        record::write_file::<data::DataError>(&path, &meta, |writer| {
            for (i, &label) in set.labels.iter().enumerate() {
                let bytes = store.encoded(i)?.expect("a file");
                writer.push(&record::Payload::File(bytes), label).expect("written");
            }
            Ok(())
        })
        .expect("packed");
    }
    // A folder that is not there yet takes the sheet, too.
    let out = dir.path().join("new/run");
    put(dir.path(), "train/blue/notes.txt", b"words");
    let (lines, shown) = lines();
    let trainer = Trainer::new(net(), folder::open(dir.path(), 16).expect("good")).device(device.clone()).batch_size(8);
    let trainer = trainer.epochs(1).out(&out).preview(out.join("sheet.png")).show(Show::Lines(Box::new(lines)));
    trainer.run().expect("trains");
    assert!(std::fs::read(out.join("sheet.png")).expect("sheet").starts_with(b"\x89PNG"));
    let shown = String::from_utf8(shown.lock().expect("whole").clone()).expect("text");
    assert!(shown.contains("train: passed over blue/notes.txt: not named as an image"), "{shown}");
    let newest = Checkpoints::new(out.join("checkpoints"), 1).newest().expect("reads");
    let meta = newest.found.expect("saved").0.meta("x").expect("good");
    assert_eq!(meta.data, Some(splits.train.fingerprint()));
    meta.check_data(&splits.train, false, "x").expect("the same");
    assert!(meta.check_data(&splits.test, false, "x").is_err());

    let again = run(record::open_splits(&dir.path().join("x.wgr"), 16, record::Access::Memory).expect("good"));
    assert_eq!(again.test, report.test);
}

#[test]
fn averaged_views_agree_with_a_plain_evaluation_where_there_is_one_view() {
    let dir = tempfile::tempdir().expect("tmp");
    tree(dir.path());
    let set = Arc::new(folder::open(dir.path(), 16).expect("good").test);
    let device = device();
    let mut params = Params::new(&device, 3);
    let options = StepOptions { logits: true, ..StepOptions::new(&set, 5) };
    let mut step = EvalStep::new(&device, &mut params, &net(), &options).expect("compiles");
    let loader = Loader::new(Arc::clone(&set), LoaderOptions::eval(5)).expect("good");
    let plain = evaluate(&mut step, &loader, 0).expect("runs");
    let one = evaluate_views(&mut step, &set, &[View::CENTRE], &LoaderOptions::eval(5)).expect("runs");
    assert_eq!((one.correct, one.images, one.accuracy_top5), (plain.correct, plain.images, None));
    assert!((one.loss - plain.loss).abs() < 1e-4, "{one:?} {plain:?}");
    let ten = evaluate_views(&mut step, &set, &View::ten_crop(18), &LoaderOptions::eval(5)).expect("runs");
    assert_eq!(ten.images, 18);
    assert!(ten.loss.is_finite());
    assert!(evaluate_views(&mut step, &set, &[], &LoaderOptions::eval(5)).is_err());
}
