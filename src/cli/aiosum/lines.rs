//! Lines on their way to standard output: collected, since there may be millions, and never for
//! long, since each may be waited for.

use std::io::{self, BufWriter, Stdout, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{RecvTimeoutError, Sender, bounded};

/// How long a line may wait for others.
const PATIENCE: Duration = Duration::from_millis(50);
/// The thread that ends it only writes.
const STACK_BYTES: usize = 128 << 10;

/// Lines that wait for others.
pub struct Lines {
    out: Mutex<BufWriter<Stdout>>,
    is_broken: AtomicBool,
}

impl Lines {
    /// None yet.
    pub fn new() -> Arc<Self> {
        let (out, is_broken) = (BufWriter::new(io::stdout()), AtomicBool::new(false));
        Arc::new(Self { out: Mutex::new(out), is_broken })
    }

    /// Where lines go.
    pub fn lock(&self) -> MutexGuard<'_, BufWriter<Stdout>> {
        self.out.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether lines cannot be written any more.
    pub fn is_broken(&self) -> bool {
        self.is_broken.load(Ordering::Relaxed)
    }

    /// Takes note of whether one could be written.
    pub fn note(&self, written: &io::Result<()>) {
        self.is_broken.fetch_or(written.is_err(), Ordering::Relaxed);
    }
}

/// The thread that writes lines when none came after them for some time.
pub struct Flusher {
    thread: Option<(Sender<()>, JoinHandle<()>)>,
}

impl Flusher {
    /// Begins to watch. Where no thread can be made, lines wait for others, and for the end.
    pub fn begin(lines: &Arc<Lines>) -> Self {
        let (end, ended) = bounded::<()>(0);
        let lines = Arc::clone(lines);
        let thread = std::thread::Builder::new().name("lines".to_owned()).stack_size(STACK_BYTES);
        let thread = thread.spawn(move || {
            // Nothing is ever sent: it ends when the other side is dropped.
            while ended.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
                let mut out = lines.lock();
                if !out.buffer().is_empty() && !lines.is_broken() {
                    // What could not be written stays, and is an error again at the end.
                    lines.note(&out.flush());
                }
            }
        });
        Self { thread: thread.ok().map(|thread| (end, thread)) }
    }
}

impl Drop for Flusher {
    fn drop(&mut self) {
        if let Some((end, thread)) = self.thread.take() {
            drop(end);
            // A panic has been told by the hook.
            drop(thread.join());
        }
    }
}
