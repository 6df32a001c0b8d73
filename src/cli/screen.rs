//! The one line of progress, and everything else that is printed while it stands there.

use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use rustix::termios::tcgetwinsize;

/// Where a terminal's width cannot be had.
const WIDTH: usize = 80;

/// Standard output and standard error, of which the latter may show a line that changes.
pub(super) struct Screen {
    state: Mutex<State>,
    /// Whether standard output is a terminal, where it would meet the line.
    out_is_terminal: bool,
}

impl Default for Screen {
    fn default() -> Self {
        Self { state: Mutex::default(), out_is_terminal: io::stdout().is_terminal() }
    }
}

#[derive(Default)]
struct State {
    /// The line, while there is one.
    line: Option<ProgressBar>,
    /// Questions that wait for an answer: no line is drawn meanwhile.
    questions: usize,
}

impl State {
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
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Prints on standard output.
    pub(super) fn out(&self, text: &str) -> Result<()> {
        if self.out_is_terminal { self.lock().print(|| write_out(text)) } else { write_out(text) }
    }

    /// Prints on standard error.
    pub(super) fn err(&self, text: &str) -> Result<()> {
        self.lock().print(|| write_err(text))
    }

    /// Shows a line of progress, or changes it. `line` is told how wide it may be.
    pub(super) fn draw(&self, line: impl FnOnce(usize) -> String) {
        let mut state = self.lock();
        if state.questions > 0 {
            return;
        }
        let width = tcgetwinsize(io::stderr()).map_or(0, |size| usize::from(size.ws_col));
        // The last column stays free: some terminals go to the next line with it.
        let text = line(if width == 0 { WIDTH } else { width } - 1);
        state.line.get_or_insert_with(new_line).set_message(text);
    }

    /// Takes the line away.
    pub(super) fn clear(&self) {
        self.lock().clear();
    }

    /// Lets somebody ask and wait for the answer, without a line in between; others may print.
    pub(super) fn ask<R>(&self, ask: impl FnOnce() -> R) -> R {
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
    ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr()).with_style(style)
}

pub(super) fn write_out(text: &str) -> Result<()> {
    io::stdout().write_all(text.as_bytes()).context("cannot write to stdout")
}

pub(super) fn write_err(text: &str) -> Result<()> {
    io::stderr().write_all(text.as_bytes()).context("cannot write to stderr")
}
