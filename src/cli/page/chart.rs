//! A chart over time. The lines are SVG that is stretched to the page's width; the words on the
//! axes are HTML beside it, so that they keep their size.

use std::fmt::Write;

use super::axis::Axis;
use super::units::escaped;

/// The lines are drawn on a square of so many units, whatever the shape of it on the page.
const SIDE: f64 = 1000.0;

/// A chart.
pub(super) struct Chart {
    /// Its heading.
    pub(super) title: &'static str,
    /// What one has to know to read it; text, not markup.
    pub(super) note: String,
    pub(super) times: Axis,
    pub(super) values: Axis,
    /// The first at the bottom.
    pub(super) lines: Vec<Line>,
    /// From the beginning, each after the one before.
    pub(super) moments: Vec<Moment>,
}

/// A line of it.
pub(super) struct Line {
    /// What it is called. The style sheet knows it by its first word.
    pub(super) name: &'static str,
    /// The one figure that the legend tells of it; text, not markup.
    pub(super) figure: String,
    pub(super) stroke: Stroke,
    /// Seconds and values.
    pub(super) points: Vec<(f64, f64)>,
}

/// How it is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stroke {
    Line,
    /// With all beneath it.
    Area,
}

/// What is read off while the pointer is over so many seconds.
pub(super) struct Moment {
    pub(super) seconds: f64,
    /// The first line is its heading; text, not markup.
    pub(super) told: String,
}

impl Chart {
    /// The chart as a section of the page. `class` says how wide it is.
    pub(super) fn markup(&self, class: &str) -> String {
        let legend: String = self.lines.iter().rev().map(Line::legend).collect();
        let note = match &*self.note {
            "" => String::new(),
            note => format!("<p class=\"note\">{}</p>\n", escaped(note)),
        };
        format!(
            "<section class=\"card {class}\">\n<h2>{title}</h2>\n<ul class=\"legend\">{legend}</ul>\n\
             <div class=\"plot\">\n{drawing}{labels}{moments}</div>\n{note}</section>\n",
            title = self.title,
            drawing = self.drawing(),
            labels = self.labels(),
            moments = self.moments(),
        )
    }

    fn drawing(&self) -> String {
        let spoken: Vec<String> =
            self.lines.iter().rev().map(|line| format!("{} {}", line.name, line.figure)).collect();
        let grid = |(at, _): &(f64, String)| format!("M0 {:.0}H{SIDE}", (1.0 - at) * SIDE);
        let grid: String = self.values.ticks.iter().map(grid).collect();
        let lines: String =
            self.lines.iter().map(|line| line.markup(self.times.end, self.values.end)).collect();
        format!(
            "<svg viewBox=\"0 0 {SIDE} {SIDE}\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"{}: {}\">\
             <path class=\"grid\" d=\"{grid}\"/>{lines}</svg>\n",
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

    /// Columns over the drawing, of which the one under the pointer shows its text, on the other
    /// side of the chart.
    fn moments(&self) -> String {
        let mut markup = "<div class=\"moments\" aria-hidden=\"true\">".to_owned();
        let mut begin = 0.0;
        for Moment { seconds, told } in &self.moments {
            let class =
                if begin + seconds / 2.0 > self.times.end / 2.0 { " class=\"late\"" } else { "" };
            let (width, told) = (seconds / self.times.end * 100.0, escaped(told));
            _ = write!(markup, "<i{class} style=\"width:{width:.3}%\"><b>{told}</b></i>");
            begin += seconds;
        }
        markup.push_str("</div>\n");
        markup
    }
}

impl Line {
    fn class(&self) -> String {
        let kind = if self.stroke == Stroke::Area { "area" } else { "line" };
        format!("{kind} {}", self.name.split(' ').next().unwrap_or_default())
    }

    fn legend(&self) -> String {
        let sign = if self.stroke == Stroke::Area { "M1 9V1H27V9Z" } else { "M1 5H27" };
        format!(
            "<li><svg class=\"swatch\" viewBox=\"0 0 28 10\" aria-hidden=\"true\"><path class=\"{}\" d=\"{sign}\"/></svg> {} \
             <span class=\"figure\">{}</span></li>",
            self.class(),
            self.name,
            escaped(&self.figure),
        )
    }

    /// What is above the end of the axis is drawn there, outside of what is seen.
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
