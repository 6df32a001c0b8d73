//! A block in flight, and how a short count is taken up again: pure.

use std::ops::Range;
use std::time::Instant;

use super::shape::Shape;
use super::zeros::{ZERO_GRAIN_BYTES, next_data_run};

/// Reads ask for multiples of this, the least that a block may have.
const READ_GRAIN_BYTES: usize = 4096;

/// A block in flight. Its ranges are of bytes in the block's buffer.
#[derive(Clone, Debug)]
pub struct Flight {
    /// Index of the job in the loop's slab.
    pub job: usize,
    /// Index of the block in the file.
    pub block: u64,
    /// Where the block begins in the file.
    pub offset_bytes: u64,
    len: usize,
    align: usize,
    /// How far the present read or write has come.
    position: usize,
    /// Where the present run of data ends, when writing.
    run_end: usize,
    /// Whether zeros are left out, when writing.
    is_sparse: bool,
    /// When the present read or write was queued, if times are taken.
    pub begun: Option<Instant>,
}

/// What follows a completion.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Do the rest, in this range of the buffer: the count was short.
    Again(Range<usize>),
    /// All of it is done.
    Whole,
    /// It brought nothing, so that it does not get any further.
    Stuck,
}

impl Flight {
    /// A block about to be read.
    pub fn new(job: usize, block: u64, shape: &Shape) -> Self {
        Self {
            job,
            block,
            offset_bytes: block * shape.block_bytes,
            len: shape.block_len(block) as usize,
            align: shape.read_align as usize,
            position: 0,
            run_end: 0,
            is_sparse: false,
            begun: None,
        }
    }

    /// How many bytes of the file are in the block.
    pub fn len_bytes(&self) -> usize {
        self.len
    }

    /// The first range to read: the block, rounded up to the alignment. A last block of 5,000 bytes
    /// is asked for as 8,192, and the device answers 5,000.
    pub fn read_range(&self) -> Range<usize> {
        0..self.read_end()
    }

    /// Where reads end. Also without an alignment they ask for whole pages, for which each block's
    /// buffer has room: some files of /sys answer a request for what they hold with less.
    fn read_end(&self) -> usize {
        self.len.next_multiple_of(self.align.max(READ_GRAIN_BYTES))
    }

    /// `count` more bytes were read.
    pub fn read(&mut self, count: usize) -> Step {
        self.advance(count, self.len, self.read_end())
    }

    /// The reading is over, the writing begins.
    pub fn begin_writing(&mut self, shape: &Shape) {
        (self.align, self.is_sparse) = (shape.write_align as usize, shape.sparse);
        (self.position, self.run_end) = (0, 0);
    }

    /// The next range to write: the next run of data if zeros are left out, or all at once. The
    /// buffer beyond the block's end is zero, so that the last range may be rounded up to the
    /// alignment.
    pub fn write_range(&mut self, buffer: &[u8]) -> Option<Range<usize>> {
        let from = self.run_end;
        let run = match self.is_sparse {
            true => next_data_run(&buffer[..self.len], from, ZERO_GRAIN_BYTES.max(self.align))?,
            false if from == 0 && self.len > 0 => 0..self.len,
            false => return None,
        };
        (self.position, self.run_end) = (run.start, run.end);
        Some(run.start..run.end.next_multiple_of(self.align))
    }

    /// `count` more bytes were written.
    pub fn written(&mut self, count: usize) -> Step {
        self.advance(count, self.run_end, self.run_end.next_multiple_of(self.align))
    }

    /// `count` more bytes are done of those up to `end`; up to `asked_end` are asked for.
    fn advance(&mut self, count: usize, end: usize, asked_end: usize) -> Step {
        let reached = self.position + count;
        if reached >= end {
            return Step::Whole;
        }
        if count == 0 {
            return Step::Stuck;
        }
        // Go on at an aligned place: 5,000 bytes of 8,192 done with an alignment of 4,096 means
        // again from 4,096. A file that gives less than that at once is gone on with where it is:
        // at its end nothing follows, and elsewhere the filesystem takes the place or refuses it.
        let aligned = reached - reached % self.align;
        self.position = if aligned > self.position { aligned } else { reached };
        Step::Again(self.position..asked_end)
    }
}

#[cfg(test)]
mod tests {
    use super::super::route::Access;
    use super::*;
    use crate::report::Way;

    fn shape(size_bytes: u64) -> Shape {
        let access = Access { way: Way::Direct, align_bytes: 4096 };
        Shape::write(size_bytes, 1 << 20, access, access)
    }

    #[test]
    fn a_short_read_goes_on_at_an_aligned_place_and_gives_up_when_nothing_comes() {
        let mut flight = Flight::new(0, 0, &shape(10_000));
        assert_eq!(flight.read_range(), 0..12_288);
        assert_eq!(flight.read(5000), Step::Again(4096..12_288));
        assert_eq!(flight.read(5904), Step::Whole);
        let mut flight = Flight::new(0, 0, &shape(10_000));
        assert_eq!(flight.read(0), Step::Stuck);
    }

    #[test]
    fn any_number_of_short_reads_get_to_the_end() {
        for piece in [1, 511, 4095, 4096, 4097] {
            let mut flight = Flight::new(0, 0, &shape(10_000));
            let (mut range, mut reads) = (flight.read_range(), 0);
            while let Step::Again(next) = flight.read(piece.min(10_000 - range.start)) {
                assert!(next.start > range.start, "{piece} bytes get further");
                (range, reads) = (next, reads + 1);
            }
            assert!(range.start < 10_000 && reads <= 10_000, "{piece} bytes: {reads} reads");
            // An aligned file that is cut meanwhile ends where nothing follows.
            let mut flight = Flight::new(0, 0, &shape(10_000));
            assert_eq!(flight.read(5000), Step::Again(4096..12_288));
            assert_eq!(flight.read(904), Step::Again(5000..12_288));
            assert_eq!(flight.read(0), Step::Stuck);
        }
    }

    #[test]
    fn a_file_that_grew_is_read_to_its_old_size() {
        let mut flight = Flight::new(0, 0, &shape(10_000));
        assert_eq!(flight.read(12_288), Step::Whole);
        assert_eq!(flight.len_bytes(), 10_000);
    }

    #[test]
    fn sparse_writes_leave_out_runs_of_zeros() {
        let mut shape = shape(5 * 4096 + 100);
        shape.sparse = true;
        let mut flight = Flight::new(0, 0, &shape);
        let mut buffer = vec![0; 1 << 20];
        buffer[4096] = 1;
        buffer[3 * 4096 - 1] = 1;
        buffer[5 * 4096 + 99] = 1;
        flight.begin_writing(&shape);
        assert_eq!(flight.write_range(&buffer), Some(4096..3 * 4096));
        assert_eq!(flight.written(4096), Step::Again(2 * 4096..3 * 4096));
        assert_eq!(flight.written(4096), Step::Whole);
        assert_eq!(flight.write_range(&buffer), Some(5 * 4096..6 * 4096));
        assert_eq!(flight.written(4096), Step::Whole);
        assert_eq!(flight.write_range(&buffer), None);
    }
}
