//! The one line of progress, and everything else that is printed while it stands there.

use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle, TermLike};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::getpgrp;
use rustix::termios::{tcgetpgrp, tcgetwinsize};

use crate::fs;

/// The columns of a terminal that does not say how many it has.
const WIDTH: usize = 80;

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
    /// The line, while there is one.
    line: Option<ProgressBar>,
    /// Questions that wait for an answer. No line is drawn meanwhile.
    questions: usize,
}

impl ScreenState {
    /// Prints with the line taken away.
    fn print<R>(&self, print: impl FnOnce() -> R) -> R {
        match &self.line {
            Some(line) => line.suspend(print),
            None => print(),
        }
    }

    fn clear(&mut self) {
        if let Some(line) = self.line.take() {
            line.finish_and_clear();
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

    /// Shows a line of progress, or changes it. `line` gets the columns that it may have.
    pub fn draw(&self, line: impl FnOnce(usize) -> String) {
        let mut state = self.lock();
        // While the run is in the background, the terminal belongs to another command.
        if state.questions > 0 || is_in_background() {
            return;
        }
        // The last column stays free: some terminals go to the next line with it.
        let text = line(columns() - 1);
        state.line.get_or_insert_with(new_line).set_message(text);
    }

    /// Takes the line away.
    pub fn clear(&self) {
        self.lock().clear();
    }

    /// Takes the line away and prints the last words before the process ends at once.
    ///
    /// It waits for nothing: a terminal that is stopped does not get the words.
    pub fn end_with(&self, text: &str) {
        let Ok(state) = self.state.try_lock() else { return };
        let takes_it =
            poll(&mut [PollFd::new(&io::stderr(), PollFlags::OUT)], Some(&Timespec::default()));
        if takes_it.is_ok_and(|ready| ready > 0) {
            let clear = if state.line.is_some() { CLEAR } else { "" };
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

fn new_line() -> ProgressBar {
    let style = ProgressStyle::with_template("{msg}").expect("the template is a good one");
    ProgressBar::with_draw_target(
        None,
        ProgressDrawTarget::term_like(Box::<ProgressLine>::default()),
    )
    .with_style(style)
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

/// One line of a terminal, at whose beginning the cursor waits.
///
/// A terminal that is made narrower breaks the line in two and leaves the cursor at the beginning
/// of both. Erasing from there on takes all of it. What the terminal echoes, such as ^C, falls into
/// the line and goes with it.
#[derive(Debug, Default)]
struct ProgressLine {
    /// The text to be written at once, so that nothing flickers.
    text: Mutex<String>,
}

impl ProgressLine {
    fn lock(&self) -> MutexGuard<'_, String> {
        self.text.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TermLike for ProgressLine {
    fn width(&self) -> u16 {
        u16::try_from(columns()).unwrap_or(u16::MAX)
    }

    // Nothing above or below belongs to it.
    fn move_cursor_up(&self, _lines: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_down(&self, _lines: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_right(&self, _columns: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_left(&self, _columns: usize) -> io::Result<()> {
        Ok(())
    }

    fn write_line(&self, text: &str) -> io::Result<()> {
        self.write_str(text)
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        // indicatif fills the line with spaces. A narrower terminal would make a line of its own of
        // them.
        self.lock().push_str(text.trim_end());
        Ok(())
    }

    fn clear_line(&self) -> io::Result<()> {
        self.lock().push_str(CLEAR);
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        let text = std::mem::take(&mut *self.lock());
        io::stderr().write_all(format!("{text}\r").as_bytes())
    }
}

/// Goes to the beginning of the line and erases everything from there to the end of the screen.
const CLEAR: &str = "\r\x1b[J";

/// Prints on standard output, past the line of progress.
pub fn write_out(text: impl AsRef<[u8]>) -> Result<()> {
    let written = fs::stdout().and_then(|mut out| out.write_all(text.as_ref()));
    written.context("cannot write to stdout")
}

/// Prints on standard error, past the line of progress.
pub fn write_err(text: &str) -> Result<()> {
    io::stderr().write_all(text.as_bytes()).context("cannot write to stderr")
}
