//! The file of options for every run that AIOCP_CONFIG_PATH names.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use common::{aiocp, aiosum, folder, run, stderr};

mod common;

/// A folder with a file `a` of `old`, a file `b` of `new`, and a configuration.
struct Scene {
    folder: tempfile::TempDir,
}

impl Scene {
    fn new(config: impl AsRef<[u8]>) -> Self {
        let folder = folder();
        fs::write(folder.path().join("a"), "new").unwrap();
        fs::write(folder.path().join("b"), "old").unwrap();
        fs::write(folder.path().join("config"), config).unwrap();
        Self { folder }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = aiocp();
        command.current_dir(self.path()).env("AIOCP_CONFIG_PATH", "config").args(args);
        command
    }

    fn run(&self, args: &[&str], code: i32) -> Output {
        run(&mut self.command(args), code)
    }

    fn b(&self) -> String {
        fs::read_to_string(self.path().join("b")).unwrap()
    }
}

#[test]
fn a_line_is_an_argument_before_those_of_the_command_line() {
    let config =
        "# a comment\n\n  --backup=simple\t\r\n#--no-such\n--suffix\n.of old\n--preserve=t";
    let scene = Scene::new(config);
    scene.run(&["a", "b"], 0);
    assert_eq!(
        (&*scene.b(), fs::read(scene.path().join("b.of old")).unwrap()),
        ("new", b"old".into())
    );
    // The last one counts, which is the command line's.
    scene.run(&["-S.more", "a", "b"], 0);
    assert!(scene.path().join("b.more").exists());
    let list = Scene::new("--exclude\n- a*\n--include\n*\n");
    fs::create_dir(list.path().join("from")).unwrap();
    ["a", "b"].iter().for_each(|name| fs::write(list.path().join("from").join(name), "").unwrap());
    list.run(&["--exclude=b", "from", "to"], 0);
    assert!(list.path().join("to/b").exists() && !list.path().join("to/a").exists());
}

#[test]
fn no_config_an_empty_name_and_questions_about_the_command_ignore_it() {
    let scene = Scene::new("--no-such-option\n");
    for args in [&["--no-config", "a", "c"][..], &["a", "d", "--no-conf"]] {
        scene.run(args, 0);
    }
    run(scene.command(&["a", "e"]).env("AIOCP_CONFIG_PATH", ""), 0);
    for args in [&["--help"][..], &["-h"], &["--version"], &["--completions=bash"]] {
        scene.run(args, 0);
    }
    // What makes no sense by itself says so by itself.
    let said = stderr(&scene.run(&["--no-other-option"], 2));
    assert!(said.starts_with("aiocp: unknown option '--no-other-option'\n"), "{said}");
    assert!(stderr(&scene.run(&[], 2)).starts_with("Usage: aiocp "));
    // aiosum has no such file.
    run(aiosum().current_dir(scene.path()).env("AIOCP_CONFIG_PATH", "config").arg("a"), 0);
}

/// A file, its bad line, what is said of it, and the hint.
const BAD: [(&[u8], usize, &str, &str); 15] = [
    (
        b"--verify\n\n--exlude=x\n--verbose\n",
        3,
        "unknown option '--exlude'",
        "did you mean '--exclude'?",
    ),
    (b"--no-such\n-v", 1, "unknown option '--no-such'", "--no-config ignores the file"),
    (b"-v\n--re\n", 2, "ambiguous option '--re'", "could be '--recursive', "),
    (b"-v\nsrc\n-v", 2, "'src' is no option", "SOURCE and DEST belong on the command line"),
    (b"-v\n--\n-v", 2, "'--' is no option", "SOURCE and DEST belong on the command line"),
    (
        b"--suffix .old\n",
        1,
        "'--suffix .old' is more than one argument",
        "a value stands behind '=' or in the next line",
    ),
    (
        b"-v\n-S .old\n",
        2,
        "'-S .old' is more than one argument",
        "a value stands behind '=' or in the next line",
    ),
    (
        b"--exclude\n*.o\n--exclude",
        3,
        "'--exclude' needs a value",
        "a value stands behind '=' or in the next line",
    ),
    (b"--threads\n4\n--threads\n", 3, "'--threads' needs a value", "--no-config"),
    (
        b"--threads=0\n",
        1,
        "invalid value '0' for '--threads': expected 1 to 1024",
        "--no-config ignores the file",
    ),
    (
        b"--verify\n-v\n--no-sync\n-f\n",
        3,
        "'--verify' does not go with '--no-sync'",
        "--no-config ignores the file",
    ),
    (
        b"-v\n--help\n",
        2,
        "it asks for help or the version",
        "it belongs on the command line, alone",
    ),
    (b"-v\n-V\n", 2, "it asks for help or the version", "it belongs on the command line, alone"),
    (b"-v\n--no-config\n-v", 2, "--no-config ignores the file", "it belongs on the command line"),
    (b"-v\n--exclude=a\0b\n", 2, "there is a NUL byte in it", "--no-config ignores the file"),
];

#[test]
fn a_bad_line_is_named_with_its_file_and_number() {
    for (config, number, what, hint) in BAD {
        let scene = Scene::new(config);
        let said = stderr(&scene.run(&["a", "b"], 2));
        let wanted =
            format!("aiocp: cannot use line {number} of 'config': {what}\naiocp: hint: {hint}");
        assert!(said.starts_with(&wanted), "{said}\n{wanted}");
        assert_eq!(said.lines().count(), 2, "{said}");
        assert_eq!(scene.b(), "old", "nothing was touched");
    }
}

#[test]
fn a_file_that_cannot_be_read_is_an_error_and_so_is_what_it_does_not_go_with() {
    let scene = Scene::new("--no-sync\n");
    for (path, reason) in [("missing", "No such file or directory"), (".", "Is a directory")] {
        let said = stderr(&run(scene.command(&["a", "b"]).env("AIOCP_CONFIG_PATH", path), 2));
        assert_eq!(
            said,
            format!(
                "aiocp: cannot read '{path}': {reason}\n\
                 aiocp: hint: AIOCP_CONFIG_PATH names it; --no-config ignores it\n"
            )
        );
    }
    let adds = "'config' adds options (AIOCP_CONFIG_PATH); --no-config ignores it";
    let said = stderr(&scene.run(&["--verify", "a", "b"], 2));
    assert!(said.contains("'--no-sync'") && said.contains("'--verify'"), "{said}");
    assert!(said.ends_with(&format!("\naiocp: hint: {adds}\n")), "{said}");
    fs::write(scene.path().join("config"), "-v\n").unwrap();
    let said = stderr(&scene.run(&["--manifest=-", "a", "b"], 2));
    assert!(said.ends_with(&format!("\naiocp: hint: {adds}\n")), "{said}");
    assert_eq!(scene.b(), "old");
}

#[test]
fn a_hint_about_the_command_line_speaks_of_that_alone() {
    let adds = "'config' adds options (AIOCP_CONFIG_PATH); --no-config ignores it";
    for (config, args, what, hint) in [
        (
            "--suffix=.old",
            &["a"][..],
            "a destination is missing after 'a'",
            "the destination comes last, as in: aiocp a /backup/",
        ),
        ("--target-directory=b", &["-v"], "a SOURCE is missing", adds),
        (
            "--suffix=.old",
            &["-S", "a", "b"],
            "a destination is missing after 'b'",
            "-S took 'a' as the SUFFIX of backups; holes are kept without it",
        ),
    ] {
        let said = stderr(&Scene::new(config).run(args, 2));
        assert_eq!(said, format!("aiocp: {what}\naiocp: hint: {hint}\n"), "{config} {args:?}");
    }
}

#[test]
fn an_option_of_rsync_that_begins_one_of_aiocp_is_refused_here_too() {
    let said = stderr(&Scene::new("-v\n\n--no-t\n--sparse=auto\n").run(&["a", "b"], 2));
    let what =
        "'--no-t' is an option of rsync's, and the beginning of '--no-target-directory' here";
    let wanted = format!(
        "aiocp: cannot use line 3 of 'config': {what}\naiocp: hint: write the option in full\n"
    );
    assert_eq!(said, wanted);
}

#[test]
fn debug_and_the_log_say_what_it_adds() {
    let scene = Scene::new("# all\n--preserve=mode\n-f\n");
    let adds = "'config' adds --preserve=mode -f";
    let said = stderr(&scene.run(&["--debug", "--log-file=log", "a", "b"], 0));
    assert!(said.starts_with(&format!("aiocp: {adds}\n")), "{said}");
    let log = fs::read_to_string(scene.path().join("log")).unwrap();
    assert!(log.lines().nth(1).unwrap().ends_with(adds), "{log}");
    assert!(!stderr(&scene.run(&["a", "b"], 0)).contains("config"));
    let ignored = scene.run(&["--debug", "--no-config", "a", "b"], 0);
    assert!(!stderr(&ignored).contains("config"), "{ignored:?}");
}
