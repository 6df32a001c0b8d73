//! `aiosum --json`: the real output of every kind of event, checked against its schema.

mod common;

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use common::json::{kinds, named, schema};
use common::*;
use serde_json::{Value, json};

fn events(root: &Path, args: &[&str], input: &[u8], code: i32) -> Vec<Value> {
    let mut command = aiosum();
    common::json::events("aiosum", command.current_dir(root).args(args), input, code)
}

fn make_fifo(path: &Path) {
    rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, 0o600.into(), 0)
        .unwrap();
}

#[test]
fn each_file_is_an_object_with_its_hash() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir(at("dir")).unwrap();
    fs::write(at("dir/a\n\"b\""), "12345").unwrap();
    fs::write(at("dir").join(OsStr::from_bytes(b"\xff\n")), "").unwrap();
    make_fifo(&at("dir/fifo"));
    let found = events(folder.path(), &["dir", "none"], b"", 1);
    assert_eq!(kinds(&found), BTreeSet::from(["failed", "hash", "skipped", "summary"]));
    let hash = |bytes: &[u8]| blake3::hash(bytes).to_hex().to_string();
    let file = named(&found, "path", "dir/a\n\"b\"");
    let wanted = json!({"v": 1, "event": "hash", "path": "dir/a\n\"b\"", "algorithm": "blake3",
        "hash": hash(b"12345")});
    assert_eq!(file, &wanted);
    // dir/\xff\n
    let odd = named(&found, "path_base64", "ZGlyL/8K");
    assert_eq!((&odd["hash"], odd.get("path")), (&json!(hash(b"")), None));
    let skipped = named(&found, "event", "skipped");
    assert_eq!((&skipped["path"], &skipped["kind"]), (&json!("dir/fifo"), &json!("FIFO")));
    let failed = named(&found, "event", "failed");
    assert_eq!((&failed["path"], &failed["errno"]), (&json!("none"), &json!(2)));
    assert_eq!(failed["message"], "cannot open 'none': No such file or directory");
    let summary = found.last().unwrap();
    for (field, count) in [("files", 2), ("bytes", 5), ("skipped", 1), ("failed", 1)] {
        assert_eq!(summary[field], count, "{field}: {summary}");
    }
    let none = events(folder.path(), &["-c"], b"no\nlines\n", 1);
    assert_eq!(kinds(&none), BTreeSet::from(["failed", "summary"]));
    let summary = none.last().unwrap();
    assert_eq!((&summary["malformed"], &summary["failed"]), (&json!(2), &json!(1)));
    let quiet = events(folder.path(), &["-q", "dir"], b"", 0);
    assert_eq!(kinds(&quiet), BTreeSet::from(["hash", "summary"]));
}

#[test]
fn an_object_says_with_which_function_a_hash_was_made() {
    let folder = folder();
    fs::write(folder.path().join("a"), "a").unwrap();
    let hash = |args: &[&str], input: &[u8]| {
        let mut args = args.to_vec();
        let mut lines = aiosum();
        lines.current_dir(folder.path()).args(&args).args(["--no-names", "a"]);
        let digits = String::from_utf8(run_with(&mut lines, input, 0).stdout).unwrap();
        args.push("a");
        let object = events(folder.path(), &args, input, 0).swap_remove(0);
        assert_eq!(object["hash"], digits.trim_end(), "{args:?}");
        object
    };
    for algorithm in aiocp::sum::Algorithm::ALL {
        let name = algorithm.name();
        let object = hash(&["--algorithm", &name], b"");
        assert_eq!((&object["algorithm"], object.get("mode")), (&json!(name), None));
    }
    assert_eq!(hash(&["--keyed"], &noise(32, 1))["mode"], "keyed");
    assert_eq!(hash(&["--derive-key=x"], b"")["mode"], "derive_key");
    assert_eq!(hash(&["--seek=9", "--length=100000"], b"")["seek_bytes"], 9);
    assert_eq!(hash(&["--length=0"], b"")["hash"], "");
    assert_eq!(hash(&["--algorithm=blake2b", "-l5"], b"")["hash"].as_str().unwrap().len(), 10);
    for args in [&["--tag"][..], &["--zero"], &["--raw"], &["--no-names"], &["--length=2000000"]] {
        let mut command = aiosum();
        run(command.current_dir(folder.path()).arg("--json").args(args).arg("a"), 2);
    }
    run(aiosum().args(["--json", "--check", "--status", "sums"]), 2);
}

#[test]
fn each_line_of_a_check_is_an_object_with_its_verdict() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    for name in ["a", "b", "c"] {
        fs::write(at(name), name).unwrap();
    }
    fs::create_dir(at("dir")).unwrap();
    let line = |contents: &[u8], name: &str| format!("{}  {name}\n", blake3::hash(contents));
    let manifest = [&*line(b"a", "a"), "nonsense\n", &*line(b"a", "b"), &*line(b"n", "none")];
    let manifest = manifest.concat() + &line(b"", "dir");
    let args = ["--check", "--audit=.", "-", "gone"];
    let found = events(folder.path(), &args, manifest.as_bytes(), 1);
    let wanted = ["checked", "failed", "malformed", "summary", "unlisted"];
    assert_eq!(kinds(&found), BTreeSet::from(wanted));
    for (name, result) in
        [("a", "matches"), ("b", "differs"), ("none", "missing"), ("dir", "unreadable")]
    {
        assert_eq!(named(&found, "path", name)["result"], result);
    }
    let missing = named(&found, "path", "none");
    assert_eq!((&missing["errno"], &missing["operation"]), (&json!(2), &json!("open")));
    let malformed = named(&found, "event", "malformed");
    assert_eq!((&malformed["manifest"], &malformed["line"]), (&json!("-"), &json!(2)));
    assert_eq!(named(&found, "event", "unlisted")["path"], "./c");
    assert_eq!(named(&found, "event", "failed")["path"], "gone");
    let summary = found.last().unwrap();
    for (field, count) in [
        ("checked", 4),
        ("differing", 1),
        ("unreadable", 2),
        ("malformed", 1),
        ("unlisted", 1),
        ("failed", 6),
        ("files", 2),
    ] {
        assert_eq!(summary[field], count, "{field}: {summary}");
    }
    let quiet = events(folder.path(), &["-c", "-q"], manifest.as_bytes(), 1);
    assert!(!quiet.iter().any(|event| event["result"] == "matches"), "{quiet:?}");
    let args = ["-c", "--ignore-missing", "--exclude=b", "--exclude=dir"];
    let passed = events(folder.path(), &args, manifest.as_bytes(), 1).pop().unwrap();
    for (field, count) in [("checked", 1), ("missing", 1), ("left_out", 2)] {
        assert_eq!(passed[field], count, "{field}: {passed}");
    }
    // NUL ends the lines that are read, and no object.
    let zero = line(b"a", "a").replace('\n', "\0");
    let found = events(folder.path(), &["-c", "--zero"], zero.as_bytes(), 0);
    assert_eq!(found[0]["result"], "matches");
}

#[test]
fn threads_in_the_place_of_kernel_aio_are_a_notice() {
    if !have_strace() {
        return;
    }
    let folder = folder();
    cold_file(&folder.path().join("a"), 2);
    let mut command = program("strace");
    let inject = ["-e", "trace=io_setup", "-e", "inject=io_setup:error=EPERM"];
    command.args(["-f", "-o", "/dev/null"]).args(inject);
    command.arg(assert_cmd::cargo::cargo_bin!("aiosum")).arg(folder.path().join("a"));
    let found = common::json::events("aiosum", &mut command, b"", 0);
    assert_eq!(kinds(&found), BTreeSet::from(["hash", "notice", "summary"]));
}

#[test]
fn the_output_is_no_object_of_itself() {
    let folder = folder();
    let path = folder.path().join("out");
    let out = fs::File::create(&path).unwrap();
    let status = aiosum().current_dir(folder.path()).args(["--json", "."]).stdout(out).status();
    assert_eq!(status.unwrap().code(), Some(0));
    let text = fs::read_to_string(path).unwrap();
    let skipped: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    let wanted = json!({"v": 1, "event": "skipped", "path": "./out", "reason": "output"});
    assert_eq!(skipped, wanted);
    assert!(jsonschema::validator_for(&schema("aiosum")).unwrap().is_valid(&skipped));
}

#[test]
fn the_schema_is_strict_and_the_manual_knows_each_of_its_fields() {
    let schema = schema("aiosum");
    let validator = jsonschema::validator_for(&schema).unwrap();
    let good = json!({"v": 1, "event": "checked", "path": "a", "algorithm": "md5",
        "result": "differs"});
    assert!(validator.is_valid(&good));
    for (field, value) in [
        ("v", json!(2)),
        ("event", json!("hash")),
        ("more", json!(1)),
        ("path_base64", json!("YQ==")),
        ("result", json!("missing")),
        ("reason", json!("x")),
        ("algorithm", json!("MD5")),
    ] {
        let mut bad = good.clone();
        bad[field] = value;
        assert!(!validator.is_valid(&bad), "{bad}");
    }
    let names: Vec<String> = aiocp::sum::Algorithm::ALL.map(|algorithm| algorithm.name()).to_vec();
    assert_eq!(schema["$defs"]["algorithm"]["enum"], json!(names));
    common::json::the_manual_knows_all("aiosum");
}
