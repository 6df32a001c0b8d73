//! How a run went over time, in bounded memory.

use std::time::Duration;

/// The state of a run at a moment. The sums are those since its beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sample {
    /// Since the run began.
    pub elapsed: Duration,
    /// Bytes read.
    pub read_bytes: u64,
    /// Bytes written.
    pub written_bytes: u64,
    /// Bytes of files that stand durable under their names.
    pub durable_bytes: u64,
    /// Blocks in flight, on average since the sample before.
    pub depth: f64,
}

/// Samples at even distances. When there are too many, every second one goes, and from then on half
/// as many are taken.
#[derive(Debug)]
pub struct Series {
    samples: Vec<Sample>,
    samples_max: usize,
    /// How many offered samples make one that is kept.
    stride: u32,
    /// How many of the present one were offered, and the sum of their depths.
    pending: (u32, f64),
}

impl Series {
    /// An empty series of up to `samples_max` samples, an even number.
    pub fn new(samples_max: usize) -> Self {
        Self { samples: Vec::with_capacity(samples_max), samples_max, stride: 1, pending: (0, 0.0) }
    }

    /// Offers the next sample.
    pub fn push(&mut self, sample: Sample) {
        self.pending = (self.pending.0 + 1, self.pending.1 + sample.depth);
        if self.pending.0 < self.stride {
            return;
        }
        let (count, depths) = std::mem::take(&mut self.pending);
        self.samples.push(Sample { depth: depths / f64::from(count), ..sample });
        if self.samples.len() >= self.samples_max {
            // Of each pair the later one has the sums of both.
            self.samples = self.samples.chunks(2).map(merged).collect();
            self.stride *= 2;
        }
    }

    /// Offers the last sample, which is kept in any case.
    pub fn end(&mut self, sample: Sample) {
        let stride = std::mem::replace(&mut self.stride, 1);
        self.push(sample);
        self.stride *= stride;
    }

    /// What is kept.
    pub fn samples(&self) -> &[Sample] {
        &self.samples
    }
}

fn merged(pair: &[Sample]) -> Sample {
    let last = pair[pair.len() - 1];
    Sample {
        depth: pair.iter().map(|sample| sample.depth).sum::<f64>() / pair.len() as f64,
        ..last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_series_keeps_its_bounds_its_ends_and_its_averages() {
        for count in [1, 9, 10, 11, 1000, 12_345] {
            let mut series = Series::new(10);
            let sample_at = |n: u64| Sample {
                elapsed: Duration::from_secs(n),
                read_bytes: n * 3,
                depth: 4.0,
                ..Sample::default()
            };
            for n in 1..=count {
                let sample = Sample {
                    elapsed: Duration::from_secs(n),
                    read_bytes: n * 3,
                    depth: 4.0,
                    ..Sample::default()
                };
                series.push(sample);
                assert!(series.samples().len() <= 10);
            }
            let kept = series.samples();
            let step = kept[0].elapsed.as_secs();
            for (n, sample) in kept.iter().enumerate() {
                assert_eq!(sample.elapsed.as_secs(), step * (n as u64 + 1), "even distances");
                assert_eq!((sample.read_bytes, sample.depth), (sample.elapsed.as_secs() * 3, 4.0));
            }
            assert!(kept.last().unwrap().elapsed.as_secs() + step > count, "up to the end");
            series.end(sample_at(count + 1));
            let last = series.samples().last().unwrap();
            assert_eq!(
                (last.elapsed.as_secs(), last.read_bytes),
                (count + 1, (count + 1) * 3),
                "the end itself"
            );
        }
    }
}
