//! Half-copied big files and `--resume`: how much of them it keeps, and what it refuses to trust.

mod common;

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use common::interrupted::*;
use common::*;

/// Interrupts copies of `source` until one leaves a big file's temporary with at least `bytes`
/// bytes of data. Returns the temporary.
fn leave_half(source: &Path, target: &Path, bytes: u64, more: &[&str]) -> PathBuf {
    for _ in 0..200 {
        for n in 1..40 {
            let mut command = resume(source, target);
            command.arg("--threads=1").args(more).stderr(Stdio::null()).stdout(Stdio::null());
            assert!(
                tracer::kill_at(&mut command, &[libc::SYS_pwrite64], n),
                "the run is killed before its end"
            );
            let temporaries = litter(target.parent().unwrap());
            let half =
                temporaries.into_iter().find(|path| !path.to_string_lossy().contains("journal"));
            if let Some(half) = half.filter(|half| data_bytes(half) >= bytes) {
                return half;
            }
        }
    }
    panic!("no half-copied file is left");
}

#[test]
fn the_half_of_a_file_with_two_names_is_gone_on_with_under_either() {
    let folder = folder();
    let (source, target) = (folder.path().join("source"), folder.path().join("target"));
    for name in ["a", "b"] {
        fs::create_dir_all(source.join(name)).unwrap();
    }
    fs::write(source.join("a/1"), noise(8 << 20, 1)).unwrap();
    fs::hard_link(source.join("a/1"), source.join("b/2")).unwrap();
    // Either name may be met first. In one of the two rounds, the half belongs to the other one.
    for (first, other) in [("a/1", "b/2"), ("b/2", "a/1")] {
        let (first_alone, other_alone) =
            (format!("--exclude=/{other}"), format!("--exclude=/{first}"));
        let written = |more: &[&str]| {
            let output =
                run(resume(&source, &target).args(["--threads=1", "--stats"]).args(more), 0);
            assert!(output.stderr.is_empty(), "{output:?}");
            assert!(litter(folder.path()).is_empty(), "{:?}", litter(folder.path()));
            written_bytes(&String::from_utf8(output.stdout).unwrap())
        };
        let before = data_bytes(&leave_half(&source, &target, 3 << 20, &[&first_alone]));
        let bytes = written(&[]);
        assert!(
            bytes <= (8 << 20) - before + (1 << 20),
            "{bytes} bytes were written, and {before} existed"
        );
        are_identical(&source, &target);
        let ino = |name: &str| fs::metadata(target.join(name)).unwrap().ino();
        assert_eq!(ino(first), ino(other));
        fs::remove_dir_all(&target).unwrap();

        // With the first name excluded, the other one is copied.
        leave_half(&source, &target, 3 << 20, &[&first_alone]);
        assert_eq!(written(&[&other_alone]), 8 << 20);
        assert!(fs::read(source.join(other)).unwrap() == fs::read(target.join(other)).unwrap());
        fs::remove_dir_all(&target).unwrap();
    }
}

#[test]
fn the_first_half_of_the_source_is_not_read_again() {
    if !have_strace() {
        return;
    }
    let folder = folder();
    let (source, target) = (folder.path().join("source"), folder.path().join("target"));
    let (trace, manifest) = (folder.path().join("trace"), folder.path().join("manifest"));
    fs::write(&source, noise(8 << 20, 1)).unwrap();
    leave_half(&source, &target, 4 << 20, &[]);
    let mut command = strace(&["-e", "trace=pread64", "-P", source.to_str().unwrap()], &trace);
    command.args(["--resume", "-T", "--engine=threads", "--manifest"]).arg(&manifest).args(TUNING);
    run(command.arg(&source).arg(&target), 0);
    // Each is pread64(5, BUFFER, LENGTH, OFFSET) = READ.
    let offset = |call: &String| -> u64 {
        let (arguments, _) = call.rsplit_once(')').unwrap();
        arguments.rsplit_once(", ").unwrap().1.parse().unwrap()
    };
    let offsets: Vec<u64> = trace::calls(&trace).iter().map(offset).collect();
    // Data that was written but is not in the journal yet is read again.
    let first = *offsets.iter().min().unwrap();
    assert!(first >= (4 << 20) - (512 << 10), "the source is read from byte {first} on");
    assert!(
        fs::read_to_string(manifest)
            .unwrap()
            .starts_with(blake3::hash(&fs::read(&source).unwrap()).to_hex().as_str())
    );
}

#[test]
fn a_half_whose_source_changed_is_copied_anew() {
    let folder = folder();
    let (source, target) = (folder.path().join("source"), folder.path().join("target"));
    fs::write(&source, noise(8 << 20, 1)).unwrap();
    leave_half(&source, &target, 3 << 20, &[]);
    // The change lies in the copied part; size and time stay.
    let modified = fs::metadata(&source).unwrap().modified().unwrap();
    let file = fs::OpenOptions::new().write(true).open(&source).unwrap();
    file.write_all_at(b"changed", 5000).unwrap();
    file.set_modified(modified).unwrap();
    let output = run(&mut resume(&source, &target), 0);
    assert!(
        stderr(&output)
            .contains("the source changed since it was begun; it is copied from the start")
    );
    assert!(fs::read(&source).unwrap() == fs::read(&target).unwrap());
    assert!(litter(folder.path()).is_empty());
}

#[test]
fn a_temporary_that_was_exchanged_is_neither_believed_nor_followed() {
    let folder = folder();
    let (source, target) = (folder.path().join("source"), folder.path().join("target"));
    let precious = folder.path().join("precious");
    fs::write(&source, noise(8 << 20, 1)).unwrap();
    type Exchange<'a> = (&'a str, bool, &'a dyn Fn(&Path));
    // With each, whether what has the name now is another file, which stays.
    let exchanges: [Exchange<'_>; 4] = [
        ("another file", true, &|half| {
            let contents = fs::read(half).unwrap();
            // An open descriptor keeps the removed file's inode from being reused.
            let _open = fs::File::open(half).unwrap();
            fs::remove_file(half).unwrap();
            fs::write(half, contents).unwrap();
        }),
        ("a file with another name", false, &|half| fs::hard_link(half, &precious).unwrap()),
        ("a link", true, &|half| {
            fs::rename(half, &precious).unwrap();
            symlink(&precious, half).unwrap();
        }),
        ("a FIFO", true, &|half| {
            fs::remove_file(half).unwrap();
            rustix::fs::mknodat(rustix::fs::CWD, half, rustix::fs::FileType::Fifo, 0o600.into(), 0)
                .unwrap();
        }),
    ];
    for (what, stays, exchange) in exchanges {
        let half = leave_half(&source, &target, 3 << 20, &[]);
        exchange(&half);
        let (before, ino) = (fs::read(&precious).ok(), inode(&half));
        let output = run(resume(&source, &target).arg("--stats"), 0);
        assert_eq!(written_bytes(&String::from_utf8(output.stdout).unwrap()), 8 << 20, "{what}");
        assert!(fs::read(&source).unwrap() == fs::read(&target).unwrap(), "{what}");
        assert!(before == fs::read(&precious).ok(), "{what}: nothing was written through it");
        assert_eq!(inode(&half), ino.filter(|_| stays), "{what}");
        if stays {
            fs::remove_file(&half).unwrap();
        }
        assert!(litter(folder.path()).is_empty(), "{what}: {:?}", litter(folder.path()));
        for name in [&target, &precious] {
            let _gone = fs::remove_file(name);
        }
    }
}

/// The number of what has a name.
fn inode(path: &Path) -> Option<u64> {
    path.symlink_metadata().ok().map(|stat| stat.ino())
}

/// A seal as the journal's own description defines it.
fn seal(key: &[u8; 32], before: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    let mut hasher = blake3::Hasher::new_keyed(key);
    hasher.update(before);
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
    }
    hasher.finalize().as_bytes()[..16].to_vec()
}

/// A journal's bytes, to which records with good seals can be added.
struct Forged {
    bytes: Vec<u8>,
    last_seal: Vec<u8>,
    /// The last record of a half-copied file.
    reached: Vec<u8>,
}

impl Forged {
    fn read(journal: &Path) -> Self {
        let bytes = fs::read(journal).unwrap();
        let key: &[u8; 32] = bytes[16..48].try_into().unwrap();
        let (mut last, mut pos) = (bytes[80..96].to_vec(), 96);
        let mut reached = None;
        while pos < bytes.len() {
            let len = u32::from_le_bytes(bytes[pos..pos + 4].try_into().unwrap()) as usize;
            let body = &bytes[pos + 4..pos + 4 + len];
            let stored = &bytes[pos + 4 + len..pos + 20 + len];
            assert_eq!(
                seal(key, &last, &[&bytes[pos..pos + 4], body]),
                stored,
                "the seals match their description"
            );
            (last, pos) = (stored.to_vec(), pos + 20 + len);
            // A frame with one record, behind its own length.
            if body[4] == 3 {
                reached = Some(body[4..].to_vec());
            }
        }
        Self { last_seal: last, reached: reached.unwrap(), bytes }
    }

    fn add(&mut self, body: &[u8]) {
        let length = |bytes: &[u8]| (bytes.len() as u32).to_le_bytes();
        let key: &[u8; 32] = self.bytes[16..48].try_into().unwrap();
        let records = [&length(body), body].concat();
        let len = length(&records);
        self.last_seal = seal(key, &self.last_seal, &[&len, &records]);
        self.bytes.extend([&len[..], &records, &self.last_seal].concat());
    }

    /// Adds a temporary to be removed: its path, and the inode that it must have.
    fn add_temporary(&mut self, path: &str, ino: u64) {
        let name = blake3::hash(path.as_bytes());
        let head = [
            &[2][..],
            &name.as_bytes()[..16],
            &[0; 53],
            &ino.to_le_bytes(),
            &65536u64.to_le_bytes(),
        ]
        .concat();
        self.add(&[&head, path.as_bytes()].concat());
    }

    /// Adds more blocks of the half-copied file than it has.
    fn add_blocks_beyond_the_end(&mut self) {
        let reached = self.reached.clone();
        let first = u64::from_le_bytes(reached[17..25].try_into().unwrap())
            + (reached.len() as u64 - 25) / 32;
        self.add(&[&reached[..17], &first.to_le_bytes(), &[7; 32 * 500]].concat());
    }
}

#[test]
fn a_journal_that_was_forged_with_its_own_key_reaches_nothing_outside() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    let (source, target) = (at("source"), at("target"));
    fs::create_dir_all(at("outside")).unwrap();
    fs::create_dir(&source).unwrap();
    fs::write(source.join("small"), "small").unwrap();
    fs::write(source.join("big"), noise(8 << 20, 1)).unwrap();
    let half = leave_half(&source, &target, 3 << 20, &[]);
    let temporary = half.file_name().unwrap();
    symlink(at("outside"), target.join("way")).unwrap();
    let journal = journals(folder.path()).pop().unwrap();
    let mut forged = Forged::read(&journal);
    // Temporaries to be removed. Each path names a file outside, with the right inode.
    for path in ["../outside/big", "way/big", at("outside/big").to_str().unwrap()] {
        let precious = at("outside").join(temporary);
        fs::write(&precious, "precious").unwrap();
        forged.add_temporary(path, fs::metadata(&precious).unwrap().ino());
    }
    forged.add_blocks_beyond_the_end();
    fs::write(&journal, &forged.bytes).unwrap();
    let output = run(&mut resume(&source, &target), 0);
    assert!(stderr(&output).contains("a part of it is not what the journal says"), "{output:?}");
    assert!(fs::read(at("outside").join(temporary)).unwrap() == b"precious");
    assert!(fs::read(source.join("big")).unwrap() == fs::read(target.join("big")).unwrap());
    assert!(journals(folder.path()).is_empty());
    a_record_of_4_gib_takes_no_memory(&source, &target);
}

/// A record that claims 4 GiB, in a file of that size.
fn a_record_of_4_gib_takes_no_memory(source: &Path, target: &Path) {
    leave_half(source, target, 3 << 20, &[]);
    let journal = journals(target.parent().unwrap()).pop().unwrap();
    let file = fs::OpenOptions::new().write(true).open(&journal).unwrap();
    let end = file.metadata().unwrap().len();
    file.write_all_at(&u32::MAX.to_le_bytes(), end).unwrap();
    file.set_len(end + (5 << 30)).unwrap();
    let output = run(
        Command::new("sh")
            .args(["-c", "ulimit -v 2000000; exec \"$0\" \"$@\""])
            .arg(assert_cmd::cargo::cargo_bin!("aiocp"))
            .env_remove("AIOCP_CONFIG_PATH")
            .args(["--resume", "-T"])
            .args(TUNING)
            .arg(source)
            .arg(target),
        0,
    );
    assert!(stderr(&output).contains("it is truncated or was modified"), "{output:?}");
}

#[test]
fn a_half_that_nobody_asks_for_is_removed_without_a_trace_in_its_folder() {
    let folder = folder();
    let (source, target) = (folder.path().join("source"), folder.path().join("target"));
    fs::create_dir(&source).unwrap();
    fs::write(source.join("big"), noise(8 << 20, 1)).unwrap();
    leave_half(&source, &target, 3 << 20, &[]);
    fs::remove_file(source.join("big")).unwrap();
    let old = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
    fs::File::open(&source).unwrap().set_times(fs::FileTimes::new().set_modified(old)).unwrap();
    run(&mut resume(&source, &target), 0);
    assert_eq!(fs::metadata(&target).unwrap().modified().unwrap(), old);
    assert!(litter(folder.path()).is_empty() && fs::read_dir(&target).unwrap().next().is_none());
}
