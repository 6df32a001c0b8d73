//! `--inplace` writes into no file of SOURCE, nor into what this run or an earlier one wrote.

mod common;

use std::fs;
use std::os::unix::fs::symlink;

use common::in_place::{SIZES, copy_in_place, holds, inode};
use common::place::fifo;
use common::*;

#[test]
fn a_file_of_source_is_never_written_into() {
    for len in SIZES {
        for args in [&[][..], &["-a"], &["-L"], &["--resume"]] {
            let what = (len, args);
            let folder = folder();
            let at = |name: &str| folder.path().join(name);
            for name in ["s", "d", "elsewhere"] {
                fs::create_dir(at(name)).unwrap();
            }
            let wanted = |name: &str| noise(len, name.len() as u64);
            for name in ["s/a", "s/longer", "elsewhere/linked"] {
                fs::write(at(name), wanted(name)).unwrap();
            }
            symlink("../elsewhere/linked", at("s/with_link")).unwrap();
            // A name that is another file's, one that is its own, and one behind a link.
            fs::hard_link(at("s/longer"), at("d/a")).unwrap();
            let said = copy_in_place(folder.path(), &[args, &["-T", "s", "d"]].concat(), 0);
            assert_eq!(said, "", "{what:?}");
            for name in ["s/a", "s/longer", "elsewhere/linked"] {
                holds(&at(name), &wanted(name), &what);
            }
            holds(&at("d/a"), &wanted("s/a"), &what);
            holds(&at("d/longer"), &wanted("s/longer"), &what);
            // Itself by another name, and behind a link.
            fs::remove_dir_all(at("d")).unwrap();
            fs::create_dir(at("d")).unwrap();
            fs::hard_link(at("s/a"), at("d/a")).unwrap();
            fs::hard_link(at("elsewhere/linked"), at("d/longer")).unwrap();
            copy_in_place(folder.path(), &[args, &["-T", "s", "d"]].concat(), 1);
            for name in ["s/a", "s/longer"] {
                holds(&at(name), &wanted(name), &what);
            }
            if args == ["-L"] {
                holds(&at("elsewhere/linked"), &wanted("elsewhere/linked"), &what);
            }
        }
    }
}

#[test]
fn a_file_of_source_that_is_mounted_in_the_copy_is_not_written_into() {
    if !can_mount("tmpfs") {
        return;
    }
    for len in SIZES {
        let folder = folder();
        let at = |name: &str| folder.path().join(name);
        for name in ["s", "d"] {
            fs::create_dir(at(name)).unwrap();
        }
        for name in ["s/a", "s/longer"] {
            fs::write(at(name), noise(len, name.len() as u64)).unwrap();
        }
        fs::write(at("d/a"), "").unwrap();
        must(program("mount").arg("--bind").args([at("s/longer"), at("d/a")]));
        let args = ["--inplace", "-T", "s", "d"];
        let output = aiocp().args(args).current_dir(folder.path()).output().unwrap();
        unmount(&at("d/a"));
        let said = stderr(&output);
        assert!(output.status.code() == Some(1) && said.contains("'d/a'"), "{said}");
        assert!(said.contains("busy") && !said.contains("hint"), "{said}");
        for name in ["s/a", "s/longer", "d/longer"] {
            holds(&at(name), &noise(len, "s/a".len().max(name.len()) as u64), &name);
        }
    }
}

#[test]
fn what_this_run_made_or_wrote_is_not_written_into_again() {
    for len in SIZES {
        for args in [&[][..], &["-a"], &["--no-preserve=links"], &["--verify"]] {
            let what = (len, args);
            let folder = folder();
            let at = |name: &str| folder.path().join(name);
            for name in ["s", "d", "t", "t/s", "d/s"] {
                fs::create_dir(at(name)).unwrap();
            }
            // Two files of SOURCE, one of the copy.
            for n in 0..20 {
                fs::write(at(&format!("s/{n}")), noise(len, n)).unwrap();
                match n {
                    0 => fs::write(at("d/s/0"), "old").unwrap(),
                    n => fs::hard_link(at("d/s/0"), at(&format!("d/s/{n}"))).unwrap(),
                }
            }
            // One file of SOURCE, two of the copy.
            for name in ["s/one", "d/s/one", "d/s/two"] {
                fs::write(at(name), noise(len, 30)).unwrap();
            }
            fs::hard_link(at("s/one"), at("s/two")).unwrap();
            // Another SOURCE is merged into it: its copies take the place of the first one's.
            fs::write(at("t/s/one"), noise(len, 40)).unwrap();
            for (operands, one) in [(["-T", "s", "d/s"], 30), (["s", "t/s", "d"], 40)] {
                let said = copy_in_place(folder.path(), &[args, &operands].concat(), 0);
                assert_eq!(said, "", "{what:?}");
                for n in 0..20 {
                    holds(&at(&format!("d/s/{n}")), &noise(len, n), &(what, n));
                }
                holds(&at("d/s/one"), &noise(len, one), &what);
                holds(&at("d/s/two"), &noise(len, 30), &what);
            }
        }
    }
}

/// What an earlier run finished has its contents still when another name of it is gone on with.
#[test]
fn what_an_earlier_run_wrote_is_not_written_into_either() {
    for len in SIZES {
        for first in [1, 7] {
            let what = (len, first);
            let folder = folder();
            let at = |name: &str| folder.path().join(name);
            for name in ["s", "d"] {
                fs::create_dir(at(name)).unwrap();
            }
            for n in 0..9 {
                fs::write(at(&format!("s/{n}")), noise(len, n)).unwrap();
                match n {
                    0 => fs::write(at("d/0"), "old").unwrap(),
                    n => fs::hard_link(at("d/0"), at(&format!("d/{n}"))).unwrap(),
                }
            }
            // It fails, so that the journal stays.
            fifo(&at("s/pipe"));
            let filters = [format!("--include={first}"), "--include=pipe".into()];
            let mut args = vec!["--resume", &*filters[0], &*filters[1], "--exclude=*"];
            args.extend(["-T", "s", "d"]);
            copy_in_place(folder.path(), &args, 1);
            holds(&at("d/0"), &noise(len, first), &what);
            let before = inode(&at(&format!("d/{first}")));
            for _ in 0..2 {
                let said = copy_in_place(folder.path(), &["--resume", "-T", "s", "d"], 1);
                assert!(said.contains("aiocp: 1 failure, named above"), "{said}");
                for n in 0..9 {
                    holds(&at(&format!("d/{n}")), &noise(len, n), &(what, n));
                }
            }
            assert!((0..9).any(|n| inode(&at(&format!("d/{n}"))) == before), "{what:?}");
        }
    }
}

#[test]
fn names_of_one_source_and_of_one_copy_stay_so() {
    for len in SIZES {
        let folder = folder();
        let at = |name: &str| folder.path().join(name);
        for name in ["s", "d"] {
            fs::create_dir(at(name)).unwrap();
            fs::write(at(name).join("a"), noise(if name == "s" { len } else { 9 }, 1)).unwrap();
            fs::hard_link(at(name).join("a"), at(name).join("b")).unwrap();
        }
        let before = inode(&at("d/a"));
        for _ in 0..2 {
            assert_eq!(copy_in_place(folder.path(), &["-T", "s", "d"], 0), "");
            assert_eq!([inode(&at("d/a")), inode(&at("d/b"))], [before; 2]);
            holds(&at("d/b"), &noise(len, 1), &len);
        }
    }
}
