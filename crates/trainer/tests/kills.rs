//! A training process that is killed at random moments and started again: the final weights are those of an undisturbed run, to the
//! bit. The process is this test binary itself, told by its environment to train.
#![cfg(unix)]

mod common;

use common::{device, quiet};
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use wgrad_tensor::philox::Stream;
use wgrad_trainer::checkpoint::{Checkpoints, save_bytes};
use wgrad_trainer::{Augment, Border, Exit, Resume, Schedule, SgdConfig, Stop, StopReason, Trainer};

const FOLDER: &str = "WGRAD_TEST_RUN";
const FAILING: &str = "WGRAD_TEST_FAILING";
const EPOCHS: &str = "WGRAD_TEST_EPOCHS";
/// Epochs of ten steps for each signal.
const EPOCHS_A_SIGNAL: u32 = 15;

fn trainer(epochs: u32) -> Trainer {
    let sgd = SgdConfig { momentum: 0.9, nesterov: true, weight_decay: 1e-3, ..SgdConfig::default() };
    quiet(&device())
        .epochs(epochs)
        .sgd(sgd)
        .schedule(Schedule::one_cycle(0.1, epochs.into()).expect("good"))
        .augment(Augment::none().pad_crop(1, Border::Zero).flip())
        .checkpoint_every(3)
}

/// What the process does that is killed.
#[test]
#[ignore = "started by the other tests, with a folder to train in"]
fn child() {
    let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from) else { return };
    let stop = Stop::default();
    let mut signals = signal_hook::iterator::Signals::new([signal_hook::consts::SIGTERM]).expect("can be caught");
    let asked = stop.clone();
    std::thread::spawn(move || signals.forever().for_each(|_| asked.request(StopReason::Terminated)));
    let epochs = std::env::var(EPOCHS).expect("given").parse().expect("a number");
    let mut run = trainer(epochs).out(&folder).stop(stop);
    if folder.join("run.json").exists() {
        run = run.resume(Resume::default());
    } else {
        // Killed before it had begun: what there is belongs to no run.
        let _ = fs::remove_dir_all(&folder);
    }
    if std::env::var_os(FAILING).is_some() {
        let written = AtomicU64::new(u64::from(std::process::id()));
        run =
            run.checkpoint_writer(move |path: &Path, bytes: &[u8]| match written.fetch_add(1, Ordering::Relaxed) % 7 {
                6 => Err(io::Error::from(io::ErrorKind::StorageFull)),
                _ => save_bytes(path, bytes).map_err(io::Error::other),
            });
    }
    if let Err(error) = run.run() {
        let _ = writeln!(io::stderr(), "{error}");
        std::process::exit(Exit::of(&error).code().into());
    }
}

fn start(folder: &Path, epochs: u32, failing: bool) -> Child {
    let mut command = Command::new(std::env::current_exe().expect("this test"));
    command
        .args(["--exact", "child", "--ignored", "--test-threads=1"])
        .env(FOLDER, folder)
        .env(EPOCHS, epochs.to_string());
    if failing {
        command.env(FAILING, "1");
    }
    command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("starts")
}

fn signal(child: &mut Child, name: &str) {
    match name {
        "KILL" => child.kill().expect("there"),
        name => {
            let sent = Command::new("sh").arg("-c").arg(format!("kill -s {name} {}", child.id())).status().expect("sh");
            assert!(sent.success());
        }
    }
}

/// Trains with so many signals at random moments, and compares.
fn survives(name: &str, signals: u32, failing: bool) {
    let folder = tempfile::tempdir().expect("tmp");
    let (whole, killed) = (folder.path().join("whole"), folder.path().join("killed"));
    let epochs = signals * EPOCHS_A_SIGNAL;
    let seconds = |folder: &Path, epochs: u32| {
        let begun = Instant::now();
        assert!(start(folder, epochs, false).wait().expect("runs").success());
        begun.elapsed().as_secs_f32()
    };
    let opening = seconds(&folder.path().join("one"), 1);
    // What a life may take of the training, on average, for the run to be over after about as many of them.
    let share = (seconds(&whole, epochs) - opening).max(0.0) / signals as f32;
    let mut random = Stream::new(u64::from(signals), 7, u32::from(failing), 0);
    let (mut sent, mut in_training) = (0, 0);
    let newest =
        || Checkpoints::new(killed.join("checkpoints"), 1).list().ok().and_then(|list| list.first().map(|at| at.0));
    let result = loop {
        let mut child = start(&killed, epochs, failing);
        if sent < signals {
            let moment = opening * (0.6 + 0.4 * random.unit_f32()) + 1.6 * share * random.unit_f32();
            std::thread::sleep(Duration::from_secs_f32(moment));
            signal(&mut child, name);
        }
        let before = newest();
        let ended = child.wait_with_output().expect("ends");
        if ended.status.success() {
            break ended;
        }
        sent += 1;
        in_training += u32::from(before.is_some());
        let said = String::from_utf8_lossy(&ended.stderr);
        // By a signal, or as asked: nothing else may end it.
        assert!(matches!(ended.status.code(), None | Some(75)), "{:?}: {said}", ended.status);
        assert!(sent <= signals, "ended with {:?} and no signal: {said}", ended.status);
    };
    assert!(result.status.success());
    // On a busy machine lives are shorter or longer than was measured.
    assert!(sent >= signals / 3 && in_training >= signals / 6, "{sent} signals, {in_training} of them in training");
    let file = |folder: &Path, name: &str| fs::read(folder.join(name)).expect("saved");
    assert!(
        file(&whole, "model.safetensors") == file(&killed, "model.safetensors"),
        "other weights after {sent} signals"
    );
    // Where writes fail, the best epoch's may be one of them.
    let best = "best.safetensors";
    assert!(failing || file(&whole, best) == file(&killed, best), "another best epoch after {sent} signals");
    // The columns that no clock is in.
    let losses = |folder: &Path| -> Vec<String> {
        let text = fs::read_to_string(folder.join("epochs.csv")).expect("logged");
        text.lines().map(|line| line.split(',').take(7).collect::<Vec<_>>().join(",")).collect()
    };
    assert_eq!(losses(&whole), losses(&killed));
    let partial = |folder: &Path| {
        fs::read_dir(folder).expect("there").flatten().any(|e| e.file_name().to_string_lossy().ends_with(".partial"))
    };
    assert!(!partial(&killed) && !partial(&killed.join("checkpoints")), "what was half written is still there");
    // Past the harness's capture: what was survived is always seen.
    let _ = writeln!(
        io::stderr(),
        "{sent} x SIG{name}, {in_training} of them after the first checkpoint: the weights are the same to the bit"
    );
}

#[test]
fn random_kills_change_no_bit() {
    survives("KILL", 8, false);
}

#[test]
fn random_requests_to_stop_change_no_bit() {
    survives("TERM", 6, false);
}

#[test]
fn failing_writes_between_random_kills_change_no_bit() {
    survives("KILL", 6, true);
}

#[test]
#[ignore = "minutes: --ignored"]
fn fifty_random_kills_change_no_bit() {
    survives("KILL", 50, false);
    survives("TERM", 50, false);
    survives("KILL", 50, true);
}
