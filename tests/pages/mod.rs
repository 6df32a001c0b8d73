//! Manual pages. Name, synopsis, description and options come from the table of flags, the other
//! sections from `man/`.

use std::io;

use clap::{Arg, Command};
use clap_mangen::Man;

/// clap_mangen begins each section with this.
const PREAMBLE: &str = ".ie \\n(.g .ds Aq \\(aq\n.el .ds Aq '\n";

/// The page of a command, with these sections at its end.
pub fn page(mut table: Command, sections: &str) -> String {
    table.build();
    let man = Man::new(table.clone().mut_args(explained))
        .title(table.get_name().to_uppercase())
        .date("2026-11-23")
        .source(concat!("aiocp ", env!("CARGO_PKG_VERSION")))
        .manual("User Commands");
    let mut page = rendered(|page| man.render_title(page));
    page += &rendered(|page| man.render_name_section(page));
    page += &rendered(|page| man.render_synopsis_section(page));
    page += &rendered(|page| man.render_description_section(page));
    let mut options = rendered(|page| man.render_options_section(page))
        .replace("\\fI<", "\\fI")
        .replace(">\\fR", "\\fR");
    for heading in table.get_arguments().filter_map(Arg::get_help_heading) {
        options = options
            .replace(&format!(".SH \"{}\"", heading.to_uppercase()), &format!(".SS \"{heading}\""));
        options = options
            .replace(&format!(".SH {}\n", heading.to_uppercase()), &format!(".SS {heading}\n"));
    }
    let (page, options) = (page.replace(PREAMBLE, ""), options.replace(PREAMBLE, ""));
    // clap_mangen has this heading for options without one, and all have one.
    format!("{PREAMBLE}{page}.SH OPTIONS\n{options}{sections}")
}

/// A flag whose help says everything about it, in whole sentences.
fn explained(arg: Arg) -> Arg {
    let help = arg.get_long_help().or(arg.get_help()).map(ToString::to_string).unwrap_or_default();
    let mut sentences: Vec<String> = help.split("\n\n").map(sentence).collect();
    let values = arg.get_possible_values();
    let values =
        values.iter().filter(|value| !value.is_hide_set()).map(|value| match value.get_help() {
            Some(help) => format!("{} ({help})", value.get_name()),
            None => value.get_name().to_owned(),
        });
    // Some texts list their values themselves.
    let is_said = arg.is_hide_possible_values_set();
    if let ([name], true) =
        (arg.get_value_names().unwrap_or_default(), arg.get_action().takes_values() && !is_said)
    {
        match values.collect::<Vec<_>>().as_slice() {
            [] => {}
            [others @ .., last] => {
                sentences.push(format!("{name} is {} or {last}.", others.join(", ")))
            }
        }
    }
    let aliases = arg.get_visible_short_aliases().unwrap_or_default();
    sentences.extend(aliases.iter().map(|alias| format!("-{alias} is the same.")));
    let is_positional = arg.is_positional();
    arg.hide(is_positional).hide_possible_values(true).long_help(sentences.join("\n"))
}

fn sentence(text: &str) -> String {
    format!("{}.", text.trim().trim_end_matches('.'))
}

fn rendered(render: impl Fn(&mut dyn io::Write) -> io::Result<()>) -> String {
    let mut page = Vec::new();
    render(&mut page).unwrap();
    String::from_utf8(page).unwrap()
}
