//! Completion scripts, as clap_complete makes them, mended where they would annoy.

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

/// The long flags whose value may be left out, and therefore has to stand behind `=`.
fn with_optional_values(command: &Command) -> Vec<&str> {
    let is_optional = |arg: &&Arg| arg.is_require_equals_set();
    command.get_arguments().filter(is_optional).filter_map(Arg::get_long).collect()
}

/// bash hands `--flag=value` over as three words, where the script expects two. It would also offer flags for paths, and paths without quotes.
fn in_bash(command: &Command, script: &str) -> String {
    let name = command.get_name();
    let mut before_values: Vec<String> =
        with_optional_values(command).iter().map(|long| format!("--{long}=")).collect();
    for arg in command.get_arguments().filter(|arg| arg.get_action().takes_values() && !arg.is_require_equals_set()) {
        before_values.extend(arg.get_short().map(|short| format!("-{short}")));
        before_values.extend(arg.get_long().map(|long| format!("--{long}|--{long}=")));
    }
    let before_values = before_values.join("|");
    let end = script.rfind("\nif [[").expect("clap_complete ends with the registration");
    let (functions, registration) = script.split_at(end);
    let registration = registration.replace(&format!("complete -F _{name} "), &format!("complete -F _{name}_words "));
    format!(
        r#"{functions}
_{name}_words() {{
    local prev="$3"
    if [[ "${{prev}}" == "=" ]]; then
        prev="${{COMP_WORDS[COMP_CWORD-2]}}="
    elif [[ "${{COMP_WORDS[COMP_CWORD]}}" == "=" ]]; then
        prev+="="
    fi
    case "${{prev}}" in
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

/// fish would take the next word for a value that may be left out.
fn in_fish(command: &Command, script: &str) -> String {
    let optional = with_optional_values(command);
    let mend = |line: &str| {
        let is_optional = optional.iter().any(|long| line.contains(&format!(" -l {long} ")));
        if is_optional { line.replace(" -r -f -a ", " -f -a ") } else { line.to_owned() }
    };
    script.split_inclusive('\n').map(mend).collect()
}

/// So would zsh.
fn in_zsh(command: &Command, script: String) -> String {
    let optional = with_optional_values(command);
    optional.iter().fold(script, |script, long| script.replace(&format!("--{long}=["), &format!("--{long}=-[")))
}
