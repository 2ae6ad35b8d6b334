//! Training on mixed images: the loss and its gradient against sums written out in f64, threads, what is refused.

mod common;

use common::{bits, device, quarters, quiet, splits};
use std::sync::Arc;
use wgrad_layers::{Flatten, Layer, Linear};
use wgrad_tensor::Params;
use wgrad_trainer::{Augment, Batch, Loader, LoaderOptions, Mix, SgdConfig, StepOptions, TrainStep};

const CLASSES: usize = 4;
const BATCH: usize = 6;

fn model() -> impl Layer {
    (Flatten, Linear::new(64, CLASSES))
}

fn mixed() -> Batch {
    let options = LoaderOptions::train(BATCH, 3).mix(Mix::MixUp { alpha: 1.0 });
    let loader = Loader::new(Arc::new(quarters(60, 1)), options).expect("loads");
    let batches = loader.epoch(0).map(|batch| batch.expect("batch"));
    // Shares near one half would let own and partner be taken for each other.
    let mut apart = batches.filter(|batch| batch.share > 40_000 && batch.share < 62_000);
    apart.next().expect("a share well above one half")
}

fn step(label_smoothing: f32, soft_targets: bool) -> (Params, TrainStep) {
    let device = device();
    let mut params = Params::new(&device, 9);
    let sgd = SgdConfig { momentum: 0.0, weight_decay: 0.0, ..SgdConfig::default() };
    let options = StepOptions { label_smoothing, soft_targets, sgd, ..StepOptions::new(&quarters(60, 1), BATCH) };
    let step = TrainStep::new(&device, &mut params, &model(), &options).expect("compiles");
    (params, step)
}

/// Loss, own labels that are right, and gradients of weight and bias, of a linear layer under mixed and smoothed targets.
fn by_hand(batch: &Batch, weight: &[f32], bias: &[f32], smoothing: f64) -> (f64, u32, Vec<f64>, Vec<f64>) {
    let share = f64::from(batch.share) / 65_536.0;
    let (mut loss, mut right) = (0.0, 0);
    let (mut dw, mut db) = (vec![0.0; CLASSES * 64], vec![0.0; CLASSES]);
    for i in 0..BATCH {
        let x: Vec<f64> = batch.images[i * 64..][..64].iter().map(|&v| (f64::from(v) / 255.0 - 0.35) / 0.25).collect();
        let row = |k: usize| weight[k * 64..][..64].iter().zip(&x).map(|(w, x)| f64::from(*w) * x).sum::<f64>();
        let z: Vec<f64> = (0..CLASSES).map(|k| row(k) + f64::from(bias[k])).collect();
        let total = z.iter().map(|z| z.exp()).sum::<f64>().ln();
        let (own, partner) = (batch.labels[i] as usize, batch.partner_labels[i] as usize);
        right += u32::from((0..CLASSES).all(|k| k == own || z[k] < z[own]));
        for k in 0..CLASSES {
            let mut target = smoothing / CLASSES as f64;
            target += (1.0 - smoothing) * share * f64::from(u8::from(k == own));
            target += (1.0 - smoothing) * (1.0 - share) * f64::from(u8::from(k == partner));
            loss += target * (total - z[k]) / BATCH as f64;
            let dz = ((z[k] - total).exp() - target) / BATCH as f64;
            db[k] += dz;
            x.iter().enumerate().for_each(|(j, x)| dw[k * 64 + j] += dz * x);
        }
    }
    (loss, right, dw, db)
}

#[test]
fn loss_and_gradient_are_those_of_both_labels() {
    let batch = mixed();
    assert!(batch.labels.iter().zip(&batch.partner_labels).any(|(own, partner)| own != partner));
    for smoothing in [0.0, 0.2] {
        let (params, mut step) = step(smoothing, true);
        let read = |name: &str| params.get(name).expect("known").data;
        let (weight, bias) = (read("1.weight"), read("1.bias"));
        let (loss, right, dw, db) = by_hand(&batch, &weight, &bias, smoothing.into());
        let ticket = step.run_batch(&batch, 1.0).expect("runs");
        let got = step.read(ticket).expect("reads");
        assert!((f64::from(got.loss) - loss).abs() < 1e-5, "{got:?} {loss}");
        assert_eq!(got.correct, right);
        for (name, old, wanted) in [("1.weight", &weight, &dw), ("1.bias", &bias, &db)] {
            for ((old, new), wanted) in old.iter().zip(read(name)).zip(wanted) {
                let got = f64::from(*old) - f64::from(new);
                assert!((got - wanted).abs() < 2e-6, "{name}: {got} {wanted}");
            }
        }
    }
}

#[test]
fn without_mixing_soft_targets_are_labels() {
    let batch = Batch { partner_labels: Vec::new(), ..mixed() };
    let results = [(0.1, true), (0.1, false)].map(|(smoothing, soft)| {
        let (params, mut step) = step(smoothing, soft);
        let of_batch = step.run_batch(&batch, 0.1).expect("runs");
        let of_slices = step.run(&batch.images, &batch.labels, 0.1).expect("runs");
        let read = [of_batch, of_slices].map(|ticket| step.read(ticket).expect("reads"));
        (read, params.get("1.weight").expect("known").data)
    });
    let [(soft, soft_weight), (hard, hard_weight)] = results;
    for (soft, hard) in soft.iter().zip(&hard) {
        assert!((soft.loss - hard.loss).abs() < 1e-5 && soft.correct == hard.correct, "{soft:?} {hard:?}");
    }
    assert!(soft_weight.iter().zip(&hard_weight).all(|(soft, hard)| (soft - hard).abs() < 1e-6));
}

#[test]
fn mixing_learns_with_the_same_bits_on_any_number_of_threads() {
    let device = device();
    let run = |threads: usize| {
        let trainer = quiet(&device).mixup(0.2).cutmix(1.0).label_smoothing(0.05).augment(Augment::none());
        let trained = trainer.epochs(4).threads(threads).run().expect("trains");
        (bits(&trained.params), trained.report.accuracy())
    };
    let (none, accuracy) = run(0);
    assert!(accuracy > 0.9, "{accuracy}");
    assert!(run(1).0 == none && run(2).0 == none, "threads change the weights");
    let plain = quiet(&device).label_smoothing(0.05).epochs(4).run().expect("trains");
    assert!(bits(&plain.params) != none, "mixing changes nothing");
}

#[test]
fn what_cannot_be_mixed_is_refused() {
    let device = device();
    let says = |trainer: wgrad_trainer::Trainer, part: &str| {
        let error = trainer.check().expect_err("bad").to_string();
        assert!(error.contains(part), "{error}");
    };
    says(quiet(&device).mixup(0.0), "mix");
    says(quiet(&device).cutmix(f32::NAN), "mix");
    says(quiet(&device).mixup(0.2).cutmix(-1.0), "mix");
    says(quiet(&device).mixup(0.2).batch_size(1), "at least 2 images");
    let (_, mut step) = step(0.0, false);
    let error = step.run_batch(&mixed(), 0.1).expect_err("hard labels").to_string();
    assert!(error.contains("soft_targets"), "{error}");
    assert_eq!(splits().train.classes(), CLASSES);
}
