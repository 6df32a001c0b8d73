//! Completion scripts as clap_complete makes them, mended where they would annoy.

use clap::{Arg, Command};
use clap_complete::Shell;

/// The completion script of a command for a shell.
pub fn completions(command: &mut Command, shell: Shell) -> Vec<u8> {
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(shell, command, name, &mut script);
    let script = String::from_utf8(script).expect("scripts are made of flags and descriptions");
    let script = match shell {
        Shell::Bash => in_bash(command, &script),
        Shell::Fish => in_fish(command, &script),
        Shell::Zsh => in_zsh(command, script),
        _ => script,
    };
    script.into_bytes()
}

/// The long flags whose value may be left out, and therefore has to follow `=`.
fn with_optional_values(command: &Command) -> Vec<&str> {
    let is_optional = |arg: &&Arg| arg.is_require_equals_set();
    command.get_arguments().filter(is_optional).filter_map(Arg::get_long).collect()
}

/// The long flags whose value is a list, and the words that can stand in it.
fn with_lists(command: &Command) -> Vec<(&str, String)> {
    let words = |arg: &Arg| {
        let values = arg.get_possible_values();
        values.iter().map(|value| value.get_name().to_owned()).collect::<Vec<_>>().join(" ")
    };
    let lists = command.get_arguments().filter(|arg| arg.get_value_delimiter().is_some());
    lists.filter_map(|arg| Some((arg.get_long()?, words(arg)))).collect()
}

/// Mends the script for bash, which hands `--flag=value` over as three words where the script
/// expects two, and knows no lists.
///
/// It would also offer flags for paths, and paths without quotes and in no order.
fn in_bash(command: &Command, script: &str) -> String {
    let name = command.get_name();
    let mut before_values: Vec<String> =
        with_optional_values(command).iter().map(|long| format!("--{long}=")).collect();
    for arg in command
        .get_arguments()
        .filter(|arg| arg.get_action().takes_values() && !arg.is_require_equals_set())
    {
        before_values.extend(arg.get_short().map(|short| format!("-{short}")));
        before_values.extend(arg.get_long().map(|long| format!("--{long}|--{long}=")));
    }
    let before_values = before_values.join("|");
    let end = script.rfind("\nif [[").expect("clap_complete ends with the registration");
    let (functions, registration) = script.split_at(end);
    let registration = registration
        .replace(&format!("complete -F _{name} "), &format!("complete -F _{name}_words "));
    let registration = registration.replace(" -o nosort", "");
    let lists = with_lists(command).into_iter().map(|(long, _)| {
        match with_optional_values(command).contains(&long) {
            true => format!("--{long}="),
            false => format!("--{long}|--{long}="),
        }
    });
    let lists = lists.collect::<Vec<_>>();
    let in_lists = match lists.join("|") {
        none if none.is_empty() => none,
        lists => format!(
            r#"
        {lists})
            # The last word of a list, behind those before it.
            local before=""
            if [[ "$2" == *,* ]]; then before="${{2%,*}},"; fi
            _{name} "$1" "${{2##*,}}" "${{prev%=}}"
            COMPREPLY=("${{COMPREPLY[@]/#/$before}}")
            ;;"#
        ),
    };
    format!(
        r#"{functions}
_{name}_words() {{
    local prev="$3"
    if [[ "${{prev}}" == "=" ]]; then
        prev="${{COMP_WORDS[COMP_CWORD-2]}}="
    elif [[ "${{COMP_WORDS[COMP_CWORD]}}" == "=" ]]; then
        prev+="="
    fi
    case "${{prev}}" in{in_lists}
        {before_values})
            _{name} "$1" "$2" "${{prev%=}}"
            ;;
        *)
            # What is no flag is a path, which readline completes, with quotes where it needs them.
            if [[ "$2" == -* ]]; then _{name} "$1" "$2" ""; else COMPREPLY=(); fi
            ;;
    esac
}}
{registration}"#
    )
}

/// Mends the script for fish, which would take the next word for a value that may be left out, and
/// knows no lists.
fn in_fish(command: &Command, script: &str) -> String {
    let optional = with_optional_values(command);
    let mend = |line: &str| {
        let is_optional = optional.iter().any(|long| line.contains(&format!(" -l {long} ")));
        if is_optional { line.replace(" -r -f -a ", " -f -a ") } else { line.to_owned() }
    };
    let script = script.split_inclusive('\n').map(mend).collect();
    with_lists(command).iter().fold(script, |script: String, (long, words)| {
        let flag = script.find(&format!(" -l {long} ")).expect("the flag is in the script");
        let from = flag + script[flag..].find(" -a \"").expect("it has values") + " -a \"".len();
        let to = from + script[from..].find('"').expect("they end");
        format!(
            "{}(__fish_complete_list , 'string split \\  -- {words}'){}",
            &script[..from],
            &script[to..]
        )
    })
}

/// Mends the script for zsh, which has the faults of the one for fish.
fn in_zsh(command: &Command, script: String) -> String {
    let optional = with_optional_values(command);
    let script = optional.iter().fold(script, |script, long| {
        script.replace(&format!("--{long}=["), &format!("--{long}=-["))
    });
    with_lists(command).iter().fold(script, |script, (_, words)| {
        script.replace(&format!(":({words})'"), &format!(":_sequence compadd - {words}'"))
    })
}
