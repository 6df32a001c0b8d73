//! `-h` and `--help`, laid out from the table of flags.
//!
//! `-h` is one screen of 80 by 24: the flags that most people want, a line each. `--help` has every
//! flag in its group, with defaults and examples.

use clap::{Arg, Command};

/// What `-h` prints, which are the flags that are named here by their ids, or what `--help` prints.
/// The command has been built, as parsing does it.
pub fn text(command: &Command, common: &[&str], is_long: bool) -> String {
    if is_long { long(command) } else { short(command, common) }
}

/// How the command is called, with a line end.
pub fn usage(command: &Command) -> String {
    let usage = command.get_overridden_usage().map(ToString::to_string).unwrap_or_default();
    format!("Usage: {usage}\n")
}

/// Usage, and a line for each of these flags.
fn short(command: &Command, ids: &[&str]) -> String {
    let args = ids.iter().map(|id| command.get_arguments().find(|arg| arg.get_id() == id));
    let args: Vec<_> = args.map(|arg| arg.expect("a help names flags of the table")).collect();
    let name = command.get_name();
    format!(
        "{}\n{}\nAll options: '{name} --help' or 'man {name}'\n",
        usage(command),
        rows(&args, brief)
    )
}

/// Usage, all flags by their headings, and the examples.
fn long(command: &Command) -> String {
    let mut text = usage(command);
    for heading in headings(command) {
        let is_below = |arg: &&Arg| is_option(arg) && arg.get_help_heading() == heading;
        let args: Vec<_> = command.get_arguments().filter(is_below).collect();
        text += &format!("\n{}:\n{}", heading.unwrap_or("Options"), rows(&args, with_defaults));
    }
    let examples = command.get_after_long_help().map(ToString::to_string).unwrap_or_default();
    text + &format!("\n{examples}\n\nFull documentation: man {}\n", command.get_name())
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

/// Columns of a page. The last one of a terminal stays free.
const WIDTH: usize = 79;

/// A blank at which no line ends.
const NO_BREAK: char = '\u{a0}';

/// What a flag does.
fn brief(arg: &Arg) -> String {
    arg.get_help().map(ToString::to_string).unwrap_or_default()
}

/// What a flag does, its values if the text leaves them out, and its default.
fn with_defaults(arg: &Arg) -> String {
    let mut help = brief(arg);
    if !arg.get_action().takes_values() {
        return help;
    }
    let values = arg.get_possible_values();
    if !values.is_empty() && !arg.is_hide_possible_values_set() {
        let names: Vec<_> = values.iter().map(|value| value.get_name()).collect();
        help += &format!(" ({})", names.join(", "));
    }
    if let ([default], false) = (arg.get_default_values(), arg.is_hide_default_value_set()) {
        help += &format!(" [default:{NO_BREAK}{}]", default.display());
    }
    help
}

/// A line a flag, with the descriptions below each other. A long description goes on in the next
/// line.
fn rows(args: &[&Arg], described: fn(&Arg) -> String) -> String {
    let width = args.iter().map(|arg| flags(arg).len()).max().unwrap_or_default();
    let row = |arg: &&Arg| {
        let lines = wrapped(&described(arg), WIDTH - width - 4);
        let lines = lines.iter().map(|line| line.replace(NO_BREAK, " ")).collect::<Vec<_>>();
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
