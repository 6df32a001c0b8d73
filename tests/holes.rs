//! Holes: what a filesystem says is one, held against what read(2) brings, for data that is on the
//! device, on its way there, or in memory alone.

mod common;

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use common::random::shrunk_property;
use common::*;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::TestCaseResult;

const KIB: u64 = 1 << 10;

/// Something that is done to a file between two offsets, as xfs_io(8) calls it.
#[derive(Clone, Debug)]
struct Deed {
    what: &'static str,
    from: u64,
    len: u64,
}

/// A sparse file and what is done with it.
#[derive(Clone, Debug)]
struct Case {
    deeds: Vec<Deed>,
    size_bytes: u64,
    /// What was cut off in the end.
    cut_bytes: u64,
    /// Whether the file is begun as a clone, where there are such.
    is_clone: bool,
    flags: Vec<&'static str>,
}

/// How data and holes come about, and what of them gets to the device.
const DEEDS: [&str; 12] = [
    "pwrite",
    "pwrite",
    "pwrite",
    "pwrite",
    "mwrite",
    "mwrite",
    "falloc",
    "fpunch",
    "fzero",
    "sync_range",
    "sync_range",
    "fsync",
];

/// The ways to copy. Each has its own source, since some have the kernel write it back.
const WAYS: [&[&str]; 8] = [
    &["-a"],
    &["--verify"],
    &["--verify", "--reflink=never"],
    &["--sparse=always", "--reflink=never"],
    &["--reflink=never", "--direct=never"],
    &["--reflink=never", "--no-sync"],
    &["--resume", "--journal-interval=256K", "--reflink=never"],
    &["aiosum"],
];

fn case() -> impl Strategy<Value = Case> {
    let size = (1100 * KIB..3000 * KIB).prop_map(|size| size / 512 * 512 + size % 3);
    size.prop_flat_map(|size_bytes| {
        let len = prop_oneof![1..5000_u64, 1..300 * KIB];
        let deed = (select(&DEEDS), 0..size_bytes, len).prop_map(move |(what, from, len)| {
            // Whole blocks as often as not.
            let from = if len % 2 == 0 { from / 4096 * 4096 } else { from };
            Deed { what, from, len: len.min(size_bytes - from) }
        });
        let cut = prop_oneof![2 => Just(0), 1 => 0..size_bytes / 4];
        (prop::collection::vec(deed, 0..9), cut, any::<bool>(), select(&WAYS)).prop_map(
            move |(deeds, cut_bytes, is_clone, flags)| Case {
                deeds,
                size_bytes,
                cut_bytes,
                is_clone,
                flags: flags.to_vec(),
            },
        )
    })
}

/// Makes the file. What a filesystem cannot do is not done.
fn make(case: &Case, root: &Path, file: &Path, without_extents: bool) {
    let made = fs::File::create(file).unwrap();
    if without_extents {
        must(program("chattr").arg("-e").arg(file));
    }
    let base = root.join("base");
    if case.is_clone && base.exists() {
        rustix::fs::ioctl_ficlone(&made, fs::File::open(base).unwrap()).unwrap();
    }
    made.set_len(case.size_bytes).unwrap();
    let mut xfs_io = program("xfs_io");
    for (n, Deed { what, from, len }) in case.deeds.iter().enumerate() {
        let seed = n + 1;
        let deed = match *what {
            "pwrite" => format!("pwrite -S {seed} {from} {len}"),
            "mwrite" => {
                xfs_io.args(["-c", &format!("mmap -rw 0 {}", case.size_bytes)]);
                xfs_io.args(["-c", &format!("mwrite -S {seed} {from} {len}")]);
                "munmap".to_owned()
            }
            "sync_range" => format!("sync_range -a {from} {len}"),
            "fsync" => "fsync".to_owned(),
            what => format!("{what} {from} {len}"),
        };
        xfs_io.args(["-c", &deed]);
    }
    let made_bytes = case.size_bytes - case.cut_bytes;
    let output = xfs_io.args(["-c", &format!("truncate {made_bytes}")]).arg(file).output().unwrap();
    assert_eq!(fs::metadata(file).unwrap().len(), made_bytes, "{output:?}");
}

fn check(case: &Case, root: &Path, without_extents: bool) -> TestCaseResult {
    let folder = tempfile::tempdir_in(root).unwrap();
    let (source, copy) = (folder.path().join("source"), folder.path().join("copy"));
    make(case, root, &source, without_extents);
    let sum = |output: std::process::Output| String::from_utf8(output.stdout).unwrap();
    if case.flags == ["aiosum"] {
        let said = sum(run(aiosum().args(["--no-names", "--block-size=16K"]).arg(&source), 0));
        prop_assert_eq!(said.trim(), hash(&fs::read(&source).unwrap()));
        return Ok(());
    }
    let mut command = aiocp();
    command.args(&case.flags).args(["--block-size=16K", "--manifest=-"]).args([&source, &copy]);
    let manifest = sum(run(&mut command, 0));
    let wanted = fs::read(&source).unwrap();
    let found = fs::read(&copy).unwrap();
    prop_assert_eq!(wanted.len(), found.len());
    let differs = wanted.iter().zip(&found).position(|(wanted, found)| wanted != found);
    prop_assert_eq!(differs, None, "the first byte that differs");
    prop_assert_eq!(&manifest[..64], hash(&wanted));
    // A comparison finds what one of the two has where both are thought to be holes.
    run(aiocp().args(["--verify-only", "--block-size=16K"]).args([&source, &copy]), 0);
    let at = wanted.len() as u64 / 2;
    let file = fs::File::options().write(true).open(&copy).unwrap();
    file.write_all_at(&[found[at as usize] ^ 1], at).unwrap();
    run(aiocp().args(["--verify-only", "--block-size=16K"]).args([&source, &copy]), 3);
    Ok(())
}

fn hash(contents: &[u8]) -> String {
    blake3::hash(contents).to_hex().to_string()
}

fn holes(mount: impl FnOnce() -> Option<Mounted>, without_extents: bool) {
    if !have("xfs_io") || without_extents && !have("chattr") {
        return;
    }
    let Some(mounted) = mount() else { return };
    if has_clones(&mounted.path) {
        let base = mounted.path.join("base");
        fs::write(&base, noise(2 << 20, 1)).unwrap();
        fs::File::open(base).unwrap().sync_all().unwrap();
    }
    shrunk_property(16, 24, case, |case| check(&case, &mounted.path, without_extents));
}

fn has_clones(root: &Path) -> bool {
    let make = |name: &str| {
        let path = root.join(name);
        fs::write(&path, "x").unwrap();
        fs::File::options().read(true).write(true).open(path).unwrap()
    };
    rustix::fs::ioctl_ficlone(make("clone"), make("cloned")).is_ok()
}

fn on_disk(kind: &str, mkfs: &[&str], mount: &[&str]) {
    holes(|| Mounted::disk(kind, mkfs, mount, 512), false);
}

#[test]
fn ext4() {
    on_disk("ext4", &[], &["-o", "loop"]);
}

#[test]
fn ext4_where_files_have_no_extents() {
    on_disk("ext4", &["-O", "^extents,^64bit"], &["-o", "loop"]);
}

#[test]
fn files_of_ext4_whose_extents_were_taken_away() {
    holes(|| Mounted::new("ext4", 512), true);
}

#[test]
fn ext4_with_small_blocks() {
    on_disk("ext4", &["-b", "1024"], &["-o", "loop"]);
}

#[test]
fn ext4_that_allocates_many_blocks_at_once() {
    on_disk("ext4", &["-O", "bigalloc", "-C", "65536"], &["-o", "loop"]);
}

#[test]
fn ext4_with_data_in_inodes() {
    on_disk("ext4", &["-O", "inline_data", "-I", "512"], &["-o", "loop"]);
}

#[test]
fn ext4_that_journals_data() {
    on_disk("ext4", &[], &["-o", "loop,data=journal"]);
}

#[test]
fn ext3_mounted_as_ext4() {
    on_disk("ext3", &[], &["-t", "ext4", "-o", "loop"]);
}

#[test]
fn ext2_mounted_as_ext4() {
    on_disk("ext2", &[], &["-t", "ext4", "-o", "loop"]);
}

#[test]
fn xfs() {
    on_disk("xfs", &[], &["-o", "loop"]);
}

#[test]
fn xfs_with_small_blocks() {
    on_disk("xfs", &["-b", "size=1024"], &["-o", "loop"]);
}

#[test]
fn btrfs() {
    on_disk("btrfs", &[], &["-o", "loop"]);
}

#[test]
fn btrfs_that_compresses() {
    on_disk("btrfs", &[], &["-o", "loop,compress-force=zstd"]);
}

#[test]
fn btrfs_that_writes_in_place() {
    on_disk("btrfs", &[], &["-o", "loop,nodatacow"]);
}

#[test]
fn tmpfs() {
    holes(|| Mounted::new("tmpfs", 512), false);
}

#[test]
fn tmpfs_with_huge_pages() {
    holes(|| Mounted::memory("tmpfs", "size=512M,huge=always"), false);
}

#[test]
fn overlay() {
    holes(|| Mounted::new("overlay", 512), false);
}

/// The one file that showed it: a tail in memory, and all before it a hole.
#[test]
fn a_tail_that_is_not_written_back_is_copied_and_hashed_where_files_have_no_extents() {
    let Some(mounted) = Mounted::disk("ext3", &[], &["-t", "ext4", "-o", "loop"], 256) else {
        return;
    };
    let make = |name: &str| {
        let path = mounted.path.join(name);
        let file = fs::File::create(&path).unwrap();
        file.set_len(8 << 20).unwrap();
        file.write_all_at(b"tail", 7_000_000).unwrap();
        path
    };
    let mut wanted = vec![0; 8 << 20];
    wanted[7_000_000..7_000_004].copy_from_slice(b"tail");
    for (n, flags) in WAYS.iter().filter(|flags| flags[0] != "aiosum").enumerate() {
        let (source, copy) = (make(&format!("{n}")), mounted.path.join(format!("{n}-copy")));
        run(aiocp().args(*flags).args([&source, &copy]), 0);
        assert!(fs::read(copy).unwrap() == wanted, "{flags:?}");
    }
    let said = run(aiosum().arg("--no-names").arg(make("sum")), 0).stdout;
    assert_eq!(String::from_utf8(said).unwrap().trim(), hash(&wanted));
    // Of two such files that differ in their tails, one is not the other's copy.
    let (one, other) = (make("one"), make("other"));
    fs::File::options().write(true).open(&other).unwrap().write_all_at(b"T", 7_000_000).unwrap();
    run(aiocp().arg("--verify-only").args([&one, &other]), 3);
}

/// In a snapshot, an empty directory stands where a subvolume lies in what it was taken of. Its
/// inode number is none that a directory lists.
#[test]
fn what_stands_for_a_subvolume_in_a_snapshot_is_an_empty_directory() {
    if !have("btrfs") {
        return;
    }
    let Some(mounted) = Mounted::new("btrfs", 512) else { return };
    let at = |name: &str| mounted.path.join(name);
    let subvolume = |args: &[&str]| {
        must(program("btrfs").arg("subvolume").args(args).current_dir(&mounted.path));
    };
    subvolume(&["create", "root"]);
    subvolume(&["create", "root/machines"]);
    fs::create_dir_all(at("root/a/b")).unwrap();
    subvolume(&["create", "root/a/b/deep"]);
    fs::write(at("root/a/file"), "contents").unwrap();
    subvolume(&["snapshot", "root", "snap"]);
    subvolume(&["snapshot", "-r", "root", "frozen"]);
    assert_eq!(fs::metadata(at("snap/machines")).unwrap().ino(), 2, "this is what is tried");
    for snap in ["snap", "frozen"] {
        for flags in [&["-a"][..], &["-r"], &["-a", "--verify"], &["-a", "--resume"]] {
            let copy = folder();
            let copy = copy.path().join("copy");
            run(aiocp().args(flags).arg("-T").args([&at(snap), &copy]), 0);
            for dir in ["machines", "a/b/deep"] {
                assert_eq!(fs::read_dir(copy.join(dir)).unwrap().count(), 0, "{snap} {flags:?}");
            }
            assert_eq!(fs::read(copy.join("a/file")).unwrap(), b"contents");
            run(aiocp().args(["--verify-only", "-T"]).args([&at(snap), &copy]), 0);
            // Named itself, it is one too.
            let alone = copy.join("alone");
            run(aiocp().args(flags).arg("-T").args([&at(snap).join("machines"), &alone]), 0);
            assert_eq!(fs::read_dir(alone).unwrap().count(), 0);
        }
        let said = run(aiosum().arg(at(snap)), 0).stdout;
        assert_eq!(String::from_utf8(said).unwrap().lines().count(), 1);
    }
    // The subvolumes themselves have a number that no directory lists either.
    let copy = folder();
    run(aiocp().args(["-a", "-T"]).arg(at("root")).arg(copy.path().join("copy")), 0);
}
