//! `--json`: the real output of every kind of event, checked against the schema in the repository.

mod common;

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::process::Command;

use common::json::{kinds, named, schema};
use common::*;
use serde_json::{Value, json};

/// Runs a command with `--json`. Returns the objects, each checked against the schema.
fn events(command: &mut Command, code: i32) -> Vec<Value> {
    common::json::events("aiocp", command, b"", code)
}

#[test]
fn a_copy_tells_each_file_as_an_object_and_a_summary() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir_all(at("from/sub")).unwrap();
    fs::write(at("from/small"), "12345").unwrap();
    fs::hard_link(at("from/small"), at("from/sub/second")).unwrap();
    fs::write(at("from/big"), noise(3 << 20, 1)).unwrap();
    fs::write(at("from/old"), "new").unwrap();
    fs::write(at("from").join(OsStr::from_bytes(b"\xff\n")), "").unwrap();
    symlink("small", at("from/link")).unwrap();
    fs::create_dir_all(at("to/big")).unwrap();
    fs::write(at("to/old"), "old").unwrap();
    let mut command = aiocp();
    command.current_dir(folder.path()).args([
        "-T",
        "-b",
        "--reflink=never",
        "--manifest=m",
        "from",
        "to",
    ]);
    let events = events(&mut command, 1);
    assert_eq!(kinds(&events), BTreeSet::from(["failed", "file", "made", "summary"]));
    let hash = blake3::hash(b"new").to_hex().to_string();
    let old = named(&events, "source", "from/old");
    assert_eq!(old["target"], "to/old");
    assert_eq!(
        (&old["size_bytes"], &old["replaced"], &old["blake3"]),
        (&json!(3), &json!(true), &json!(hash))
    );
    assert_eq!((&old["backup"], &old["read"]), (&json!("to/old~"), &json!("buffered")));
    assert_eq!(old["written_reason"], "small file");
    let odd = events.iter().find(|event| event.get("source_base64").is_some()).unwrap();
    // from/\xff\n
    assert_eq!((&odd["source_base64"], odd.get("source")), (&json!("ZnJvbS//Cg=="), None));
    let linked = events.iter().filter(|event| event["read"] == "linked").count();
    assert_eq!(linked, 1);
    let failed = named(&events, "event", "failed");
    assert_eq!((&failed["path"], &failed["operation"]), (&json!("to/big"), &json!("replace")));
    assert!(failed["message"].as_str().unwrap().starts_with("cannot replace 'to/big': "));
    let summary = events.last().unwrap();
    for (field, count) in [
        ("files", 3),
        ("hard_links", 1),
        ("links", 1),
        ("made_directories", 1),
        ("failed", 1),
        ("written_bytes", 8),
    ] {
        assert_eq!(summary[field], count, "{field}");
    }
}

#[test]
fn dry_runs_and_what_is_left_alone_are_told() {
    let folder = folder();
    fs::write(folder.path().join("a"), "12345").unwrap();
    fs::write(folder.path().join("b"), "x").unwrap();
    let command = |args: &[&str]| {
        let mut command = aiocp();
        command.current_dir(folder.path()).args(args);
        command
    };
    let plan = events(&mut command(&["--dry-run", "a", "c"]), 0);
    assert_eq!(named(&plan, "event", "file")["read"], "planned");
    assert_eq!(
        (&plan[1]["dry_run"], &plan[1]["planned_bytes"], &plan[1]["written_bytes"]),
        (&json!(true), &json!(5), &json!(0))
    );
    let skipped = events(&mut command(&["-n", "a", "b"]), 0);
    assert_eq!((&skipped[0]["path"], &skipped[0]["reason"]), (&json!("b"), &json!("exists")));
    let missing = events(&mut command(&["missing", "c"]), 1);
    assert_eq!((&missing[0]["errno"], &missing[0]["path"]), (&json!(2), &json!("missing")));
    let unread = events(&mut command(&["--files-from=missing", "a", "c"]), 1);
    assert_eq!(unread[0]["event"], "failed");
    for args in [&["--verbose"][..], &["--stats"], &["--manifest=-"], &["--failed-list=-"]] {
        run(command(&["--json", "a", "c"]).args(args), 2);
    }
}

/// What a dry run tells is what the run does, and what the run did is counted.
#[test]
fn what_is_planned_is_what_is_done_also_where_no_data_moves() {
    let folder = folder();
    fs::create_dir(folder.path().join("d")).unwrap();
    for name in ["a", "b"] {
        fs::write(folder.path().join(name), name).unwrap();
    }
    let command = |args: &[&str]| {
        let mut command = aiocp();
        command.current_dir(folder.path()).args(args);
        command
    };
    let planned = run(&mut command(&["--dry-run", "--attributes-only", "a", "b"]), 0);
    let planned = String::from_utf8(planned.stdout).unwrap();
    assert!(planned.ends_with("would give attributes to 1 file\n"), "{planned}");
    for args in
        [&["--dry-run", "--attributes-only", "a", "b"][..], &["--attributes-only", "a", "b"]]
    {
        let summary = events(&mut command(args), 0).pop().unwrap();
        assert_eq!((&summary["given_attributes"], &summary["files"]), (&json!(1), &json!(0)));
    }
    // Such a link would lead nowhere.
    for args in [&["--dry-run", "-s", "a", "d"][..], &["-s", "a", "d"]] {
        let refused = events(&mut command(args), 1);
        assert_eq!(refused[0]["event"], "failed", "{args:?}");
    }
}

#[test]
fn a_comparison_tells_every_mismatch() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    for side in ["from", "to"] {
        fs::create_dir_all(at(side)).unwrap();
        fs::write(at(side).join("same"), "same").unwrap();
        fs::write(at(side).join("other"), side).unwrap();
        symlink(
            OsStr::from_bytes(if side == "to" { b"\xfe" } else { b"x" }),
            at(side).join("link"),
        )
        .unwrap();
    }
    fs::write(at("from/missing"), "").unwrap();
    fs::write(at("from/kind"), "").unwrap();
    fs::create_dir(at("to/kind")).unwrap();
    fs::write(at("to/extra"), "").unwrap();
    let mut command = aiocp();
    command.current_dir(folder.path()).args([
        "--verify-only",
        "-T",
        "from",
        "to",
        "--failed-list=list",
    ]);
    let found = events(&mut command, 3);
    assert_eq!(kinds(&found), BTreeSet::from(["mismatch", "summary", "verified"]));
    let whats: BTreeSet<_> = found.iter().filter_map(|event| event["what"].as_str()).collect();
    assert_eq!(whats, BTreeSet::from(["bytes", "extra", "kind", "link", "missing"]));
    let bytes = named(&found, "what", "bytes");
    assert_eq!(
        (&bytes["path"], &bytes["start_bytes"], &bytes["mended"]),
        (&json!("to/other"), &json!(0), &json!(false))
    );
    assert_eq!(named(&found, "what", "link")["leads_to_base64"], "/g==");
    assert_eq!(
        fs::read_to_string(at("list")).unwrap(),
        "kind\nlink\nmissing\nother\n",
        "what is to be copied again"
    );
    let mut command = aiocp();
    command.args(["--verify"]).arg(at("from/same")).arg(at("proved"));
    assert!(named(&events(&mut command, 0), "event", "file").get("verified_from").is_some());
}

#[test]
fn warnings_and_notices_are_told() {
    if !is_root("a filesystem without attributes") || !have_strace() {
        return;
    }
    let folder = folder();
    let Some(ramfs) = Mounted::new("ramfs", 16) else { return };
    let source = folder.path().join("a");
    // Kernel AIO starts only when there is work for it.
    cold_file(&source, 2);
    rustix::fs::setxattr(&source, "user.colour", b"blue", rustix::fs::XattrFlags::empty()).unwrap();
    let inject = ["-e", "trace=io_setup", "-e", "inject=io_setup:error=EPERM"];
    let mut command = strace(&inject, &folder.path().join("trace"));
    let found = events(command.arg("-a").arg(&source).arg(ramfs.path.join("b")), 0);
    assert_eq!(kinds(&found), BTreeSet::from(["file", "notice", "summary", "warning"]));
}

#[test]
fn the_schema_is_strict_and_the_manual_knows_each_of_its_fields() {
    let schema = schema("aiocp");
    let validator = jsonschema::validator_for(&schema).unwrap();
    let good = json!({"v": 1, "event": "verified", "path": "a", "verified_from": "memory"});
    assert!(validator.is_valid(&good));
    for (field, value) in [
        ("v", json!(2)),
        ("event", json!("file")),
        ("more", json!(1)),
        ("path_base64", json!("YQ==")),
        ("verified_from", json!("")),
    ] {
        let mut bad = good.clone();
        bad[field] = value;
        assert!(!validator.is_valid(&bad), "{bad}");
    }
    common::json::the_manual_knows_all("aiocp");
}

#[test]
fn the_schema_has_every_reason_why_something_is_left_alone() {
    let schema = schema("aiocp");
    let reasons = &schema["$defs"]["skipped"]["properties"]["reason"]["enum"];
    let names: Vec<&str> = aiocp::report::Skip::ALL.iter().map(|skip| skip.name()).collect();
    assert_eq!(reasons, &json!(names));
    // A match that has to be widened with the enum.
    for skip in aiocp::report::Skip::ALL {
        use aiocp::report::Skip::{
            Declined, Excluded, Exists, NamedTwice, NotOlder, SameFile, Size,
        };
        match skip {
            Exists | NotOlder | Declined | SameFile | NamedTwice | Excluded | Size => {}
        }
    }
}
