//! SIGINT and SIGTERM: the first ends the copy in good order, the second at once. SIGUSR1 asks how far it is.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::Duration;

use crossbeam_channel::bounded;
use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1};
use signal_hook::flag;
use signal_hook::iterator::Signals;

use super::exit;
use crate::copy::Stop;
use crate::sys;

/// What comes closer behind the first signal is not a second one: timeout(1) sends its signal to the process and then to its group.
const TWINS_APART: Duration = Duration::from_millis(100);

/// What has arrived.
pub struct Received(Arc<AtomicU8>);

impl Received {
    /// The exit code of a run that the first signal ended, if there was one.
    pub fn exit_code(&self) -> Option<u8> {
        match self.0.load(Ordering::Acquire) {
            0 => None,
            code => Some(code),
        }
    }
}

/// Has the first signal request `stop`, the second end the process, and SIGUSR1 call `tell`. A signal that whoever started the process had ignored stays ignored,
/// as nohup(1) and shells that run it in the background expect.
pub fn stop_on_signals(stop: Arc<Stop>, tell: impl Fn() + Send + 'static) -> io::Result<Received> {
    let received = Received(Arc::default());
    let mut wanted = Vec::new();
    for signal in [SIGINT, SIGTERM] {
        if !sys::signal::is_ignored(signal)? {
            wanted.push(signal);
        }
    }
    let armed = Arc::new(AtomicBool::new(false));
    for &signal in &wanted {
        // It ends the process only once an earlier signal has armed it.
        flag::register_conditional_shutdown(signal, exit_code(signal).into(), Arc::clone(&armed))?;
    }
    wanted.push(SIGUSR1);
    let mut signals = Signals::new(wanted)?;
    // Whoever reads standard error may have stopped reading, and must not keep the other signals waiting.
    let (ask, asked) = bounded::<()>(1);
    let teller = std::thread::Builder::new().name("aiocp-teller".to_owned());
    teller.spawn(move || asked.iter().for_each(|()| tell()))?;
    let first = Arc::clone(&received.0);
    std::thread::Builder::new().name("aiocp-signals".to_owned()).spawn(move || {
        for signal in signals.forever() {
            if signal == SIGUSR1 {
                // Asked for twice before the first answer, one is enough.
                let _one_is_enough = ask.try_send(());
                continue;
            }
            if !stop.is_requested() {
                first.store(exit_code(signal), Ordering::Release);
                stop.request();
                std::thread::sleep(TWINS_APART);
            }
            armed.store(true, Ordering::Release);
        }
    })?;
    Ok(received)
}

fn exit_code(signal: i32) -> u8 {
    exit::SIGNAL + u8::try_from(signal).expect("signals are small numbers")
}
