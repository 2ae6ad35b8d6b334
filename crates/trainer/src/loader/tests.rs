//! Order, padding, threads, panics and resumption of the loader.

use super::*;
use crate::augment::{Augment, Border};
use crate::data::Pixels;
use std::time::Duration;

fn dataset(len: usize, channels: usize) -> Arc<Dataset> {
    let (height, width) = (4, 5);
    let n = len * channels * height * width;
    Arc::new(Dataset {
        name: "made".into(),
        images: (0..n).map(|i| (i * 31 % 251) as u8).collect::<Vec<_>>().into(),
        labels: (0..len as u32).map(|i| i % 7).collect(),
        channels,
        height,
        width,
        class_names: (0..7).map(|i| i.to_string()).collect(),
        mean: [0.4; 3],
        std: [0.2; 3],
    })
}

fn options(threads: usize) -> LoaderOptions {
    let augment = Augment::none().pad_crop(1, Border::Reflect).flip().translate(1).cutout(2);
    LoaderOptions::train(8, 42).augment(augment).threads(threads)
}

fn loader(len: usize, options: LoaderOptions) -> Loader {
    Loader::new(dataset(len, 3), options).expect("good")
}

fn batches(epoch: Epoch<'_>) -> Vec<Batch> {
    epoch.map(|b| b.expect("batch")).collect()
}

#[test]
fn any_number_of_threads_gives_the_same_bytes() {
    let all = |threads, queue| {
        let l = loader(100, LoaderOptions { queue, ..options(threads) });
        (0..3).flat_map(|e| batches(l.epoch(e))).collect::<Vec<_>>()
    };
    let want = all(0, 0);
    assert_eq!(want.len(), 3 * 12);
    for threads in [1, 2, 3, 4] {
        for queue in [0, 1, 4, 16] {
            assert_eq!(all(threads, queue), want, "{threads} threads, queue {queue}");
        }
    }
}

#[test]
fn seed_and_epoch_change_order_and_pixels() {
    let l = loader(64, options(2));
    let (a, b) = (batches(l.epoch(0)), batches(l.epoch(1)));
    assert_ne!(a[0].indices, b[0].indices);
    let other = loader(64, LoaderOptions { seed: 43, ..options(2) });
    assert_ne!(a, batches(other.epoch(0)));
    let mut seen: Vec<u32> = a.iter().flat_map(|b| b.indices.clone()).collect();
    seen.sort_unstable();
    assert_eq!(seen, (0..64).collect::<Vec<_>>());
}

#[test]
fn augmentation_follows_the_sample_and_not_its_place() {
    let pixels_of = |shuffle| {
        let l = loader(64, LoaderOptions { shuffle, ..options(1) });
        let b = batches(l.epoch(3));
        let at = b.iter().position(|b| b.indices.contains(&17)).expect("there");
        let i = b[at].indices.iter().position(|&i| i == 17).expect("there");
        b[at].images[i * 20..(i + 1) * 20].to_vec()
    };
    assert_eq!(pixels_of(true), pixels_of(false));
}

#[test]
fn a_cursor_goes_on_in_the_middle() {
    for threads in [0, 1, 2, 4] {
        let whole = loader(100, options(threads));
        let want = batches(whole.epoch(2));
        let resumed = loader(100, options(threads));
        let rest = batches(resumed.epoch_from(Cursor { epoch: 2, step: 5 }));
        assert_eq!(rest, want[5..]);
        // And into the next epoch without a restart.
        assert_eq!(batches(resumed.epoch(3)), batches(whole.epoch(3)));
        assert_eq!(resumed.epoch_from(Cursor { epoch: 2, step: 12 }).count(), 0);
        // Back again, and an epoch left in the middle.
        assert_eq!(resumed.epoch(2).next().expect("one").expect("good"), want[0]);
        assert_eq!(batches(resumed.epoch(2)), want);
    }
}

#[test]
fn pixels_are_packed_one_to_a_word() {
    let plain = LoaderOptions { shuffle: false, ..LoaderOptions::train(2, 0) };
    let l = Loader::new(dataset(2, 3), plain.clone()).expect("good");
    let b = &batches(l.epoch(0))[0];
    assert_eq!(b.images.len(), 2 * 20);
    assert_eq!(b.images[1], 93 | 124 << 8 | 155 << 16);
    assert_eq!((b.labels.as_slice(), b.indices.as_slice(), b.valid), (&[0, 1][..], &[0, 1][..], 2));
    let grey = Loader::new(dataset(2, 1), plain).expect("good");
    assert_eq!(batches(grey.epoch(0))[0].images[..3], [0, 31, 62]);
}

#[test]
fn the_last_batch_by_each_rule() {
    let with = |last| {
        let l = loader(19, LoaderOptions { last, ..options(2) });
        (l.steps_per_epoch(), l.samples_per_epoch(), batches(l.epoch(0)))
    };
    let (steps, samples, b) = with(LastBatch::Drop);
    assert_eq!((steps, samples, b.len()), (2, 16, 2));
    let (steps, samples, b) = with(LastBatch::Wrap);
    assert_eq!((steps, samples, b[2].valid), (3, 24, 8));
    assert_eq!(b[2].indices[3..], b[0].indices[..5]);
    let (steps, samples, b) = with(LastBatch::Pad);
    assert_eq!((steps, samples, b[2].valid), (3, 19, 3));
    assert_eq!(b[2].labels[3..], [NO_LABEL; 5]);
    assert_eq!((b[2].indices.len(), b[2].images.len()), (8, 8 * 20));

    let eval = Loader::new(dataset(19, 3), LoaderOptions::eval(8)).expect("good");
    let b = batches(eval.epoch(0));
    let valid: Vec<u32> = b.iter().flat_map(|b| b.indices[..b.valid].to_vec()).collect();
    assert_eq!(valid, (0..19).collect::<Vec<_>>());
    assert_eq!(b[2].images[3 * 20..4 * 20], b[0].images[..20]);
    // A batch larger than the data set.
    let small = Loader::new(dataset(3, 3), LoaderOptions::eval(8)).expect("good");
    assert_eq!(batches(small.epoch(0))[0].valid, 3);
    let wrapped = LoaderOptions { last: LastBatch::Wrap, ..options(1) };
    assert_eq!(batches(loader(3, wrapped).epoch(0))[0].indices.len(), 8);
}

#[test]
fn what_is_left_to_the_device_is_the_same_on_any_number_of_threads() {
    let all = |threads| batches(loader(100, options(threads).device_moves()).epoch(1));
    let want = all(0);
    assert!(want.iter().all(|batch| batch.moves.len() == 8 * 8));
    assert!((1..4).all(|threads| all(threads) == want));
    // The pixels are the data set's.
    let data = dataset(100, 3);
    let first = data.image(want[0].indices[0] as usize);
    assert!(first.chunks_exact(3).zip(&want[0].images).all(|(pixel, word)| pixel == &word.to_le_bytes()[..3]));
    assert!(want[0].moves.iter().any(|&word| word > 0));
    // Padding stays where it is.
    let padded = batches(loader(19, LoaderOptions { last: LastBatch::Pad, ..options(1).device_moves() }).epoch(0));
    assert_eq!(padded[2].moves.len(), 8 * 8);
    assert_eq!(padded[2].moves[3 * 8..], [0; 5 * 8]);
    assert!(batches(loader(19, options(1)).epoch(0)).iter().all(|batch| batch.moves.is_empty()));
}

#[test]
fn recycled_memory_is_used_again_and_changes_nothing() {
    let l = loader(100, LoaderOptions { threads: 0, ..options(0) });
    let want = batches(l.epoch(0));
    let mut seen = std::collections::HashSet::new();
    for (i, batch) in l.epoch(0).enumerate() {
        let batch = batch.expect("batch");
        assert_eq!(batch, want[i]);
        seen.insert(batch.images.as_ptr());
        l.recycle(batch);
    }
    assert_eq!(seen.len(), 1);
    for batch in want {
        l.recycle(batch);
    }
}

fn panics_at(threads: usize, victim: u32) -> Loader {
    // The hook sees pixels only: the victim is known by its first bytes.
    let data = dataset(64, 3);
    let mark = data.image(victim as usize).to_vec();
    let custom: Custom = Arc::new(move |_, _, pixels| {
        assert!(pixels != mark.as_slice(), "bad sample");
    });
    let options = LoaderOptions { custom: Some(custom), shuffle: false, ..LoaderOptions::train(8, 0) };
    Loader::new(data, options.threads(threads)).expect("good")
}

#[test]
fn a_panic_in_a_thread_is_an_error_in_its_place_and_no_hang() {
    for threads in [0, 1, 2, 4] {
        let l = panics_at(threads, 21);
        let mut epoch = l.epoch(0);
        assert!(epoch.next().expect("one").is_ok());
        assert!(epoch.next().expect("two").is_ok());
        let e = epoch.next().expect("three").expect_err("panicked");
        assert!(matches!(e, LoaderError::Panicked { step: 2, index: 21, .. }), "{e}");
        assert!(e.to_string().contains("bad sample"), "{e}");
        assert!(epoch.next().is_none());
        // Asking again starts anew and fails in the same place.
        assert_eq!(l.epoch(0).filter(Result::is_err).count(), 1);
    }
}

#[test]
fn dropping_in_the_middle_ends_the_threads() {
    let (done, wait) = bounded(1);
    std::thread::spawn(move || {
        for threads in [1, 2, 4] {
            let l = loader(1000, LoaderOptions { queue: 2, ..options(threads) });
            let mut epoch = l.epoch(0);
            assert!(epoch.next().is_some());
            let maker = Arc::downgrade(&l.maker);
            drop(l);
            assert!(maker.upgrade().is_none(), "a thread still holds the data");
        }
        let _ = done.send(());
    });
    wait.recv_timeout(Duration::from_secs(20)).expect("dropped without a hang");
}

#[test]
fn waiting_is_counted() {
    let custom: Custom = Arc::new(|_, _, _| std::thread::sleep(Duration::from_millis(2)));
    let l = loader(16, LoaderOptions { custom: Some(custom), ..options(1) });
    let mut epoch = l.epoch(0);
    while epoch.next().is_some() {}
    // The first batch of 8 is always waited for in full, the second one less what this thread was held up itself.
    assert!(epoch.wait_s() >= 0.015, "{}", epoch.wait_s());
    assert!((l.wait_s() - epoch.wait_s()).abs() < 1e-9);
}

/// Images behind a storage that stalls for one of them.
#[derive(Debug)]
struct Stalling(u64);

impl crate::data::ImageStore for Stalling {
    fn count(&self) -> usize {
        12
    }

    fn origin(&self, i: usize) -> String {
        i.to_string()
    }

    fn picture(&self, i: usize) -> Result<crate::data::Picture, crate::DataError> {
        if i == 5 {
            std::thread::sleep(Duration::from_millis(self.0));
        }
        Ok(crate::data::Picture { width: 5, height: 4, pixels: vec![i as u8; 60] })
    }

    fn encoded(&self, _: usize) -> Result<Option<Vec<u8>>, crate::DataError> {
        Ok(None)
    }
}

#[test]
fn a_storage_that_stalls_is_waited_for_and_the_wait_is_counted() {
    let all = |stall, threads| {
        let set = Dataset { images: Pixels::Stored(Arc::new(Stalling(stall))), ..(*dataset(12, 3)).clone() };
        let l = Loader::new(Arc::new(set), LoaderOptions { shuffle: false, ..options(threads) }).expect("good");
        (batches(l.epoch(0)), l.wait_s())
    };
    let (wanted, _) = all(0, 0);
    for threads in [0, 2] {
        let (got, wait_s) = all(300, threads);
        assert_eq!(got, wanted);
        assert!((0.29..60.0).contains(&wait_s), "{wait_s}");
    }
}

#[test]
fn bad_options_are_refused() {
    let says = |d: Arc<Dataset>, o: LoaderOptions, part: &str| {
        let e = Loader::new(d, o).expect_err("bad").to_string();
        assert!(e.contains(part), "{e}");
    };
    says(dataset(10, 3), LoaderOptions::train(0, 0), "at least 1, got 0");
    says(dataset(10, 3), LoaderOptions::train(11, 0), "11 images, got 10");
    says(dataset(10, 3), LoaderOptions::eval(usize::MAX), "pixels in a batch");
    says(dataset(10, 3), LoaderOptions::eval(1).threads(usize::MAX), "prefetch threads");
    says(dataset(0, 3), LoaderOptions::eval(1), "at least one image");
    let wrong = Dataset { labels: vec![9; 10], ..(*dataset(10, 3)).clone() };
    says(Arc::new(wrong), LoaderOptions::train(2, 0), "label 9");
}
