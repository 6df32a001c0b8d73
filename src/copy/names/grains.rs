//! How finely the destination's filesystems store times, for when nothing else tells whether a time
//! was cut.

use std::collections::HashMap;
use std::io;
use std::sync::{Mutex, PoisonError};

use crate::fs::{self, Grain, Moment, Node, Target};
use crate::tree::OpenDir;

/// The grains of filesystems, by device.
pub struct Grains {
    known: Mutex<HashMap<u64, Grain>>,
    /// Whether nothing may be made.
    dry_run: bool,
}

impl Grains {
    pub fn new(dry_run: bool) -> Self {
        Self { known: Mutex::default(), dry_run }
    }

    /// The grain of the times in a directory of the destination. Where the kind of its filesystem
    /// does not say it, a file without a name is made, and given a time. Times that cannot be tried
    /// are taken for exact.
    pub fn of(&self, dir: &OpenDir) -> Grain {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let tried = || match self.dry_run {
            true => Grain::Second,
            false => try_times(dir).unwrap_or(Grain::Nanosecond),
        };
        let find = || fs::grain_of_times(&*dir.target).unwrap_or_else(tried);
        *known.entry(dir.devices().target).or_insert_with(find)
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
