//! How the run went over time: its samples as charts.

use std::time::Duration;

use super::axis::Axis;
use super::chart::{Chart, Curve, Readout, Stroke};
use super::data::{Deed, Page};
use super::units::{bytes, counted, duration, rate};
use crate::report::{Sample, Totals};

/// The most intervals that a chart has: as many as can be pointed at.
const INTERVALS_MAX: usize = 120;

/// What flows, in the order in which it is drawn, the last on top.
const FLOWS: [Flow; 3] = [
    Flow { name: "durable", sum: |sample| sample.durable_bytes },
    Flow { name: "written", sum: |sample| sample.written_bytes },
    Flow { name: "read", sum: |sample| sample.read_bytes },
];

struct Flow {
    name: &'static str,
    sum: fn(&Sample) -> u64,
}

impl Flow {
    /// Whether it belongs to the run: it has flowed, or was to flow.
    fn is_of(&self, deed: Deed, last: &Sample) -> bool {
        let meant = match self.name {
            "durable" => deed == Deed::Copy { durable: true },
            "written" => matches!(deed, Deed::Copy { .. }),
            _ => true,
        };
        meant || (self.sum)(last) > 0
    }

    fn stroke(&self) -> Stroke {
        if self.name == "durable" { Stroke::Area } else { Stroke::Line }
    }
}

/// The time between two samples.
struct Interval {
    begin: Sample,
    end: Sample,
}

impl Interval {
    fn seconds(&self) -> f64 {
        (self.end.elapsed - self.begin.elapsed).as_secs_f64()
    }

    /// Bytes a second.
    fn rate(&self, flow: &Flow) -> f64 {
        (flow.sum)(&self.end).saturating_sub((flow.sum)(&self.begin)) as f64 / self.seconds()
    }

    fn readout(&self, figures: &[String]) -> Readout {
        let text = format!("{}\n{}", duration(self.end.elapsed), figures.join("\n"));
        Readout { seconds: self.seconds(), text }
    }
}

/// The charts.
pub fn charts(page: &Page<'_>) -> String {
    let intervals = intervals(&steady(page.samples));
    let nothing = |why| {
        format!("<section class=\"card wide\">\n<h2>Throughput</h2>\n<p>{why}</p>\n</section>\n")
    };
    let Some(Interval { end: last, .. }) = intervals.last() else {
        return nothing("The run was over before it could be looked at.");
    };
    if FLOWS.iter().all(|flow| (flow.sum)(last) == 0) {
        return nothing("No byte was read or written.");
    }
    let flows: Vec<&Flow> = FLOWS.iter().filter(|flow| flow.is_of(page.deed, last)).collect();
    let seconds = last.elapsed.max(page.elapsed).as_secs_f64();
    let reads_back = Totals::get(&page.totals.verified_files) > 0;
    [
        throughput(seconds, &flows, &intervals).markup("wide"),
        sums(seconds, &flows, &intervals, reads_back).markup("half"),
        depth(seconds, &intervals),
    ]
    .concat()
}

/// The samples in the order of their times, not too many, and no two of one time.
///
/// The last one is taken when the run ends. It may come so soon after the one before that a rate
/// between them would mean nothing; then it takes its place.
fn steady(samples: &[Sample]) -> Vec<Sample> {
    let mut kept: Vec<Sample> = Vec::with_capacity(samples.len());
    for sample in samples {
        if sample.elapsed > kept.last().map_or(Duration::ZERO, |last| last.elapsed) {
            let depth = if sample.depth.is_finite() { sample.depth.max(0.0) } else { 0.0 };
            kept.push(Sample { depth, ..*sample });
        }
    }
    let several = kept.len().div_ceil(INTERVALS_MAX).max(1);
    let depth =
        |some: &[Sample]| some.iter().map(|sample| sample.depth).sum::<f64>() / some.len() as f64;
    let mut few: Vec<Sample> = kept
        .chunks(several)
        .map(|some| Sample { depth: depth(some), ..some[some.len() - 1] })
        .collect();
    if let [.., before, last] = &*few {
        let usual = last.elapsed / few.len() as u32;
        if last.elapsed - before.elapsed < usual / 2 {
            few.swap_remove(few.len() - 2);
        }
    }
    few
}

fn intervals(samples: &[Sample]) -> Vec<Interval> {
    let begins = [Sample::default()].into_iter().chain(samples.iter().copied());
    begins.zip(samples).map(|(begin, &end)| Interval { begin, end }).collect()
}

fn largest(values: impl Iterator<Item = f64>) -> f64 {
    values.fold(0.0, f64::max)
}

/// Points in the middles of the intervals, at the beginning of the first and at the end of the
/// last.
fn through_middles(intervals: &[Interval], value: impl Fn(&Interval) -> f64) -> Vec<(f64, f64)> {
    let middles =
        intervals.iter().map(|i| (i.begin.elapsed.as_secs_f64() + i.seconds() / 2.0, value(i)));
    let first = intervals.first().map(|i| (0.0, value(i)));
    let last = intervals.last().map(|i| (i.end.elapsed.as_secs_f64(), value(i)));
    first.into_iter().chain(middles).chain(last).collect()
}

/// Points that make one step an interval.
fn in_steps(intervals: &[Interval], value: impl Fn(&Interval) -> f64) -> Vec<(f64, f64)> {
    let step =
        |i: &Interval| [i.begin, i.end].map(|sample| (sample.elapsed.as_secs_f64(), value(i)));
    intervals.iter().flat_map(step).collect()
}

fn throughput(seconds: f64, flows: &[&Flow], intervals: &[Interval]) -> Chart {
    let curve = |flow: &&Flow| {
        let stroke = flow.stroke();
        let points = match stroke {
            Stroke::Area => in_steps(intervals, |i| i.rate(flow)),
            Stroke::Line => through_middles(intervals, |i| i.rate(flow)),
        };
        Curve { name: flow.name, figure: format!("up to {}", rate(peak(&points))), stroke, points }
    };
    let curves: Vec<Curve> = flows.iter().map(curve).collect();
    let peak_of = |stroke| {
        let drawn = curves.iter().filter(|curve| curve.stroke == stroke);
        largest(drawn.map(|curve| peak(&curve.points)))
    };
    let (moved, durable) = (peak_of(Stroke::Line), peak_of(Stroke::Area));
    // A large file becomes durable all at once. An axis up to there would flatten all else.
    let top = if moved > 0.0 { moved.max(durable.min(moved * 1.25)) } else { durable };
    let values = Axis::of_bytes(top, "/s");
    let mut note = String::new();
    if let (Some(Interval { end, .. }), 2..) = (intervals.last(), intervals.len()) {
        note += &format!("Averages over {} each. ", duration(end.elapsed / intervals.len() as u32));
    }
    if curves.iter().any(|curve| curve.stroke == Stroke::Area) {
        note.push_str(
            "A file’s bytes become durable all at once, \
             when it is on the device and gets its name.",
        );
    }
    if durable > values.end {
        note.push_str(" What leaves the frame goes on above it.");
    }
    let readout = |i: &Interval| {
        let figure = |flow: &&Flow| format!("{} {}", flow.name, rate(i.rate(flow)));
        i.readout(&flows.iter().rev().map(figure).collect::<Vec<String>>())
    };
    let readouts = intervals.iter().map(readout).collect();
    Chart { title: "Throughput", note, times: Axis::of_times(seconds), values, curves, readouts }
}

fn peak(points: &[(f64, f64)]) -> f64 {
    largest(points.iter().map(|(_, value)| *value))
}

/// The chart of sums. `reads_back` says that reads are also those of a verification.
fn sums(seconds: f64, flows: &[&Flow], intervals: &[Interval], reads_back: bool) -> Chart {
    let curve = |flow: &&Flow| {
        let point = |i: &Interval| (i.end.elapsed.as_secs_f64(), (flow.sum)(&i.end) as f64);
        let points: Vec<(f64, f64)> =
            [(0.0, 0.0)].into_iter().chain(intervals.iter().map(point)).collect();
        Curve { name: flow.name, figure: bytes(peak(&points)), stroke: flow.stroke(), points }
    };
    let curves: Vec<Curve> = flows.iter().map(curve).collect();
    let mut note = Vec::new();
    if curves.iter().any(|curve| curve.stroke == Stroke::Area) {
        note.push("A power cut would take what is written and not yet durable.");
    }
    if reads_back {
        note.push("What is read back to be verified counts as read.");
    }
    let readout = |i: &Interval| {
        let sum = |flow: &&Flow| format!("{} {}", flow.name, bytes((flow.sum)(&i.end) as f64));
        i.readout(&flows.iter().rev().map(sum).collect::<Vec<String>>())
    };
    Chart {
        title: "Bytes moved",
        note: note.join(" "),
        times: Axis::of_times(seconds),
        values: Axis::of_bytes(largest(curves.iter().map(|curve| peak(&curve.points))), ""),
        curves,
        readouts: intervals.iter().map(readout).collect(),
    }
}

fn depth(seconds: f64, intervals: &[Interval]) -> String {
    let most = largest(intervals.iter().map(|i| i.end.depth));
    if most == 0.0 {
        return "<section class=\"card half\">\n<h2>Queue depth</h2>\n\
                <p>No block of a big file was in flight.</p>\n</section>\n"
            .to_owned();
    }
    let (weighted, whole) = intervals
        .iter()
        .fold((0.0, 0.0), |(sum, time), i| (sum + i.end.depth * i.seconds(), time + i.seconds()));
    let most_of = counted(most.round() as u64, "block", "blocks");
    let chart = Chart {
        title: "Queue depth",
        note:
            "How many blocks of big files were being read or written at once. Small files are not \
               counted."
                .to_owned(),
        times: Axis::of_times(seconds),
        values: Axis::of_counts(most, "blocks"),
        curves: vec![Curve {
            name: "in flight",
            figure: format!("{:.1} on average, up to {most_of}", weighted / whole),
            stroke: Stroke::Line,
            points: through_middles(intervals, |i| i.end.depth),
        }],
        readouts: intervals
            .iter()
            .map(|i| i.readout(&[format!("{:.1} in flight", i.end.depth)]))
            .collect(),
    };
    chart.markup("half")
}
