//! The picture of progress, and everything else that is printed while it stands there.

use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::getpgrp;
use rustix::termios::{tcgetpgrp, tcgetwinsize};

use super::picture::Canvas;
use crate::fs;

/// The columns of a terminal that does not say how many it has.
const WIDTH: usize = 80;

/// How long what is printed is waited for before the process stops.
const PRINTING_TAKES: Duration = Duration::from_millis(100);

/// Standard output and standard error. The latter may show a line that changes.
pub struct Screen {
    state: Mutex<ScreenState>,
    /// Whether standard output is a terminal, on which the line would be in its way.
    out_is_terminal: bool,
}

impl Default for Screen {
    fn default() -> Self {
        Self { state: Mutex::default(), out_is_terminal: io::stdout().is_terminal() }
    }
}

#[derive(Default)]
struct ScreenState {
    /// What draws the picture that stands there, if one does.
    drawn: Option<String>,
    /// Questions that wait for an answer. Nothing is drawn meanwhile.
    questions: usize,
}

impl ScreenState {
    /// Prints with the picture taken away.
    fn print<R>(&mut self, print: impl FnOnce() -> R) -> R {
        let Some(drawn) = self.drawn.take() else { return print() };
        put(CLEAR);
        let printed = print();
        if !is_in_background() {
            put(&drawn);
            self.drawn = Some(drawn);
        }
        printed
    }

    fn clear(&mut self) {
        if self.drawn.take().is_some() {
            put(CLEAR);
        }
    }
}

impl Screen {
    fn lock(&self) -> MutexGuard<'_, ScreenState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Prints on standard output.
    pub fn out(&self, text: &str) -> Result<()> {
        self.around_out(|| write_out(text))
    }

    /// Calls what prints on standard output.
    pub fn around_out<R>(&self, print: impl FnOnce() -> R) -> R {
        if self.out_is_terminal { self.lock().print(print) } else { print() }
    }

    /// The columns that a line may have so that it stays one, if standard error is a terminal.
    pub fn width(&self) -> Option<usize> {
        io::stderr().is_terminal().then(|| columns() - 1)
    }

    /// Prints on standard error.
    pub fn err(&self, text: &str) -> Result<()> {
        self.lock().print(|| write_err(text))
    }

    /// Shows the progress, or changes it. `lines` gets what the terminal can show.
    pub fn draw(&self, lines: impl FnOnce(Canvas) -> Vec<String>) {
        let mut state = self.lock();
        // While the run is in the background, the terminal belongs to another command.
        if state.questions > 0 || is_in_background() {
            return;
        }
        let drawn = drawing(&lines(canvas()));
        put(&drawn);
        state.drawn = Some(drawn);
    }

    /// Takes the picture away.
    pub fn clear(&self) {
        self.lock().clear();
    }

    /// Takes the picture away and calls what stops the process. Nothing is drawn meanwhile.
    ///
    /// What is being printed is not waited for long: its reader may have stopped as well.
    pub fn stopped<R>(&self, stop: impl FnOnce() -> R) -> R {
        let begun = Instant::now();
        let mut state = self.state.try_lock();
        while state.is_err() && begun.elapsed() < PRINTING_TAKES {
            std::thread::sleep(PRINTING_TAKES / 20);
            state = self.state.try_lock();
        }
        if let Ok(state) = &mut state {
            state.clear();
        }
        stop()
    }

    /// Takes the picture away and prints the last words before the process ends at once.
    ///
    /// It waits for nothing: a terminal that is stopped does not get the words.
    pub fn end_with(&self, text: &str) {
        let Ok(state) = self.state.try_lock() else { return };
        let takes_it =
            poll(&mut [PollFd::new(&io::stderr(), PollFlags::OUT)], Some(&Timespec::default()));
        if takes_it.is_ok_and(|ready| ready > 0) {
            let clear = if state.drawn.is_some() { CLEAR } else { "" };
            drop(io::stderr().write_all(format!("{clear}{text}").as_bytes()));
        }
    }

    /// Calls what asks a question and waits for the answer. No line comes in between, but other
    /// messages may.
    pub fn ask<R>(&self, ask: impl FnOnce() -> R) -> R {
        {
            let mut state = self.lock();
            state.clear();
            state.questions += 1;
        }
        let answer = ask();
        self.lock().questions -= 1;
        answer
    }
}

/// Whether the terminal of standard error listens to other processes at the moment, see
/// tcgetpgrp(3).
fn is_in_background() -> bool {
    tcgetpgrp(io::stderr()).is_ok_and(|foreground| foreground != getpgrp())
}

/// The columns of standard error.
fn columns() -> usize {
    match tcgetwinsize(io::stderr()) {
        Ok(size) if size.ws_col > 0 => size.ws_col.into(),
        _ => WIDTH,
    }
}

/// What standard error can show.
fn canvas() -> Canvas {
    let size = tcgetwinsize(io::stderr());
    let rows = size.map_or(0, |size| size.ws_row.into());
    let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    // The first that is set holds, see setlocale(3).
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find(|name| is_set(name));
    let locale = locale.and_then(std::env::var_os).unwrap_or_default();
    let charset = locale.to_string_lossy().to_ascii_lowercase().replace('-', "");
    let unicode = charset.ends_with("utf8") || charset.contains("utf8@");
    Canvas { columns: columns(), rows, colours: !is_set("NO_COLOR"), unicode }
}

/// Goes to the beginning of the line and erases everything from there to the end of the screen.
const CLEAR: &str = "\r\x1b[J";

/// What draws lines in the place of those that stand there, and leaves the cursor at the beginning
/// of the first.
///
/// A terminal that is made narrower breaks lines in two and leaves the cursor at the beginning of
/// all. Erasing from there on takes them. What the terminal echoes, such as ^C, falls into the
/// first line and goes with it. A line that is too long all the same, since the terminal has just
/// become narrower, is cut and not broken, so that the way up is as long as the way down.
fn drawing(lines: &[String]) -> String {
    match lines {
        [] => CLEAR.to_owned(),
        [line] => format!("{CLEAR}{line}\r"),
        lines => {
            let (text, up) = (lines.join("\r\n"), lines.len() - 1);
            format!("{CLEAR}\x1b[?7l{text}\x1b[?7h\r\x1b[{up}A")
        }
    }
}

/// Writes to the terminal at once, so that nothing flickers. A picture that cannot be drawn costs
/// nothing but itself.
fn put(text: &str) {
    drop(io::stderr().write_all(text.as_bytes()));
}

/// That something could not be written to standard error.
#[derive(Debug, thiserror::Error)]
#[error("cannot write to stderr")]
struct NotOnStderr;

/// Whether a result could not be printed because its reader has gone, as `head` has when it has its
/// lines. A message without a reader ends nothing.
pub fn is_unread(error: &anyhow::Error) -> bool {
    let is_broken_pipe = |cause: &io::Error| cause.kind() == io::ErrorKind::BrokenPipe;
    !error.is::<NotOnStderr>()
        && error.chain().any(|cause| cause.downcast_ref::<io::Error>().is_some_and(is_broken_pipe))
}

/// Prints on standard output, past the line of progress.
pub fn write_out(text: impl AsRef<[u8]>) -> Result<()> {
    let written = fs::stdout().and_then(|mut out| out.write_all(text.as_ref()));
    written.context("cannot write to stdout")
}

/// Prints on standard error, past the line of progress.
pub fn write_err(text: &str) -> Result<()> {
    io::stderr().write_all(text.as_bytes()).context(NotOnStderr)
}
