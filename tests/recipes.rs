//! Each example of the README and of `docs/recipes.md` runs as it stands and keeps its promise.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use common::skip::find;
use common::verdict::told;
use common::{folder, have};

mod common;

/// What must exist before the examples below a heading, and what must hold after them; both for `sh
/// -eu`.
struct Case {
    heading: &'static str,
    before: &'static str,
    after: &'static str,
}

/// The programs that an example calls and a Debian can lack. Without one it is left out.
const TOOLS: [&str; 3] = ["b3sum", "git", "make"];

/// Folders that examples name and a test may not touch. Each is moved below `$ROOT`.
const PLACES: [&str; 7] = ["/archive", "/backup", "/data", "/mnt", "/scratch", "/srv", "/tmp"];

const RECIPES: [Case; 15] = [
    Case {
        heading: "A disk image",
        before: "mkdir $ROOT/mnt/backup; head -c 2000000 /dev/zero > disk.img; \
                 head -c 3000000 /dev/urandom >> disk.img",
        after: "cmp disk.img $ROOT/mnt/backup/disk.img; \
                [ $(du -k $ROOT/mnt/backup/disk.img | cut -f 1) -lt 4000 ]",
    },
    Case {
        heading: "A dataset to NFS",
        before: "mkdir -p $ROOT/mnt/nfs/dataset dataset/a; touch $ROOT/mnt/nfs/dataset/older; \
                 seq 9 > dataset/a/b; seq 300000 > dataset/c",
        after: "diff -r dataset $ROOT/mnt/nfs/dataset && exit 1; rm $ROOT/mnt/nfs/dataset/older; \
                diff -r dataset $ROOT/mnt/nfs/dataset",
    },
    Case {
        heading: "A backup with proof",
        before: "mkdir -p $ROOT/mnt/backup home/a; seq 9 > home/a/b; seq 300000 > home/c; \
                 ln home/c home/d",
        after: "diff -r home $ROOT/mnt/backup/home; \
                [ $ROOT/mnt/backup/home/c -ef $ROOT/mnt/backup/home/d ]; \
                cd $ROOT/mnt/backup/home; aiosum --check --audit . ../home.b3",
    },
    Case {
        heading: "Is the backup still right?",
        before: "mkdir -p $ROOT/mnt/backup home; seq 9 > home/a; cp -r home $ROOT/mnt/backup/home",
        after: "echo more >> $ROOT/mnt/backup/home/a; code=0; \
                aiocp -T --verify-only home $ROOT/mnt/backup/home > said || code=$?; \
                [ $code = 3 ]; grep -E 'a: [0-9]+\\.\\.[0-9]+ differs' said",
    },
    Case {
        heading: "Mending a bad copy",
        before: "mkdir -p $ROOT/mnt/backup; head -c 5000000 /dev/urandom > disk.img; \
                 cp disk.img $ROOT/mnt/backup/; \
                 printf bad | dd of=$ROOT/mnt/backup/disk.img bs=1 seek=2000000 conv=notrunc \
                 status=none",
        after: "cmp disk.img $ROOT/mnt/backup/disk.img; \
                aiocp -T --verify-only disk.img $ROOT/mnt/backup/disk.img",
    },
    Case {
        heading: "A manifest and its audit",
        before: "mkdir -p dataset/a; seq 9 > dataset/a/b; seq 300000 > dataset/c",
        after: "touch dataset/new; code=0; \
                aiosum --check --quiet --audit dataset sums.b3 > said || code=$?; \
                [ $code = 1 ]; grep dataset/new said; rm dataset/new; \
                b3sum --check --quiet sums.b3",
    },
    Case {
        heading: "Going on after an interruption",
        // A FIFO fails without -a. That interrupts the copy reliably, after all else is done.
        before: "mkdir -p $ROOT/mnt/backup disks/a; seq 9 > disks/a/b; \
                 head -c 5000000 /dev/urandom > disks/c; mkfifo disks/pipe; \
                 code=0; aiocp --resume --verify -T disks $ROOT/mnt/backup/disks || code=$?; \
                 [ $code = 1 ]; rm disks/pipe; \
                 ls $ROOT/mnt/backup/.aiocp-journal-*",
        after: "diff -r disks $ROOT/mnt/backup/disks; [ $(ls -A $ROOT/mnt/backup) = disks ]; \
                [ $(wc -l < sums.b3) = 2 ]; \
                grep '^finished earlier: *2$' $ROOT/all-said && \
                grep '^written bytes: *0$' $ROOT/all-said; \
                cd $ROOT/mnt/backup/disks; b3sum --check --quiet $ROOT/work/sums.b3",
    },
    Case {
        heading: "Leaving things out",
        before: "mkdir -p $ROOT/mnt/backup project/.git project/src/target; \
                 touch project/.git/x project/src/target/y project/src/z project/a.tmp",
        after: "[ \"$(cd $ROOT/mnt/backup/project; find . -type f)\" = ./src/z ]",
    },
    Case {
        heading: "Seeing it first",
        before: "mkdir -p $ROOT/mnt/backup/project project; echo new > project/a; \
                 echo old > $ROOT/mnt/backup/project/a; touch project/b.tmp",
        after: "grep project/a $ROOT/all-said; grep b.tmp $ROOT/all-said && exit 1; \
                [ $(cat $ROOT/mnt/backup/project/a) = old ]",
    },
    Case {
        heading: "Only what is new",
        before: "mkdir -p $ROOT/mnt/web/site site; \
                 for f in newer older only; do echo here > site/$f; done; \
                 for f in newer older; do echo there > $ROOT/mnt/web/site/$f; done; \
                 touch -d 2001-01-01 site/newer $ROOT/mnt/web/site/older",
        after: "cd $ROOT/mnt/web/site; [ $(cat newer) = there ]; [ $(cat older) = here ]; \
                [ $(cat only) = here ]; [ $(cat older.~1~) = there ]",
    },
    Case {
        heading: "Moving a tree with everything",
        before: "mkdir -p $ROOT/srv/old/a $ROOT/mnt/new; seq 9 > $ROOT/srv/old/a/b; \
                 mkfifo $ROOT/srv/old/pipe",
        after: "[ ! -e $ROOT/srv/old ]; [ -p $ROOT/mnt/new/data/pipe ]; \
                [ $(wc -l < $ROOT/mnt/new/data/a/b) = 9 ]",
    },
    Case {
        heading: "In a container without io_uring",
        before: "head -c 5000000 /dev/urandom > disk.img",
        after: "cmp disk.img copy.img; grep -x 'copy.img: direct' $ROOT/all-said",
    },
    Case {
        heading: "Where the time went",
        before: "mkdir -p $ROOT/mnt/nfs dataset; seq 300000 > dataset/c",
        after: "diff -r dataset $ROOT/mnt/nfs/dataset; grep '</html>' run.html; \
                grep \"copied 'dataset/c'\" copy.log",
    },
    Case {
        heading: "Beside other work",
        before: "mkdir -p $ROOT/mnt/backup dataset; seq 300000 > dataset/c",
        after: "diff -r dataset $ROOT/mnt/backup/dataset; grep ' written, ' $ROOT/all-said",
    },
    Case {
        heading: "A job for Slurm",
        before: "mkdir -p $ROOT/data/runs; echo b > $ROOT/data/runs/1; echo a > $ROOT/data/runs/2",
        after: "[ \"$(cat $ROOT/archive/result)\" = \"$(printf 'a\\nb')\" ]; cd $ROOT/archive; \
                aiosum --check result-7.b3",
    },
];

const README: [Case; 3] = [
    Case {
        heading: "Two commands",
        before: "mkdir -p src/bin; seq 9 > src/bin/a",
        after: "diff -r src/bin $ROOT/tmp/copy; [ -s $ROOT/tmp/sums.b3 ]; \
                grep -x tested $ROOT/all-said",
    },
    Case {
        heading: "Install",
        before: ":",
        after: "[ -x $ROOT/usr/bin/aiosum ]; $ROOT/usr/bin/aiocp --version",
    },
    Case {
        heading: "Every day",
        before: "mkdir -p dataset/sub data/cache $ROOT/mnt/backup; \
                 seq 9 > dataset/sub/a; seq 400000 > vm.img; \
                 touch data/cache/x data/a.tmp data/b; git init -q .; git add dataset; \
                 sha256sum vm.img > SHA256SUMS; echo set > $ROOT/srv/file",
        after: "cmp vm.img $ROOT/backup/vm.img; diff -r dataset $ROOT/archive/data1; \
                diff -r dataset $ROOT/archive/data2; diff -r dataset $ROOT/archive/data3; \
                [ -e $ROOT/mnt/backup/srv/file ]; [ -s run.html ]; \
                [ \"$(find $ROOT/archive/data | wc -l)\" = 2 ]; \
                [ -e $ROOT/tmp/clean/dataset/sub/a ]; [ ! -e $ROOT/tmp/clean/vm.img ]; \
                grep ' dataset/sub/a$' sums.b3",
    },
];

/// The shell blocks below each heading of the second level, in order.
fn examples(markdown: &str) -> Vec<(&str, Vec<&str>)> {
    let sections = markdown.split("\n## ").skip(1);
    // The text keeps its line break, before which a block may begin.
    let sections = sections.map(|section| section.split_at(section.find('\n').unwrap()));
    sections
        .map(|(heading, text)| (heading, blocks(text)))
        .filter(|(_, blocks)| !blocks.is_empty())
        .collect()
}

fn blocks(text: &str) -> Vec<&str> {
    text.split("\n```sh\n").skip(1).map(|piece| piece.split("\n```").next().unwrap()).collect()
}

/// The text with the folders of the root directory moved below `$ROOT`.
fn moved(text: &str) -> String {
    let mut text = text.to_owned();
    for place in PLACES {
        for before in [" ", "\"", "("] {
            text = text.replace(&format!("{before}{place}"), &format!("{before}$ROOT{place}"));
        }
    }
    text
}

/// Runs a text in a shell that stops at the first failure. The output goes to `$ROOT/said`.
fn shell(root: &Path, text: &str) {
    let said = root.join("said");
    let path = format!("{}:{}", root.join("bin").display(), std::env::var("PATH").unwrap());
    let output = fs::File::create(&said).unwrap();
    let status = Command::new("sh")
        .args(["-eu", "-c", text])
        .current_dir(root.join("work"))
        .env("PATH", path)
        .env("ROOT", root)
        .env("HOME", root.join("home"))
        .env("TMPDIR", root.join("scratch"))
        .env("SLURM_JOB_ID", "7")
        .env_remove("AIOCP_CONFIG_PATH")
        .stderr(output.try_clone().unwrap())
        .stdout(output)
        .status()
        .unwrap();
    assert!(
        status.success(),
        "{text}\nended with {status} and said {}",
        fs::read_to_string(&said).unwrap()
    );
}

/// A folder with the commands, and a cargo that answers without building.
fn sandbox() -> tempfile::TempDir {
    let root = folder();
    for place in ["bin", "home", "work"].into_iter().chain(PLACES.map(|place| &place[1..])) {
        fs::create_dir(root.path().join(place)).unwrap();
    }
    let bin = root.path().join("bin");
    for (name, program) in [
        ("aiocp", assert_cmd::cargo::cargo_bin!("aiocp")),
        ("aiosum", assert_cmd::cargo::cargo_bin!("aiosum")),
    ] {
        symlink(program, bin.join(name)).unwrap();
    }
    let cargo = "#!/bin/sh\ncase \"$*\" in\n'run --release -- '*) shift 3; exec aiocp \"$@\" ;;\n\
                 test) echo tested ;;\n\
                 'build --release' | 'install --path .') ;;\n*) exit 9 ;;\nesac\n";
    let executable = |name: &str, script: &str| {
        fs::write(bin.join(name), script).unwrap();
        fs::set_permissions(bin.join(name), fs::Permissions::from_mode(0o755)).unwrap();
    };
    executable("cargo", cargo);
    // What it would fetch installs cargo.
    executable("curl", "#!/bin/sh\necho 'mkdir -p \"$HOME/.cargo\"; : > \"$HOME/.cargo/env\"'\n");
    if let Some(b3sum) = find("b3sum") {
        symlink(b3sum, bin.join("b3sum")).unwrap();
    }
    // It installs this very tree, but below the sandbox.
    let make = format!(
        "#!/bin/sh\nexec make -s -C '{}' BIN=\"$ROOT/bin\" DESTDIR=\"$ROOT\" PREFIX=/usr \"$2\"\n",
        env!("CARGO_MANIFEST_DIR")
    );
    executable("sudo", &make);
    root
}

/// Whether a text for the shell calls a program.
fn calls(text: &str, program: &str) -> bool {
    text.split(|c: char| c.is_whitespace() || ";(|&".contains(c)).any(|word| word == program)
}

fn run_all(document: &str, cases: &[Case]) {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(document)).unwrap();
    let examples = examples(&text);
    let headings: Vec<_> = examples.iter().map(|(heading, _)| *heading).collect();
    let tried: Vec<_> = cases.iter().map(|case| case.heading).collect();
    assert_eq!(headings, tried, "each example has what it needs and promises, in the same order");
    for (case, (_, blocks)) in cases.iter().zip(examples) {
        let texts = [case.before, case.after].into_iter().chain(blocks.iter().copied());
        let texts: Vec<_> = texts.collect();
        let is_called = |tool: &str| texts.iter().any(|text| calls(text, tool));
        // Each that is missing is said.
        let missing = TOOLS.into_iter().filter(|tool| is_called(tool) && !have(tool));
        if missing.count() > 0 {
            continue;
        }
        let root = sandbox();
        shell(root.path(), case.before);
        let said: String = blocks
            .iter()
            .map(|block| {
                shell(root.path(), &moved(block));
                fs::read_to_string(root.path().join("said")).unwrap()
            })
            .collect();
        fs::write(root.path().join("all-said"), said).unwrap();
        shell(root.path(), case.after);
    }
}

#[test]
fn every_recipe_does_what_it_promises() {
    run_all("docs/recipes.md", &RECIPES);
}

#[test]
fn every_command_of_the_readme_works() {
    run_all("README.md", &README);
}

/// The commands of the README's example with output, each with the lines that it prints.
fn transcript(markdown: &str) -> Vec<(&str, Vec<&str>)> {
    let (_, rest) = markdown.split_once("\n```console\n").expect("there is an example with output");
    let (block, _) = rest.split_once("\n```").expect("it ends");
    let mut steps: Vec<(&str, Vec<&str>)> = Vec::new();
    for line in block.lines() {
        match (line.strip_prefix("$ "), steps.last_mut()) {
            (Some(command), _) => steps.push((command, Vec::new())),
            (None, Some((_, output))) => output.push(line),
            (None, None) => panic!("{line} comes before a command"),
        }
    }
    steps
}

#[test]
fn the_readme_shows_what_is_printed() {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(repository.join("README.md")).unwrap();
    if !have("b3sum") {
        return;
    }
    let root = sandbox();
    let folder = repository.join("src/bin");
    shell(root.path(), &format!("mkdir src; cp -r '{}' src/", folder.display()));
    // The example goes on from the first two commands.
    let (_, setting_up) = examples(&text).remove(0);
    setting_up.iter().for_each(|block| shell(root.path(), &moved(block)));
    let steps = transcript(&text);
    assert!(steps.len() >= 3, "{steps:?}");
    for (command, wanted) in steps {
        shell(root.path(), &moved(command));
        let said = fs::read_to_string(root.path().join("said")).unwrap();
        let said = said.replace(root.path().to_str().unwrap(), "");
        assert_eq!(told(&said), wanted, "{command}");
    }
}
