//! Repairs of copies with several names leave every other name of the file untouched.

mod common;

use std::fs;
use std::os::unix::fs::MetadataExt;

use common::place::Place;
use common::*;

const REPAIR: [&str; 5] = ["--verify-only", "--repair", "-T", "from", "to"];

/// Makes small files and a big one, so that names come in many batches.
fn tree(folder: &str) -> Vec<(String, String)> {
    let files = (0..300).map(|n| (format!("{folder}/{n}"), format!("file {n}")));
    files.chain([(format!("{folder}/big"), "big".repeat(1 << 20))]).collect()
}

fn place(folders: &[&str]) -> Place {
    let files: Vec<_> = folders.iter().flat_map(|folder| tree(folder)).collect();
    let files: Vec<_> = files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    Place::with(&files)
}

#[test]
fn a_source_that_is_a_name_of_the_copy_is_not_written_to() {
    for name in ["7", "big"] {
        let place = place(&["from"]);
        place.cp(&["-l", "-T", "from", "to"]);
        fs::rename(place.at(&format!("from/{name}")), place.at("from/old")).unwrap();
        let (old, new) = (place.read("from/old"), place.read("from/old").replace('i', "o"));
        fs::write(place.at(&format!("from/{name}")), &new).unwrap();
        let said = place.cp(&REPAIR);
        assert_eq!(said.lines().count(), 2, "{said}");
        assert!(
            said.contains("to/old: missing, copied") && said.contains(&format!("to/{name}: 0..")),
            "{said}"
        );
        assert!(said.contains(" differed, written again"), "{said}");
        assert!(place.read("from/old") == old && place.read("to/old") == old);
        assert!(
            place.read(&format!("from/{name}")) == new && place.read(&format!("to/{name}")) == new
        );
        assert_eq!(place.cp(&REPAIR), "");
    }
}

#[test]
fn a_good_copy_that_is_a_name_of_a_bad_one_stays_good() {
    let place = place(&["from", "to"]);
    for (good, bad) in [("40", "41"), ("150", "3")] {
        fs::remove_file(place.at(&format!("to/{bad}"))).unwrap();
        fs::hard_link(place.at(&format!("to/{good}")), place.at(&format!("to/{bad}"))).unwrap();
    }
    let inode = place.inode("to/40");
    let said = place.cp(&REPAIR);
    assert_eq!(said.lines().count(), 2, "{said}");
    assert!(tree("to").iter().all(|(name, text)| place.read(name) == *text));
    assert_eq!(place.inode("to/40"), inode);
    assert_eq!(place.cp(&REPAIR), "", "the second run finds no difference");
}

#[test]
fn a_snapshot_keeps_what_it_has_and_names_of_one_source_stay_names_of_one_copy() {
    for name in ["5", "big"] {
        let place = place(&["from"]);
        // Names far apart, so that some are met while the first is being read.
        fs::create_dir(place.at("from/sub")).unwrap();
        let names = ["5 too", "sub/x", "sub/y"];
        names.iter().for_each(|other| {
            fs::hard_link(place.at(&format!("from/{name}")), place.at(&format!("from/{other}")))
                .unwrap()
        });
        place.cp(&["-a", "-T", "from", "to"]);
        must(
            std::process::Command::new("cp")
                .args(["-al"])
                .args([place.at("to"), place.at("snapshot")]),
        );
        let bad = place.read(&format!("to/{name}")).replace('i', "j");
        fs::write(place.at(&format!("to/{name}")), &bad).unwrap();
        let said = place.cp(&[&["-a"], &REPAIR[..]].concat());
        assert_eq!(
            said.lines().filter(|line| line.ends_with("differed, written again")).count(),
            4,
            "{said}"
        );
        assert_eq!(describe(&place.at("from")), describe(&place.at("to")));
        let inode = place.inode(&format!("to/{name}"));
        for other in names {
            assert_eq!(place.inode(&format!("to/{other}")), inode, "{other}");
            assert!(place.read(&format!("snapshot/{other}")) == bad);
        }
        assert_eq!(fs::metadata(place.at(&format!("to/{name}"))).unwrap().nlink(), 4);
        assert_eq!(place.cp(&[&["-a"], &REPAIR[..]].concat()), "");
    }
}

#[test]
fn names_of_one_copy_stay_so_however_far_they_are_from_each_other() {
    let files: Vec<_> = (0..1500).map(|n| (format!("from/z/{n}"), n.to_string())).collect();
    let mut files: Vec<_> =
        files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    files.extend([("from/a/first", "good"), ("from/zz/", "")]);
    let place = Place::with(&files);
    for other in ["from/z/second", "from/zz/third"] {
        fs::hard_link(place.at("from/a/first"), place.at(other)).unwrap();
    }
    place.cp(&["-T", "from", "to"]);
    fs::write(place.at("to/a/first"), "evil").unwrap();
    let mut command = std::process::Command::new("sh");
    command
        .args(["-c", r#"ulimit -n 64; exec "$0" "$@""#])
        .arg(assert_cmd::cargo::cargo_bin!("aiocp"))
        .env_remove("AIOCP_CONFIG_PATH")
        .args(REPAIR);
    let said = run(command.current_dir(place.at("")), 0).stdout;
    assert_eq!(String::from_utf8(said).unwrap().lines().count(), 3);
    let inodes = ["to/a/first", "to/z/second", "to/zz/third"]
        .map(|name| (place.inode(name), place.read(name)));
    assert!(inodes.iter().all(|one| *one == (inodes[0].0, "good".into())), "{inodes:?}");
}

#[test]
fn what_could_not_be_replaced_differs_still() {
    if !is_root("chattr") || !have("chattr") {
        return;
    }
    let place = place(&["from", "to"]);
    fs::remove_file(place.at("to/41")).unwrap();
    fs::hard_link(place.at("to/40"), place.at("to/41")).unwrap();
    must(program("chattr").args(["+i"]).arg(place.at("to/41")));
    let output = run(&mut place.command(&REPAIR), 3);
    must(program("chattr").args(["-i"]).arg(place.at("to/41")));
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), stderr(&output));
    assert!(
        said.contains("to/41: 0..7 differs") && said.contains("Operation not permitted"),
        "{said}"
    );
    assert_eq!(place.read("to/40"), "file 40");
    place.cp(&REPAIR);
    assert_eq!(place.read("to/41"), "file 41");
}
