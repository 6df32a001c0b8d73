//! All engines give the same answers, also to what a file cannot do.
#![cfg(all(feature = "posix", feature = "threads", feature = "sim"))]

mod common;

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use common::aio::*;
use linux_aio::sim::{Faults, Sim};
use linux_aio::{Context, Engine, Op, OpKind, Part, Pool, Posix, ReadWriteFlags, Threads};
use rustix::fs::{Mode, OFlags};

type Answer = Result<usize, i32>;

/// Asks each engine for an operation of its own, made by `make` with what has to stay open.
struct Asked {
    engines: [(&'static str, Box<dyn Engine>); 4],
    pool: Pool,
}

impl Asked {
    fn new() -> Self {
        let engines: [(&str, Box<dyn Engine>); 4] = [
            ("kernel", Box::new(Context::new(4).unwrap())),
            ("posix", Box::new(Posix::new(4, None))),
            ("threads", Box::new(Threads::new(2, 4, None).unwrap())),
            ("sim", Box::new(Sim::new(3, 4, Faults::default()))),
        ];
        Self { engines, pool: Pool::new(4, 4096).unwrap() }
    }

    /// Asserts that all answer like this.
    fn all<K>(&mut self, what: &str, answer: Answer, make: impl Fn(&Pool) -> (Op, K)) {
        for (name, engine) in &mut self.engines {
            let (op, kept) = make(&self.pool);
            // POSIX has neither vectors nor flags.
            let is_known = *name != "posix"
                || (op.flags.is_empty() && !matches!(op.kind, OpKind::ReadVectored(_)));
            let expected = if is_known { answer } else { Err(libc::EOPNOTSUPP) };
            engine.queue(op).unwrap();
            let mut done = Vec::new();
            while engine.in_flight() > 0 {
                engine.submit_and_reap(1, None, &mut done).unwrap();
            }
            let done = done.pop().unwrap();
            let got = done.result.map_err(|error| error.raw_os_error().unwrap());
            assert_eq!(got, expected, "{name}: {what}");
            drop(kept);
        }
    }
}

fn sockets() -> (Arc<OwnedFd>, Arc<OwnedFd>) {
    let (one, other) = UnixStream::pair().unwrap();
    (shared(one), shared(other))
}

fn write(file: &Arc<OwnedFd>, pool: &Pool, offset_bytes: u64) -> Op {
    let part = Part::new(filled(pool, b"abc"), 0..3);
    Op::new(Arc::clone(file), OpKind::Write(part)).at(offset_bytes)
}

fn vectors(file: &Arc<OwnedFd>, parts: Vec<Part<linux_aio::Buffer>>, offset_bytes: u64) -> Op {
    Op::new(Arc::clone(file), OpKind::ReadVectored(parts)).at(offset_bytes)
}

/// musl remembers of a number for a moment that it was a pipe's, or a file's.
#[test]
fn what_a_descriptor_was_before_means_nothing() {
    let (mut engine, pool) = (Posix::new(1, None), Pool::new(1, 4096).unwrap());
    let file = shared(tempfile::tempfile().unwrap());
    let mut answer = |op: Op| {
        engine.queue(op).unwrap();
        let mut done = Vec::new();
        while engine.in_flight() > 0 {
            engine.submit_and_reap(1, None, &mut done).unwrap();
        }
        done.pop().unwrap().result.map_err(|error| error.raw_os_error().unwrap())
    };
    for round in (0..2000).rev() {
        let (_reader, writer) = pipe();
        assert_eq!(answer(write(&writer, &pool, 0)), Ok(3), "the pipe of round {round}");
        // From behind, so that nothing stands where it should if it is written as a pipe is.
        assert_eq!(answer(write(&file, &pool, 3 * round)), Ok(3));
    }
    let mut bytes = vec![0; 6001];
    assert_eq!(rustix::io::pread(&*file, &mut bytes, 0), Ok(6000));
    assert_eq!(bytes[..6000], b"abc".repeat(2000));
}

#[test]
fn a_pipe_has_no_places_and_a_socket_one() {
    let mut asked = Asked::new();
    for at in [0, 5, 1 << 40] {
        asked.all("a pipe is read", Ok(2), |pool| {
            let (reader, writer) = pipe();
            write_to(&writer, b"hi");
            (read(&reader, pool, at), writer)
        });
        asked.all("a pipe is written", Ok(3), |pool| {
            let (reader, writer) = pipe();
            (write(&writer, pool, at), reader)
        });
        asked.all("a pipe without a reader", Err(libc::EPIPE), |pool| {
            (write(&pipe().1, pool, at), ())
        });
        let there = |count| if at == 0 { Ok(count) } else { Err(libc::ESPIPE) };
        asked.all("a socket is read", there(2), |pool| {
            let (one, other) = sockets();
            write_to(&other, b"hi");
            (read(&one, pool, at), other)
        });
        asked.all("a socket is written", there(3), |pool| {
            let (one, other) = sockets();
            (write(&one, pool, at), other)
        });
        asked.all("a socket is read into vectors", there(2), |pool| {
            let (one, other) = sockets();
            write_to(&other, b"hi");
            (vectors(&one, vec![Part::whole(pool.get().unwrap())], at), other)
        });
        // musl takes it for a file with places, since its lseek(2) succeeds, and says ESPIPE.
        if cfg!(target_env = "gnu") {
            asked.all("an eventfd", Ok(8), |pool| {
                let event = silent_eventfd();
                write_to(&event, &1u64.to_ne_bytes());
                (read(&event, pool, at), ())
            });
        }
    }
    for at in [i64::MAX as u64, 1 << 63, u64::MAX] {
        asked.all("a pipe beyond all places", Err(libc::EINVAL), |pool| {
            let (reader, writer) = pipe();
            write_to(&writer, b"hi");
            (read(&reader, pool, at), writer)
        });
    }
}

#[test]
fn syncs_are_of_a_whole_file() {
    let folder = common::folder();
    let file = file_with(&folder.path().join("f"), b"text");
    let directory = shared(File::open(folder.path()).unwrap());
    let mut asked = Asked::new();
    let sync = |file: &Arc<OwnedFd>, kind, at| Op::new(Arc::clone(file), kind).at(at);
    for (at, answer) in [(0, Ok(0)), (5, Err(libc::EINVAL)), (1 << 63, Err(libc::EINVAL))] {
        for file in [&file, &directory] {
            asked.all("fsync", answer, |_| (sync(file, OpKind::Fsync, at), ()));
            asked.all("fdatasync", answer, |_| (sync(file, OpKind::Fdatasync, at), ()));
        }
        asked.all("fsync of a pipe", Err(libc::EINVAL), |_| {
            let (reader, writer) = pipe();
            (sync(&writer, OpKind::Fsync, at), reader)
        });
    }
    asked.all("fsync with flags", Err(libc::EINVAL), |_| {
        (sync(&file, OpKind::Fsync, 0).flags(ReadWriteFlags::DSYNC), ())
    });
}

#[test]
fn what_cannot_be_read_or_written_says_why() {
    let folder = common::folder();
    let path = folder.path().join("f");
    let file = file_with(&path, b"text");
    let directory = shared(File::open(folder.path()).unwrap());
    let write_only = shared(File::options().write(true).open(&path).unwrap());
    let read_only = shared(File::open(&path).unwrap());
    let path_only = shared(rustix::fs::open(&path, OFlags::PATH, Mode::empty()).unwrap());
    let nothing = |pool: &Pool| OpKind::Read(Part::new(pool.get().unwrap(), 0..0));
    let mut asked = Asked::new();
    for at in [0, 5] {
        let eisdir = Err(libc::EISDIR);
        asked.all("a directory", eisdir, |pool| (read(&directory, pool, at), ()));
        asked.all("nothing of a directory", eisdir, |pool| {
            (Op::new(Arc::clone(&directory), nothing(pool)).at(at), ())
        });
        asked.all("no vectors of a directory", eisdir, |_| (vectors(&directory, vec![], at), ()));
        asked.all("nothing", Ok(0), |pool| (Op::new(file.clone(), nothing(pool)).at(at), ()));
        asked.all("no vectors", Ok(0), |_| (vectors(&file, vec![], at), ()));
        let ebadf = Err(libc::EBADF);
        asked.all("a write-only file", ebadf, |pool| (read(&write_only, pool, at), ()));
        asked.all("no vectors of it", ebadf, |_| (vectors(&write_only, vec![], at), ()));
        asked.all("a read-only file", ebadf, |pool| (write(&read_only, pool, at), ()));
        asked.all("a path", ebadf, |pool| (read(&path_only, pool, at), ()));
        asked.all("fsync of a path", ebadf, |_| (Op::new(path_only.clone(), OpKind::Fsync), ()));
    }
    for at in [i64::MAX as u64, 1 << 63, u64::MAX] {
        let einval = Err(libc::EINVAL);
        asked.all("a read beyond all places", einval, |pool| (read(&file, pool, at), ()));
        asked.all("a write beyond all places", einval, |pool| (write(&file, pool, at), ()));
    }
    asked.all("vectors longer than all memory", Err(libc::EINVAL), |pool| {
        let parts = (0..2).map(|_| Part::new(pool.get().unwrap(), 0..usize::MAX)).collect();
        (vectors(&file, parts, 0), ())
    });
    asked.all("a write beyond all files", Err(libc::EFBIG), |pool| {
        (write(&file, pool, 1 << 60), ())
    });
}
