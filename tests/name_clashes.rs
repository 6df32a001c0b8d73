//! Two names of the source that are one name in the destination: on filesystems that fold case or
//! decompose letters. What the run made is replaced by nothing that the run makes.

mod common;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Output;

use common::folding::{Foreign, Names};
use common::place::fifo;
use common::*;

/// Runs it in a folder that has the sources, with the filesystem at `m`.
struct Scene {
    foreign: Foreign,
    folder: tempfile::TempDir,
}

const CLASH: &str = "the destination has one name for it and '";

impl Scene {
    fn new(names: Names) -> Option<Self> {
        let foreign = Foreign::folding(names)?;
        let folder = folder();
        symlink(&foreign.path, folder.path().join("m")).unwrap();
        Some(Self { foreign, folder })
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, contents: &str) {
        fs::create_dir_all(self.at(name).parent().unwrap()).unwrap();
        fs::write(self.at(name), contents).unwrap();
    }

    fn aiocp(&self, args: &[&str], code: i32) -> Output {
        run(aiocp().current_dir(self.folder.path()).args(args), code)
    }

    /// Runs what has to fail for a clash of two names, each of which is in the message.
    fn clashes(&self, args: &[&str], names: [&str; 2]) {
        let output = self.aiocp(args, 1);
        let text = stderr(&output);
        let lines: Vec<_> = text.lines().filter(|line| line.contains(CLASH)).collect();
        assert_eq!(lines.len(), 1, "{args:?}: {text}");
        for name in names {
            let named = lines[0].contains(&format!("/{name}'"));
            assert!(named, "{args:?} names {name}: {}", lines[0]);
        }
    }

    /// What stands in a directory of the filesystem, with its contents.
    fn stands(&self, name: &str) -> Vec<String> {
        let mut found: Vec<_> = fs::read_dir(self.foreign.path.join(name))
            .unwrap()
            .map(|entry| {
                let path = entry.unwrap().path();
                let name = path.file_name().unwrap().to_str().unwrap().to_owned();
                match path.symlink_metadata().unwrap().is_file() {
                    true => format!("{name}: {}", fs::read_to_string(&path).unwrap()),
                    false => name,
                }
            })
            .collect();
        found.sort();
        found
    }
}

/// One of two files is in the destination, whole, and neither is another's.
fn one_of(found: &[String], files: [&str; 2]) {
    assert!(found.len() == 1 && files.contains(&found[0].as_str()), "{found:?}");
}

#[test]
fn of_two_files_one_is_copied_and_the_other_fails() {
    for way in ["fresh", "empty", "full"] {
        for options in [&[][..], &["-n"], &["-u"], &["-b"], &["--verify"], &["--resume"], &["-f"]] {
            let Some(scene) = Scene::new(Names::Folded) else { return };
            scene.write("s/name", "small letters");
            scene.write("s/Name", "a capital");
            if way != "fresh" {
                fs::create_dir(scene.at("m/t")).unwrap();
            }
            if way == "full" && options != ["-n"] {
                scene.write("m/t/NAME", "what stood there");
                set_times(&scene.at("m/t/NAME"), 1, 0);
            }
            let args = [options, &["--manifest=sums", "-T", "s", "m/t"]].concat();
            scene.clashes(&args, ["name", "Name"]);
            let sums = fs::read_to_string(scene.at("sums")).unwrap();
            assert_eq!(sums.lines().count(), 1, "{args:?}: {sums}");
            let mut found = scene.stands("t");
            found.retain(|file| !file.contains("what stood there"));
            let contents: Vec<_> = found.iter().map(|file| &file[6..]).collect();
            assert!(
                contents == ["small letters"] || contents == ["a capital"],
                "{way} {options:?}: {found:?}"
            );
            let mut litter = litter(&scene.foreign.path);
            litter.retain(|path| !path.to_string_lossy().contains("journal"));
            assert!(litter.is_empty(), "{options:?}: {litter:?}");
        }
    }
}

/// Who answers a failure with the same command, or with another one, is told of it once more.
#[test]
fn the_next_run_fails_like_the_first() {
    for first in [&[][..], &["-s"], &["--resume"]] {
        for next in [&[][..], &["-u"], &["-n"], &["-b"], &["--resume"], &["--update=none"]] {
            let Some(scene) = Scene::new(Names::Folded) else { return };
            scene.write("s/name", "small letters");
            scene.write("s/Name", "a capital");
            scene.write("s/Dir/x", "one");
            scene.write("s/dir/x", "two");
            let source = scene.at("s").display().to_string();
            for options in [first, next] {
                let output = scene.aiocp(&[options, &["-rT", &source, "m/t"]].concat(), 1);
                let text = stderr(&output);
                assert_eq!(text.matches(CLASH).count(), 2, "{first:?}, {options:?}: {text}");
            }
            let mut found = scene.stands("t");
            found.retain(|name| !name.contains('~'));
            assert_eq!(found.len(), 2, "{first:?}, {next:?}: {found:?}");
        }
    }
}

/// NTFS as its FUSE program folds it.
#[test]
fn ntfs() {
    let tools = ["mkfs.ntfs", "lowntfs-3g"];
    if !can_mount_fuse() || !tools.into_iter().all(have) {
        return;
    }
    let folder = folder();
    let (image, mount) = (folder.path().join("image"), folder.path().join("m"));
    fs::File::create(&image).unwrap().set_len(64 << 20).unwrap();
    fs::create_dir(&mount).unwrap();
    let mut mkfs = program("mkfs.ntfs");
    must(mkfs.args(["-q", "-F"]).arg(&image).stderr(std::process::Stdio::null()));
    must(program("lowntfs-3g").arg(&image).arg(&mount).args(["-o", "ignore_case"]));
    let source = folder.path().join("s");
    for (name, contents) in [("Dir/x", "one"), ("dir/x", "two"), ("a", "small"), ("A", "capital")] {
        fs::create_dir_all(source.join(name).parent().unwrap()).unwrap();
        fs::write(source.join(name), contents).unwrap();
    }
    let result = std::panic::catch_unwind(|| {
        let clashes = |args: &[&str], sources: &[&str], target: &str, count: usize| {
            let sources = sources.iter().map(|name| source.join(name));
            let mut command = aiocp();
            command.args(args).args(sources).arg(mount.join(target));
            let text = stderr(&run(&mut command, 1));
            assert_eq!(text.matches(CLASH).count(), count, "{args:?} {target}: {text}");
        };
        for options in [&[][..], &["-u"], &["--resume", "-n"]] {
            clashes(&[options, &["--verify", "-T"]].concat(), &[""], "t", 2);
        }
        clashes(&["--verify"], &["a", "A"], "", 1);
        clashes(&[], &["Dir", "dir"], "", 1);
        clashes(&["-sf"], &["a", "A"], "", 1);
    });
    unmount(&mount);
    result.unwrap();
}

#[test]
fn two_directories_are_not_merged() {
    for (way, options) in [("fresh", "-r"), ("empty", "-r"), ("full", "-r"), ("fresh", "--resume")]
    {
        let Some(scene) = Scene::new(Names::Folded) else { return };
        scene.write("s/Dir/x", "one");
        scene.write("s/dir/x", "two");
        scene.write("s/dir/y", "three");
        match way {
            "fresh" => {}
            "empty" => fs::create_dir(scene.at("m/t")).unwrap(),
            _ => fs::create_dir_all(scene.at("m/t/DIR")).unwrap(),
        }
        scene.clashes(&[options, "-T", "s", "m/t"], ["Dir", "dir"]);
        let found = scene.stands("t");
        let below = scene.stands(&format!("t/{}", found[0]));
        assert!(below == ["x: one"] || below == ["x: two", "y: three"], "{way}: {below:?}");
    }
}

#[test]
fn a_file_a_link_and_a_fifo_clash_like_files() {
    type Make = fn(&Path);
    let kinds: [(&str, Make); 4] = [
        ("file", |path| fs::write(path, "file").unwrap()),
        ("link", |path| symlink("file", path).unwrap()),
        ("fifo", fifo),
        ("directory", |path| fs::create_dir(path).unwrap()),
    ];
    for (one, make_one) in kinds {
        for (other, make_other) in kinds {
            for is_fresh in [true, false] {
                let Some(scene) = Scene::new(Names::Folded) else { return };
                fs::create_dir(scene.at("s")).unwrap();
                make_one(&scene.at("s/name"));
                make_other(&scene.at("s/NAME"));
                if !is_fresh {
                    fs::create_dir(scene.at("m/t")).unwrap();
                }
                let output = scene.aiocp(&["-a", "-T", "s", "m/t"], 1);
                let text = stderr(&output);
                assert!(
                    text.contains(CLASH) || one != other && text.contains("overwritten with a"),
                    "{one} and {other}: {text}"
                );
                assert_eq!(scene.stands("t").len(), 1);
            }
        }
    }
}

#[test]
fn hard_links_are_two_names_and_not_one() {
    for way in ["fresh", "empty"] {
        let Some(scene) = Scene::new(Names::Folded) else { return };
        scene.write("s/name", "data");
        fs::hard_link(scene.at("s/name"), scene.at("s/NAME")).unwrap();
        fs::hard_link(scene.at("s/name"), scene.at("s/other")).unwrap();
        if way == "empty" {
            fs::create_dir(scene.at("m/t")).unwrap();
        }
        scene.clashes(&["-a", "-T", "s", "m/t"], ["name", "NAME"]);
        assert_eq!(scene.stands("t").len(), 2);
        // Without a clash they are linked, and so they are once more.
        fs::remove_file(scene.at("s/NAME")).unwrap();
        for _ in 0..2 {
            scene.aiocp(&["-a", "-T", "s", "m/u"], 0);
            assert_eq!(scene.stands("u"), ["name: data", "other: data"]);
        }
    }
}

#[test]
fn operands_clash_with_each_other() {
    let Some(scene) = Scene::new(Names::Folded) else { return };
    scene.write("a/name", "one");
    scene.write("b/NAME", "two");
    scene.write("a/Dir/x", "one");
    scene.write("b/dir/x", "two");
    scene.clashes(&["a/name", "b/NAME", "m/"], ["name", "NAME"]);
    one_of(&scene.stands(""), ["name: one", "NAME: two"]);
    scene.clashes(&["-r", "a/Dir", "b/dir", "m/"], ["Dir", "dir"]);
    scene.write("c/Up/x", "one");
    scene.write("c/up/y", "two");
    fs::create_dir(scene.at("m/p")).unwrap();
    scene.clashes(&["--parents", "c/Up/x", "c/up/y", "m/p"], ["Up", "up"]);
    // The contents of two directories into one.
    fs::create_dir(scene.at("m/t")).unwrap();
    scene.write("e/name", "one");
    scene.write("f/NAME", "two");
    scene.clashes(&["-r", "e/.", "f/.", "m/t"], ["name", "NAME"]);
}

#[test]
fn what_is_composed_in_the_source_and_not_in_the_destination_is_one_name() {
    for names in [Names::Folded, Names::Decomposed] {
        for is_fresh in [true, false] {
            let Some(scene) = Scene::new(names) else { return };
            scene.write("s/caf\u{e9}", "composed");
            scene.write("s/cafe\u{301}", "decomposed");
            if !is_fresh {
                fs::create_dir(scene.at("m/t")).unwrap();
            }
            scene.clashes(&["--verify", "-T", "s", "m/t"], ["caf\u{e9}", "cafe\u{301}"]);
            assert_eq!(scene.stands("t").len(), 1);
            // One alone is copied, replaced, and found again.
            fs::remove_file(scene.at("s/cafe\u{301}")).unwrap();
            for _ in 0..2 {
                scene.aiocp(&["--verify", "-T", "s", "m/u"], 0);
            }
            scene.aiocp(&["--verify-only", "-T", "s", "m/u"], 0);
        }
    }
}

#[test]
fn a_name_is_extra_only_if_no_name_of_the_source_leads_to_it() {
    let Some(scene) = Scene::new(Names::Folded) else { return };
    scene.write("s/readme", "text");
    scene.write("s/Dir/x", "x");
    scene.write("m/t/README", "text");
    scene.write("m/t/dIR/X", "x");
    scene.aiocp(&["--verify-only", "-T", "s", "m/t"], 0);
    scene.write("m/t/more", "more");
    let output = scene.aiocp(&["--verify-only", "-T", "s", "m/t"], 3);
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &stderr(&output);
    assert_eq!(text.matches(": extra").count(), 1, "{text}");
    assert!(text.contains("more: extra"), "{text}");
    fs::remove_file(scene.at("m/t/more")).unwrap();
    // Two names for one file are not found as two.
    scene.write("s/README", "text");
    scene.clashes(&["--verify-only", "-T", "s", "m/t"], ["readme", "README"]);
    scene.clashes(&["--verify-only", "--repair", "-T", "s", "m/t"], ["readme", "README"]);
}

#[test]
fn a_dry_run_says_what_it_can_know() {
    let Some(scene) = Scene::new(Names::Folded) else { return };
    scene.write("s/name", "one");
    scene.write("s/NAME", "two");
    scene.write("s/Dir/x", "one");
    scene.write("m/t/Name", "stands");
    fs::create_dir(scene.at("m/t/DIR")).unwrap();
    scene.clashes(&["--dry-run", "-T", "s", "m/t"], ["name", "NAME"]);
    assert_eq!(scene.stands("t"), ["DIR", "Name: stands"]);
}

#[test]
fn one_name_takes_the_place_of_another_spelling_that_was_there() {
    let Some(scene) = Scene::new(Names::Folded) else { return };
    scene.write("s/name", "new");
    scene.write("m/t/NAME", "old");
    for options in [&["-T"][..], &["-b", "-T"], &["-u", "-T"]] {
        scene.aiocp(&[options, &["s", "m/t"]].concat(), 0);
        let found = scene.stands("t");
        let new = found.iter().any(|file| file.eq_ignore_ascii_case("name: new"));
        assert!(new, "{options:?}: {found:?}");
    }
}

#[test]
fn names_that_differ_are_told_apart_elsewhere() {
    let Some(scene) = Scene::new(Names::Exact) else { return };
    for name in ["name", "NAME", "caf\u{e9}", "cafe\u{301}", "name.", "Dir/x", "dir/x"] {
        scene.write(&format!("s/{name}"), name);
    }
    fs::hard_link(scene.at("s/name"), scene.at("s/nAmE")).unwrap();
    fs::create_dir(scene.at("m/t")).unwrap();
    for options in [&["-a"][..], &["-a"], &["-a", "--resume"], &["-u"], &["-n"], &["-ab"]] {
        scene.aiocp(&[options, &["-T", "s", "m/t"]].concat(), 0);
    }
    scene.aiocp(&["--verify-only", "-T", "s", "m/t"], 3);
    fs::remove_dir_all(scene.at("m/t")).unwrap();
    scene.aiocp(&["-a", "-T", "s", "m/t"], 0);
    scene.aiocp(&["--verify-only", "-T", "s", "m/t"], 0);
    let ours = fs::canonicalize(scene.at("m/t")).unwrap();
    assert_eq!(describe(&scene.at("s")).len(), describe(&ours).len());
}

/// exFAT through a FUSE program that gives each spelling of a name an inode number of its own.
#[test]
fn exfat() {
    let tools = ["mkfs.exfat", "mount.exfat-fuse", "losetup"];
    if !can_mount_fuse() || !tools.into_iter().all(have) {
        return;
    }
    let folder = folder();
    let (image, mount) = (folder.path().join("image"), folder.path().join("m"));
    fs::File::create(&image).unwrap().set_len(64 << 20).unwrap();
    fs::create_dir(&mount).unwrap();
    let device = run(program("losetup").args(["-f", "--show"]).arg(&image), 0);
    let device = String::from_utf8(device.stdout).unwrap().trim().to_owned();
    must(program("mkfs.exfat").arg(&device));
    must(program("mount.exfat-fuse").arg(&device).arg(&mount));
    let source = folder.path().join("s");
    for (name, contents) in [("Dir/x", "one"), ("dir/x", "two"), ("a", "small"), ("A", "capital")] {
        fs::create_dir_all(source.join(name).parent().unwrap()).unwrap();
        fs::write(source.join(name), contents).unwrap();
    }
    let result = std::panic::catch_unwind(|| {
        fs::create_dir(mount.join("empty")).unwrap();
        for target in ["fresh", "empty"] {
            let mut command = aiocp();
            command.args(["--verify", "-T"]).arg(&source).arg(mount.join(target));
            let text = stderr(&run(&mut command, 1));
            assert_eq!(text.matches(CLASH).count(), 2, "{target}: {text}");
        }
    });
    unmount(&mount);
    must(program("losetup").args(["-d", &device]));
    result.unwrap();
}

/// ext4 whose directories fold case, where the kernel has that.
#[test]
fn ext4_with_casefold() {
    if !can_mount("ext4") || !have("chattr") {
        return;
    }
    let folder = folder();
    let (image, mount) = (folder.path().join("image"), folder.path().join("m"));
    fs::File::create(&image).unwrap().set_len(64 << 20).unwrap();
    fs::create_dir(&mount).unwrap();
    must(program("mkfs.ext4").args(["-q", "-F", "-O", "casefold"]).arg(&image));
    let mounted = program("mount").args(["-o", "loop"]).arg(&image).arg(&mount).output();
    if !mounted.unwrap().status.success() {
        return skip_for_kernel("this kernel has no ext4 with casefold");
    }
    fs::create_dir(mount.join("empty")).unwrap();
    must(program("chattr").arg("+F").arg(mount.join("empty")));
    let source = folder.path().join("s");
    fs::create_dir(&source).unwrap();
    for name in ["name", "NAME"] {
        fs::write(source.join(name), name).unwrap();
    }
    let output = aiocp().arg("-T").arg(&source).arg(mount.join("empty")).output();
    unmount(&mount);
    let output = output.unwrap();
    assert!(output.status.code() == Some(1) && stderr(&output).contains(CLASH), "{output:?}");
}
