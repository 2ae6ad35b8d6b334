//! Small runs on the device: they learn, they repeat bit by bit, they hold their memory, they count every image once.

mod common;

use common::{bits, device, net, quarters, quiet, splits};
use std::sync::Arc;
use std::time::Duration;
use wgrad_layers::Layer;
use wgrad_tensor::{CompileOptions, Init, Params, Scope, Tier, Value};
use wgrad_trainer::checkpoint::Checkpoints;
use wgrad_trainer::{
    Augment, Border, EvalStep, Loader, LoaderOptions, NO_LABEL, Output, Schedule, Show, StepOptions, TrainError,
    TrainStep, Trainer, TuningFile, evaluate,
};

#[test]
fn a_small_network_learns_and_leaves_its_files() {
    let device = device();
    let folder = tempfile::tempdir().expect("tmp");
    let trainer = quiet(&device).epochs(6).name("tiny").output(Output::Numbered(folder.path().to_owned()));
    let trained = trainer.schedule(Schedule::one_cycle(0.1, 6.0).expect("good")).run().expect("trains");
    let report = trained.report;
    let losses: Vec<f64> = report.epochs.iter().map(|record| record.train_loss).collect();
    assert!(losses[5] < 0.5 * losses[0], "{losses:?}");
    assert!(report.accuracy() > 0.9, "{}", report.accuracy());
    assert_eq!((report.steps, report.test.images), (60, 43));
    assert!(report.images_per_s > 0.0 && report.first_step_s > 0.0 && report.train_s > 0.0);

    let run = report.folder.expect("a folder");
    assert_eq!(run, folder.path().join("tiny-001"));
    let mut files: Vec<String> = std::fs::read_dir(&run)
        .expect("made")
        .map(|entry| entry.expect("entry").file_name().into_string().expect("utf-8"))
        .collect();
    files.sort();
    let expected = [
        "best.safetensors",
        "checkpoints",
        "curves.svg",
        "epochs.csv",
        "log.jsonl",
        "model.safetensors",
        "result.json",
        "run.json",
        "run.lock",
        "steps.csv",
    ];
    assert_eq!(files, expected);
    assert_eq!(std::fs::read_to_string(run.join("epochs.csv")).expect("csv").lines().count(), 7);
}

#[test]
fn the_same_seed_gives_the_same_bits_on_any_number_of_threads() {
    let device = device();
    let run = |threads: usize, seed: u64| {
        let augment = Augment::none().pad_crop(1, Border::Zero).flip().cutout(2);
        let trained = quiet(&device).augment(augment).threads(threads).seed(seed).run().expect("trains");
        (bits(&trained.params), trained.report.test.loss.to_bits())
    };
    let one = run(1, 7);
    for (name, bits) in &one.0 {
        assert!(bits.iter().all(|&bits| f32::from_bits(bits).is_finite()), "{name}");
    }
    for threads in [1, 2, 4, 0] {
        assert!(run(threads, 7) == one, "{threads} threads give other weights");
    }
    assert!(run(1, 8) != one, "another seed gives the same weights");
}

#[test]
fn memory_stands_still() {
    let device = device();
    let data = splits().train;
    let mut params = Params::new(&device, 1);
    let options = StepOptions::new(&data, 4);
    let mut train = TrainStep::new(&device, &mut params, &net(), &options).expect("compiles");
    let loader = Loader::new(Arc::new(data), LoaderOptions::train(4, 1)).expect("loads");
    let batch = loader.epoch(0).next().expect("one").expect("batch");
    let mut after_ten = None;
    for step in 1..=1000 {
        let ticket = train.run(&batch.images, &batch.labels, 0.01).expect("runs");
        if step % 10 == 0 {
            train.read(ticket).expect("reads");
            let created = device.buffers_created();
            assert_eq!(*after_ten.get_or_insert(created), created, "after step {step}");
        }
    }
    assert_eq!(train.plan().created().0, train.plan().desc().planned_bytes(), "planned and created bytes differ");
}

#[test]
fn the_last_batch_of_an_evaluation_counts_every_image_once() {
    let device = device();
    let data = quarters(10, 3);
    let mut params = Params::new(&device, 5);
    let mut run = |batch: usize| {
        let mut step = EvalStep::new(&device, &mut params, &net(), &StepOptions::new(&data, batch)).expect("compiles");
        let loader = Loader::new(Arc::new(data.clone()), LoaderOptions::eval(batch)).expect("loads");
        evaluate(&mut step, &loader, 0).expect("evaluates")
    };
    let whole = run(10);
    assert_eq!((whole.images, whole.accuracy_top5), (10, None));
    assert_eq!(whole.accuracy, whole.correct as f64 / 10.0);
    for batch in [8, 1, 3, 16] {
        let other = run(batch);
        assert_eq!((other.correct, other.images), (whole.correct, 10), "batch {batch}");
        assert!((other.loss - whole.loss).abs() < 1e-5, "batch {batch}: {} and {}", other.loss, whole.loss);
    }
}

#[test]
fn logits_and_counts_agree() {
    let device = device();
    let data = quarters(6, 4);
    let mut params = Params::new(&device, 5);
    let options = StepOptions { logits: true, ..StepOptions::new(&data, 6) };
    let mut step = EvalStep::new(&device, &mut params, &net(), &options).expect("compiles");
    let loader = Loader::new(Arc::new(data), LoaderOptions::eval(6)).expect("loads");
    let mut batch = loader.epoch(0).next().expect("one").expect("batch");
    batch.labels[5] = NO_LABEL;
    let ticket = step.run(&batch.images, &batch.labels).expect("runs");
    let result = step.read(ticket).expect("reads");
    let logits = step.logits(ticket).expect("reads");
    let (mut correct, mut loss) = (0, 0.0);
    for (row, &label) in logits.chunks_exact(4).zip(&batch.labels[..5]) {
        let best = (0..4).max_by(|&a, &b| row[a].total_cmp(&row[b])).expect("four");
        correct += u32::from(best as u32 == label);
        let sum: f64 = row.iter().map(|&logit| f64::from(logit).exp()).sum();
        loss += sum.ln() - f64::from(row[label as usize]);
    }
    assert_eq!(result.correct, correct);
    assert!((f64::from(result.loss_sum) - loss).abs() < 1e-4, "{} and {loss}", result.loss_sum);
}

#[test]
fn fused_and_unfused_runs_agree() {
    let device = device();
    let run = |fuse: bool| {
        let options = CompileOptions { fuse, ..CompileOptions::default() };
        quiet(&device).compile_options(options).epochs(1).run().expect("trains").report.epochs[0].train_loss
    };
    let (fused, unfused) = (run(true), run(false));
    assert!((fused - unfused).abs() < 1e-3 * unfused, "{fused} and {unfused}");
}

/// Timing may choose anything; the table that it leaves behind makes the next run choose the same, bit for bit.
#[test]
fn a_tuned_run_can_be_repeated_with_its_table() {
    let device = device();
    let folder = tempfile::tempdir().expect("tmp");
    let path = folder.path().join("tuning.json");
    let run = |seconds: u64| {
        let file = TuningFile::open(&path).expect("a table or nothing yet");
        let trainer = quiet(&device).epochs(1).tuning(file).tune(Duration::from_secs(seconds));
        bits(&trainer.run().expect("trains").params)
    };
    let tuned = run(60);
    let entries = TuningFile::open(&path).expect("a table").table().len();
    // Tier base has one algorithm only for some of these layers; cpu has two for the second convolution and its gradients.
    assert!(entries >= 3 || device.target().tier != Tier::Cpu, "{entries} entries");
    assert_eq!(tuned, run(0));
    assert_eq!(TuningFile::open(&path).expect("a table").table().len(), entries);
}

#[test]
fn a_run_that_diverges_says_so() {
    let device = device();
    let error =
        quiet(&device).schedule(Schedule::constant(1e4).expect("allowed")).epochs(20).run().expect_err("diverges");
    match &error {
        TrainError::Diverged { lr, .. } => assert_eq!(*lr, 1e4),
        other => panic!("{other}"),
    }
    assert!(error.to_string().contains("learning rate 10000"), "{error}");
}

/// A shift so sensitive that the first update overflows, after a loss that is a number.
#[derive(Clone, Debug)]
struct Brink;

impl Layer for Brink {
    fn forward<'g>(&self, s: &Scope<'g>, x: Value<'g>) -> Value<'g> {
        x.add_bias(s.weight("shift", [4], Init::Constant(0.0)).scale(1e37))
    }
}

#[test]
fn a_model_that_is_no_number_any_more_leaves_the_last_good_checkpoint() {
    let device = device();
    // One step an epoch, the first of them without an update.
    let schedule = Schedule::piecewise_linear(&[(0.0, 0.0), (0.5, 0.0), (1.0, 1e4)]).expect("good");
    for (eval_every, what) in [(1, "the test loss is "), (9, "tensor \"1.shift\" holds ")] {
        let folder = tempfile::tempdir().expect("tmp");
        let trainer = Trainer::new((net(), Brink), splits()).device(device.clone()).batch_size(200).epochs(3);
        let trainer = trainer.schedule(schedule.clone()).eval_every(eval_every).out(folder.path()).show(Show::Nothing);
        let error = trainer.run().expect_err("diverges");
        assert!(matches!(error, TrainError::Diverged { epoch: 1, step: 1, .. }), "{error}");
        assert!(error.to_string().contains(what), "{error}");
        let newest = Checkpoints::new(folder.path().join("checkpoints"), 1).newest().expect("reads");
        let (saved, _) = newest.found.expect("the first epoch's");
        assert_eq!((saved.meta("checkpoint").expect("ours").epoch, saved.not_finite()), (1, None));
        assert!(!folder.path().join("model.safetensors").exists());
    }
}

#[test]
fn a_model_for_other_data_is_refused() {
    let device = device();
    let mut five = splits();
    for set in [&mut five.train, &mut five.test] {
        set.class_names.push("e".into());
    }
    let trainer = Trainer::new(net(), five).device(device.clone()).batch_size(20).output(Output::Nowhere);
    let error = trainer.show(Show::Nothing).run().expect_err("four outputs for five classes").to_string();
    assert!(error.contains("4 classes") && error.contains("has 5"), "{error}");

    // Colour images for a grey network: a shape error with the layer's path, before anything runs.
    let mut colour = splits();
    for set in [&mut colour.train, &mut colour.test] {
        set.channels = 3;
        set.images = set.images.in_memory().iter().flat_map(|&v| [v; 3]).collect::<Vec<u8>>().into();
    }
    let trainer = Trainer::new(net(), colour).device(device).batch_size(20).output(Output::Nowhere);
    let error = trainer.show(Show::Nothing).run().expect_err("one channel").to_string();
    assert!(error.contains("0.0"), "{error}");
}

/// Images so bright that the squares of a batch norm overflow.
#[derive(Clone, Debug)]
struct Glare;

impl Layer for Glare {
    fn forward<'g>(&self, _: &Scope<'g>, x: Value<'g>) -> Value<'g> {
        x.scale(1e30)
    }
}

/// A step that is skipped must not leave its statistics behind.
#[test]
fn running_statistics_stay_numbers() {
    let device = device();
    let data = splits().train;
    let mut params = Params::new(&device, 1);
    let model = (Glare, wgrad_layers::BatchNorm2d::new(1), wgrad_layers::Flatten, wgrad_layers::Linear::new(64, 4));
    let options = StepOptions::new(&data, 20);
    let mut train = TrainStep::new(&device, &mut params, &model, &options).expect("compiles");
    let before = params.get("1.running_var").expect("there");
    let loader = Loader::new(Arc::new(data), LoaderOptions::train(20, 1)).expect("loads");
    let batch = loader.epoch(0).next().expect("one").expect("batch");
    train.run(&batch.images, &batch.labels, 0.01).expect("runs");
    assert_eq!(params.get("1.running_var").expect("there"), before, "the batch's variance is beyond f32");
    let mean = params.get("1.running_mean").expect("there").data[0];
    assert!(mean.is_finite() && mean != 0.0, "{mean}: the mean is a number, and counts");
}
