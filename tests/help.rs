//! The two helps, and the pager that shows the longer one.

use std::process::{Command, Stdio};

use common::{aiocp, aiosum, folder, have, run, stderr};

mod common;

fn program(command: &Command) -> String {
    command.get_program().to_str().unwrap().to_owned()
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap().replace('\r', "")
}

fn tables() -> [(clap::Command, Command); 2] {
    let tables =
        [(aiocp::cli::aiocp::command(), aiocp()), (aiocp::cli::aiosum::command(), aiosum())];
    tables.map(|(mut table, command)| {
        table.build();
        (table, command)
    })
}

/// What a shell's command shows on a terminal of 80 columns and so many lines.
fn on_terminal(lines: usize, typed: &str) -> String {
    let typed = format!("stty rows {lines} cols 80; {typed}");
    text(run(common::program("script").args(["-qec", &typed, "/dev/null"]), 0).stdout)
}

#[test]
fn the_short_help_is_a_screen_that_has_what_most_people_want() {
    let help = text(run(aiocp().arg("-h"), 0).stdout);
    for flag in ["-r,", "--progress", "--resume", "--verify-only", "-a,", "-n,", "--help"] {
        let rows = help.lines().filter(|line| line.starts_with("  "));
        assert!(rows.into_iter().any(|row| row.contains(flag)), "{flag}: {help}");
    }
    for (table, mut command) in tables() {
        let help = text(run(command.arg("-h"), 0).stdout);
        assert!(help.lines().count() <= 21, "{help}");
        assert!(help.lines().all(|line| line.chars().count() <= 79), "{help}");
        let all = format!("All options: '{0} --help' or 'man {0}'", table.get_name());
        assert_eq!(help.lines().last(), Some(&*all));
    }
}

#[test]
fn the_long_help_has_groups_defaults_and_examples() {
    for (table, mut command) in tables() {
        let help = text(run(command.arg("--help"), 0).stdout);
        assert!(!help.contains("see more") && !help.contains("--help'"), "{help}");
        assert!(help.lines().all(|line| line.chars().count() <= 79), "{help}");
        for arg in table.get_arguments().filter(|arg| !arg.is_positional()) {
            let heading = arg.get_help_heading();
            let heading = heading.unwrap_or_else(|| panic!("{} is in no group", arg.get_id()));
            assert!(help.contains(&format!("\n\n{heading}:\n")), "{heading}: {help}");
            let takes_values = arg.get_action().takes_values();
            for default in arg.get_default_values().iter().filter(|_| takes_values) {
                let flag = format!(" --{}", arg.get_long().unwrap());
                let is_whole = |rest: &&str| !rest[flag.len()..].starts_with(char::is_alphanumeric);
                let mut places = help.match_indices(&flag).map(|(at, _)| &help[at..]);
                let rest = places.find(is_whole).unwrap();
                let words = rest.split_whitespace().take(30).collect::<Vec<_>>().join(" ");
                let shown = format!("[default: {}]", default.display());
                assert!(words.contains(&shown), "{words}");
            }
        }
        let (_, examples) = help.split_once("\n\nExamples:\n").unwrap();
        let typed = examples.lines().map(str::trim);
        let typed: Vec<_> = typed.filter(|line| line.starts_with(table.get_name())).collect();
        assert_eq!(typed.len(), 2, "{examples}");
        for line in typed {
            let words = line.split(' ').take_while(|&word| word != ">");
            assert!(table.clone().try_get_matches_from(words).is_ok(), "{line}");
        }
        assert!(help.ends_with(&format!("\nFull documentation: man {}\n", table.get_name())));
    }
}

#[test]
fn a_help_that_is_longer_than_the_terminal_goes_through_the_pager() {
    if !have("script") {
        return;
    }
    for command in [aiocp(), aiosum()] {
        let program = program(&command);
        let whole = text(run(Command::new(&program).arg("--help"), 0).stdout);
        let paged = whole.lines().map(|line| format!("page {line}\n")).collect::<String>();
        let (tall, low) = (whole.lines().count() + 1, whole.lines().count());
        let pager = format!("PAGER='sed \"s/^/page /\"' '{program}'");
        assert_eq!(on_terminal(low, &format!("{pager} --help")), paged);
        assert_eq!(on_terminal(tall, &format!("{pager} --help")), whole);
        // Nothing of it into a pipe, and none for the short one.
        assert_eq!(on_terminal(low, &format!("{pager} --help | cat")), whole);
        assert!(!on_terminal(2, &format!("{pager} -h")).contains("page "));
        for none in ["", "cat"] {
            assert_eq!(on_terminal(low, &format!("PAGER={none} '{program}' --help")), whole);
        }
    }
}

#[test]
fn a_pager_that_is_missing_or_ends_early_is_no_failure() {
    if !have("script") {
        return;
    }
    let program = program(&aiocp());
    let whole = text(run(aiocp().arg("--help"), 0).stdout);
    let shown = on_terminal(24, &format!("PAGER=no-such-pager '{program}' --help 2>/dev/null"));
    assert_eq!(shown, whole);
    let without = format!("/usr/bin/env -u PAGER PATH=/nowhere '{program}' --help");
    assert_eq!(on_terminal(24, &without), whole);
    assert_eq!(on_terminal(24, &format!("PAGER=true '{program}' --help")), "");
    let variables = "PAGER='echo $LESS $LV' LESS=S";
    assert_eq!(on_terminal(24, &format!("{variables} '{program}' --help")), "S -c\n");
    let variables = "/usr/bin/env -u LESS PAGER='echo $LESS'";
    assert_eq!(on_terminal(24, &format!("{variables} '{program}' --help")), "FRX\n");
    // ^C is for the pager alone.
    let pager = "PAGER='sleep 0.5; kill -INT $PPID; sleep 0.1; echo shown'";
    assert_eq!(on_terminal(24, &format!("{pager} '{program}' --help; echo $?")), "shown\n0\n");
}

#[test]
fn a_reader_that_has_seen_enough_ends_a_help_in_silence() {
    for mut command in [aiocp(), aiosum()] {
        for flag in ["--help", "-h", "--version"] {
            let mut command = Command::new(command.get_program());
            let (reader, writer) = std::io::pipe().unwrap();
            drop(reader);
            let output = command.arg(flag).stdout(writer).stderr(Stdio::piped()).output().unwrap();
            assert_eq!((output.status.code(), &*stderr(&output)), (Some(0), ""), "{flag}");
        }
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        run(command.arg("-h").stdout(full), 1);
    }
}

#[test]
fn letters_around_h_are_refused_and_an_h_alone_is_not() {
    for (program, words, letter) in [
        (aiocp(), &["-ah", "a", "b"][..], 'h'),
        (aiocp(), &["-avhP", "a", "b"], 'h'),
        (aiocp(), &["-v", "-ha", "--", "a", "b"], 'h'),
        (aiocp(), &["-aV", "a", "b"], 'V'),
        (aiosum(), &["-zh", "a"], 'h'),
    ] {
        let mut command = program;
        let name = command.get_program().to_str().unwrap().rsplit('/').next().unwrap().to_owned();
        let output = run(command.args(words), 2);
        let word = words.iter().find(|word| word.contains(letter)).unwrap();
        let what =
            format!("{name}: '{word}' contains -{letter}, which stands alone\n{name}: hint: ");
        assert!(stderr(&output).starts_with(&what), "{output:?}");
        assert!(output.stdout.is_empty());
    }
    let help = run(aiocp().arg("-h"), 0).stdout;
    for words in [&["-a", "-h"][..], &["--resume", "a", "b", "-h"], &["-S", "-ah", "-h"]] {
        assert_eq!(run(aiocp().args(words), 0).stdout, help, "{words:?}");
    }
    // A value and an operand are no options.
    let folder = folder();
    std::fs::write(folder.path().join("-ah"), "").unwrap();
    run(aiocp().current_dir(&folder).args(["-Sh", "--", "-ah", "b"]), 0);
}

#[test]
fn a_command_alone_says_how_it_is_called() {
    let output = run(&mut aiocp(), 2);
    let said = stderr(&output);
    let help = text(run(aiocp().arg("-h"), 0).stdout);
    let (usage, hint) = said.split_at(said.find("aiocp: hint: ").unwrap());
    assert!(help.starts_with(usage) && usage.lines().count() == 3, "{said}");
    let both = "'aiocp -h' lists the common options, 'aiocp --help' all of them";
    assert_eq!(hint, format!("aiocp: hint: {both}\n"));
    assert!(output.stdout.is_empty());
    // aiosum reads standard input.
    let output = run(aiosum().stdin(Stdio::null()), 0);
    assert!(output.stdout.starts_with(b"af1349b9f5f9a1a6"), "{output:?}");
}
