//! The embedded data set, from file to batches.

use std::path::Path;
use std::sync::Arc;

use wgrad_trainer::augment::{Augment, Border};
use wgrad_trainer::data::open::{fashion_mnist, fashion_mnist_from_bytes};
use wgrad_trainer::loader::{Batch, Loader, LoaderOptions};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../datasets/fashion-mnist-12k");

#[test]
fn the_embedded_set_is_whole() {
    let splits = fashion_mnist(Path::new(FOLDER)).expect("good");
    assert_eq!((splits.train.len(), splits.test.len()), (12_000, 2_000));
    let first: Vec<&str> =
        splits.train.labels[..4].iter().map(|&l| splits.train.class_names[l as usize].as_str()).collect();
    assert_eq!(first, ["Ankle boot", "T-shirt/top", "T-shirt/top", "Dress"]);
    // The stated statistics are those of the full set.
    let (mean, std) = splits.train.channel_stats();
    assert!((mean[0] - splits.train.mean[0]).abs() < 0.002, "{mean:?}");
    assert!((std[0] - splits.train.std[0]).abs() < 0.002, "{std:?}");

    let bytes = |name: &str| std::fs::read(Path::new(FOLDER).join(name)).expect("file");
    let embedded = fashion_mnist_from_bytes(
        &bytes("train-images-idx3-ubyte.gz"),
        &bytes("train-labels-idx1-ubyte.gz"),
        &bytes("t10k-images-idx3-ubyte.gz"),
        &bytes("t10k-labels-idx1-ubyte.gz"),
    );
    assert_eq!(embedded.expect("good"), splits);
}

#[test]
fn one_two_and_four_threads_give_the_same_bytes() {
    let data = Arc::new(fashion_mnist(Path::new(FOLDER)).expect("good").train.take(2_000));
    let run = |threads| -> Vec<Batch> {
        let augment = Augment::none().pad_crop(2, Border::Zero).flip().translate(1).cutout(6);
        let options = LoaderOptions::train(128, 7).augment(augment).threads(threads);
        let loader = Loader::new(Arc::clone(&data), options).expect("good");
        (0..2).flat_map(|e| loader.epoch(e).map(|b| b.expect("batch")).collect::<Vec<_>>()).collect()
    };
    let one = run(1);
    assert_eq!(one.len(), 2 * 15);
    assert!(run(2) == one && run(4) == one && run(0) == one);
}
