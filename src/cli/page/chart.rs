//! A chart over time. The curves are SVG that is stretched to the page's width. The words on the
//! axes are HTML beside it, so that they keep their size.

use std::fmt::Write;

use super::axis::Axis;
use super::units::escaped;

/// The units of the square on which the curves are drawn, whatever its shape on the page.
const SIDE: f64 = 1000.0;

/// A chart.
pub struct Chart {
    /// Its heading.
    pub title: &'static str,
    /// What one has to know to read it; text, not markup.
    pub note: String,
    /// The axis from left to right.
    pub times: Axis,
    /// The axis from bottom to top.
    pub values: Axis,
    /// The curves, the first at the bottom.
    pub curves: Vec<Curve>,
    /// The readouts from the beginning on, each after the one before.
    pub readouts: Vec<Readout>,
}

/// A curve of a chart.
pub struct Curve {
    /// Its name, whose first word the style sheet knows.
    pub name: &'static str,
    /// The one figure of it in the legend; text, not markup.
    pub figure: String,
    /// How it is drawn.
    pub stroke: Stroke,
    /// Its points, each in seconds and a value.
    pub points: Vec<(f64, f64)>,
}

/// How a curve is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stroke {
    /// As a line.
    Line,
    /// With all beneath it filled.
    Area,
}

/// What is read off while the pointer is over a part of the chart.
pub struct Readout {
    /// The width of the part.
    pub seconds: f64,
    /// What is read off, with a heading in the first line; text, not markup.
    pub text: String,
}

impl Chart {
    /// The chart as a section of the page. `class` says how wide it is.
    pub fn markup(&self, class: &str) -> String {
        let legend: String = self.curves.iter().rev().map(Curve::legend).collect();
        let note = match &*self.note {
            "" => String::new(),
            note => format!("<p class=\"note\">{}</p>\n", escaped(note)),
        };
        format!(
            "<section class=\"card {class}\">\n<h2>{title}</h2>\n\
             <ul class=\"legend\">{legend}</ul>\n\
             <div class=\"plot\">\n{drawing}{labels}{readouts}</div>\n{note}</section>\n",
            title = self.title,
            drawing = self.drawing(),
            labels = self.labels(),
            readouts = self.readouts(),
        )
    }

    fn drawing(&self) -> String {
        let spoken: Vec<String> = self
            .curves
            .iter()
            .rev()
            .map(|curve| format!("{} {}", curve.name, curve.figure))
            .collect();
        let grid = |(at, _): &(f64, String)| format!("M0 {:.0}H{SIDE}", (1.0 - at) * SIDE);
        let grid: String = self.values.ticks.iter().map(grid).collect();
        let (seconds, largest) = (self.times.end, self.values.end);
        let curves: String =
            self.curves.iter().map(|curve| curve.markup(seconds, largest)).collect();
        format!(
            "<svg viewBox=\"0 0 {SIDE} {SIDE}\" preserveAspectRatio=\"none\" \
             role=\"img\" aria-label=\"{}: {}\">\
             <path class=\"grid\" d=\"{grid}\"/>{curves}</svg>\n",
            self.title,
            escaped(&spoken.join(", ")),
        )
    }

    fn labels(&self) -> String {
        let mut markup =
            format!("<div class=\"values\"><span class=\"unit\">{}</span>", self.values.unit);
        for (at, label) in &self.values.ticks {
            _ = write!(markup, "<span style=\"bottom:{:.2}%\">{label}</span>", at * 100.0);
        }
        markup.push_str("</div>\n<div class=\"times\">");
        for (at, label) in &self.times.ticks {
            _ = write!(markup, "<span style=\"left:{:.2}%\">{label}</span>", at * 100.0);
        }
        markup.push_str("</div>\n");
        markup
    }

    /// Columns over the drawing. The one under the pointer shows its text, on the other side of the
    /// chart.
    fn readouts(&self) -> String {
        let mut markup = "<div class=\"moments\" aria-hidden=\"true\">".to_owned();
        let mut begin = 0.0;
        for Readout { seconds, text } in &self.readouts {
            let class =
                if begin + seconds / 2.0 > self.times.end / 2.0 { " class=\"late\"" } else { "" };
            let (width, text) = (seconds / self.times.end * 100.0, escaped(text));
            _ = write!(markup, "<i{class} style=\"width:{width:.3}%\"><b>{text}</b></i>");
            begin += seconds;
        }
        markup.push_str("</div>\n");
        markup
    }
}

impl Curve {
    fn class(&self) -> String {
        let kind = if self.stroke == Stroke::Area { "area" } else { "line" };
        format!("{kind} {}", self.name.split(' ').next().unwrap_or_default())
    }

    fn legend(&self) -> String {
        let sign = if self.stroke == Stroke::Area { "M1 9V1H27V9Z" } else { "M1 5H27" };
        format!(
            "<li><svg class=\"swatch\" viewBox=\"0 0 28 10\" aria-hidden=\"true\">\
             <path class=\"{}\" d=\"{sign}\"/></svg> {} \
             <span class=\"figure\">{}</span></li>",
            self.class(),
            self.name,
            escaped(&self.figure),
        )
    }

    /// The curve as SVG. What is above the end of the axis lies outside of the visible part.
    fn markup(&self, seconds: f64, largest: f64) -> String {
        let mut path = String::new();
        let (x, y) =
            (|time: f64| time / seconds * SIDE, |value: f64| (1.0 - value / largest) * SIDE);
        for (n, &(time, value)) in self.points.iter().enumerate() {
            _ = write!(path, "{}{:.1} {:.1}", if n == 0 { 'M' } else { 'L' }, x(time), y(value));
        }
        if let (Stroke::Area, [(first, _), ..]) = (self.stroke, &*self.points) {
            _ = write!(path, "V{SIDE}H{:.1}Z", x(*first));
        }
        format!("<path class=\"{}\" d=\"{path}\"/>", self.class())
    }
}
