//! What signals do. SIGINT and SIGTERM end a copy in good order, and a second one at once. SIGUSR1
//! asks how far the run is. SIGTSTP, which ^Z sends, takes the progress away and stops the process.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::bounded;
use signal_hook::consts::{SIGINT, SIGTERM, SIGTSTP, SIGUSR1};
use signal_hook::iterator::Signals;
use signal_hook::{flag, low_level};

use super::watch::Watched;
use crate::cli::exit;
use crate::copy::Stop;
use crate::{fs, sys};

/// A signal that comes closer behind the first one is its twin: timeout(1) sends its signal to the
/// process and then to its group.
const TWINS_APART: Duration = Duration::from_millis(100);

/// The signal that ended a run, if there was one.
pub struct Received(Arc<AtomicU8>);

impl Received {
    /// The exit code of a run that a signal ended; none without a signal.
    pub fn exit_code(&self) -> Option<u8> {
        match self.0.load(Ordering::Acquire) {
            0 => None,
            code => Some(code),
        }
    }
}

/// Makes the first signal request `stop`, the second end the process with the `last_word`, and
/// SIGUSR1 print the line of progress.
pub fn stop_on_signals(
    stop: Arc<Stop>,
    watched: &Arc<Watched>,
    last_word: &'static str,
) -> io::Result<Received> {
    let received = Arc::<AtomicU8>::default();
    let wanted = wanted()?;
    let armed = Arc::new(AtomicBool::new(false));
    for &signal in &wanted {
        // If the second does not get through, the third does: once armed, it ends the process
        // without any thread.
        flag::register_conditional_shutdown(signal, exit_code(signal).into(), Arc::clone(&armed))?;
    }
    let (first, screen) = (Arc::clone(&received), Arc::clone(&watched.screen));
    let mut first_at: Option<Instant> = None;
    listen(wanted, watched, move |signal| match first_at {
        None => {
            first_at = Some(Instant::now());
            first.store(exit_code(signal), Ordering::Release);
            stop.request();
        }
        Some(then) if then.elapsed() < TWINS_APART => {}
        Some(_) => {
            armed.store(true, Ordering::Release);
            fs::remove_temporaries();
            screen.end_with(last_word);
            low_level::exit(exit_code(signal).into());
        }
    })?;
    Ok(Received(received))
}

/// Makes the first signal take away the line of progress and end the process in the default way.
/// SIGUSR1 prints that line.
pub fn end_on_signals(watched: &Arc<Watched>) -> io::Result<()> {
    let screen = Arc::clone(&watched.screen);
    listen(wanted()?, watched, move |signal| {
        fs::remove_temporaries();
        screen.end_with("");
        // This returns only where the process cannot be ended so.
        drop(low_level::emulate_default_handler(signal));
        low_level::exit(exit_code(signal).into());
    })
}

/// The signals that end a run. A signal that was ignored when the process started stays ignored,
/// as nohup(1) and shells that run it in the background expect.
fn wanted() -> io::Result<Vec<i32>> {
    let mut wanted = Vec::new();
    for signal in [SIGINT, SIGTERM] {
        if !sys::signal::is_ignored(signal)? {
            wanted.push(signal);
        }
    }
    Ok(wanted)
}

/// Calls `act` with each of the signals that arrives, and answers SIGUSR1 and SIGTSTP, on threads
/// of their own.
fn listen(
    mut signals: Vec<i32>,
    watched: &Arc<Watched>,
    mut act: impl FnMut(i32) + Send + 'static,
) -> io::Result<()> {
    signals.push(SIGUSR1);
    // Where it is ignored there is no shell to go back to.
    if !sys::signal::is_ignored(SIGTSTP)? {
        signals.push(SIGTSTP);
    }
    let mut signals = Signals::new(signals)?;
    // The reader of standard error may have stopped reading. That must not keep the other signals
    // waiting.
    let (ask, asked) = bounded::<()>(1);
    let (answering, screen) = (Arc::clone(watched), Arc::clone(&watched.screen));
    let teller = std::thread::Builder::new().name("teller".to_owned());
    teller.spawn(move || asked.iter().for_each(|()| answering.answer()))?;
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        for signal in signals.forever() {
            match signal {
                // One answer is enough for two questions at once.
                SIGUSR1 => drop(ask.try_send(())),
                // A process that cannot be stopped goes on.
                SIGTSTP => drop(screen.stopped(|| sys::signal::act_by_default(SIGTSTP))),
                signal => act(signal),
            }
        }
    })?;
    Ok(())
}

fn exit_code(signal: i32) -> u8 {
    exit::SIGNAL + u8::try_from(signal).expect("signals are small numbers")
}
