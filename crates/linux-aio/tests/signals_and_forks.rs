//! A signal during a wait is harmless, and a forked child cannot touch its parent's operations.
//!
//! Sending a signal to one thread and forking are `unsafe`, and no crate wraps them otherwise. This
//! is the one test file that does, in a few small functions, for what it shows of the safe
//! interface.
#![cfg(feature = "posix")]
#![allow(unsafe_code, reason = "no safe crate sends thread signals or forks")]

mod common;

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, mpsc};
use std::time::{Duration, Instant};

use common::aio::*;
use common::is_root;
use common::posix::*;
use linux_aio::kernel::{Handle, SignalMask};
use linux_aio::posix::{
    Notify, Request, Status, Suspended, cancel_all, list_and_go, list_and_wait, orphans,
    set_threads, suspend,
};
use linux_aio::{Context, Engine, Op, OpKind, Part, PollFlags, Pool, Posix};

/// The value of the last signal.
static VALUE: AtomicUsize = AtomicUsize::new(0);
static SIGNALS: AtomicUsize = AtomicUsize::new(0);

extern "C" fn note(_signal: libc::c_int, info: *mut libc::siginfo_t, _context: *mut libc::c_void) {
    // SAFETY: the kernel hands a handler with SA_SIGINFO a live siginfo.
    let info = unsafe { &*info };
    // SAFETY: a queued signal has a value.
    let value = unsafe { info.si_value() };
    VALUE.store(value.sival_ptr as usize, Ordering::SeqCst);
    SIGNALS.fetch_add(1, Ordering::SeqCst);
}

/// Handles SIGUSR1 without SA_RESTART, so that it interrupts system calls.
fn handle_signals() {
    // SAFETY: an all-zero sigaction is valid.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = note as *const () as usize;
    action.sa_flags = libc::SA_SIGINFO;
    // SAFETY: the handler touches atomics only, and the struct lives through the call.
    let result = unsafe { libc::sigaction(libc::SIGUSR1, &raw const action, std::ptr::null_mut()) };
    assert_eq!(result, 0);
}

/// Runs `wait` while another thread keeps sending signals to this one.
fn interrupted<T>(wait: impl FnOnce() -> T) -> T {
    handle_signals();
    // SAFETY: the call only names the calling thread. musl's threads have addresses for names.
    let waiter = unsafe { libc::pthread_self() } as usize;
    let (over, is_over) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            while is_over.recv_timeout(Duration::from_millis(20))
                == Err(mpsc::RecvTimeoutError::Timeout)
            {
                let waiter = waiter as libc::pthread_t;
                // SAFETY: the waiter lives until the scope ends, which waits for this thread.
                assert_eq!(unsafe { libc::pthread_kill(waiter, libc::SIGUSR1) }, 0);
            }
        });
        let result = wait();
        drop(over);
        result
    })
}

/// Runs something in a forked child. True if it ended without a panic, a signal or a hang.
fn in_child(what: impl FnOnce()) -> bool {
    // SAFETY: the child has one thread, a copy of this one. It uses the allocator, which glibc
    // makes usable after fork. It takes no lock that another thread of these tests may hold (they
    // run one after the other), and it ends in _exit.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0, "fork: {}", std::io::Error::last_os_error());
    if pid == 0 {
        let ended = catch_unwind(AssertUnwindSafe(what));
        // SAFETY: the call ends the child at once.
        unsafe { libc::_exit(if ended.is_ok() { 0 } else { 1 }) };
    }
    let child = rustix::process::Pid::from_raw(pid).unwrap();
    let before = Instant::now();
    loop {
        match rustix::process::waitpid(Some(child), rustix::process::WaitOptions::NOHANG).unwrap() {
            Some((_, status)) => return status.exit_status() == Some(0),
            None if before.elapsed() > Duration::from_secs(30) => {
                rustix::process::kill_process(child, rustix::process::Signal::KILL).unwrap();
                return false;
            }
            None => std::thread::sleep(Duration::from_millis(1)),
        }
    }
}

/// Asserts that `use_it` panics and says that a forked child cannot do this.
fn is_forbidden(use_it: impl FnOnce()) {
    let panic = catch_unwind(AssertUnwindSafe(use_it)).expect_err("a child may not do this");
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or(panic.downcast_ref::<&str>().copied());
    assert!(
        text.unwrap_or_default().contains("a forked child cannot use its parent's"),
        "{text:?}"
    );
}

/// Serializes the tests: a fork copies every lock as it stands.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn a_signal_ends_a_wait_for_the_kernel_early() {
    let _alone = alone();
    for system_calls_only in [false, true] {
        let mut context = Context::new(1).unwrap();
        context.set_system_calls_only(system_calls_only);
        let op = Op::new(silent_eventfd(), OpKind::Poll(PollFlags::IN));
        queue(&mut context, op);
        context.submit();
        let mut done = Vec::new();
        assert_eq!(interrupted(|| context.reap(1, None, &mut done)).unwrap(), 0);
        assert_eq!((done.len(), context.in_flight()), (0, 1), "it is still in flight");
        drop(context);
        let mut context = Context::new(1).unwrap();
        context.set_system_calls_only(system_calls_only);
        let op = Op::new(silent_eventfd(), OpKind::Poll(PollFlags::IN));
        let callback = Box::new(|_: &mut Context, _| panic!("not called"));
        context.queue_with(op, callback).map_err(drop).unwrap();
        context.submit();
        assert_eq!(interrupted(|| context.run(1, LONG)).unwrap(), 0);
    }
}

#[test]
fn a_shared_context_is_interrupted_like_another_and_is_not_inherited() {
    let _alone = alone();
    let handle = Handle::new(2).unwrap();
    let never = silent_eventfd();
    let ticket = handle.queue(Op::new(never.clone(), OpKind::Poll(PollFlags::IN))).unwrap();
    assert_eq!(handle.submit().accepted, 1);
    let mut done = Vec::new();
    assert_eq!(interrupted(|| handle.reap(1, None, &mut done)).unwrap(), 0);
    assert_eq!(interrupted(|| handle.run(1, LONG)).unwrap(), 0);
    let mut inherited = Some(handle.clone());
    assert!(in_child(|| {
        let handle = inherited.take().unwrap();
        is_forbidden(|| drop(handle.reap(0, None, &mut Vec::new())));
        is_forbidden(|| drop(handle.run(0, None)));
        is_forbidden(|| drop(handle.cancel(ticket)));
        is_forbidden(|| drop(handle.queue(Op::new(never.clone(), OpKind::Fsync))));
        is_forbidden(|| assert_eq!(handle.submit().accepted, 0));
        is_forbidden(|| handle.wake());
        is_forbidden(|| assert_eq!(handle.in_flight(), 1));
        drop(handle);
    }));
    write_to(&never, &1u64.to_ne_bytes());
    assert_eq!(handle.reap(1, None, &mut done).unwrap(), 1);
}

#[test]
#[cfg(feature = "async")]
fn a_driver_is_interrupted_and_is_not_inherited() {
    use common::future::{begin, drivers, poll_with};
    use linux_aio::future::{Driver, Order};
    use std::task::Waker;

    let _alone = alone();
    let mut driver = Driver::new(2).unwrap();
    assert_eq!(interrupted(|| driver.turn(None)).unwrap(), 0);
    for driver in drivers(2) {
        let (pool, handle, never) = (Pool::new(2, 4096).unwrap(), driver.handle(), pipe());
        let mut poll = handle.poll(&never.0, PollFlags::IN);
        begin(&mut poll);
        let mut stream = handle.completions(Order::Pushed);
        stream.push(read(&never.0, &pool, 0));
        stream.push(Op::new(&never.0, OpKind::Fsync));
        let mut inherited = Some((driver, poll, stream));
        assert!(in_child(|| {
            let (mut driver, mut poll, mut stream) = inherited.take().unwrap();
            is_forbidden(|| assert_eq!(driver.look(), 0));
            is_forbidden(|| drop(poll_with(&mut poll, Waker::noop())));
            is_forbidden(|| begin(&mut handle.fsync(&never.0)));
            is_forbidden(|| poll.cancel());
            is_forbidden(|| stream.push(Op::new(&never.0, OpKind::Fsync)));
            is_forbidden(|| drop(handle.completions(Order::Pushed)));
            is_forbidden(|| handle.wake());
            drop((poll, stream));
            drop(driver);
        }));
        let (mut driver, poll, stream) = inherited.take().unwrap();
        drop(stream);
        write_to(&never.1, b"x");
        assert!(driver.block_on(poll).unwrap().contains(PollFlags::IN));
        assert_eq!(free_buffers(&pool).len(), 2);
    }
}

#[test]
fn a_masked_wait_lets_through_what_the_thread_blocks_and_nothing_else() {
    let _alone = alone();
    handle_signals();
    let set_mask = |how| {
        // SAFETY: an all-zero set is valid.
        let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
        // SAFETY: the set is live.
        assert_eq!(unsafe { libc::sigaddset(&raw mut set, libc::SIGUSR1) }, 0);
        // SAFETY: the set is live, and the call changes the calling thread's mask alone.
        assert_eq!(unsafe { libc::pthread_sigmask(how, &raw const set, std::ptr::null_mut()) }, 0);
    };
    // SAFETY: the call only names the calling thread.
    let this_thread = unsafe { libc::pthread_self() };
    // SAFETY: this thread lives.
    let signal = || assert_eq!(unsafe { libc::pthread_kill(this_thread, libc::SIGUSR1) }, 0);
    let mut context = Context::new(2).unwrap();
    let event = silent_eventfd();
    queue(&mut context, Op::new(event.clone(), OpKind::Poll(PollFlags::IN)));
    context.submit();
    let (mut done, short) = (Vec::new(), Some(Duration::from_millis(50)));

    set_mask(libc::SIG_BLOCK);
    let blocked = SignalMask::of_this_thread();
    assert!(blocked.blocks(libc::SIGUSR1));
    signal();
    let before = (SIGNALS.load(Ordering::SeqCst), Instant::now());
    assert_eq!(context.reap(1, short, &mut done).unwrap(), 0, "it is blocked");
    assert_eq!(context.reap_masked(1, 1, short, &blocked, &mut done).unwrap(), 0, "and here too");
    assert!(before.1.elapsed() >= 2 * short.unwrap() && SIGNALS.load(Ordering::SeqCst) == before.0);
    let through = blocked.unblock(libc::SIGUSR1).unwrap();
    // This waits forever unless the signal comes through.
    assert_eq!(context.reap_masked(1, 1, None, &through, &mut done).unwrap(), 0);
    assert_eq!(SIGNALS.load(Ordering::SeqCst), before.0 + 1);
    assert!(SignalMask::of_this_thread().blocks(libc::SIGUSR1), "the thread's own mask is back");
    set_mask(libc::SIG_UNBLOCK);

    // Finished operations are reaped as by the other waits, as many as were asked for.
    queue(&mut context, Op::new(event.clone(), OpKind::Poll(PollFlags::IN)));
    context.submit();
    write_to(&event, &1u64.to_ne_bytes());
    assert_eq!(context.reap_masked(1, 1, None, &through, &mut done).unwrap(), 1);
    assert_eq!(context.reap_masked(1, 1, None, &through, &mut done).unwrap(), 1);
    assert_eq!((done.len(), context.in_flight()), (2, 0));
    let too_few = context.reap_masked(2, 1, None, &through, &mut done).unwrap_err();
    assert_eq!(too_few.raw_os_error(), Some(libc::EINVAL));
}

#[test]
fn a_signal_ends_suspend_and_wait_goes_on() {
    let _alone = alone();
    let pool = Pool::new(1, 4096).unwrap();
    let (reader, writer) = pipe();
    let request = start(read(&reader, &pool, 0));
    assert_eq!(interrupted(|| suspend(&[&request], None)).unwrap(), Suspended::Interrupted);
    assert_eq!(interrupted(|| suspend(&[&request], LONG)).unwrap(), Suspended::Interrupted);
    assert!(matches!(request.status(), Status::InProgress));
    let late = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(200));
        write_to(&writer, b"late");
    });
    let done = interrupted(|| request.wait());
    late.join().unwrap();
    assert_eq!(read_bytes(&done), b"late");
}

/// Overwrites the stack that an earlier call has used.
#[inline(never)]
fn scribble(depth: usize) -> u8 {
    let bytes = std::hint::black_box([0xa5u8; 4096]);
    if depth == 0 { bytes[7] } else { scribble(depth - 1).wrapping_add(bytes[depth % 4096]) }
}

#[test]
fn a_list_that_a_signal_interrupts_leaves_nothing_of_the_stack_with_glibc() {
    let _alone = alone();
    let pool = Pool::new(4, 4096).unwrap();
    let pipes = [pipe(), pipe(), pipe(), pipe()];
    for round in 0..3 {
        let ops: Vec<_> = pipes.iter().map(|(reader, _)| Some(read(reader, &pool, 0))).collect();
        let listed = interrupted(|| list_and_wait(ops));
        assert_eq!(listed.outcome.unwrap_err().raw_os_error(), Some(libc::EINTR), "{round}");
        std::hint::black_box(scribble(200));
        // Now the requests end. What glibc finds in them has to be alive.
        for (place, (_, writer)) in listed.requests.into_iter().zip(&pipes) {
            let request = place.unwrap().map_err(drop).unwrap();
            assert!(matches!(request.status(), Status::InProgress));
            write_to(writer, b"end");
            assert_eq!(read_bytes(&request.wait()), b"end");
        }
    }
}

#[test]
fn a_signal_tells_of_the_end_with_its_value() {
    let _alone = alone();
    handle_signals();
    let pool = Pool::new(1, 4096).unwrap();
    let (reader, writer) = pipe();
    let before = SIGNALS.load(Ordering::SeqCst);
    let notify = |value| Notify::Signal { number: libc::SIGUSR1, value };
    let request = Request::start(read(&reader, &pool, 0), notify(usize::MAX - 4), 0).unwrap();
    std::thread::sleep(Duration::from_millis(20));
    assert_eq!(SIGNALS.load(Ordering::SeqCst), before, "it is not over");
    write_to(&writer, b"x");
    until(|| SIGNALS.load(Ordering::SeqCst) == before + 1);
    assert_eq!(VALUE.load(Ordering::SeqCst), usize::MAX - 4);
    assert_eq!(read_bytes(&request.wait()), b"x");
    // The end of a list notifies too, once.
    let zeros = shared(File::open("/dev/zero").unwrap());
    let part = |_| Some(Op::new(zeros.clone(), OpKind::Read(Part::new(pool.get().unwrap(), 0..7))));
    let listed = list_and_go((0..1).map(part).chain([None]).collect(), notify(12));
    until(|| SIGNALS.load(Ordering::SeqCst) == before + 2);
    assert_eq!(VALUE.load(Ordering::SeqCst), 12);
    assert!(listed.outcome.is_ok());
}

#[test]
fn a_forked_child_cannot_steal_an_event_or_destroy_the_context() {
    let _alone = alone();
    for system_calls_only in [false, true] {
        let zeros = shared(File::open("/dev/zero").unwrap());
        let never = silent_eventfd();
        let pool = Pool::new(9, 4096).unwrap();
        let mut context = Context::new(10).unwrap();
        context.set_system_calls_only(system_calls_only);
        for tag in 0..8 {
            queue(&mut context, read(&zeros, &pool, 0).tag(tag));
        }
        let ticket =
            queue(&mut context, Op::new(never.clone(), OpKind::Poll(PollFlags::IN)).tag(8));
        assert_eq!(context.submit().accepted, 9);
        let mut own = pool.get().unwrap();
        own.fill(7);
        let mut context = Some(context);
        assert!(in_child(|| {
            let mut inherited = context.take().unwrap();
            for _ in 0..2 {
                is_forbidden(|| drop(inherited.reap(1, None, &mut Vec::new())));
                is_forbidden(|| drop(inherited.run(0, None)));
                is_forbidden(|| drop(inherited.cancel(ticket)));
                is_forbidden(|| assert_eq!(inherited.submit().accepted, 0));
            }
            assert_eq!(
                (inherited.in_flight(), own[0]),
                (9, 0),
                "the child's buffers are its own, and empty"
            );
            own.fill(9);
            drop(inherited);
            // The child's own context works.
            let mut mine = Context::new(1).unwrap();
            queue(&mut mine, read(&zeros, &Pool::new(1, 4096).unwrap(), 0));
            assert_eq!(drain(&mut mine).len(), 1);
        }));
        let mut context = context.unwrap();
        assert_eq!((own[0], context.in_flight()), (7, 9));
        write_to(&never, &1u64.to_ne_bytes());
        each_once(&drain(&mut context), 9);
    }
}

#[test]
#[cfg(feature = "threads")]
fn a_forked_child_waits_for_none_of_its_parent_s_threads() {
    let _alone = alone();
    let zeros = shared(File::open("/dev/zero").unwrap());
    let pool = Pool::new(1, 4096).unwrap();
    let mut threads = linux_aio::Threads::new(2, 4, None).unwrap();
    threads.queue(read(&zeros, &pool, 0)).unwrap();
    assert_eq!(threads.submit().accepted, 1);
    let mut inherited = Some(threads);
    assert!(in_child(|| {
        let mut threads = inherited.take().unwrap();
        is_forbidden(|| drop(threads.queue(Op::new(zeros.clone(), OpKind::Fsync))));
        is_forbidden(|| assert_eq!(threads.submit().accepted, 0));
        is_forbidden(|| drop(threads.reap(1, None, &mut Vec::new())));
        drop(threads);
    }));
    let (mut threads, mut done) = (inherited.unwrap(), Vec::new());
    assert_eq!(threads.reap(1, None, &mut done).unwrap(), 1);
    assert_eq!(done.pop().unwrap().result.unwrap(), 4096);
}

#[test]
fn a_forked_child_with_the_process_id_of_its_parent_is_one_all_the_same() {
    let _alone = alone();
    if !is_root("making PID namespaces") {
        return;
    }
    // SAFETY: the call changes the namespace of this process's later children, and touches no
    // memory.
    let unshare = || assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWPID) }, 0);
    // This process's own later children are unaffected: only the child forked here makes
    // namespaces.
    assert!(in_child(|| {
        unshare();
        assert!(in_child(|| {
            let zeros = shared(File::open("/dev/zero").unwrap());
            let pool = Pool::new(1, 4096).unwrap();
            let mut context = Context::new(1).unwrap();
            queue(&mut context, read(&zeros, &pool, 0));
            assert_eq!((std::process::id(), context.submit().accepted), (1, 1));
            let mut context = Some(context);
            unshare();
            assert!(in_child(|| {
                let mut inherited = context.take().unwrap();
                assert_eq!(std::process::id(), 1);
                is_forbidden(|| drop(inherited.reap(1, None, &mut Vec::new())));
                drop(inherited);
            }));
            assert_eq!(drain(context.as_mut().unwrap()).len(), 1, "the event is still there");
        }));
    }));
}

#[test]
fn a_forked_child_is_refused_what_glibc_has_no_threads_for() {
    let _alone = alone();
    let pool = Pool::new(4, 4096).unwrap();
    let (reader, writer) = pipe();
    let request = start(read(&reader, &pool, 0));
    let over = start(read(&shared(File::open("/dev/zero").unwrap()), &pool, 0));
    assert_eq!(suspend(&[&over], LONG).unwrap(), Suspended::Finished);
    let mut engine = Posix::new(2, None);
    engine.queue(read(&reader, &pool, 0)).unwrap();
    engine.submit();
    drop(start(read(&reader, &pool, 0)));
    assert_eq!(orphans(), 1);
    let mut requests = Some((request, over, engine));
    assert!(in_child(|| {
        let (request, over, mut engine) = requests.take().unwrap();
        is_forbidden(|| drop(request.status()));
        is_forbidden(|| drop(request.cancel()));
        is_forbidden(|| drop(suspend(&[&request], Some(Duration::ZERO))));
        is_forbidden(|| drop(cancel_all(&reader)));
        is_forbidden(|| drop(engine.reap(1, None, &mut Vec::new())));
        is_forbidden(|| drop(request.wait()));
        drop((over, engine));
        assert_eq!(orphans(), 0);
        set_threads(3);
        let fsync = || Op::new(silent_eventfd(), OpKind::Fsync).tag(3);
        let refused = Request::start(fsync(), Notify::None, 0).expect_err("it would never end");
        assert_eq!((refused.op.tag, refused.error.kind()), (3, std::io::ErrorKind::Unsupported));
        let listed = list_and_wait(vec![None, Some(fsync())]);
        assert_eq!(listed.outcome.unwrap_err().kind(), std::io::ErrorKind::Unsupported);
        assert!(matches!(&listed.requests[..], [None, Some(Err(refused))] if refused.op.tag == 3));
    }));
    // The parent is unaffected.
    let (request, over, mut engine) = requests.unwrap();
    assert_eq!(read_bytes(&over.wait()).len(), 4096);
    write_to(&writer, b"a");
    let mut done = Vec::new();
    // Which request gets which byte is open: three wait for the pipe, one of them behind another.
    until(|| {
        rustix::io::write(&*writer, b"b").unwrap();
        engine.reap(1, Some(Duration::ZERO), &mut done).unwrap();
        !done.is_empty() && orphans() == 0 && !matches!(request.status(), Status::InProgress)
    });
    assert!(request.wait().result.unwrap() > 0);
    drop(done);
    assert_eq!(free_buffers(&pool).len(), 4);
}
