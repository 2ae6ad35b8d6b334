//! Ctrl-C and the signals of schedulers: the first one lets a run save what it has learned, the second one ends it at once.

use wgrad::trainer::Stop;

/// A request that the process's signals make.
#[cfg(unix)]
pub(crate) fn stop() -> Stop {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    use wgrad::trainer::{Exit, StopReason};

    let stop = Stop::default();
    // Without them a signal ends the process as it always did.
    let Ok(mut signals) = signal_hook::iterator::Signals::new([SIGINT, SIGTERM, SIGHUP]) else { return stop };
    let asked = stop.clone();
    std::thread::spawn(move || {
        for signal in signals.forever() {
            let (reason, exit) = match signal {
                SIGINT => (StopReason::Interrupted, Exit::Stopped),
                _ => (StopReason::Terminated, Exit::Terminated),
            };
            if asked.requested().is_some() {
                // Files are renamed into place whole: what is half written has no name that anything reads.
                std::process::exit(exit.code().into());
            }
            crate::say::note(format_args!("{reason}: saving; once more ends it at once"));
            asked.request(reason);
        }
    });
    stop
}

/// A request that nothing makes: the system's own handling ends the process.
#[cfg(not(unix))]
pub(crate) fn stop() -> Stop {
    Stop::default()
}
