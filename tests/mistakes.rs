//! The mistakes that users of cp and rsync make most: what is typed, and what is answered. Each
//! answer says what is wrong and what to do.

mod common;

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use common::hard::set_mode;
use common::place::Place;
use common::*;

/// A command line, its exit code, what is said, and what to do.
struct Mistake {
    typed: &'static str,
    code: i32,
    says: &'static str,
    hint: &'static str,
}

const fn mistake(
    typed: &'static str,
    code: i32,
    says: &'static str,
    hint: &'static str,
) -> Mistake {
    Mistake { typed, code, says, hint }
}

/// A is a tree, F and G are files, and D is an empty directory.
fn world() -> Place {
    let place =
        Place::with(&[("A/f", "one"), ("A/sub/g", "two"), ("F", "file"), ("G", "old"), ("D/", "")]);
    symlink("A", place.at("L")).unwrap();
    place
}

const MISTAKES: &[Mistake] = &[
    // Operands.
    mistake(
        "new A",
        1,
        "cannot stat 'new': No such file or directory",
        "SOURCE comes first and DEST last; ls shows what is there",
    ),
    mistake(
        "A",
        2,
        "a destination is missing after 'A'",
        "the destination comes last, as in: aiocp A /backup/\n",
    ),
    mistake(
        "-a --exclude *.tmp A",
        2,
        "a destination is missing after 'A'",
        "the destination comes last, as in: aiocp -a --exclude '*.tmp' A /backup/\n",
    ),
    mistake(
        "A/*.jpg D",
        1,
        "cannot stat 'A/*.jpg': No such file or directory",
        "no name matches the pattern, so the shell left it as it is; ls shows what is there",
    ),
    mistake(
        "-t D",
        2,
        "a SOURCE is missing",
        "-t took 'D' as the DIRECTORY; each SOURCE follows it",
    ),
    mistake(
        "F G new",
        1,
        "cannot copy several files into 'new': No such file or directory",
        "the folder that it is to go into does not exist; mkdir -p makes it",
    ),
    mistake(
        "F A G",
        1,
        "cannot copy several files into 'G': Not a directory",
        "it has to be a directory; choose another one, or mkdir -p makes one",
    ),
    mistake(
        "- new",
        1,
        "cannot stat '-': No such file or directory",
        "standard input is named /dev/stdin",
    ),
    mistake("-T F G D", 2, "'D' is one operand too many for -T", "'aiocp --help' lists"),
    // What is the same, or lies in each other.
    mistake(
        "F F",
        1,
        "cannot replace 'F': source and destination are the same file",
        "choose another DEST: a file is not copied onto itself",
    ),
    mistake(
        "A A/sub",
        1,
        "cannot copy directory to 'A/sub/A': the destination lies inside the source, 'A'",
        "choose a DEST outside of SOURCE",
    ),
    // What is in the way.
    mistake(
        "A G",
        1,
        "cannot create directory 'G': a non-directory cannot be overwritten with a directory",
        "rename or remove what is there, or choose another DEST",
    ),
    mistake(
        "-T F D",
        1,
        "cannot replace 'D': a directory cannot be overwritten with a non-directory",
        "rename or remove what is there, or choose another DEST",
    ),
    mistake(
        "F new/",
        1,
        "cannot create 'new/': Not a directory",
        "a slash at the end names a directory, and there is none; leave it out, or mkdir -p makes \
         the directory",
    ),
    mistake(
        "F no/new",
        1,
        "cannot create 'no/new': No such file or directory",
        "the folder that it is to go into does not exist; mkdir -p makes it",
    ),
    mistake(
        "F /proc/",
        1,
        "cannot create '/proc/F': No such file or directory",
        "the kernel alone makes files there; choose another DEST\n",
    ),
    mistake(
        "F /proc/new",
        1,
        "cannot create '/proc/new': No such file or directory",
        "the kernel alone makes files there; choose another DEST\n",
    ),
    mistake(
        "A /proc/",
        1,
        "cannot create directory '/proc/A': No such file or directory",
        "the kernel alone makes files there; choose another DEST\n",
    ),
    mistake(
        "--inplace F /proc/",
        1,
        "cannot create '/proc/F': No such file or directory",
        "the kernel alone makes files there; choose another DEST\n",
    ),
    mistake(
        "-P L /proc/",
        1,
        "cannot create link '/proc/L': No such file or directory",
        "the kernel alone makes files there; choose another DEST\n",
    ),
    mistake(
        "F /dev/null",
        1,
        "cannot replace '/dev/null': a character device is not overwritten with a file",
        "not yet: cat or dd write into a device",
    ),
    mistake(
        "F /dev/stdout",
        1,
        "cannot write to '/dev/stdout': it names an open file, and a copy would be a new one",
        "cat writes into what is open: cat SOURCE",
    ),
    // What is elsewhere, and what is misspelt.
    mistake(
        "A host:A",
        2,
        "'host:A' names another machine, and aiocp copies on this one alone",
        "sshfs mounts it, and rsync copies over ssh; './host:A' is a file here",
    ),
    mistake("--arhcive A B", 2, "unknown option '--arhcive'", "did you mean '--archive'?"),
    mistake(
        "--reflink=yes A B",
        2,
        "invalid value 'yes' for '--reflink'",
        "expected one of: auto, always, never",
    ),
];

fn answered(mistake: &Mistake, command: &mut Command, place: &Place) {
    let Mistake { typed, code, says, hint } = mistake;
    let before = describe(&place.at("."));
    let said = stderr(&run(command, *code));
    let wanted = format!("aiocp: {says}\naiocp: hint: {hint}");
    assert!(said.starts_with(&wanted), "{typed}: {said}");
    assert_eq!(said.matches("aiocp: hint: ").count(), 1, "{typed}: {said}");
    assert_eq!(describe(&place.at(".")), before, "{typed}: nothing is touched");
}

fn words(typed: &str) -> Vec<&str> {
    typed.split(' ').collect()
}

#[test]
fn a_mistake_is_answered_with_what_to_do() {
    for mistake in MISTAKES {
        let place = world();
        answered(mistake, &mut place.command(&words(mistake.typed)), &place);
    }
    assert!(MISTAKES.len() >= 15);
}

/// aiocp by a user to whom modes apply.
fn without_rights(place: &Place, typed: &str) -> Option<Command> {
    let command = place.command(&words(typed));
    if !rustix::process::geteuid().is_root() {
        return Some(command);
    }
    if !have("setpriv") {
        return None;
    }
    let mut bound = program("setpriv");
    bound.arg("--bounding-set=-dac_override,-dac_read_search").arg(command.get_program());
    bound.args(command.get_args()).current_dir(place.at("."));
    Some(bound)
}

#[test]
fn a_missing_right_is_answered_with_who_can_give_it() {
    let (read, write) = (
        "its owner can let you read it (chmod), and root may read all (sudo)",
        "the folder's owner can let you write there (chmod), and root may (sudo)",
    );
    for (closed, mode, mistake) in [
        ("F", 0, mistake("F D", 1, "cannot open 'F': Permission denied", read)),
        ("A", 0, mistake("A D", 1, "cannot open directory 'A': Permission denied", read)),
        ("D", 0o555, mistake("F D", 1, "cannot create 'D/F': Permission denied", write)),
        ("D", 0o555, mistake("A D", 1, "cannot create directory 'D/A': Permission denied", write)),
    ] {
        let place = world();
        set_mode(&place.at(closed), mode);
        let Some(mut command) = without_rights(&place, mistake.typed) else { return };
        let said = stderr(&run(&mut command, mistake.code));
        set_mode(&place.at(closed), 0o755);
        let wanted = format!("aiocp: {}\naiocp: hint: {}\n", mistake.says, mistake.hint);
        assert!(said.starts_with(&wanted), "{}: {said}", mistake.typed);
    }
}

#[test]
fn a_filesystem_that_takes_nothing_says_why() {
    let Some(mounted) = Mounted::new("tmpfs", 1) else { return };
    let place = Place::with(&[("F", "file")]);
    fs::write(place.at("big"), noise(3 << 20, 1)).unwrap();
    let copy = |name: &str| stderr(&run(aiocp().arg(place.at(name)).arg(&mounted.path), 1));
    let full = copy("big");
    assert!(full.contains(": No space left on device\naiocp: hint: "), "{full}");
    run(program("mount").args(["-o", "remount,ro"]).arg(&mounted.path), 0);
    let read_only = copy("F");
    assert!(
        read_only.contains(
            ": Read-only file system\naiocp: hint: the filesystem is mounted read-only, or has \
             become so after an error; findmnt -T shows it\n"
        ),
        "{read_only}"
    );
}

#[test]
fn what_standard_output_leads_to_is_left_alone() {
    let place = Place::with(&[("F", "file"), ("out", "before\n")]);
    let hint = "aiocp: hint: cat writes into what is open: cat SOURCE\n";
    for name in ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"] {
        for options in [&[][..], &["--inplace"], &["--attributes-only"], &["--resume"]] {
            let out = fs::File::options().append(true).open(place.at("out")).unwrap();
            let mut copy = place.command(options);
            let said = stderr(&run(copy.args(["F", name]).stdout(out), 1));
            assert!(said.contains(hint), "{name} {options:?}: {said}");
            let said = stderr(&run(place.command(options).args(["F", name]), 1));
            assert!(said.contains(hint), "a pipe: {name} {options:?}: {said}");
        }
    }
    assert_eq!(place.read("out"), "before\n");
}

#[test]
fn a_name_with_an_apostrophe_can_be_pasted_into_a_shell() {
    for name in ["it's", "it's $5", "'", "a \"b\" 'c'", "$HOME `x` '!'", "plain \\ 'name'"] {
        let place = Place::with(&[(name, "contents"), ("D/", "")]);
        let output = run(&mut place.command(&["-v", name, "D"]), 0);
        let said = String::from_utf8(output.stdout).unwrap();
        let pasted = said.split(" -> ").next().unwrap();
        let read = run(Command::new("sh").args(["-c", &format!("printf %s {pasted}")]), 0).stdout;
        assert_eq!(String::from_utf8(read).unwrap(), name, "{said}");
        let missing = format!("no {name}");
        let said = stderr(&run(&mut place.command(&[&missing, "D"]), 1));
        let pasted = said.strip_prefix("aiocp: cannot stat ").unwrap();
        let pasted = pasted.split(": No such file").next().unwrap();
        let read = run(Command::new("sh").args(["-c", &format!("printf %s {pasted}")]), 0).stdout;
        assert_eq!(String::from_utf8(read).unwrap(), missing, "{said}");
    }
}
