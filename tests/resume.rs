//! `--resume` after every kind of interruption, and the effects of signals. The copy ends
//! identical, no file is half there, and nothing is left over.

mod common;

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt, symlink};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use common::held::{is_in, signal_until_it_ends, wait_for};
use common::interrupted::*;
use common::*;
use rustix::process::Signal;

#[test]
fn killed_at_any_moment_it_goes_on() {
    // 200 in all.
    all_at_once(0..4, |_| killed_at_any_moment(50));
}

/// Kills so many runs, and has each copy finished.
fn killed_at_any_moment(kills: u32) {
    let folder = folder();
    let (source, target) = (folder.path().join("source"), folder.path().join("target"));
    make_small_tree(&source);
    let mut moments = Moments::of(duration(&source, &target));
    let mut killed = 0;
    for round in 0.. {
        assert!(round < 2000, "{killed} of 2000 runs were killed");
        if killed >= kills {
            break;
        }
        // Two times out of three, the resumed run is killed too.
        for _ in 0..moments.random.u32(1..4) {
            let status = signal_after(resume(&source, &target), &[Signal::KILL], moments.next());
            no_file_is_partial(&source, &target);
            let was_killed = status.code().is_none();
            moments.came(was_killed);
            killed += u32::from(was_killed);
            // The kill may have come when everything was done.
            if target.exists() && journals(folder.path()).is_empty() {
                break;
            }
        }
        complete(&source, &target);
        fs::remove_dir_all(&target).unwrap();
    }
}

#[test]
fn no_more_is_copied_again_than_an_interval_and_what_was_in_flight() {
    let folder = folder();
    let (source, target) = (folder.path().join("source"), folder.path().join("target"));
    const MIB: u64 = 1 << 20;
    fs::write(&source, noise(48 << 20, 1)).unwrap();
    let command = || {
        let mut command = aiocp();
        let tuning = [
            "--block-size=256K",
            "--journal-interval=4M",
            "--queue-depth=8",
            "--stats",
            "--resume",
        ];
        command.args(tuning).arg(&source).arg(&target);
        command
    };
    let begun = Instant::now();
    run(&mut command(), 0);
    let mut moments = Moments::of(begun.elapsed());
    fs::remove_file(&target).unwrap();
    let mut resumed = 0;
    for round in 0.. {
        assert!(round < 200, "{resumed} of 200 runs resumed in the middle");
        if resumed >= 10 {
            break;
        }
        let status = signal_after(command(), &[Signal::KILL], moments.next());
        moments.came(status.code().is_none());
        let halves = litter(folder.path())
            .into_iter()
            .find(|path| !path.to_string_lossy().contains("journal"));
        let durable = halves.map_or(0, |half| data_bytes(&half));
        let is_over = target.exists();
        let output = run(&mut command(), 0);
        let written = written_bytes(&String::from_utf8(output.stdout).unwrap());
        assert!(fs::read(&source).unwrap() == fs::read(&target).unwrap());
        assert!(litter(folder.path()).is_empty());
        if !is_over {
            let again = (written + durable).saturating_sub(48 * MIB);
            assert!(
                again <= 4 * MIB + 8 * MIB / 4,
                "{again} bytes were copied again, {durable} were there"
            );
            resumed += u32::from(written < 48 * MIB);
        }
        fs::remove_file(&target).unwrap();
    }
}

#[test]
fn after_a_power_cut_it_goes_on() {
    if !is_root("mounting filesystems") || !have("xfs_io") {
        return;
    }
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let folder = folder();
    let source = folder.path().join("source");
    make_small_tree(&source);
    let seeds = [random.u64(..), random.u64(..)];
    let kinds = [("ext4", 64), ("xfs", 320)].into_iter().zip(seeds);
    all_at_once(kinds, |((kind, mib), seed)| {
        let mut random = fastrand::Rng::with_seed(seed);
        let Some(mounted) = Mounted::new(kind, mib) else { return };
        let target = mounted.path.join("target");
        let whole = duration(&source, &target);
        for _ in 0..12 {
            let mut child = resume(&source, &target).stderr(Stdio::null()).spawn().unwrap();
            std::thread::sleep(whole.mul_f64(random.f64() * 1.1));
            let ended = child.try_wait().unwrap();
            let killer = std::thread::spawn(move || {
                // The copy meets a device that is gone, and ends by itself.
                child.wait().unwrap();
            });
            mounted.cut_power();
            killer.join().unwrap();
            mounted.mount_again();
            no_file_is_partial(&source, &target);
            if ended.is_some() {
                are_identical(&source, &target);
                assert!(litter(&mounted.path).is_empty());
                fs::remove_dir_all(&target).unwrap();
            }
            complete(&source, &target);
            mounted.cut_power();
            mounted.mount_again();
            are_identical(&source, &target);
            assert!(litter(&mounted.path).is_empty());
            fs::remove_dir_all(&target).unwrap();
        }
    });
}

#[test]
fn when_there_is_space_again_it_goes_on() {
    if !is_root("mounting a small filesystem") {
        return;
    }
    let folder = folder();
    let source = folder.path().join("source");
    fs::create_dir(&source).unwrap();
    for n in 0..8 {
        fs::write(source.join(format!("{n}")), noise(4 << 20, n)).unwrap();
    }
    let Some(mounted) = Mounted::new("ext4", 64) else { return };
    let (target, filler) = (mounted.path.join("target"), mounted.path.join("filler"));
    fs::write(&filler, vec![1; 35 << 20]).unwrap();
    let output = run(&mut resume(&source, &target), 1);
    assert!(stderr(&output).contains("No space left on device"), "{output:?}");
    no_file_is_partial(&source, &target);
    let copied = fs::read_dir(&target).unwrap().count();
    assert!((1..8).contains(&copied), "{copied} files fitted");
    fs::remove_file(filler).unwrap();
    let stats = complete(&source, &target);
    assert!(written_bytes(&stats) <= (8 - copied as u64) * (4 << 20), "{stats}");
}

#[test]
fn a_journal_cut_or_changed_at_any_byte_is_noticed() {
    // In memory: a thousand runs that wait for the device would take minutes.
    let folder = tempfile::tempdir_in("/dev/shm").unwrap();
    let (source, target) = (folder.path().join("source"), folder.path().join("target"));
    fs::create_dir(&source).unwrap();
    fs::write(source.join("small"), "small").unwrap();
    fs::write(source.join("big"), noise(1100 * KIB, 3)).unwrap();
    let wanted = describe(&source);
    let random = AtomicU64::new(7);
    let bit = || 1 << (random.fetch_add(5, Ordering::Relaxed) % 8);
    type Damage<'a> = &'a dyn Fn(&mut Vec<u8>, usize);
    let damages: [Damage<'_>; 2] =
        [&|journal, at| journal.truncate(at), &|journal, at| journal[at] ^= bit()];
    let mut largest = 0;
    for damage in damages {
        let mut at = 0;
        loop {
            let path = leave_journal(&source, &target);
            let mut journal = fs::read(&path).unwrap();
            largest = largest.max(journal.len());
            let is_last = at >= largest;
            if at < journal.len() {
                damage(&mut journal, at);
                fs::write(&path, &journal).unwrap();
            }
            let warnings = complete_here(&source, &target);
            assert!(warnings.len() <= 1, "byte {at}: {warnings:?}");
            assert_eq!(describe(&target), wanted, "byte {at}");
            assert!(litter(folder.path()).is_empty(), "byte {at}: {:?}", litter(folder.path()));
            fs::remove_dir_all(&target).unwrap();
            if is_last {
                break;
            }
            at += 1;
        }
    }
    assert!(largest > 300, "{largest} bytes");
}

fn another_tree_or_other_options_are_another_copy(source: &Path, target: &Path) {
    let folder = target.parent().unwrap();
    // A different tree has the same name.
    kill_at_the_end(source, target);
    fs::rename(source, folder.join("moved")).unwrap();
    fs::create_dir(source).unwrap();
    fs::write(source.join("kept"), "another").unwrap();
    let output = run(&mut resume(source, target), 0);
    assert!(
        stderr(&output)
            .contains("it belongs to other trees or other options; everything is copied again")
    );
    assert_eq!(fs::read(target.join("kept")).unwrap(), b"another");
    fs::remove_dir_all(target).unwrap();

    // Different options make a different copy.
    kill_at_the_end(source, target);
    let output = run(resume(source, target).arg("--no-preserve=mode"), 0);
    assert!(
        stderr(&output)
            .contains("it belongs to other trees or other options; everything is copied again")
    );
    assert!(litter(folder).is_empty());
}

#[test]
fn what_changed_meanwhile_is_copied_again_and_named() {
    let folder = folder();
    let (source, target) = (folder.path().join("source"), folder.path().join("target"));
    fs::create_dir(&source).unwrap();
    for name in ["kept", "source-changed", "target-changed", "target-gone"] {
        fs::write(source.join(name), format!("{name}1")).unwrap();
    }
    if !have_strace() {
        return;
    }
    kill_at_the_end(&source, &target);
    fs::write(source.join("source-changed"), "source-changed2").unwrap();
    // Size and time are unchanged: only the change time differs.
    let changed = target.join("target-changed");
    let modified = fs::metadata(&changed).unwrap().modified().unwrap();
    fs::write(&changed, "target-changed3").unwrap();
    fs::File::open(&changed).unwrap().set_modified(modified).unwrap();
    fs::remove_file(target.join("target-gone")).unwrap();
    let kept = fs::metadata(target.join("kept")).unwrap().ino();
    let output = run(resume(&source, &target).arg("--stats"), 0);
    let said = stderr(&output);
    assert!(
        said.contains(
            "source-changed': the source changed since it was copied; it is copied again"
        ),
        "{said}"
    );
    assert!(
        said.contains("target-changed': the copy changed since it was made; it is copied again"),
        "{said}"
    );
    assert_eq!(said.lines().count(), 2, "{said}");
    are_identical(&source, &target);
    assert_eq!(fs::metadata(target.join("kept")).unwrap().ino(), kept);
    assert_eq!(
        figure(&String::from_utf8_lossy(&output.stdout), "finished earlier"),
        1,
        "{output:?}"
    );
    fs::remove_dir_all(&target).unwrap();
    another_tree_or_other_options_are_another_copy(&source, &target);
}

#[test]
fn the_same_command_goes_on_in_the_directory_that_it_made() {
    let folder = folder();
    let (source, target) = (folder.path().join("source"), folder.path().join("target"));
    make_small_tree(&source);
    leave_journal(&source, &target);
    let same_command = || {
        let mut command = aiocp();
        command.arg("--resume").args(TUNING).arg(&source).arg(&target);
        command
    };
    // It is a directory now, and cp would copy into it.
    run(&mut same_command(), 0);
    are_identical(&source, &target);
    assert!(litter(folder.path()).is_empty());
    // With nothing left to resume, the command does what cp does.
    run(&mut same_command(), 0);
    are_identical(&source, &target.join("source"));
}

#[test]
fn a_journal_may_lie_in_the_destination_and_leaves_its_times_alone() {
    let folder = folder();
    let Some(mounted) = Mounted::new("ext4", 64) else { return };
    let source = folder.path().join("source");
    make_small_tree(&source);
    set_times(&source, 1_234_567_890, 3);
    fs::remove_dir(mounted.path.join("lost+found")).unwrap();
    let journal = leave_journal(&source, &mounted.path);
    assert_eq!(journal.parent(), Some(&*mounted.path), "beside it is another filesystem");
    run(&mut resume(&source, &mounted.path), 0);
    are_identical(&source, &mounted.path);
}

#[test]
fn a_half_that_is_not_what_the_journal_says_is_mended() {
    let folder = folder();
    let (source, target) = (folder.path().join("source"), folder.path().join("target"));
    fs::write(&source, noise(8 << 20, 1)).unwrap();
    for _ in 0..10 {
        let half = killed_in_the_middle(resume(&source, &target), folder.path(), 3 << 20);
        fs::OpenOptions::new()
            .write(true)
            .open(half)
            .unwrap()
            .write_all_at(b"changed", 700_000)
            .unwrap();
        let output = run(resume(&source, &target).arg("--stats"), 0);
        assert!(stderr(&output).contains("is not what the journal says"), "{output:?}");
        complete(&source, &target);
        fs::remove_file(&target).unwrap();
    }
}

#[test]
fn a_source_that_is_gone_leaves_no_temporary() {
    let folder = folder();
    let (source, target) = (folder.path().join("source"), folder.path().join("target"));
    fs::create_dir_all(source.join("deep/er")).unwrap();
    fs::write(source.join("small"), "x").unwrap();
    let big = source.join("deep/er/big");
    for _ in 0..5 {
        fs::write(&big, noise(8 << 20, 1)).unwrap();
        let left = killed_in_the_middle(resume(&source, &target), folder.path(), 1 << 20);
        assert!(left.exists());
        fs::remove_file(&big).unwrap();
        // A file that was copied whole stays, like anything else that only the destination has.
        run(&mut resume(&source, &target), 0);
        assert!(litter(folder.path()).is_empty(), "{:?}", litter(folder.path()));
        fs::remove_dir_all(&target).unwrap();
    }
}

#[test]
fn two_runs_do_not_share_a_journal() {
    let folder = folder();
    let (source, target) = (folder.path().join("source"), folder.path().join("target"));
    make_small_tree(&source);
    let journal = leave_journal(&source, &target);
    let file = fs::File::open(&journal).unwrap();
    rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let output = run(&mut resume(&source, &target), 1);
    assert!(stderr(&output).contains("another aiocp is at work on this copy"), "{output:?}");
    drop(file);
    complete(&source, &target);
}

#[test]
fn a_journal_that_is_a_link_or_has_other_names_harms_nothing() {
    let folder = folder();
    let (source, target) = (folder.path().join("source"), folder.path().join("target"));
    make_small_tree(&source);
    let journal = leave_journal(&source, &target);
    let precious = folder.path().join("precious");
    fs::copy(&journal, &precious).unwrap();
    let before = fs::read(&precious).unwrap();
    fs::remove_file(&journal).unwrap();
    symlink(&precious, &journal).unwrap();
    let output = run(&mut resume(&source, &target), 0);
    assert!(stderr(&output).contains("everything is copied again"), "{output:?}");
    assert_eq!(fs::read_link(&journal).unwrap(), precious);
    assert_eq!(fs::read(&precious).unwrap(), before);
    fs::remove_file(&journal).unwrap();
    fs::hard_link(&precious, &journal).unwrap();
    let output = run(&mut resume(&source, &target), 0);
    assert!(stderr(&output).contains("everything is copied again"), "{output:?}");
    assert_eq!(fs::read(&precious).unwrap(), before);
    assert_eq!(journals(folder.path()), [journal], "it stays, and nothing else");
    are_identical(&source, &target);
}

#[test]
fn signals_end_it_in_good_order() {
    let folder = folder();
    let (source, target) = (folder.path().join("source"), folder.path().join("target"));
    make_small_tree(&source);
    let mut moments = Moments::of(duration(&source, &target));
    let plain = || {
        let mut command = aiocp();
        command.args(TUNING).arg(&source).arg(&target);
        command
    };
    let mut counts = [0; 3];
    for round in 0.. {
        assert!(round < 600, "{counts:?}");
        if round >= 60 && !counts.contains(&0) {
            break;
        }
        let (signals, code): (&[Signal], _) = match round % 3 {
            0 => (&[Signal::INT], 130),
            1 => (&[Signal::TERM], 143),
            _ => (&[Signal::INT, Signal::INT], 130),
        };
        let keeps_journal = moments.random.bool();
        let command = if keeps_journal { resume(&source, &target) } else { plain() };
        let status = signal_after(command, signals, moments.next());
        moments.came(status.code() != Some(0));
        no_file_is_partial(&source, &target);
        match status.code() {
            Some(0) => assert_eq!(describe(&source), describe(&target)),
            // Before the handlers are installed, signals act as on any process.
            None => assert!(matches!(status.signal(), Some(2 | 15))),
            other => {
                assert_eq!(other, Some(code));
                counts[round % 3] += 1;
                if keeps_journal && signals.len() == 1 {
                    assert_eq!(journals(folder.path()).len(), 1, "a journal is left");
                }
            }
        }
        if !keeps_journal && signals.len() == 1 {
            assert!(litter(folder.path()).is_empty(), "{:?}", litter(folder.path()));
        }
        if target.exists() {
            run(&mut resume(&source, &target), 0);
            are_identical(&source, &target);
            assert!(litter(folder.path()).is_empty(), "{:?}", litter(folder.path()));
            fs::remove_dir_all(&target).unwrap();
        } else {
            journals(folder.path()).into_iter().for_each(|path| fs::remove_file(path).unwrap());
        }
    }
}

#[test]
fn a_question_ends_with_the_first_signal() {
    let folder = folder();
    for name in ["a", "b"] {
        fs::write(folder.path().join(name), name).unwrap();
    }
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let mut command = aiocp();
        command
            .current_dir(&folder)
            .args(["-i", "a", "b"])
            .stdin(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // The question gets no answer, and standard input stays open.
        let _stdin = child.stdin.take();
        let mut question = [0; 10];
        std::io::Read::read_exact(child.stderr.as_mut().unwrap(), &mut question).unwrap();
        rustix::process::kill_process(rustix::process::Pid::from_child(&child), signal).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(code));
        assert_eq!(fs::read(folder.path().join("b")).unwrap(), b"b");
    }
}

/// What a copy says that gets a signal twice; nothing unless they were sent at once.
fn terminated_twice(source: &Path, target: &Path) -> Option<std::process::Output> {
    let mut command = resume(source, target);
    let child = command.arg("--bwlimit=1M").stderr(Stdio::piped()).spawn().unwrap();
    wait_for("a journal and a temporary", || litter(target.parent().unwrap()).len() == 2);
    let (copy, begun) = (rustix::process::Pid::from_child(&child), Instant::now());
    rustix::process::kill_process(copy, Signal::TERM).unwrap();
    std::thread::sleep(Duration::from_millis(2));
    rustix::process::kill_process(copy, Signal::TERM).unwrap();
    let are_twins = begun.elapsed() < Duration::from_millis(20);
    let output = child.wait_with_output().unwrap();
    are_twins.then_some(output)
}

#[test]
fn a_signal_that_comes_twice_at_once_is_one() {
    let folder = folder();
    let (source, target) = (folder.path().join("source"), folder.path().join("target"));
    fs::write(&source, noise(8 << 20, 1)).unwrap();
    // On a busy machine two may come so far apart that they are two.
    let output = std::iter::repeat_with(|| terminated_twice(&source, &target)).find_map(|it| it);
    let output = output.unwrap();
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(143), "{said}");
    assert!(
        said.starts_with("aiocp: interrupted: no file copied")
            && said.contains("run the same command again to continue"),
        "{said}"
    );
    complete(&source, &target);
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("a"), "x").unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, at("fifo"), rustix::fs::FileType::Fifo, 0o600.into(), 0)
        .unwrap();
    // A manifest without a reader blocks forever.
    let mut command = aiocp();
    let mut child = command
        .current_dir(&folder)
        .args(["--manifest=fifo", "a", "b"])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let copy = rustix::process::Pid::from_child(&child);
    let is_held = || is_in(Some(copy), &[libc::SYS_openat]);
    wait_for("it opens the manifest", || at("b").exists() && is_held());
    rustix::process::kill_process(copy, Signal::INT).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    assert!(child.try_wait().unwrap().is_none());
    signal_until_it_ends(&mut child, copy, Signal::INT);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    assert_eq!(stderr(&output), "aiocp: stopped at once; finished files are whole\n");
}

#[test]
fn a_second_signal_waits_for_nobody_who_has_stopped_reading() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir(at("from")).unwrap();
    for n in 0..2000 {
        fs::write(at("from").join(format!("{n}-{}", "x".repeat(200))), "x").unwrap();
    }
    let mut command = aiocp();
    command.current_dir(&folder).args(["--debug", "from", "to"]).stderr(Stdio::piped());
    // The command's lines fill the pipe, which stays open and is never read.
    let mut child = command.spawn().unwrap();
    wait_for("signals are handled", || catches(&child, Signal::INT));
    std::thread::sleep(Duration::from_millis(500));
    assert!(child.try_wait().unwrap().is_none());
    let copy = rustix::process::Pid::from_child(&child);
    let status = signal_until_it_ends(&mut child, copy, Signal::INT);
    assert_eq!(status.code(), Some(130));
}

#[test]
fn an_ignored_signal_stays_ignored() {
    let folder = folder();
    let (source, target) = (folder.path().join("source"), folder.path().join("target"));
    make_small_tree(&source);
    let mut command = Command::new("sh");
    let script = r#"trap "" INT; exec "$0" "$@""#;
    command
        .env_remove("AIOCP_CONFIG_PATH")
        .args(["-c", script])
        .arg(aiocp().get_program())
        // It is still there when that is seen.
        .arg("--bwlimit=1M")
        .arg(&source)
        .arg(&target);
    let mut child = command.spawn().unwrap();
    wait_for("the shell's trap", || ignores(&child, Signal::INT));
    for _ in 0..3 {
        if child.try_wait().unwrap().is_none() {
            let copy = rustix::process::Pid::from_child(&child);
            rustix::process::kill_process(copy, Signal::INT).unwrap();
        }
        std::thread::sleep(Duration::from_millis(15));
    }
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(0));
    are_identical(&source, &target);
}

#[test]
fn an_interruption_is_told_in_one_line() {
    let folder = folder();
    let (source, target) = (folder.path().join("source"), folder.path().join("target"));
    fs::write(&source, noise(8 << 20, 1)).unwrap();
    let mut told = 0;
    for round in 0..20 {
        let mut command = resume(&source, &target);
        let child = command.arg("--bwlimit=4M").stderr(Stdio::piped()).spawn().unwrap();
        wait_for("signals are handled", || catches(&child, Signal::INT));
        std::thread::sleep(Duration::from_millis(5 * round));
        rustix::process::kill_process(rustix::process::Pid::from_child(&child), Signal::INT)
            .unwrap();
        let output = child.wait_with_output().unwrap();
        if output.status.code() == Some(130) {
            let said = stderr(&output);
            assert!(
                (said.contains("no file copied") || said.contains("1 file copied"))
                    && said.contains("run the same command again to continue"),
                "{output:?}"
            );
            assert!(
                said.starts_with("aiocp: interrupted: ") && said.lines().count() == 1,
                "{output:?}"
            );
            told += 1;
        }
        complete(&source, &target);
        fs::remove_file(&target).unwrap();
    }
    assert!(told > 0, "some were interrupted");
}

#[test]
fn what_makes_no_sense_with_it_is_refused() {
    for other in ["--no-sync", "--link", "--symbolic-link", "--attributes-only"] {
        run(aiocp().args(["--resume", other, "a", "b"]), 2);
    }
}
