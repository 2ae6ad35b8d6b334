//! Folders of images: what is found in them, what is refused, and what a loader makes of them.

mod images;

use images::{data_set, jpeg, picture, png, put};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use wgrad_trainer::data::folder::{self, Half, Scan};
use wgrad_trainer::data::open::labelled;
use wgrad_trainer::{
    Augment, Batch, Cursor, DataError, Dataset, Loader, LoaderError, LoaderOptions, NO_LABEL, OnBadImage, View,
};

fn refused(root: &Path, part: &str) {
    let error = folder::scan(root).expect_err("refused").to_string();
    assert!(error.contains(part), "{error}");
}

fn batches(loader: &Loader, epoch: u32) -> Vec<Batch> {
    loader.epoch(epoch).map(|batch| batch.expect("batch")).collect()
}

fn names(scan: &Scan) -> Vec<String> {
    scan.files.iter().map(|file| file.display().to_string()).collect()
}

#[test]
fn classes_and_files_come_in_the_order_of_their_names() {
    let dir = tempfile::tempdir().expect("tmp");
    let root = dir.path();
    let image = jpeg(&picture(8, 8, 0));
    for path in ["b/2.jpg", "b/10.JPG", "a/deep/er/x.png", "a/y.jpeg", "a/.hidden.jpg", "B/1.jpg", "readme.txt"] {
        put(root, path, &image);
    }
    put(root, "a/notes.txt", b"words");
    let scan = folder::scan(root).expect("good");
    assert_eq!(scan.class_names, ["B", "a", "b"]);
    assert_eq!(names(&scan), ["B/1.jpg", "a/deep/er/x.png", "a/y.jpeg", "b/10.JPG", "b/2.jpg"]);
    assert_eq!(scan.labels, [0, 1, 1, 2, 2]);
    assert_eq!(scan.skipped, ["a/notes.txt: not named as an image"]);
}

#[test]
fn what_is_no_data_set_is_refused_with_its_cause() {
    let dir = tempfile::tempdir().expect("tmp");
    let root = dir.path();
    let image = jpeg(&picture(8, 8, 0));
    refused(root, "got none");
    put(root, "a/1.jpg", &image);
    refused(root, "got one, \"a\"");
    fs::create_dir(root.join("b")).expect("mkdir");
    refused(root, "class b: wanted an image");
    put(root, "b/1.jpg", &image);
    folder::scan(root).expect("good");
    put(root, "b/1.png", &image);
    refused(root, "b/1.png and another of this stem");
    assert!(matches!(folder::scan(&root.join("nothing")), Err(DataError::Unreadable { .. })));
    let error = folder::open(root, 8).expect_err("no halves").to_string();
    assert!(error.contains("train and val"), "{error}");
}

#[test]
fn both_halves_have_the_same_classes() {
    let dir = tempfile::tempdir().expect("tmp");
    data_set(dir.path(), 3, 2);
    let splits = folder::open(dir.path(), 16).expect("good");
    assert_eq!((splits.train.len(), splits.test.len(), splits.test.classes()), (6, 6, 3));
    splits.train.check().expect("good");
    fs::rename(dir.path().join("val/class1"), dir.path().join("val/other")).expect("rename");
    let error = folder::open(dir.path(), 16).expect_err("differ").to_string();
    assert!(error.contains("class1") && error.contains("classes of the training images"), "{error}");
}

#[test]
fn a_half_is_the_whole_only_where_there_are_no_halves() {
    let dir = tempfile::tempdir().expect("tmp");
    let root = dir.path();
    data_set(root, 3, 2);
    let count = |half| folder::half(root, half).map(|scan| scan.class_names.len());
    assert_eq!((count(Half::Train).expect("there"), count(Half::Val).expect("there")), (3, 3));
    // With one half and another folder beside it, the two are no classes.
    fs::rename(root.join("val"), root.join("extra")).expect("rename");
    assert_eq!(count(Half::Train).expect("there"), 3);
    let error = count(Half::Val).expect_err("no such half").to_string();
    assert!(error.contains("wanted a folder val") && error.contains("got train alone"), "{error}");
    fs::rename(root.join("train"), root.join("more")).expect("rename");
    assert_eq!(count(Half::Val).expect("all of it"), 2);
    put(root, "test.txt", b"extra/class0/0.jpg 0\n");
    let error = count(Half::Train).expect_err("no such half").to_string();
    assert!(error.contains("got test.txt alone"), "{error}");
}

#[test]
fn images_without_labels_tell_what_was_passed_over() {
    let dir = tempfile::tempdir().expect("tmp");
    let root = dir.path();
    put(root, "x/1.jpg", &jpeg(&picture(8, 8, 0)));
    put(root, "x/notes.txt", b"words");
    let set = folder::unlabelled(&[root.to_owned()], 8).expect("an image");
    assert_eq!(set.len(), 1);
    assert_eq!(set.passed_over(), [format!("{}/x/notes.txt: not named as an image", root.display())]);
}

#[test]
fn lists_name_images_below_their_folder() {
    let dir = tempfile::tempdir().expect("tmp");
    let root = dir.path();
    put(root, "x/a b.jpg", &jpeg(&picture(8, 8, 0)));
    put(root, "y.png", &png(&picture(8, 8, 1)));
    put(root, "train.txt", b"x/a b.jpg 1\r\ny.png\t0\r\n");
    put(root, "val.txt", b"y.png 0\nx/a b.jpg 2\n");
    let splits = folder::open(root, 8).expect("good");
    assert_eq!((splits.train.labels.clone(), splits.train.classes(), splits.test.classes()), (vec![1, 0], 3, 3));
    assert_eq!(batches(&eval(splits.train, 2), 0)[0].valid, 2);
    // A list to learn from has every class and no image twice; the one above to test on may have a gap.
    for (bad, part) in [
        ("x/a b.jpg 2\ny.png 0\n", "train.txt, line 1: wanted classes numbered from 0 without a gap"),
        ("y.png 0\n\n./y.png 1\n", "train.txt, line 3: wanted each image once"),
    ] {
        put(root, "train.txt", bad.as_bytes());
        let list = root.join("train.txt");
        let errors = [
            folder::open(root, 8).map(|_| ()),
            folder::half(root, Half::Train).map(|_| ()),
            labelled(&list, 8, Half::Train).map(|_| ()),
        ];
        for error in errors.map(|result| result.expect_err("bad list").to_string()) {
            assert!(error.contains(part), "{error}");
        }
        labelled(&list, 8, Half::Val).expect("to test on");
    }
    for bad in ["../secret.jpg 0\ny.png 1", "/etc/x.jpg 0\ny.png 1"] {
        put(root, "bad.txt", bad.as_bytes());
        let error = folder::scan_list(&root.join("bad.txt"), root).expect_err("out").to_string();
        assert!(error.contains("without .."), "{error}");
    }
}

#[cfg(unix)]
#[test]
fn links_pipes_and_odd_names() {
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::symlink;
    let dir = tempfile::tempdir().expect("tmp");
    let outside = tempfile::tempdir().expect("tmp");
    let root = dir.path();
    let image = jpeg(&picture(8, 8, 0));
    put(root, "a/1.jpg", &image);
    put(root, "b/1.jpg", &image);
    put(outside.path(), "secret.jpg", &image);
    symlink(root, root.join("a/circle")).expect("link");
    symlink("../a", root.join("b/again")).expect("link");
    symlink(outside.path().join("secret.jpg"), root.join("a/out.jpg")).expect("link");
    symlink("nowhere", root.join("a/broken.jpg")).expect("link");
    symlink("1.jpg", root.join("a/2.jpg")).expect("link");
    let pipe = std::process::Command::new("mkfifo").arg(root.join("a/pipe.jpg")).status().expect("mkfifo");
    assert!(pipe.success());
    let odd = std::ffi::OsStr::from_bytes(b"c\xff\n");
    fs::create_dir(root.join(odd)).expect("mkdir");
    let long = format!("{}.jpg", "n".repeat(251));
    fs::write(root.join(odd).join(&long), &image).expect("write");
    let scan = folder::scan(root).expect("good");
    assert_eq!(scan.class_names, ["a", "b", "c\\xFF\\n"]);
    assert_eq!(scan.files.len(), 4, "{scan:?}");
    let skipped = scan.skipped.join("; ");
    for part in ["a/circle: a folder met", "b/again: a folder met", "a/out.jpg: a link out", "a/broken.jpg: a broken"] {
        assert!(skipped.contains(part), "{skipped}");
    }
    assert!(skipped.contains("a/pipe.jpg: neither") && scan.skipped.len() == 5, "{skipped}");
    assert_eq!(batches(&eval(scan.dataset(8), 4), 0)[0].valid, 4);
}

fn eval(set: Dataset, batch: usize) -> Loader {
    Loader::new(Arc::new(set), LoaderOptions::eval(batch)).expect("good")
}

fn train(root: &Path, threads: usize) -> LoaderOptions {
    let _ = root;
    LoaderOptions::train(5, 9).augment(Augment::none().view(View::RANDOM_RESIZED).flip().cutout(3)).threads(threads)
}

#[test]
fn any_number_of_workers_and_a_resumed_epoch_give_the_same_bytes() {
    let dir = tempfile::tempdir().expect("tmp");
    data_set(dir.path(), 2, 12);
    let set = Arc::new(folder::open(dir.path(), 12).expect("good").train);
    let loader = |threads| Loader::new(Arc::clone(&set), train(dir.path(), threads)).expect("good");
    let wanted: Vec<Batch> = (0..2).flat_map(|epoch| batches(&loader(0), epoch)).collect();
    assert_eq!(wanted.len(), 8);
    assert_ne!(wanted[0].images, wanted[4].images);
    for threads in [1, 2, 8] {
        let one = loader(threads);
        let got: Vec<Batch> = (0..2).flat_map(|epoch| batches(&one, epoch)).collect();
        assert!(got == wanted, "{threads} threads");
        let rest = loader(threads).epoch_from(Cursor { epoch: 1, step: 2 }).collect::<Result<Vec<_>, _>>();
        assert!(rest.expect("good") == wanted[6..], "{threads} threads");
    }
}

/// Two classes of ten, three of them bad in different ways.
fn damaged(root: &Path) -> Dataset {
    data_set(root, 2, 10);
    put(root, "train/class0/img_003.JPEG", b"");
    put(root, "train/class1/img_000.JPEG", b"<html>404</html>");
    let whole = jpeg(&picture(20, 20, 1));
    put(root, "train/class1/img_005.JPEG", &whole[..whole.len() / 2]);
    folder::open(root, 8).expect("good").train
}

#[test]
fn bad_images_are_replaced_or_skipped_and_named_once() {
    let dir = tempfile::tempdir().expect("tmp");
    let set = Arc::new(damaged(dir.path()));
    let options = LoaderOptions { bad_image_share: 0.15, ..LoaderOptions::train(20, 1).threads(2) };
    let loader = Loader::new(Arc::clone(&set), options.clone()).expect("good");
    for epoch in 0..2 {
        let batch = &batches(&loader, epoch)[0];
        let mut indices = batch.indices.clone();
        indices.sort_unstable();
        assert_eq!(indices, [0, 1, 2, 4, 4, 5, 6, 7, 8, 9, 11, 11, 12, 13, 14, 16, 16, 17, 18, 19]);
        assert!(batch.indices.iter().zip(&batch.labels).all(|(&i, &label)| set.labels[i as usize] == label));
    }
    let faults = loader.faults();
    assert_eq!(faults.iter().map(|fault| fault.index).collect::<Vec<_>>(), [3, 10, 15]);
    assert!(faults[1].message.contains("img_000.JPEG") && faults[1].message.contains("web page"), "{faults:?}");

    let eval = LoaderOptions { bad_image_share: 0.15, ..LoaderOptions::eval(8) };
    let loader = Loader::new(Arc::clone(&set), eval).expect("good");
    let got = batches(&loader, 0);
    assert_eq!(got.iter().map(|batch| batch.valid).collect::<Vec<_>>(), [7, 6, 4]);
    assert!(got[0].labels[7] == NO_LABEL && got[0].indices[..7] == [0, 1, 2, 4, 5, 6, 7]);

    // One in twenty is forgiven: the second is one too many, by name.
    let strict = LoaderOptions { bad_image_share: 0.05, ..options.clone() };
    let loader = Loader::new(Arc::clone(&set), strict).expect("good");
    let error = loader.epoch(0).next().expect("one").expect_err("too many");
    // The two threads may each have found one more before the first says so.
    assert!(matches!(error, LoaderError::BadImages { count: 2..=3, budget: 1, len: 20, .. }), "{error}");
    assert!(error.to_string().contains("train/class"), "{error}");
    let loader = Loader::new(set, LoaderOptions { on_bad_image: OnBadImage::Fail, ..options }).expect("good");
    assert!(matches!(loader.epoch(0).next(), Some(Err(LoaderError::Data(_)))));
}

#[test]
fn a_file_that_vanishes_or_becomes_a_pipe_is_a_bad_image() {
    let dir = tempfile::tempdir().expect("tmp");
    data_set(dir.path(), 2, 4);
    let set = folder::open(dir.path(), 8).expect("good").train;
    fs::remove_file(dir.path().join("train/class0/img_001.JPEG")).expect("rm");
    fs::remove_file(dir.path().join("train/class1/img_002.JPEG")).expect("rm");
    fs::create_dir(dir.path().join("train/class1/img_002.JPEG")).expect("mkdir");
    let loader =
        Loader::new(Arc::new(set), LoaderOptions { bad_image_share: 0.5, ..LoaderOptions::eval(8) }).expect("good");
    assert_eq!(batches(&loader, 0)[0].valid, 6);
    let messages: Vec<String> = loader.faults().into_iter().map(|fault| fault.message).collect();
    assert!(messages[0].contains("cannot be read") && messages[1].contains("regular file"), "{messages:?}");
}

#[test]
fn tiny_and_long_images_have_a_size_too() {
    let dir = tempfile::tempdir().expect("tmp");
    for (i, (width, height)) in [(1, 1), (1, 2000), (2000, 1), (3, 5)].into_iter().enumerate() {
        put(dir.path(), &format!("class{}/{i}.png", i % 2), &png(&picture(width, height, 1)));
    }
    let set = Arc::new(folder::scan(dir.path()).expect("good").dataset(24));
    let jitter = View::ScaleJitter { shorter: [24, 40] };
    for view in [View::Whole, View::CENTRE, View::RANDOM_RESIZED, jitter] {
        let options = LoaderOptions { on_bad_image: OnBadImage::Fail, ..LoaderOptions::eval(4) };
        let options = options.augment(Augment::none().view(view));
        let loader = Loader::new(Arc::clone(&set), options).expect("good");
        for epoch in 0..20 {
            assert_eq!(batches(&loader, epoch)[0].images.len(), 4 * 24 * 24, "{view:?}");
        }
    }
}
