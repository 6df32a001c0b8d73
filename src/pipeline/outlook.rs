//! How the small files of a batch are best read. Neighbours are mostly alike: all of them are in
//! the page cache, or none. So not each is asked about.

use std::os::fd::{AsFd, OwnedFd};

use super::batch::BatchWay;
use super::route::{Access, DirectMode, access};
use super::sizes::TOGETHER_ALIGN_BYTES;
use crate::fs::{self, ReadFrom, Stat};

/// As many files in a row that were found alike speak for the next ones.
const ALIKE_MIN: usize = 2;

/// For so many times their own number; then one is asked about again.
const UNASKED_EACH: usize = 4;

/// What the files of a batch so far let expect of the next one.
#[derive(Debug)]
pub struct Outlook {
    direct: DirectMode,
    /// Whether neighbours that are read direct are one request.
    merges: bool,
    last: Option<BatchWay>,
    /// The device of the last file.
    device: Option<u64>,
    /// How many were asked about and found like the last one.
    alike: usize,
    /// How many were not asked about since the last one that was.
    unasked: usize,
}

impl Outlook {
    /// Nothing is known yet.
    pub fn new(direct: DirectMode, merges: bool) -> Self {
        Self { direct, merges, last: None, device: None, alike: 0, unasked: 0 }
    }

    /// Where the next file is best read from.
    pub fn read_from(&self) -> ReadFrom {
        match self.expected() {
            Some(BatchWay::Together) => ReadFrom::Device,
            _ => ReadFrom::Anywhere,
        }
    }

    fn expected(&self) -> Option<BatchWay> {
        self.last.filter(|_| self.alike >= ALIKE_MIN)
    }

    /// How a small file is read that answered `stat`, and whose descriptor has `O_DIRECT`
    /// afterwards if that is direct. A file that cannot be asked about is read through the page
    /// cache, which tells what is wrong.
    pub fn way(&mut self, file: &OwnedFd, stat: &Stat, is_direct: bool) -> BatchWay {
        let size_bytes = stat.st_size as u64;
        let is_expected = self.device.replace(stat.st_dev) == Some(stat.st_dev);
        if !is_expected {
            // Another filesystem may have no direct I/O, and takes the flag all the same.
            (self.last, self.alike, self.unasked) = (None, 0, 0);
        }
        let way = match self.expected() {
            _ if size_bytes == 0 => BatchWay::Cached,
            Some(way)
                if self.unasked < self.alike * UNASKED_EACH
                    && is_direct == (way == BatchWay::Together) =>
            {
                self.unasked += 1;
                way
            }
            _ => self.ask(file, size_bytes, is_direct && is_expected),
        };
        if is_direct && way != BatchWay::Together {
            // If this fails, so does what reads next, and says so.
            let _off = fs::set_direct(file, false);
        }
        way
    }

    fn ask(&mut self, file: &OwnedFd, size_bytes: u64, is_direct: bool) -> BatchWay {
        let cached_bytes = fs::cached_bytes(file.as_fd(), size_bytes);
        let is_cold = cached_bytes.is_some_and(|bytes| bytes <= size_bytes / 2);
        let may_be_direct = self.merges && self.direct == DirectMode::Auto && is_cold;
        let has_direct =
            || access(self.direct, TOGETHER_ALIGN_BYTES, file).is_ok_and(Access::is_direct);
        let way = match cached_bytes {
            Some(bytes) if bytes >= size_bytes => BatchWay::Cached,
            _ if may_be_direct && (is_direct || has_direct()) => BatchWay::Together,
            _ => BatchWay::Ahead,
        };
        self.alike = if self.last == Some(way) { self.alike + 1 } else { 1 };
        (self.last, self.unasked) = (Some(way), 0);
        way
    }
}
