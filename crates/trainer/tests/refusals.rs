//! Settings that make no sense are refused before a device is opened or a file is made. Needs no adapter.

mod common;

use common::{net, quarters, splits};
use wgrad_trainer::{LastBatch, Output, Schedule, SgdConfig, Splits, TrainError, Trainer};

fn trainer() -> Trainer {
    Trainer::new(net(), splits()).batch_size(20).output(Output::Nowhere)
}

#[test]
fn every_bad_setting_is_named() {
    trainer().check().expect("good");
    let says = |trainer: Trainer, part: &str| {
        let error = trainer.check().expect_err("bad").to_string();
        assert!(error.contains(part), "{error}");
        // Asking for the run gives the same answer, without a device.
        assert_eq!(trainer.run().expect_err("bad").to_string(), error);
    };
    says(trainer().epochs(0), "epochs: wanted at least 1, got 0");
    says(trainer().batch_size(0), "batch size: wanted at least 1, got 0");
    says(trainer().batch_size(201), "batch size: wanted at most the 200 images of data set quarters, got 201");
    says(trainer().eval_batch_size(0), "eval batch size");
    says(trainer().eval_every(0), "eval_every");
    says(trainer().log_every(0), "log_every");
    says(trainer().label_smoothing(-0.1), "label smoothing");
    says(trainer().momentum(1.5), "momentum");
    says(trainer().weight_decay(f32::NAN), "weight decay");
    says(trainer().sgd(SgdConfig { momentum: 0.0, nesterov: true, ..SgdConfig::default() }), "nesterov");
    says(trainer().last_batch(LastBatch::Pad), "last batch");
    says(trainer().threads(usize::MAX), "at most 1024 prefetch threads");
    says(trainer().batch_size(usize::MAX), "batch size: wanted at most");
    says(trainer().output(Output::Numbered("Cargo.toml".into())), "got a file");
    for lr in [f64::NAN, -0.1, f64::INFINITY] {
        assert!(Schedule::constant(lr).is_err());
        says(trainer().schedule(Schedule::Constant { lr }), "lr");
    }
}

#[test]
fn data_that_does_not_fit_is_named() {
    let with = |splits: Splits| Trainer::new(net(), splits).batch_size(20).output(Output::Nowhere);
    let mut smaller = quarters(40, 1);
    smaller.height = 4;
    smaller.images = smaller.images.in_memory()[..40 * 32].to_vec().into();
    let error = with(Splits { train: quarters(40, 1), test: smaller }).check().expect_err("sizes differ").to_string();
    assert!(error.contains("[1, 8, 8, 4]") && error.contains("[1, 4, 8, 4]"), "{error}");
    let mut wrong = quarters(40, 1);
    wrong.labels[7] = 9;
    let error = with(Splits { train: wrong, test: quarters(4, 1) }).check().expect_err("label").to_string();
    assert!(error.contains("record 7 has label 9"), "{error}");
    let empty = quarters(0, 1);
    assert!(with(Splits { train: quarters(40, 1), test: empty }).check().is_err());
}

#[test]
fn a_folder_in_use_is_refused_before_anything_is_opened() {
    let folder = tempfile::tempdir().expect("tmp");
    std::fs::write(folder.path().join("model.safetensors"), "precious").expect("written");
    let error = trainer().out(folder.path()).run().expect_err("in use");
    assert!(matches!(error, TrainError::FolderInUse { .. }), "{error}");
    let text = std::fs::read_to_string(folder.path().join("model.safetensors")).expect("there");
    assert_eq!(text, "precious");
}
