//! Ctrl-C and the signals of schedulers: the first one lets a run save what it has learned, the second one ends it at once.

use wgrad::trainer::Stop;

/// A request that the process's signals make.
#[cfg(unix)]
pub(crate) fn stop() -> Stop {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    use wgrad::trainer::{Exit, StopReason};

    let stop = Stop::default();
    // What nohup or a script had ignored stays so; and where no handler can be set, signals end the process as they always did.
    let heard = [SIGINT, SIGTERM, SIGHUP].into_iter().filter(|&signal| !is_ignored(signal));
    let Ok(mut signals) = signal_hook::iterator::Signals::new(heard) else { return stop };
    let asked = stop.clone();
    std::thread::spawn(move || {
        for signal in signals.forever() {
            let (reason, exit) = match signal {
                SIGINT => (StopReason::Interrupted, Exit::Stopped),
                _ => (StopReason::Terminated, Exit::Terminated),
            };
            if asked.requested().is_some() {
                // Files are renamed into place whole: what is half written has no name that anything reads.
                signal_hook::low_level::exit(exit.code().into());
            }
            crate::say::note(format_args!("{reason}: saves after this step and ends; once more ends it at once"));
            asked.request(reason);
        }
    });
    stop
}

/// Whether the process was started so that it does not hear this signal.
#[cfg(unix)]
fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("SigIgn:")?.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}

/// A request that nothing makes: the system's own handling ends the process.
#[cfg(not(unix))]
pub(crate) fn stop() -> Stop {
    Stop::default()
}
