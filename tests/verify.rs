//! The proof of a copy: a verification reports what the device holds, whatever the page cache
//! holds.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::Ordering;

use common::lying::{LyingDisk, MARK};
use common::*;

/// Makes `count` files with a mark at a random place, every tenth file big. Returns the places by
/// name.
fn make_marked(root: &Path, count: usize, seed: u64) -> BTreeMap<String, u64> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut marks = BTreeMap::new();
    for n in 0..count {
        let len = if n % 10 == 0 {
            random.usize((1 << 20) + 1..3 << 20)
        } else {
            random.usize(MARK.len()..100_000)
        };
        let mut bytes = noise(len, seed + n as u64);
        // The mark has to lie within one page.
        let at = loop {
            let at = random.usize(0..=len - MARK.len());
            if at / 4096 == (at + MARK.len() - 1) / 4096 {
                break at;
            }
        };
        bytes[at..at + MARK.len()].copy_from_slice(MARK);
        let name = format!("{}/{n}", n % 7);
        fs::create_dir_all(root.join(&name).parent().unwrap()).unwrap();
        fs::write(root.join(&name), bytes).unwrap();
        marks.insert(name, at as u64);
    }
    marks
}

/// The ranges in lines of the form `PATH: START..END differs`, by path below `root`.
fn ranges(output: &[u8], root: &Path, ending: &str) -> BTreeMap<String, Vec<std::ops::Range<u64>>> {
    let mut found: BTreeMap<String, Vec<std::ops::Range<u64>>> = BTreeMap::new();
    for line in String::from_utf8(output.to_vec()).unwrap().lines() {
        let Some((path, range)) = line.strip_suffix(ending).and_then(|line| line.rsplit_once(": "))
        else {
            continue;
        };
        let Some((start, end)) = range.split_once("..") else { continue };
        let name = Path::new(path).strip_prefix(root).unwrap().to_str().unwrap().to_owned();
        found.entry(name).or_default().push(start.parse().unwrap()..end.parse().unwrap());
    }
    found
}

#[test]
fn a_device_that_turns_a_bit_over_is_found_out_1000_times_of_1000() {
    let Some(disk) = LyingDisk::new("ext4", 512) else { return };
    let from = folder();
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let marks = make_marked(from.path(), 1000, seed);
    fs::write(from.path().join("0/honest"), noise(5 << 20, 1)).unwrap();
    disk.lies.left.store(usize::MAX, Ordering::SeqCst);
    let target = disk.path.join("copy");
    // First with defaults, then with big files in parts that are read back while the next ones are
    // written.
    for tuning in [&[][..], &["--block-size=64K", "--journal-interval=512K"]] {
        disk.lies.told.store(0, Ordering::SeqCst);
        let mut command = aiocp();
        let output = run(
            command
                .args(["--verify", "--stats"])
                .args(tuning)
                .arg("-T")
                .arg(from.path())
                .arg(&target),
            3,
        );
        assert!(
            disk.lies.told.load(Ordering::SeqCst) >= 2000,
            "each mark was written, and written again"
        );
        let found = ranges(&output.stdout, &target, " differs");
        assert_eq!(found.len(), 1000);
        for (name, at) in &marks {
            let [range] = &found[name][..] else { panic!("{name}: {:?}", found[name]) };
            assert!(
                range.contains(at) && range.end - range.start <= 1 << 20,
                "{name}: {range:?} holds {at}"
            );
            assert!(!target.join(name).exists(), "{name} is not published");
        }
        let names = walkdir::WalkDir::new(&target)
            .into_iter()
            .filter(|e| e.as_ref().unwrap().file_type().is_file());
        assert_eq!(names.count(), 1, "the one honest file is there");
        assert!(
            stderr(&output)
                .ends_with("1000 failures and 1000 differences, named above; 1 file was copied\n")
        );
        fs::remove_dir_all(&target).unwrap();
    }
}

#[test]
fn what_differs_once_is_written_again_and_said() {
    for kind in ["ext4", "xfs"] {
        let Some(disk) = LyingDisk::new(kind, 512) else { return };
        let from = folder();
        let marks = make_marked(from.path(), 60, 7);
        disk.lies.once.store(true, Ordering::SeqCst);
        disk.lies.left.store(usize::MAX, Ordering::SeqCst);
        let target = disk.path.join("copy");
        let tuning = ["--block-size=64K", "--journal-interval=512K"];
        let output =
            run(aiocp().args(["--verify", "-p"]).args(tuning).arg(from.path()).arg(&target), 0);
        assert_eq!(describe(from.path()), describe(&target), "on {kind}");
        let found = ranges(&output.stdout, &target, " differed, written again");
        for (name, at) in &marks {
            assert!(
                found[name].len() == 1 && found[name][0].contains(at),
                "{name}: {:?}",
                found[name]
            );
        }
    }
}

#[test]
fn a_comparison_sees_the_device_and_not_the_page_cache() {
    let Some(disk) = LyingDisk::new("ext4", 256) else { return };
    let from = folder();
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let marks = make_marked(from.path(), 200, seed);
    let target = disk.path.join("copy");
    disk.lies.left.store(usize::MAX, Ordering::SeqCst);
    run(aiocp().arg("--direct=never").arg(from.path()).arg(&target), 0);
    disk.lies.left.store(0, Ordering::SeqCst);
    for name in marks.keys() {
        assert!(
            fs::read(from.path().join(name)).unwrap() == fs::read(target.join(name)).unwrap(),
            "the page cache holds the right bytes"
        );
    }
    let compare = |more: &[&str], code| {
        run(aiocp().args(["-T", "--verify-only"]).args(more).arg(from.path()).arg(&target), code)
    };
    let found = ranges(&compare(&[], 3).stdout, &target, " differs");
    for (name, at) in &marks {
        let [range] = &found[name][..] else { panic!("{name}: {:?}", found.get(name)) };
        assert!(range.contains(at), "{name}: {range:?} holds {at}");
    }
    let mended = ranges(&compare(&["--repair"], 0).stdout, &target, " differed, written again");
    assert_eq!(mended, found, "exactly these are written again");
    assert!(compare(&[], 0).stdout.is_empty());
    assert_eq!(describe(from.path()), describe(&target));
}

#[test]
fn good_copies_are_proved_wherever_they_are() {
    if !is_root("mounting filesystems") {
        return;
    }
    // Three of the files are empty.
    for (kind, proof, from_memory) in [
        ("ext4", "verified direct", 0),
        ("xfs", "verified direct", 0),
        ("overlay", "verified direct", 0),
        ("btrfs", "verified with an emptied page cache (btrfs buffers direct I/O)", 0),
        ("tmpfs", "verified from memory (tmpfs lives in the page cache)", 312),
    ] {
        let from = folder();
        let Some(mounted) = Mounted::new(kind, 512) else { continue };
        let (source, target) = (from.path().join("source"), mounted.path.join("target"));
        make_tree(&source);
        fs::hard_link(source.join("nested/size-3145733"), source.join("many/linked")).unwrap();
        let manifest = from.path().join("manifest");
        let mut command = aiocp();
        command
            .args(["-a", "--verify", "--debug", "--stats", "--manifest"])
            .arg(&manifest)
            .arg(&source)
            .arg(&target);
        let output = run(&mut command, 0);
        assert_eq!(describe(&source), describe(&target), "on {kind}");
        check_manifest(&fs::read_to_string(&manifest).unwrap(), &target);
        let debug = stderr(&output);
        for name in ["size-9437184", "size-4096"] {
            let line = debug.lines().find(|line| line.contains(name)).unwrap();
            assert!(line.ends_with(proof), "on {kind}: {line}");
        }
        let stats = String::from_utf8(output.stdout).unwrap();
        let figures = ["verified files", "verified from memory"].map(|name| figure(&stats, name));
        assert_eq!(figures, [315, from_memory], "on {kind}: {stats}");
        let warned = debug.contains("were verified from memory; --debug says why");
        assert_eq!(warned, from_memory > 0, "on {kind}");
        let output = run(
            aiocp().args(["-T", "-a", "--verify-only", "--debug"]).arg(&source).arg(&target),
            0,
        );
        assert!(output.stdout.is_empty(), "on {kind}: {output:?}");
        let debug = stderr(&output);
        assert!(
            debug.lines().any(|line| line.contains("size-9437184") && line.ends_with(proof)),
            "on {kind}: {debug}"
        );
    }
}

#[test]
fn an_old_file_stays_if_the_new_one_is_not_proved() {
    let Some(disk) = LyingDisk::new("xfs", 512) else { return };
    let from = folder();
    let target = disk.path.join("copy");
    let marks = make_marked(from.path(), 20, 3);
    for name in marks.keys() {
        fs::create_dir_all(target.join(name).parent().unwrap()).unwrap();
        fs::write(target.join(name), "old").unwrap();
    }
    disk.lies.left.store(usize::MAX, Ordering::SeqCst);
    let output = run(
        aiocp().args(["-T", "--verify", "--repair", "--manifest=-"]).arg(from.path()).arg(&target),
        3,
    );
    assert!(output.stdout.is_empty(), "nothing is in the manifest: {output:?}");
    // Each was written again three times, and then given up.
    assert_eq!(
        ranges(&output.stderr, &target, " differed, written again")
            .values()
            .map(Vec::len)
            .sum::<usize>(),
        60
    );
    assert_eq!(ranges(&output.stderr, &target, " differs").len(), 20);
    assert!(stderr(&output).contains("the data read back differs from the data written"));
    for name in marks.keys() {
        assert_eq!(fs::read(target.join(name)).unwrap(), b"old");
    }
    assert!(litter(&target).is_empty());
}

#[test]
fn flags_that_make_no_sense_together_touch_nothing() {
    let folder = folder();
    let (source, target) = (folder.path().join("source"), folder.path().join("target"));
    fs::write(&source, "x").unwrap();
    for flags in [
        &["--verify", "--no-sync"][..],
        &["--verify", "--link"],
        &["--verify", "--symbolic-link"],
        &["--verify", "--attributes-only"],
        &["--verify", "--verify-only"],
        &["--verify-only", "--no-sync"],
        &["--verify-only", "--manifest=m"],
        &["--verify-only", "--no-clobber"],
        &["--verify-only", "--interactive"],
        &["--verify-only", "--update=older"],
        &["--verify-only", "--backup"],
        &["--verify-only", "--remove-destination"],
        &["--verify-only", "--link"],
        &["--repair"],
    ] {
        let output = run(aiocp().args(flags).arg(&source).arg(&target), 2);
        assert!(stderr(&output).starts_with("aiocp: "), "{flags:?}: {output:?}");
        assert!(!target.exists(), "{flags:?}");
    }
}

#[test]
fn reading_back_leaves_the_access_times_that_were_kept() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir(at("s")).unwrap();
    // One file is read alone; enough others are read together.
    for n in 0..10 {
        fs::write(
            at("s").join(n.to_string()),
            noise(if n == 0 { 3 << 20 } else { n * 1000 }, n as u64),
        )
        .unwrap();
    }
    let old = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
    let times = fs::FileTimes::new().set_accessed(old).set_modified(old);
    let times_of = |name: &str| -> Vec<_> {
        (0..10)
            .map(|n| fs::metadata(at(name).join(n.to_string())).unwrap().accessed().unwrap())
            .collect()
    };
    for direct in ["--direct=auto", "--direct=never"] {
        for n in 0..10 {
            fs::File::open(at("s").join(n.to_string())).unwrap().set_times(times).unwrap();
        }
        run(aiocp().args(["--verify", direct, "-T"]).args([at("s"), at("t")]), 0);
        assert_eq!(times_of("t"), [old; 10], "{direct}");
        // A repaired file has its source's times, too.
        fs::write(at("t").join("0"), "x").unwrap();
        run(aiocp().args(["--verify-only", "--repair", direct, "-T"]).args([at("s"), at("t")]), 0);
        assert_eq!(times_of("t"), [old; 10], "{direct}");
        fs::remove_dir_all(at("t")).unwrap();
    }
}
