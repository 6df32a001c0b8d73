//! What strace(1) has written, as whole calls. With `-f` it cuts a call in two when a line of
//! another thread comes between, and either half lacks what the other one has.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

/// How the first half of a call ends, and the line of one that never returned.
const CUT: &str = " <unfinished ...>";

/// The calls in a trace, each as one line: the thread's number, a space, and the call. Signals and
/// ends of threads are no calls.
///
/// They are in the order in which they began. Of two threads' calls the earlier one may thus have
/// ended after the later one: only the calls of one thread come one after the other.
pub fn calls(trace: &Path) -> Vec<String> {
    whole(&fs::read_to_string(trace).unwrap())
}

/// The calls in the text of a trace.
pub fn whole(trace: &str) -> Vec<String> {
    let mut calls = Calls::default();
    for line in trace.lines() {
        let (thread, what) = line.split_once(' ').expect("a line begins with a thread's number");
        calls.add(thread, what.trim_start());
    }
    calls.end()
}

/// The number of calls of this name.
pub fn count(calls: &[String], name: &str) -> usize {
    calls.iter().filter(|call| name_of(call) == name).count()
}

/// The name of the call in a line of [`calls`].
pub fn name_of(call: &str) -> &str {
    let (_, call) = call.split_once(' ').unwrap();
    call.split_once('(').map_or(call, |(name, _)| name)
}

/// The number of the thread that made the call in a line of [`calls`].
pub fn thread_of(call: &str) -> &str {
    call.split_once(' ').unwrap().0
}

/// The calls so far, and those that have not returned.
#[derive(Default)]
struct Calls<'trace> {
    lines: Vec<String>,
    /// Where the call of a thread stands whose second half is still to come.
    open: HashMap<&'trace str, usize>,
}

impl<'trace> Calls<'trace> {
    fn add(&mut self, thread: &'trace str, what: &str) {
        if what.starts_with("+++ ") {
            self.never_returned(thread);
        } else if let Some(half) = what.strip_prefix("<... ") {
            let (name, rest) = half.split_once(" resumed>").expect("the second half of a call");
            match self.open.remove(thread) {
                Some(begun) => self.lines[begun].push_str(rest),
                // It began before strace looked.
                None => self.lines.push(format!("{thread} {name}({rest}")),
            }
        } else if !what.starts_with("--- ") {
            self.never_returned(thread);
            let half = what.strip_suffix(CUT);
            if half.is_some() {
                self.open.insert(thread, self.lines.len());
            }
            self.lines.push(format!("{thread} {}", half.unwrap_or(what)));
        }
    }

    /// The thread's last call, if it was cut, has no second half.
    fn never_returned(&mut self, thread: &str) {
        if let Some(begun) = self.open.remove(thread) {
            self.lines[begun].push_str(CUT);
        }
    }

    fn end(mut self) -> Vec<String> {
        for begun in self.open.into_values() {
            self.lines[begun].push_str(CUT);
        }
        self.lines
    }
}
