//! Settings of `wgrad train`: flags, config files, what is printed, what is refused. No device is opened.

mod common;

use common::{done, refused};
use std::fs;
use std::path::Path;

#[test]
fn what_is_printed_fed_back_is_printed_again() {
    let folder = tempfile::tempdir().expect("tmp");
    let sets: [&[&str]; 4] = [
        &[],
        &["--data", "cifar10", "--schedule", "step", "--optimizer", "adamw", "--seed", "9223372036854775807"],
        &["--data", "some/images", "--model", "inception_v3", "--mixup", "0.2", "--cutmix=1", "--nesterov=false"],
        &["--augment", "{ flip = true, pad_crop = [4, \"reflect\"], grayscale = 0.1 }", "--milestones", "3,5.5"],
    ];
    for flags in sets {
        let schedule: &[&str] = if flags.contains(&"--milestones") { &["--schedule", "multi-step"] } else { &[] };
        let first = done(folder.path(), &[&["train", "--print-config"], flags, schedule].concat());
        fs::write(folder.path().join("run.toml"), &first).expect("written");
        let second = done(folder.path(), &["train", "--config", "run.toml", "--print-config"]);
        assert_eq!(first, second);
        assert!(first.contains("batch_size = 64\n") && first.contains("[augment"), "{first}");
    }
    assert_eq!(fs::read_dir(folder.path()).expect("reads").count(), 1, "nothing was trained");
}

#[test]
fn a_flag_goes_before_the_file_and_the_file_before_the_default() {
    let folder = tempfile::tempdir().expect("tmp");
    fs::write(folder.path().join("run.toml"), "epochs = 3\nlr = 0.25\n[augment]\ncutout = 8\n").expect("written");
    let print =
        |flags: &[&str]| done(folder.path(), &[&["train", "--config", "run.toml", "--print-config"], flags].concat());
    let has = |text: &str, lines: &[&str]| {
        lines.iter().for_each(|wanted| assert!(text.lines().any(|line| line == *wanted), "{wanted} in {text}"));
    };
    has(&print(&[]), &["epochs = 3", "lr = 0.25", "seed = 1", "cutout = 8"]);
    // Also where the flag says what the default is.
    has(&print(&["--epochs", "10", "--seed", "5"]), &["epochs = 10", "lr = 0.25", "seed = 5", "cutout = 8"]);
    has(&print(&["--augment", "{}"]), &["epochs = 3", "cutout = 0"]);
}

#[test]
fn an_unknown_key_is_refused_with_the_nearest_one() {
    let folder = tempfile::tempdir().expect("tmp");
    for (text, part) in [
        ("batchsize = 3", "unknown key `batchsize`; did you mean `batch_size`?"),
        ("[augment]\nfilp = true", "unknown key `augment.filp`; did you mean `flip`?"),
        ("zzz = 1", "unknown key `zzz`; there are data, "),
    ] {
        fs::write(folder.path().join("run.toml"), text).expect("written");
        let error = refused(folder.path(), &["train", "--config", "run.toml"]);
        assert!(error.contains(part) && error.contains("run.toml"), "{error}");
    }
    let error = refused(folder.path(), &["train", "--model", "resnet21", "--print-config"]);
    assert!(error.contains("model: wanted") && error.contains("did you mean `resnet20`?"), "{error}");
    refused(folder.path(), &["train", "--batchsize", "3"]);
}

#[test]
fn bad_settings_are_refused_by_their_key() {
    let folder = tempfile::tempdir().expect("tmp");
    for (flags, key) in [
        (&["--lr", "nan"][..], "lr"),
        (&["--lr", "-0.1"], "lr"),
        (&["--lr", "1e30"], "lr"),
        (&["--lr", "inf"], "lr"),
        (&["--optimizer", "lars"], "lr"),
        (&["--batch-size", "0"], "batch_size"),
        (&["--epochs", "0"], "epochs"),
        (&["--every", "0"], "every"),
        (&["--keep", "0"], "keep"),
        (&["--momentum", "1"], "momentum"),
        (&["--optimizer", "adamw", "--momentum", "0.9"], "momentum"),
        (&["--weight-decay", "-1"], "weight_decay"),
        (&["--label-smoothing", "1"], "label_smoothing"),
        (&["--mixup", "0"], "mixup"),
        (&["--gamma", "0.1"], "gamma"),
        (&["--schedule", "step", "--gamma", "2"], "gamma"),
        (&["--tune", "-1"], "tune"),
        (&["--tier", "gpu"], "tier"),
        (&["--precision", "fp8"], "precision"),
        (&["--size", "64"], "size"),
        (&["--threads", "100000"], "threads"),
        (&["--augment", "{ grayscale = 2.0 }"], "augment"),
    ] {
        for print in [&["--print-config"][..], &[]] {
            let error = refused(folder.path(), &[&["train"], flags, print].concat());
            assert!(error.contains(&format!("{key}: wanted")), "{flags:?}: {error}");
        }
        // The same from a file, where it is one setting.
        if let [flag, value] = flags
            && value.parse::<f64>().is_ok()
        {
            let text = format!("{} = {value}\n", flag.trim_start_matches("--").replace('-', "_"));
            fs::write(folder.path().join("run.toml"), &text).expect("written");
            let error = refused(folder.path(), &["train", "--config", "run.toml"]);
            assert!(error.contains(key), "{text}: {error}");
        }
    }
    fs::remove_file(folder.path().join("run.toml")).expect("there");
    assert_eq!(fs::read_dir(folder.path()).expect("reads").count(), 0, "nothing was made");
}

#[test]
fn files_that_are_no_settings_are_refused() {
    let folder = tempfile::tempdir().expect("tmp");
    let cases: [(&[u8], &str); 4] = [
        (&[b'#'; (1 << 20) + 1], "at most 1048576 bytes"),
        (b"\xff\xfe", "utf-8"),
        (b"epochs = ", "TOML parse error"),
        (b"epochs = 3\nepochs = 4", "duplicate key"),
    ];
    for (bytes, part) in cases {
        fs::write(folder.path().join("run.toml"), bytes).expect("written");
        let error = refused(folder.path(), &["train", "--config", "run.toml"]);
        assert!(error.contains(part), "{error}");
    }
    refused(folder.path(), &["train", "--config", "none.toml"]);
    refused(folder.path(), &["train", "--config", "."]);
    let error = refused(folder.path(), &["resume", "."]);
    assert!(error.contains("config.toml") && error.contains("wgrad train"), "{error}");
}

/// docs/command.md has every key, and its table of augmentation is one.
#[test]
fn the_documented_file_is_one() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/command.md");
    let text = fs::read_to_string(&path).expect("the documentation");
    let block = text.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a block");
    let folder = tempfile::tempdir().expect("tmp");
    fs::write(folder.path().join("run.toml"), block).expect("written");
    done(folder.path(), &["train", "--config", "run.toml", "--print-config"]);
    let keys = |text: &str| {
        fs::write(folder.path().join("run.toml"), text).expect("written");
        let error = refused(folder.path(), &["train", "--config", "run.toml"]);
        let (_, keys) = error.trim_end().split_once("; there are ").expect("all keys");
        keys.split(", ").map(str::to_owned).collect::<Vec<_>>()
    };
    let (settings, augment) = (keys("zzzzzzzzz = 1"), keys("[augment]\nzzzzzzzzz = 1"));
    assert!(settings.len() > 40 && augment.len() > 10);
    for key in settings.iter().filter(|key| *key != "augment") {
        assert!(text.contains(&format!("`{key}`")), "{key}");
    }
    for key in &augment {
        assert!(block.lines().any(|line| line.starts_with(&format!("{key} = "))), "{key}");
    }
}
