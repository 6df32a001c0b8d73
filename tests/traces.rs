//! What the other tests read from strace(1): one whole call a line, wherever strace cuts it.

mod common;

use std::fs;

use common::trace::{calls, count, name_of, thread_of, whole};
use common::*;

#[test]
fn a_call_that_is_cut_in_two_is_one_line_where_it_began() {
    let trace = "\
        101   openat2(4, \"d\", {flags=O_RDONLY|O_DIRECTORY}, 24 <unfinished ...>\n\
        102   read(3,  <unfinished ...>\n\
        103   getpid()                    = 103\n\
        102   <... read resumed>\"ab\", 2)    = 2\n\
        102   close(3)                    = 0\n\
        101   <... openat2 resumed>)      = 5</d>\n";
    let wanted = [
        "101 openat2(4, \"d\", {flags=O_RDONLY|O_DIRECTORY}, 24)      = 5</d>",
        "102 read(3, \"ab\", 2)    = 2",
        "103 getpid()                    = 103",
        "102 close(3)                    = 0",
    ];
    assert_eq!(whole(trace), wanted);
    assert_eq!(count(&whole(trace), "read"), 1);
    assert_eq!(wanted.map(name_of), ["openat2", "read", "getpid", "close"]);
    assert_eq!(wanted.map(thread_of), ["101", "102", "103", "102"]);
}

#[test]
fn what_strace_did_to_a_call_stands_behind_it() {
    let trace = "\
        101   fsync(3 <unfinished ...>\n\
        1234567 fsync(4 <unfinished ...>\n\
        101   <... fsync resumed>)  = -1 EIO (Input/output error) (INJECTED)\n\
        1234567 <... fsync resumed>) = 0 (DELAYED)\n";
    let wanted = [
        "101 fsync(3)  = -1 EIO (Input/output error) (INJECTED)",
        "1234567 fsync(4) = 0 (DELAYED)",
    ];
    assert_eq!(whole(trace), wanted);
}

#[test]
fn strings_that_look_like_halves_are_arguments() {
    let trace = "\
        101   openat(3, \"<... read resumed>\", O_RDONLY <unfinished ...>\n\
        102   unlinkat(3, \" <unfinished ...>\", 0) = 0\n\
        103   write(1, \"+++ a\\n--- b\", 11) = 11\n\
        101   <... openat resumed>)       = 4</<... read resumed>>\n";
    let wanted = [
        "101 openat(3, \"<... read resumed>\", O_RDONLY)       = 4</<... read resumed>>",
        "102 unlinkat(3, \" <unfinished ...>\", 0) = 0",
        "103 write(1, \"+++ a\\n--- b\", 11) = 11",
    ];
    assert_eq!(whole(trace), wanted);
}

#[test]
fn a_call_that_never_returned_keeps_what_there_is() {
    let trace = "\
        101   fsync(3 <unfinished ...>\n\
        102   futex(0x7f, FUTEX_WAIT <unfinished ...>\n\
        103   read(4,  <unfinished ...>\n\
        104   ???( <unfinished ...>\n\
        105   fsync(6 <unfinished ...>\n\
        101   +++ killed by SIGKILL +++\n\
        102   <... futex resumed>)        = ?\n\
        103   <... read resumed> <unfinished ...>) = ?\n\
        104   <... ??? resumed>)          = ?\n\
        106   fdatasync(7 <unfinished ...>\n\
        105   +++ killed by SIGKILL +++\n\
        105   exit_group(0)               = ?\n";
    let wanted = [
        "101 fsync(3 <unfinished ...>",
        "102 futex(0x7f, FUTEX_WAIT)        = ?",
        "103 read(4,  <unfinished ...>) = ?",
        "104 ???()          = ?",
        "105 fsync(6 <unfinished ...>",
        "106 fdatasync(7 <unfinished ...>",
        "105 exit_group(0)               = ?",
    ];
    assert_eq!(whole(trace), wanted);
    assert_eq!(name_of(wanted[0]), "fsync");
}

#[test]
fn signals_and_ends_are_no_calls() {
    let trace = "\
        101   io_getevents(0x7f, 1, 8,  <unfinished ...>\n\
        102   --- SIGINT {si_signo=SIGINT, si_code=SI_USER, si_pid=7, si_uid=0} ---\n\
        102   rt_sigreturn({mask=[]})     = 0\n\
        102   exit(0)                     = ?\n\
        102   +++ exited with 0 +++\n\
        101   <... io_getevents resumed>[], NULL) = -1 EINTR (Interrupted system call)\n\
        101   --- SIGINT {si_signo=SIGINT, si_code=SI_TKILL, si_pid=7, si_uid=0} ---\n\
        101   +++ exited with 130 +++\n";
    let wanted = [
        "101 io_getevents(0x7f, 1, 8, [], NULL) = -1 EINTR (Interrupted system call)",
        "102 rt_sigreturn({mask=[]})     = 0",
        "102 exit(0)                     = ?",
    ];
    assert_eq!(whole(trace), wanted);
}

/// A call under way when strace begins has an end alone.
#[test]
fn a_call_without_a_beginning_keeps_its_name() {
    assert_eq!(whole("101   <... poll resumed>)  = 1\n"), ["101 poll()  = 1"]);
}

/// strace itself: many threads at once, each of whose calls is cut now and then.
#[test]
fn calls_of_many_threads_at_once_are_whole() {
    if !have_strace() {
        return;
    }
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    // Workers share out folders.
    for n in 0..100 {
        let folder = at("s").join((n % 20).to_string());
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(n.to_string()), noise(n, n as u64)).unwrap();
    }
    // The threads wait in it side by side.
    let held = "inject=linkat:delay_enter=1000";
    let options = ["-y", "-e", "trace=fsync,pread64,linkat,close", "-e", held];
    let mut command = strace(&options, &at("trace"));
    run(command.args(["--threads=8", "--engine=threads", "-T"]).args([at("s"), at("t")]), 0);
    let calls = calls(&at("trace"));
    let linked: Vec<_> = calls.iter().filter(|call| name_of(call) == "linkat").collect();
    assert_eq!(linked.len(), 100, "{linked:#?}");
    let is_whole = |call: &str| call.contains(", AT_") && call.ends_with(" = 0 (DELAYED)");
    assert!(linked.iter().all(|call| is_whole(call)), "{linked:#?}");
}
