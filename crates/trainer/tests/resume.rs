//! Runs that are stopped, killed or damaged, and go on: every bit of the final weights is that of a run which nothing disturbed.

mod common;

use common::{bits, device, net, quiet, splits};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use wgrad_tensor::ops::optimizer::AdamW;
use wgrad_tensor::{Device, Init, Scope, Value};
use wgrad_trainer::checkpoint::{Checkpoints, save_bytes};
use wgrad_trainer::{
    Augment, Border, Checkpoint, Exit, Lookahead, Optimizer, Precision, Resume, Schedule, SgdConfig, Show, Stop,
    StopReason, TrainError, Trained, Trainer, UpdateConfig,
};

type Bits = Vec<(String, Vec<u32>)>;

/// Three epochs of ten steps with all that depends on where a run stands: a schedule, augmentation, dropout, momentum.
fn trainer(device: &Device) -> Trainer {
    let sgd = SgdConfig { momentum: 0.9, nesterov: true, weight_decay: 1e-3, ..SgdConfig::default() };
    quiet(device)
        .epochs(3)
        .sgd(sgd)
        .schedule(Schedule::one_cycle(0.1, 3.0).expect("good"))
        .augment(Augment::none().pad_crop(1, Border::Zero).flip())
        .seed(5)
}

/// Files are written as ever, and after so many of them the run is asked to stop.
fn stopping(after: u64, stop: &Stop) -> impl Fn(&Path, &[u8]) -> io::Result<()> + Send + Sync + 'static {
    let (written, stop) = (AtomicU64::new(0), stop.clone());
    move |path: &Path, bytes: &[u8]| {
        save_bytes(path, bytes).map_err(io::Error::other)?;
        if written.fetch_add(1, Ordering::Relaxed) + 1 == after {
            stop.request(StopReason::Terminated);
        }
        Ok(())
    }
}

/// Runs what `make` gives to its end, stopping after every `after` files and going on each time.
fn in_pieces(make: &dyn Fn() -> Trainer, folder: &Path, every: u64, after: u64) -> (Trained, u32) {
    let mut pieces = 0;
    loop {
        let stop = Stop::default();
        let run =
            make().out(folder).checkpoint_every(every).stop(stop.clone()).checkpoint_writer(stopping(after, &stop));
        let run = if pieces > 0 { run.resume(Resume::default()) } else { run };
        pieces += 1;
        match run.run() {
            Ok(trained) => return (trained, pieces),
            Err(error) => {
                assert!(matches!(error, TrainError::Stopped { reason: StopReason::Terminated, .. }), "{error}");
                assert_eq!(Exit::of(&error).code(), 75);
                assert!(error.to_string().contains("resume goes on from there"), "{error}");
            }
        }
        assert!(pieces < 100, "it never ends");
    }
}

/// The columns of a log that no clock is in.
fn losses(folder: &Path, file: &str, columns: usize) -> Vec<String> {
    let text = fs::read_to_string(folder.join(file)).expect("logged");
    text.lines().map(|line| line.split(',').take(columns).collect::<Vec<_>>().join(",")).collect()
}

fn equal(make: &dyn Fn() -> Trainer, every: u64, after: u64) {
    let folder = tempfile::tempdir().expect("tmp");
    let (whole, pieces) = (folder.path().join("whole"), folder.path().join("pieces"));
    let undisturbed = make().out(&whole).run().expect("trains");
    let (trained, count) = in_pieces(make, &pieces, every, after);
    assert!(count > 1, "never stopped");
    assert_eq!(bits(&trained.params), bits(&undisturbed.params), "{count} pieces");
    assert_eq!(trained.report.test, undisturbed.report.test);
    assert_eq!(trained.report.steps, undisturbed.report.steps);
    assert_eq!(losses(&pieces, "steps.csv", 5), losses(&whole, "steps.csv", 5));
    assert_eq!(losses(&pieces, "epochs.csv", 7), losses(&whole, "epochs.csv", 7));
    let file = |folder: &Path| fs::read(folder.join("model.safetensors")).expect("saved");
    assert!(file(&pieces) == file(&whole), "other bytes in the model's file");
}

#[test]
fn a_run_in_pieces_is_a_whole_one_to_the_bit() {
    let device = device();
    for (every, after) in [(1, 1), (3, 2), (7, 3)] {
        equal(&|| trainer(&device), every, after);
    }
}

/// Everything that keeps a state: averages, a second momentum, sums of gradients, a loss scale, weights of 16 bits.
#[test]
fn every_kind_of_state_goes_on() {
    let device = device();
    let update = |update: UpdateConfig| trainer(&device).update(update);
    let lookahead = Some(Lookahead { every: 4, decay: 0.9, steps: 30 });
    equal(&|| update(UpdateConfig { ema: Some(0.9), clip_norm: Some(1.0), ..UpdateConfig::default() }), 3, 2);
    equal(&|| update(UpdateConfig { lookahead, ..UpdateConfig::default() }), 3, 2);
    equal(&|| update(UpdateConfig { accumulate: 4, ..UpdateConfig::default() }), 3, 2);
    // Sums of gradients that are no numbers, from a scale that is too large at first, stay until the next sum begins.
    let summed = UpdateConfig { accumulate: 2, clip_norm: Some(1.0), ..UpdateConfig::default() };
    let half = "mixed-f16".parse::<Precision>().expect("known");
    equal(&|| update(summed.clone()).precision(half), 1, 2);
    let adamw = || trainer(&device).optimizer(Optimizer::AdamW(AdamW::default()));
    equal(&adamw, 3, 2);
    for precision in ["mixed-f16", "bf16-sr"] {
        equal(&|| trainer(&device).precision(precision.parse::<Precision>().expect("known")), 3, 2);
    }
}

/// A run of three epochs with all of its checkpoints, stopped after the second.
fn begun(device: &Device, folder: &Path) -> PathBuf {
    let stop = Stop::default();
    let run = trainer(device).keep(9).out(folder).stop(stop.clone()).checkpoint_every(4);
    // Checkpoints at 4, 8, 10 and its best epoch, 12, …
    let error = run.checkpoint_writer(stopping(6, &stop)).run().expect_err("stopped");
    match error {
        TrainError::Stopped { checkpoint: Some(path), .. } => path,
        other => panic!("{other}"),
    }
}

fn resumed(device: &Device, folder: &Path) -> Result<Trained, TrainError> {
    trainer(device).out(folder).resume(Resume::default()).run()
}

#[test]
fn damaged_checkpoints_are_passed_over_for_the_one_before() {
    let device = device();
    let folder = tempfile::tempdir().expect("tmp");
    let whole = bits(&trainer(&device).run().expect("trains").params);
    let newest = begun(&device, folder.path());
    let listed = Checkpoints::new(folder.path().join("checkpoints"), 1).list().expect("reads");
    assert!(listed.len() >= 3 && listed[0].1 == newest, "{listed:?}");
    // Cut short, one bit flipped, and a write that was killed.
    let bytes = fs::read(&newest).expect("there");
    fs::write(&newest, &bytes[..bytes.len() - 5]).expect("cuts");
    let mut flipped = fs::read(&listed[1].1).expect("there");
    let middle = flipped.len() / 2;
    flipped[middle] ^= 0x10;
    fs::write(&listed[1].1, flipped).expect("flips");
    fs::write(folder.path().join("checkpoints/.wgrad-x.partial"), "half").expect("writes");
    let (lines, shown) = common::lines();
    let run = trainer(&device).out(folder.path()).resume(Resume::default()).show(Show::Lines(Box::new(lines)));
    assert_eq!(bits(&run.run().expect("goes on").params), whole);
    let shown = shown();
    for (_, path) in &listed[..2] {
        assert!(shown.contains(&format!("{}: wanted a safetensors file", path.display())), "{shown}");
    }
    assert!(shown.contains(&format!("goes on from {}", listed[2].1.display())), "{shown}");
    assert!(!folder.path().join("checkpoints/.wgrad-x.partial").exists());
    let aside = |path: &Path| path.with_extension("safetensors.broken").exists();
    assert!(listed[..2].iter().all(|(_, path)| aside(path)));

    // With none that is whole, nothing is begun anew behind the user's back.
    for (_, path) in Checkpoints::new(folder.path().join("checkpoints"), 1).list().expect("reads") {
        fs::write(path, "no").expect("breaks");
    }
    let error = resumed(&device, folder.path()).expect_err("no checkpoint");
    assert_eq!(Exit::of(&error), Exit::Checkpoint, "{error}");
}

#[test]
fn a_run_goes_on_with_its_own_settings_data_and_network_alone() {
    let device = device();
    let folder = tempfile::tempdir().expect("tmp");
    begun(&device, folder.path());
    let before = fs::read(folder.path().join("run.json")).expect("there");
    let refused = |run: Trainer, part: &str, exit: Exit| {
        let error = run.out(folder.path()).resume(Resume::default()).run().expect_err(part);
        assert!(error.to_string().contains(part), "{error}");
        assert_eq!(Exit::of(&error), exit, "{error}");
    };
    refused(trainer(&device).seed(6), "seed: wanted 5, got 6", Exit::Checkpoint);
    refused(trainer(&device).batch_size(10), "batch_size: wanted 20, got 10", Exit::Checkpoint);
    refused(trainer(&device).epochs(4), "epochs: wanted 3, got 4", Exit::Checkpoint);
    let mut data = splits();
    data.train.labels.swap(0, 1);
    let other = |data| {
        let schedule = Schedule::one_cycle(0.1, 3.0).expect("good");
        let sgd = SgdConfig { momentum: 0.9, nesterov: true, weight_decay: 1e-3, ..SgdConfig::default() };
        let run = Trainer::new(net(), data).device(device.clone()).batch_size(20).epochs(3).sgd(sgd).schedule(schedule);
        run.augment(Augment::none().pad_crop(1, Border::Zero).flip()).seed(5).show(Show::Nothing)
    };
    refused(other(data.clone()), "wanted the training images that the run began with", Exit::Checkpoint);
    // Another layer, and one with another number in it that no weight tells.
    let network = |net: Box<dyn wgrad_layers::Layer>| {
        let run =
            Trainer::new(net, splits()).device(device.clone()).batch_size(20).epochs(3).show(Show::Nothing).seed(5);
        let run = run.sgd(SgdConfig { momentum: 0.9, nesterov: true, weight_decay: 1e-3, ..SgdConfig::default() });
        let run = run.schedule(Schedule::one_cycle(0.1, 3.0).expect("good"));
        run.augment(Augment::none().pad_crop(1, Border::Zero).flip())
    };
    refused(network(Box::new((net(), Shifted))), "graph: wanted", Exit::Checkpoint);
    refused(network(Box::new((net(), wgrad_layers::Dropout::new(0.1)))), "graph: wanted", Exit::Checkpoint);
    assert!(fs::read(folder.path().join("run.json")).expect("there") == before);

    let forced = other(data).out(folder.path()).resume(Resume { force_data: true }).run().expect("asked for");
    assert_eq!(forced.report.steps, 30);
    // A run that is over is tested again, and that is all.
    let trained = resumed(&device, folder.path());
    assert!(trained.is_err_and(|error| error.to_string().contains("fingerprint")), "the other data's by now");

    let nowhere = trainer(&device).resume(Resume::default()).run().expect_err("no folder");
    assert!(nowhere.to_string().starts_with("resume: "), "{nowhere}");
    let empty = tempfile::tempdir().expect("tmp");
    let error = resumed(&device, empty.path()).expect_err("no run");
    assert_eq!((Exit::of(&error), error.to_string().contains("run.json")), (Exit::Usage, true), "{error}");
    assert_eq!(fs::read_dir(empty.path()).expect("there").count(), 0, "nothing is left there");
}

/// A layer more.
#[derive(Clone, Debug)]
struct Shifted;

impl wgrad_layers::Layer for Shifted {
    fn forward<'g>(&self, s: &Scope<'g>, x: Value<'g>) -> Value<'g> {
        x.add_bias(s.weight("shift", [4], Init::Constant(0.0)))
    }
}

#[test]
fn a_run_that_is_over_or_has_no_checkpoint_yet_can_be_asked_for_too() {
    let device = device();
    let folder = tempfile::tempdir().expect("tmp");
    let whole = trainer(&device).out(folder.path()).run().expect("trains");
    let again = resumed(&device, folder.path()).expect("nothing is left to do");
    assert_eq!(bits(&again.params), bits(&whole.params));
    assert_eq!(again.report.test, whole.report.test);
    fs::remove_dir_all(folder.path().join("checkpoints")).expect("removes");
    let anew = resumed(&device, folder.path()).expect("from the start");
    assert_eq!(bits(&anew.params), bits(&whole.params));
    assert_eq!(losses(folder.path(), "epochs.csv", 3).len(), 4, "no epoch stands there twice");
}

#[test]
fn two_runs_in_one_folder_are_refused() {
    let device = device();
    let folder = tempfile::tempdir().expect("tmp");
    let seen: Arc<std::sync::Mutex<Option<TrainError>>> = Arc::default();
    let (path, out) = (folder.path().to_owned(), Arc::clone(&seen));
    let writer = move |file: &Path, bytes: &[u8]| {
        let error = resumed(&common::device(), &path).err();
        out.lock().expect("whole").get_or_insert(error.expect("the first one trains"));
        save_bytes(file, bytes).map_err(io::Error::other)
    };
    trainer(&device)
        .epochs(1)
        .schedule(Schedule::constant(0.1).expect("good"))
        .out(folder.path())
        .checkpoint_writer(writer)
        .run()
        .expect("trains");
    let error = seen.lock().expect("whole").take().expect("tried");
    assert!(matches!(error, TrainError::RunInUse { .. }), "{error}");
}

#[test]
fn a_disk_that_fails_now_and_then_costs_warnings_and_one_that_stays_full_ends_the_run() {
    let device = device();
    let folder = tempfile::tempdir().expect("tmp");
    let whole: Bits = bits(&trainer(&device).run().expect("trains").params);
    let full = || io::Error::from(io::ErrorKind::StorageFull);
    let written = AtomicU64::new(0);
    let writer = move |path: &Path, bytes: &[u8]| match written.fetch_add(1, Ordering::Relaxed) % 3 {
        2 => Err(full()),
        _ => save_bytes(path, bytes).map_err(io::Error::other),
    };
    let (lines, shown) = common::lines();
    let run = trainer(&device).checkpoint_every(2).out(folder.path().join("a")).checkpoint_writer(writer);
    let trained = run.show(Show::Lines(Box::new(lines))).run().expect("trains");
    assert_eq!(bits(&trained.params), whole);
    assert!(shown().contains("training goes on, and the earlier checkpoint stands"), "{}", shown());

    let out = folder.path().join("b");
    let written = AtomicU64::new(0);
    let writer = move |path: &Path, bytes: &[u8]| match written.fetch_add(1, Ordering::Relaxed) {
        0 => save_bytes(path, bytes).map_err(io::Error::other),
        _ => Err(full()),
    };
    let error = trainer(&device).checkpoint_every(2).out(&out).checkpoint_writer(writer).run().expect_err("full");
    assert_eq!(Exit::of(&error), Exit::Disk, "{error}");
    let newest = Checkpoints::new(out.join("checkpoints"), 1).newest().expect("reads");
    assert!(newest.found.is_some() && newest.passed_over.is_empty(), "the first one stands");
    let trained = resumed(&device, &out).expect("goes on where there is room again");
    assert_eq!(bits(&trained.params), whole);
}

#[test]
fn a_folder_for_checkpoints_that_cannot_be_written_is_refused_before_the_first_step() {
    let device = device();
    let folder = tempfile::tempdir().expect("tmp");
    begun(&device, folder.path());
    fs::remove_dir_all(folder.path().join("checkpoints")).expect("removes");
    fs::write(folder.path().join("checkpoints"), "a file").expect("writes");
    let error = resumed(&device, folder.path()).expect_err("no folder");
    assert!(error.to_string().contains("checkpoints"), "{error}");
}

#[test]
fn patience_ends_a_run_that_learns_no_more_and_the_best_stays() {
    let device = device();
    let folder = tempfile::tempdir().expect("tmp");
    // A rate of 0 changes no weight; running statistics still settle, and then no epoch is better than the last.
    let run = || trainer(&device).epochs(50).schedule(Schedule::constant(0.0).expect("good")).patience(2);
    let trained = run().out(folder.path()).run().expect("trains");
    let accuracies: Vec<f64> = trained.report.epochs.iter().filter_map(|record| record.test_accuracy).collect();
    let most = accuracies.iter().copied().fold(0.0, f64::max);
    let best = accuracies.iter().position(|&accuracy| accuracy == most).expect("an epoch");
    assert_eq!(accuracies.len(), best + 1 + 2, "{accuracies:?}");
    assert!(folder.path().join("best.safetensors").exists());
    assert!(trainer(&device).patience(0).run().is_err_and(|error| error.to_string().contains("patience")));
}

#[test]
fn a_run_killed_before_its_first_checkpoint_begins_with_its_own_weights_and_images() {
    let device = device();
    let folder = tempfile::tempdir().expect("tmp");
    let (first, run) = (folder.path().join("first"), folder.path().join("run"));
    trainer(&device).out(&first).run().expect("trains");
    let file = first.join("model.safetensors");
    let begin = || trainer(&device).weights(&file);
    let whole = bits(&begin().out(&run).run().expect("trains").params);
    // As a kill in the first epoch leaves it.
    fs::remove_dir_all(run.join("checkpoints")).expect("removes");
    let error = resumed(&device, &run).expect_err("fresh weights are not those").to_string();
    assert!(error.contains("weights: wanted") && error.contains("model.safetensors"), "{error}");
    let again = begin().out(&run).resume(Resume::default()).run().expect("from the same weights");
    assert_eq!(bits(&again.params), whole);
}

#[test]
fn what_changes_no_bit_may_change() {
    let device = device();
    let folder = tempfile::tempdir().expect("tmp");
    let whole = bits(&trainer(&device).run().expect("trains").params);
    begun(&device, folder.path());
    let run = trainer(&device).out(folder.path()).resume(Resume::default()).bad_image_share(0.5).keep(1).threads(0);
    assert_eq!(bits(&run.augment_on_device(true).run().expect("goes on").params), whole);
    assert_eq!(Checkpoints::new(folder.path().join("checkpoints"), 1).list().expect("reads").len(), 1);
}

#[test]
fn checkpoints_that_say_nonsense_are_errors() {
    let device = device();
    let folder = tempfile::tempdir().expect("tmp");
    let newest = begun(&device, folder.path());
    let good = Checkpoint::parse(&fs::read(&newest).expect("there"), "x").expect("whole");
    for (key, value, part) in [
        ("version", "2", "version"),
        ("run", "{\"cursor\":{\"epoch\":0}}", "metadata \"run\""),
        ("step", "many", "no whole number"),
    ] {
        let mut bad = good.clone();
        bad.metadata.insert(key.to_string(), value.to_string());
        fs::write(&newest, bad.to_sealed_bytes()).expect("writes");
        let error = resumed(&device, folder.path()).expect_err(key);
        assert!(error.to_string().contains(part), "{error}");
        assert_eq!(Exit::of(&error), Exit::Checkpoint, "{error}");
    }
    // A best epoch and a place beyond all that was done: odd, and no reason to fail.
    let mut odd = good.clone();
    let mut state: serde_json::Value = serde_json::from_str(&odd.metadata["run"]).expect("JSON");
    state["best"] = serde_json::json!({ "epoch": 7, "accuracy": 1.0 });
    odd.metadata.insert("run".to_string(), state.to_string());
    fs::write(&newest, odd.to_sealed_bytes()).expect("writes");
    let run = trainer(&device).out(folder.path()).resume(Resume::default()).patience(1);
    assert_eq!(run.run().expect("goes on").report.steps, 30);

    for (text, part) in [("{\"epochs\":", "settings are not those"), ("[]", "wanted nothing, got")] {
        fs::write(folder.path().join("run.json"), text).expect("writes");
        let error = resumed(&device, folder.path()).expect_err(text).to_string();
        assert!(error.contains(part) && error.contains("run.json"), "{error}");
    }
    fs::remove_file(folder.path().join("run.json")).expect("removes");
    fs::create_dir(folder.path().join("run.json")).expect("a folder in its place");
    assert!(resumed(&device, folder.path()).is_err());
}

#[test]
fn a_stop_says_no_more_than_was_saved() {
    let device = device();
    let full = || io::Error::from(io::ErrorKind::StorageFull);
    // Before the first step.
    let stop = Stop::default();
    stop.request(StopReason::Interrupted);
    let folder = tempfile::tempdir().expect("tmp");
    let error = trainer(&device).out(folder.path()).stop(stop).run().expect_err("stopped");
    assert_eq!((Exit::of(&error), error.to_string().contains("resume")), (Exit::Stopped, false), "{error}");
    // With a disk that takes nothing any more: the code says so, and not that all is well.
    let stop = Stop::default();
    let (asked, written) = (stop.clone(), AtomicU64::new(0));
    let writer = move |path: &Path, bytes: &[u8]| match written.fetch_add(1, Ordering::Relaxed) {
        0 => {
            asked.request(StopReason::Interrupted);
            save_bytes(path, bytes).map_err(io::Error::other)
        }
        _ => Err(full()),
    };
    let run = trainer(&device).out(folder.path().join("full")).checkpoint_every(3).stop(stop).checkpoint_writer(writer);
    let error = run.run().expect_err("stopped");
    assert_eq!(Exit::of(&error), Exit::Disk, "{error}");
    // A writer that breaks is a failed write.
    let run = trainer(&device).out(folder.path().join("panics")).checkpoint_every(1);
    let error = run.checkpoint_writer(|_, _| panic!("on purpose")).run().expect_err("it never wrote");
    assert!(error.to_string().contains("on purpose") && Exit::of(&error) == Exit::Disk, "{error}");
}

/// A kill between the folder and the first step leaves a folder that may be used again.
#[test]
fn a_folder_with_nothing_but_a_lock_is_empty() {
    let device = device();
    let folder = tempfile::tempdir().expect("tmp");
    fs::write(folder.path().join("run.lock"), "1").expect("writes");
    fs::create_dir(folder.path().join("checkpoints")).expect("makes");
    trainer(&device)
        .epochs(1)
        .schedule(Schedule::constant(0.1).expect("good"))
        .out(folder.path())
        .run()
        .expect("trains");
    let again = trainer(&device).out(folder.path()).run().expect_err("a run is there");
    assert!(matches!(again, TrainError::FolderInUse { .. }), "{again}");
}
