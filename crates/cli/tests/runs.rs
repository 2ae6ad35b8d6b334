//! Runs of the command on a device: train, stop, go on, use what was trained.

mod common;

use common::{done, refused, wgrad};
use std::fs;
use std::path::Path;

fn read(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A small network on a 25th of the embedded images: 480 for training, 80 for tests.
const SMALL: [&str; 9] = ["train", "--every", "25", "--model", "lenet", "--batch-size", "16", "--lr", "0.02"];

#[test]
fn an_epoch_is_trained_and_its_run_gone_on_with() {
    let folder = tempfile::tempdir().expect("tmp");
    let printed = done(folder.path(), &[&SMALL[..], &["--epochs", "1"]].concat());
    assert!(printed.lines().last().is_some_and(|line| line.starts_with("result {")), "{printed}");
    let run = folder.path().join("runs/lenet-001");
    let config = String::from_utf8(read(&run.join("config.toml"))).expect("text");
    assert!(config.contains("epochs = 1\n") && config.contains("model = \"lenet\"\n"), "{config}");
    let model = read(&run.join("model.safetensors"));

    // A run that has ended goes on to its end at once, from any folder.
    let elsewhere = tempfile::tempdir().expect("tmp");
    let resumed = done(elsewhere.path(), &["resume", run.to_str().expect("text")]);
    assert!(resumed.contains("result {"), "{resumed}");
    assert!(read(&run.join("model.safetensors")) == model, "another model after the end");
    assert_eq!(String::from_utf8(read(&run.join("config.toml"))).expect("text"), config);

    // Its settings make a second run with the same weights in a folder of its own.
    done(folder.path(), &["train", "--config", "runs/lenet-001/config.toml"]);
    assert!(read(&folder.path().join("runs/lenet-002/model.safetensors")) == model, "another model in a second run");

    // Settings that were changed afterwards are not those of the run.
    fs::write(run.join("config.toml"), config.replace("epochs = 1\n", "epochs = 2\n")).expect("written");
    let ended = wgrad(folder.path(), &["resume", "runs/lenet-001"]);
    assert!(ended.code == Some(4) && ended.err.contains("epochs"), "{ended:?}");
    // A folder that holds something is refused.
    let error = refused(folder.path(), &[&SMALL[..], &["--out", "runs"]].concat());
    assert!(error.contains("runs"), "{error}");
}

#[cfg(unix)]
#[test]
fn a_terminated_run_goes_on_to_the_same_bytes() {
    use std::process::{Command, Stdio};
    use std::time::{Duration, Instant};

    let folder = tempfile::tempdir().expect("tmp");
    let arguments = [&SMALL[..], &["--epochs", "4", "--checkpoint-every", "7", "--out"]].concat();
    done(folder.path(), &[&arguments[..], &["whole"]].concat());

    let mut parts = common::command(folder.path(), &[&arguments[..], &["parts"]].concat());
    let child = parts.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the command runs");
    let checkpoints = folder.path().join("parts/checkpoints");
    let begun = Instant::now();
    while fs::read_dir(&checkpoints).map_or(0, |entries| entries.count()) == 0 {
        assert!(begun.elapsed() < Duration::from_secs(300), "no checkpoint");
        std::thread::sleep(Duration::from_millis(2));
    }
    let kill = Command::new("sh").arg("-c").arg(format!("kill -s TERM {}", child.id())).status().expect("sh runs");
    assert!(kill.success(), "the run ended before it was asked to");
    let ended = common::Ended::from(child.wait_with_output().expect("it ends"));
    assert_eq!(ended.code, Some(75), "{ended:?}");
    assert!(ended.err.contains("terminated") && !folder.path().join("parts/model.safetensors").exists(), "{ended:?}");

    done(folder.path(), &["resume", "parts"]);
    let model = |run: &str| read(&folder.path().join(run).join("model.safetensors"));
    assert!(model("parts") == model("whole"), "the weights differ");
}

/// A folder of grey images of two classes: dark ones and bright ones.
fn images(folder: &Path) {
    for (half, count) in [("train", 12), ("val", 4)] {
        for (class, level) in [("dark", 40_u8), ("bright", 200)] {
            let folder = folder.join(half).join(class);
            fs::create_dir_all(&folder).expect("made");
            for i in 0..count {
                let pixel = |p: u8| [0, 10, 20].map(|c| level + (p ^ i) % 16 + c);
                let pixels: Vec<u8> = (0..=255).flat_map(pixel).collect();
                let bytes = [b"P6\n16 16\n255\n", &pixels[..]].concat();
                fs::write(folder.join(format!("{i}.ppm")), bytes).expect("written");
            }
        }
    }
}

#[test]
fn what_was_trained_is_evaluated_and_used() {
    let folder = tempfile::tempdir().expect("tmp");
    images(&folder.path().join("images"));
    let train = ["train", "--data", "images", "--model", "lenet", "--size", "28", "--batch-size", "4", "--lr", "0.02"];
    done(folder.path(), &[&train[..], &["--epochs", "4", "--out", "run", "--preview", "run/sheet.png"]].concat());
    assert!(read(&folder.path().join("run/sheet.png")).starts_with(b"\x89PNG"));
    let weights = ["--weights", "run/model.safetensors"];
    let counted = done(folder.path(), &[&["evaluate", "--data", "images"], &weights[..]].concat());
    assert!(counted.contains("of 8 images") && counted.contains("result {"), "{counted}");
    let arguments = ["predict", "--json", "--top", "2", "images/val/dark/0.ppm"];
    let seen = done(folder.path(), &[&arguments[..], &weights[..]].concat());
    let seen: serde_json::Value = serde_json::from_str(&seen).expect("one object");
    assert_eq!(seen["top"].as_array().map(Vec::len), Some(2), "{seen}");
    fs::write(folder.path().join("no.png"), "text").expect("written");
    let ended = wgrad(folder.path(), &[&["predict", "no.png"], &weights[..]].concat());
    assert!(ended.code == Some(3) && ended.err.contains("no.png"), "{ended:?}");
    let error = refused(folder.path(), &["train", "--data", "nowhere"]);
    assert!(error.contains("data: wanted cifar10") && error.contains("nowhere"), "{error}");
    let error = refused(folder.path(), &["train", "--data", "cifar100", "--data-folder", "images"]);
    assert!(error.contains("cargo xtask data cifar100") && error.contains("--data-folder FOLDER"), "{error}");
}

/// Each optimiser, each schedule and what else changes the compiled step, in as few runs as that takes.
#[test]
fn every_rule_trains() {
    let folder = tempfile::tempdir().expect("tmp");
    let tiny = ["train", "--every", "200", "--model", "lenet", "--batch-size", "8", "--epochs", "1"];
    let runs: [&[&str]; 8] = [
        &["--optimizer", "adam", "--keep", "1"],
        &["--optimizer", "adamw", "--schedule", "cosine", "--patience", "1"],
        &["--optimizer", "rmsprop", "--schedule", "step"],
        &["--optimizer", "adagrad", "--schedule", "multi-step"],
        &["--optimizer", "lars", "--lr", "1", "--warm-up", "0.5"],
        &["--optimizer", "muon", "--lr", "0.02", "--schedule", "constant"],
        &["--lr", "0.01", "--mixup", "0.2", "--cutmix", "1", "--clip-norm", "5", "--accumulate", "2"],
        &["--lr", "0.01", "--precision", "mixed-bf16", "--device-augment", "--memory", "100", "--momentum", "0"],
    ];
    for flags in runs {
        let printed = done(folder.path(), &[&tiny[..], flags].concat());
        assert!(printed.contains("result {"), "{flags:?}: {printed}");
    }
}

#[test]
fn devices_are_listed() {
    assert!(done(Path::new("."), &["devices"]).contains("driver"));
}
