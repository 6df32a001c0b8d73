//! A text that may be longer than the terminal, which a pager then shows, as git's does.

use std::env;
use std::io::{self, IsTerminal, Write};
use std::process::{Command, Stdio};

use rustix::termios::tcgetwinsize;

use crate::fs;
use crate::sys::signal;

/// The lines and columns of a terminal that does not say how many it has.
const SIZE: (usize, usize) = (24, 80);
/// What sh(1) answers of a command that it cannot find or execute.
const NOT_EXECUTED: [i32; 2] = [126, 127];

/// Prints a text on standard output, through a pager if that is a terminal with too few lines.
pub fn print(text: &str) -> io::Result<()> {
    let mut out = fs::stdout()?;
    let is_paged = out.is_terminal() && exceeds_terminal(text) && page(text)?;
    if is_paged { Ok(()) } else { out.write_all(text.as_bytes()).and_then(|()| out.flush()) }
}

/// Whether a text and the next prompt need more lines than the terminal has.
fn exceeds_terminal(text: &str) -> bool {
    let (lines, columns) = match tcgetwinsize(io::stdout()) {
        Ok(size) if size.ws_row > 0 && size.ws_col > 0 => (size.ws_row.into(), size.ws_col.into()),
        _ => SIZE,
    };
    let needed: usize = text.lines().map(|line| line.len().div_ceil(columns).max(1)).sum();
    needed >= lines
}

/// `$PAGER`, or less(1) if that is unset. None if the user wants no pager.
fn pager() -> Option<Command> {
    let mut pager = match env::var_os("PAGER") {
        Some(wish) if wish.is_empty() || wish == "cat" => return None,
        Some(wish) => {
            let mut shell = Command::new("sh");
            shell.arg("-c").arg(wish);
            shell
        }
        None => Command::new("less"),
    };
    // It ends if the text fits, shows colours, and leaves the text on the screen.
    for (name, value) in [("LESS", "FRX"), ("LV", "-c")] {
        if env::var_os(name).is_none() {
            pager.env(name, value);
        }
    }
    Some(pager)
}

/// Shows a text in the pager until that ends. Answers with whether there is one.
fn page(text: &str) -> io::Result<bool> {
    let Some(mut pager) = pager() else { return Ok(false) };
    let Ok(mut child) = pager.stdin(Stdio::piped()).spawn() else { return Ok(false) };
    // ^C is the pager's: without the process that waits for it, the shell would read its keys.
    signal::ignore(libc::SIGINT)?;
    let written = child.stdin.take().expect("it is a pipe").write_all(text.as_bytes());
    let ended = child.wait()?;
    if ended.code().is_some_and(|code| NOT_EXECUTED.contains(&code)) {
        return Ok(false);
    }
    match written {
        // It was left before the end.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
        _ => Ok(true),
    }
}
