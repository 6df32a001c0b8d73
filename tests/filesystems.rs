//! The same tree on fresh filesystems: every byte, mode and time, the manifest, and the reported
//! route.

mod common;

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt};

use common::*;

fn copies_faithfully(kind: &str, road: &str) {
    let Some(mounted) = Mounted::new(kind, 512) else { return };
    let (source, target) = (mounted.path.join("source"), mounted.path.join("target"));
    make_tree(&source);
    rustix::fs::sync();
    // Files in the page cache would be read from there.
    for name in ["nested/size-9437184", "nested/size-3145733", "nested/size-1048577"] {
        let file = fs::File::open(source.join(name)).unwrap();
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
    }
    let manifest = mounted.path.join("manifest");
    let mut command = aiocp();
    command
        .args(["--debug", "--reflink=never", "--manifest"])
        .arg(&manifest)
        .arg(&source)
        .arg(&target);
    let output = run(&mut command, 0);
    assert_eq!(describe(&source), describe(&target), "on {kind}");
    check_manifest(&fs::read_to_string(&manifest).unwrap(), &target);
    let debug = stderr(&output);
    let line = debug.lines().find(|line| line.contains("size-9437184")).unwrap();
    assert!(line.ends_with(road), "on {kind}: {line}");
    for name in ["hole-big", "hole-only", "hole-small"] {
        let meta = fs::metadata(target.join(name)).unwrap();
        assert!(
            meta.blocks() * 512 < meta.len() / 2,
            "{name} on {kind} takes {} blocks",
            meta.blocks()
        );
    }
    // A second copy over the first replaces in one step, and leaves nothing beside it.
    run(aiocp().arg("-T").arg(&source).arg(&target), 0);
    assert_eq!(describe(&source), describe(&target), "on {kind}, the second time");
    assert!(litter(&target).is_empty());
}

#[test]
fn ext4() {
    copies_faithfully("ext4", ": direct");
}

#[test]
fn xfs() {
    copies_faithfully("xfs", ": direct");
}

#[test]
fn overlay() {
    copies_faithfully("overlay", ": direct");
}

#[test]
fn btrfs_only_pretends_to_be_direct() {
    copies_faithfully("btrfs", ": buffered (btrfs buffers direct I/O)");
}

#[test]
fn tmpfs_only_pretends_to_be_direct() {
    copies_faithfully("tmpfs", "written buffered (tmpfs lives in the page cache)");
}

fn clones(kind: &str) {
    let Some(mounted) = Mounted::new(kind, 512) else { return };
    let (source, target) = (mounted.path.join("source"), mounted.path.join("target"));
    make_tree(&source);
    fs::write(source.join("large"), noise(64 << 20, 5)).unwrap();
    rustix::fs::sync();
    let used = || {
        let stat = rustix::fs::statvfs(&mounted.path).unwrap();
        (stat.f_blocks - stat.f_bfree) * stat.f_frsize
    };
    let (manifest, before) = (mounted.path.join("manifest"), used());
    for option in ["--reflink=auto", "--reflink"] {
        let mut command = aiocp();
        command
            .args([option, "--debug", "--stats", "--manifest"])
            .arg(&manifest)
            .arg(&source)
            .arg(&target);
        let output = run(&mut command, 0);
        assert_eq!(describe(&source), describe(&target), "on {kind}");
        check_manifest(&fs::read_to_string(&manifest).unwrap(), &target);
        let bytes: u64 = walkdir::WalkDir::new(&source)
            .into_iter()
            .map(|entry| entry.unwrap().metadata().unwrap())
            .filter(|meta| meta.is_file())
            .map(|meta| meta.len())
            .sum();
        let stats = String::from_utf8(output.stdout.clone()).unwrap();
        let figures =
            ["written bytes", "cloned bytes", "hole bytes"].map(|name| figure(&stats, name));
        assert_eq!(figures, [0, bytes, 0], "{stats}");
        let large = stderr(&output).lines().filter(|line| line.ends_with("/large: cloned")).count();
        assert_eq!(large, 1, "{output:?}");
        rustix::fs::sync();
        assert!(used() - before < 16 << 20, "{} bytes were stored twice", used() - before);
        fs::remove_dir_all(&target).unwrap();
    }
    // A clone is a file of its own.
    run(aiocp().arg(source.join("large")).arg(&target), 0);
    fs::OpenOptions::new().write(true).open(&target).unwrap().write_all_at(b"changed", 0).unwrap();
    assert!(fs::read(source.join("large")).unwrap() == noise(64 << 20, 5));
    let output =
        run(aiocp().args(["--debug", "--reflink=never"]).arg(source.join("large")).arg(&target), 0);
    assert!(!stderr(&output).contains("cloned"), "{output:?}");
}

#[test]
fn xfs_clones() {
    clones("xfs");
}

#[test]
fn btrfs_clones() {
    clones("btrfs");
}

#[test]
fn what_cannot_be_cloned_is_copied_unless_clones_were_demanded() {
    let Some(ext4) = Mounted::new("ext4", 64) else { return };
    let Some(xfs) = Mounted::new("xfs", 512) else { return };
    fs::write(ext4.path.join("file"), noise(3 << 20, 1)).unwrap();
    fs::write(ext4.path.join("empty"), "").unwrap();
    for (to, reason) in [(&ext4, "Operation not supported"), (&xfs, "Invalid cross-device link")] {
        let target = to.path.join("target");
        let output =
            run(aiocp().arg("--reflink=always").arg(ext4.path.join("file")).arg(&target), 1);
        let line =
            format!("aiocp: cannot clone '{}': {reason}\n", ext4.path.join("file").display());
        assert!(stderr(&output).starts_with(&line), "{output:?}");
        assert!(!target.exists());
        run(aiocp().arg("--reflink=auto").arg(ext4.path.join("file")).arg(&target), 0);
        assert_eq!(fs::read(&target).unwrap(), fs::read(ext4.path.join("file")).unwrap());
        // These filesystems cannot share data.
        run(
            aiocp()
                .arg("--reflink=always")
                .arg(ext4.path.join("empty"))
                .arg(to.path.join("nothing")),
            0,
        );
    }
}

#[test]
fn from_one_filesystem_to_another_each_side_has_its_own_way() {
    let Some(ext4) = Mounted::new("ext4", 128) else { return };
    let Some(btrfs) = Mounted::new("btrfs", 256) else { return };
    let file = ext4.path.join("file");
    fs::write(&file, noise((5 << 20) + 17, 1)).unwrap();
    rustix::fs::sync();
    rustix::fs::fadvise(fs::File::open(&file).unwrap(), 0, None, rustix::fs::Advice::DontNeed)
        .unwrap();
    let output = run(aiocp().arg("--debug").arg(&file).arg(&btrfs.path), 0);
    assert!(
        stderr(&output)
            .ends_with("file: read direct, written buffered (btrfs buffers direct I/O)\n"),
        "{output:?}"
    );
    assert_eq!(fs::read(btrfs.path.join("file")).unwrap(), fs::read(&file).unwrap());
}

#[test]
fn direct_io_leaves_the_page_cache_alone() {
    use std::os::fd::AsFd;
    let Some(mounted) = Mounted::new("ext4", 512) else { return };
    let (source, target) = (mounted.path.join("source"), mounted.path.join("target"));
    let len = 128 << 20;
    fs::write(&source, noise(len, 3)).unwrap();
    let file = fs::File::open(&source).unwrap();
    file.sync_all().unwrap();
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
    run(aiocp().arg(&source).arg(&target), 0);
    let cached = |file: &fs::File| aiocp::fs::cached_bytes(file.as_fd(), len as u64);
    let (Some(read), Some(written)) = (cached(&file), cached(&fs::File::open(&target).unwrap()))
    else {
        return skip("this kernel has no cachestat");
    };
    assert!(read + written < len as u64 / 20, "{read} + {written} bytes of {len} are cached");
}

#[test]
fn a_full_disk_keeps_the_old_file_and_says_so() {
    if !is_root("mounting filesystems") {
        return;
    }
    for (kind, mib) in [("ext4", 32), ("tmpfs", 32)] {
        let from = folder();
        let Some(to) = Mounted::new(kind, mib) else { continue };
        fs::write(from.path().join("file"), noise(40 << 20, 1)).unwrap();
        fs::write(from.path().join("next"), "small").unwrap();
        let target = to.path.join("target");
        fs::create_dir(&target).unwrap();
        fs::write(target.join("file"), "old").unwrap();
        let output = run(aiocp().arg("-T").arg(from.path()).arg(&target), 1);
        let text = stderr(&output);
        assert!(text.contains("file'") && text.contains("No space left on device"), "{text}");
        assert!(
            text.contains("hint: this file needs 41.9 MB, ") && text.contains(" free\n"),
            "{text}"
        );
        assert_eq!(fs::read(target.join("file")).unwrap(), b"old", "the old file stays");
        assert_eq!(fs::read(target.join("next")).unwrap(), b"small", "the others are copied");
        assert!(litter(&to.path).is_empty());
    }
}
