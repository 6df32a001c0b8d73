//! Files whose size is not what they hold, or that give a few bytes at once: what read(2) brings is
//! copied and hashed. Only another size, modification or change time is a change.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use common::odd::{Odd, OddFiles};
use common::*;

const KIB: usize = 1 << 10;

fn hash(contents: &[u8]) -> String {
    blake3::hash(contents).to_hex().to_string()
}

fn stdout(output: &std::process::Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

/// Tries everything that reads on files that all hold what `wanted` says.
fn holds(source: &Path, wanted: &[u8]) {
    let ways: [&[&str]; 9] = [
        &[],
        &["-a"],
        &["--verify"],
        &["--resume"],
        &["--resume", "--journal-interval=64K", "--block-size=16K", "--verify"],
        &["--sparse=always", "--block-size=16K"],
        &["--sparse=never", "--no-sync"],
        &["--direct=never", "--block-size=4K", "--engine=posix"],
        &["-b", "--bwlimit=1G"],
    ];
    for flags in ways {
        let folder = folder();
        let copy = folder.path().join("copy");
        let said = run(aiocp().args(flags).arg("--manifest=-").arg(source).arg(&copy), 0);
        let about = format!("{} {flags:?}", source.display());
        assert!(fs::read(&copy).unwrap() == wanted, "{about}");
        assert_eq!(&stdout(&said)[..64], hash(wanted), "{about}");
        assert!(litter(folder.path()).is_empty(), "{about}");
        run(aiocp().args(["--verify-only", "--block-size=4K"]).arg(source).arg(&copy), 0);
    }
    differs(source, wanted);
    for flags in [&[][..], &["--block-size=4K"]] {
        let said = run(aiosum().args(flags).arg("--no-names").arg(source), 0);
        assert_eq!(stdout(&said).trim(), hash(wanted), "{} {flags:?}", source.display());
    }
    let said = run(aiosum().args(["--algorithm=sha256", "--no-names"]).arg(source), 0);
    use sha2::Digest;
    let sum: String = sha2::Sha256::digest(wanted).iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(stdout(&said).trim(), sum, "{}", source.display());
}

/// A copy that has something more, less or else is told from its source, and mended.
fn differs(source: &Path, wanted: &[u8]) {
    let folder = folder();
    let mut longer = wanted.to_vec();
    longer.push(0);
    let mut others = vec![longer];
    if let Some((last, rest)) = wanted.split_last() {
        others.push(rest.to_vec());
        others.push([rest, &[last ^ 1]].concat());
        others.push([&[wanted[0] ^ 1], &wanted[1..]].concat());
    }
    // What a copier writes that believes the size.
    let size_bytes = fs::metadata(source).unwrap().len() as usize;
    if size_bytes != wanted.len() {
        let mut padded = wanted.to_vec();
        padded.resize(size_bytes, 0);
        others.push(padded);
    }
    let about = |other: &[u8]| format!("{}: {} bytes", source.display(), other.len());
    for (n, other) in others.into_iter().enumerate() {
        // What was mended has the source's mode, and may be read-only.
        let copy = &folder.path().join(n.to_string());
        fs::write(copy, &other).unwrap();
        let compare = || {
            let mut command = aiocp();
            command.args(["--verify-only", "--block-size=4K"]);
            command
        };
        let output = compare().arg(source).arg(copy).output().unwrap();
        assert_eq!(output.status.code(), Some(3), "{}: {output:?}", about(&other));
        run(compare().arg("--repair").arg(source).arg(copy), 0);
        assert!(fs::read(copy).unwrap() == wanted, "{}", about(&other));
    }
}

#[test]
fn files_of_sysfs_and_procfs_hold_what_reading_brings() {
    for path in [
        "/sys/devices/system/cpu/online",
        "/sys/class/net/lo/address",
        "/sys/kernel/mm/transparent_hugepage/enabled",
        "/proc/version",
        "/proc/filesystems",
        "/proc/sys/kernel/osrelease",
    ] {
        match fs::read(path) {
            Ok(wanted) => holds(&fs::canonicalize(path).unwrap(), &wanted),
            Err(error) => skip_for_kernel(&format!("{path}: {error}")),
        }
    }
}

/// The files of a new network namespace are new: no one has looked at them, and the kernel gives
/// them other times when their attributes are first listed.
#[test]
fn files_of_sysfs_are_copied_at_the_first_look() {
    if !is_root("mounting a sysfs") || !have("unshare") {
        return;
    }
    let folder = folder();
    let (sys, copy) = (folder.path().join("sys"), folder.path().join("copy"));
    fs::create_dir(&sys).unwrap();
    let script = "mount -t sysfs none \"$1\" && shift && exec \"$@\"";
    for flags in [&["-a"][..], &["-a", "--verify"], &["-a", "--resume"]] {
        let mut command = program("unshare");
        command.args(["-n", "-m", "sh", "-c", script, "-"]).arg(&sys);
        let ours = env!("CARGO_BIN_EXE_aiocp");
        command.arg(ours).args(flags).arg(sys.join("class/net/lo/mtu")).arg(&copy);
        run(&mut command, 0);
        assert_eq!(fs::read_to_string(&copy).unwrap(), "65536\n", "{flags:?}");
    }
}

/// Some megabytes, a page at once.
#[test]
fn a_big_file_of_sysfs_comes_in_many_pieces() {
    let path = Path::new("/sys/kernel/btf/vmlinux");
    let Ok(wanted) = fs::read(path) else {
        return skip_for_kernel(&format!("there is no {path:?}"));
    };
    let folder = folder();
    let copy = folder.path().join("copy");
    for flags in [&["--verify"][..], &["--resume", "--journal-interval=1M"], &["--direct=never"]] {
        run(aiocp().args(flags).arg(path).arg(&copy), 0);
        assert!(fs::read(&copy).unwrap() == wanted, "{flags:?}");
    }
    run(aiocp().arg("--verify-only").arg(path).arg(&copy), 0);
    let said = run(aiosum().arg("--no-names").arg(path), 0);
    assert_eq!(stdout(&said).trim(), hash(&wanted));
}

/// A whole folder of sysfs, with the manifest as `aiosum` reads it.
#[test]
fn a_tree_of_sysfs_is_copied() {
    let tree = Path::new("/sys/devices/system/cpu/cpu0/topology");
    if !tree.exists() {
        return skip_for_kernel(&format!("there is no {tree:?}"));
    }
    let folder = folder();
    let (copy, manifest) = (folder.path().join("copy"), folder.path().join("manifest"));
    run(aiocp().args(["-r", "--manifest"]).arg(&manifest).arg("-T").arg(tree).arg(&copy), 0);
    for entry in fs::read_dir(tree).unwrap().map(|entry| entry.unwrap()) {
        let wanted = fs::read(entry.path()).unwrap();
        assert_eq!(fs::read(copy.join(entry.file_name())).unwrap(), wanted, "{entry:?}");
    }
    for root in [tree, &copy] {
        run(aiosum().arg("--check").arg("--quiet").arg(&manifest).current_dir(root), 0);
    }
    run(aiocp().args(["--verify-only", "-T"]).arg(tree).arg(&copy), 0);
}

/// Held and stated sizes around the borders of pages, blocks and small files.
fn odd_files(piece_bytes: usize, is_direct: bool) -> BTreeMap<String, (Odd, Vec<u8>)> {
    let mut files = BTreeMap::new();
    let big = 1200 * KIB + 7;
    for held in [0, 1, 2, 511, 4095, 4096, 4097, 9000, 65_536, big] {
        // Each piece is a question to the filesystem.
        if held / piece_bytes > 600 {
            continue;
        }
        for stated in [0, 1, 511, 4096, 5000, 65_536, big, 1300 * KIB, 2048 * KIB + 1] {
            // Through the page cache, no more than the size is ever read.
            if !is_direct && (stated < held || piece_bytes != usize::MAX) {
                continue;
            }
            let contents = noise(held, (held * 31 + stated) as u64);
            let odd = Odd {
                size_bytes: stated as u64,
                piece_bytes,
                is_direct,
                ..Odd::plain(contents.clone())
            };
            files.insert(format!("holds-{held}-says-{stated}"), (odd, contents));
        }
    }
    files
}

/// Copies and hashes all such files at once; then each that is `picked` in every way.
fn odd_sizes(piece_bytes: usize, is_direct: bool, picked: &[&str]) {
    let files = odd_files(piece_bytes, is_direct);
    let mounted = files.iter().map(|(name, (odd, _))| (name.clone(), odd.clone())).collect();
    let Some(mounted) = OddFiles::mount(mounted) else { return };
    let folder = folder();
    for (n, flags) in [&["--verify"][..], &["--resume", "--block-size=64K"]].iter().enumerate() {
        let (copy, manifest) = (folder.path().join(format!("{n}")), folder.path().join("sums"));
        let mut command = aiocp();
        command.args(["-r", "-T", "--manifest"]).arg(&manifest).args(*flags);
        run(command.arg(&mounted.path).arg(&copy), 0);
        let mut manifested = BTreeMap::new();
        for line in fs::read_to_string(&manifest).unwrap().lines() {
            let (hash, name) = line.split_once("  ").unwrap();
            manifested.insert(name.to_owned(), hash.to_owned());
        }
        assert_eq!(manifested.len(), files.len());
        for (name, (_, wanted)) in &files {
            assert!(fs::read(copy.join(name)).unwrap() == *wanted, "{name} {flags:?}");
            assert_eq!(manifested[name], hash(wanted), "{name} {flags:?}");
        }
        run(aiocp().args(["--verify-only", "-T"]).arg(&mounted.path).arg(&copy), 0);
        run(aiocp().args(["--verify-only", "-T"]).arg(&copy).arg(&mounted.path), 0);
        let mut check = aiosum();
        run(check.args(["--check", "--quiet"]).arg(&manifest).current_dir(&mounted.path), 0);
    }
    for name in picked {
        holds(&mounted.path.join(name), &files[*name].1);
    }
}

#[test]
fn files_that_hold_less_or_more_than_their_size() {
    let picked = ["holds-9000-says-65536", "holds-9000-says-0", "holds-9000-says-5000"];
    odd_sizes(usize::MAX, true, &picked);
}

#[test]
fn big_files_that_hold_less_or_more_than_their_size() {
    let big = 1200 * KIB + 7;
    let names = [(4097, 1300 * KIB), (big, 2048 * KIB + 1), (big, 4096), (big, big)];
    let names = names.map(|(held, stated)| format!("holds-{held}-says-{stated}"));
    let picked: Vec<&str> = names.iter().map(String::as_str).collect();
    odd_sizes(4096 * 3 + 17, true, &picked);
}

#[test]
fn files_that_hold_less_than_their_size_in_the_page_cache() {
    odd_sizes(usize::MAX, false, &["holds-9000-says-65536", "holds-4096-says-1331200"]);
}

#[test]
fn files_that_give_one_byte_at_once() {
    odd_sizes(1, true, &["holds-511-says-511", "holds-511-says-1"]);
}

#[test]
fn files_that_give_half_a_kilobyte_at_once() {
    odd_sizes(511, true, &["holds-65536-says-65536", "holds-9000-says-511"]);
}

#[test]
fn files_that_give_a_page_at_once() {
    odd_sizes(4096, true, &["holds-65536-says-65536", "holds-9000-says-4096"]);
}

/// Their numbers of blocks say that they are nothing but a hole.
#[test]
fn files_that_say_they_take_no_blocks() {
    let file = |len| Odd { blocks: 0, ..Odd::plain(noise(len, 7)) };
    let files = [("small".to_owned(), file(70_000)), ("big".to_owned(), file(3 << 20))];
    let Some(mounted) = OddFiles::mount(files.into()) else { return };
    holds(&mounted.path.join("small"), &noise(70_000, 7));
    holds(&mounted.path.join("big"), &noise(3 << 20, 7));
}

/// Each has another size after its first read, and its times stay.
#[test]
fn a_file_that_grows_or_is_cut_while_it_is_read_is_told_of_whatever_it_held() {
    for (len, after) in [
        (0, 4),
        (1, 5),
        (4096, 4100),
        (4096, 7),
        (70_000, 70_001),
        (600_000, 300_000),
        (3 << 20, (3 << 20) + 1),
        (3 << 20, 5001),
        (3 << 20, 0),
    ] {
        let file = || {
            let (contents, after) = (noise(len, 3), Some(noise(after, 3)));
            Odd { after, piece_bytes: 100_000, ..Odd::plain(contents) }
        };
        let names = ["copy", "verify", "resume", "sum", "compare"];
        let files = names.map(|name| (name.to_owned(), file())).into();
        let Some(mounted) = OddFiles::mount(files) else { return };
        let folder = folder();
        let at = |name: &str| mounted.path.join(name);
        let target: PathBuf = folder.path().join("target");
        for (name, flags) in [("copy", "-a"), ("verify", "--verify"), ("resume", "--resume")] {
            let output = run(aiocp().arg(flags).arg(at(name)).arg(&target), 1);
            assert!(stderr(&output).contains("changed while"), "{len} {name}: {output:?}");
            assert!(!target.exists(), "{len} {name}");
        }
        let output = run(aiosum().arg(at("sum")), 1);
        assert!(stderr(&output).contains("changed while"), "{len}: {output:?}");
        assert!(output.stdout.is_empty(), "{len}: {output:?}");
        fs::write(&target, noise(len, 3)).unwrap();
        run(aiocp().arg("--verify-only").arg(at("compare")).arg(&target), 1);
    }
}
