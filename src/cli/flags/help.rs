//! `-h` and `--help`, laid out from the table of flags.
//!
//! On a terminal `--help` is one screen of 80 by 24: the flags that most people want, a line each.
//! Into a pipe or a file it writes every flag.

use std::io::{self, IsTerminal};

use clap::{Arg, Command};

/// Gives the command its two helps. Each shows the flags that are named here by their ids.
pub fn with_help(command: Command, essential: &[&str], common: &[&str]) -> Command {
    let short = page(&command, Some(essential));
    let long = page(&command, if io::stdout().is_terminal() { Some(common) } else { None });
    command.term_width(0).help_template("{before-help}").before_help(short).before_long_help(long)
}

/// Usage, and these flags; all of them, by headings, if none are named.
fn page(command: &Command, ids: Option<&[&str]>) -> String {
    let mut built = command.clone();
    built.build();
    let name = built.get_name();
    let usage = built.get_overridden_usage().map(ToString::to_string).unwrap_or_default();
    let mut text = format!("Usage: {usage}\n");
    match ids {
        Some(ids) => {
            let args = ids.iter().map(|id| built.get_arguments().find(|arg| arg.get_id() == id));
            let args: Vec<_> =
                args.map(|arg| arg.expect("a help names flags of the table")).collect();
            text += &format!("\n{}\n", rows(&args));
            text += &format!("All options: '{name} --help | less' or 'man {name}'");
        }
        None => {
            for heading in headings(&built) {
                let args = built
                    .get_arguments()
                    .filter(|arg| is_option(arg) && arg.get_help_heading() == heading);
                let args: Vec<_> = args.collect();
                text += &format!("\n{}:\n{}", heading.unwrap_or("Options"), rows(&args));
            }
            text += &format!("\nFull documentation: man {name}");
        }
    }
    text
}

/// The headings in the order in which they first come up.
fn headings(command: &Command) -> Vec<Option<&str>> {
    let mut headings = Vec::new();
    for heading in command.get_arguments().filter(|arg| is_option(arg)).map(Arg::get_help_heading) {
        if !headings.contains(&heading) {
            headings.push(heading);
        }
    }
    headings
}

fn is_option(arg: &Arg) -> bool {
    !arg.is_positional() && !arg.is_hide_set()
}

/// Columns of a page.
const WIDTH: usize = 80;

/// A line a flag, with the descriptions below each other. A long description goes on in the next
/// line.
fn rows(args: &[&Arg]) -> String {
    let width = args.iter().map(|arg| flags(arg).len()).max().unwrap_or_default();
    let row = |arg: &&Arg| {
        let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
        let lines = wrapped(&help, WIDTH - width - 4);
        format!("  {:width$}  {}\n", flags(arg), lines.join(&format!("\n{:1$}", "", width + 4)))
    };
    args.iter().map(row).collect()
}

/// The words of a text in lines of at most this many columns, if no word is longer.
fn wrapped(text: &str, columns: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let line = lines.last_mut().expect("there is one at least");
        match line.len() {
            0 => line.push_str(word),
            length if length + 1 + word.len() <= columns => *line += &format!(" {word}"),
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// A flag as it is typed, for example `-t, --target-directory DIRECTORY`.
fn flags(arg: &Arg) -> String {
    let mut text = match (arg.get_short(), arg.get_long()) {
        (Some(short), Some(long)) => format!("-{short}, --{long}"),
        (Some(short), None) => format!("-{short}"),
        (None, long) => format!("    --{}", long.unwrap_or_default()),
    };
    if let (true, Some([name])) = (arg.get_action().takes_values(), arg.get_value_names()) {
        let is_optional = arg.get_num_args().is_some_and(|count| count.min_values() == 0);
        text += &if is_optional { format!("[={name}]") } else { format!(" {name}") };
    }
    text
}
