//! How finely the destination's filesystems store times, for when nothing else tells whether a time
//! was cut.

use std::collections::HashMap;
use std::io;
use std::sync::{Mutex, PoisonError};

use crate::fs::{self, Grain, Moment, Node, Target};
use crate::tree::OpenDir;

/// The grains of filesystems, by device; nothing where none may be tried.
pub struct Grains {
    known: Mutex<HashMap<u64, Option<Grain>>>,
    /// Whether nothing may be made.
    dry_run: bool,
}

impl Grains {
    pub fn new(dry_run: bool) -> Self {
        Self { known: Mutex::default(), dry_run }
    }

    /// Whether the filesystem of a directory of the destination stores `exact` as `stored`, which
    /// takes a grain of `needed` at least. Where its kind does not say it, a file without a name is
    /// made, and given a time. Times that cannot be tried are taken for exact; a dry run tries
    /// none, and takes all for cut but an odd second for an even one.
    pub fn cut(&self, dir: &OpenDir, exact: Moment, stored: Moment, needed: Grain) -> bool {
        let known_kind = || fs::grain_of_times(&*dir.target);
        let tried = || match self.dry_run {
            true => None,
            false => Some(try_times(dir).unwrap_or(Grain::Nanosecond)),
        };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let grain =
            *known.entry(dir.devices().target).or_insert_with(|| known_kind().or_else(tried));
        match grain {
            Some(grain) => exact.cut(grain) == stored,
            None => needed <= Grain::Second,
        }
    }
}

fn try_times(dir: &OpenDir) -> io::Result<Grain> {
    let target = Target::create(&dir.target, None)?;
    let grain = give_time(&target);
    target.discard()?;
    grain
}

fn give_time(target: &Target) -> io::Result<Grain> {
    let mut stat = fs::stat(&**target.file())?;
    stat.st_mtime = Moment::PROBE.seconds as _;
    stat.st_mtime_nsec = Moment::PROBE.nanos.into();
    Node::open(&**target.file()).set_times(&stat)?;
    Ok(Grain::of_probe(Moment::modified(&fs::stat(&**target.file())?)))
}
