//! The figures of the house, a line a room.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::circles::{Circle, of_files, of_folders};
use super::form::{self, FUNCTION_LINES_MAX};
use super::{Breach, House, arrows, room};

#[derive(Default)]
struct Figures {
    files: usize,
    /// Lines of code of each function.
    functions: Vec<usize>,
    widest: usize,
    circles: usize,
    /// Files in circles.
    circling: usize,
    arrows_back: usize,
}

impl Figures {
    /// The smallest length that this share of the functions does not exceed.
    fn percentile(&self, percent: usize) -> usize {
        let mut sorted = self.functions.clone();
        sorted.sort_unstable();
        let rank = (sorted.len() * percent).div_ceil(100);
        rank.checked_sub(1).map_or(0, |at| sorted[at])
    }

    fn add(&mut self, other: &Self) {
        self.files += other.files;
        self.functions.extend(&other.functions);
        self.widest = self.widest.max(other.widest);
        self.circles += other.circles;
        self.circling += other.circling;
        self.arrows_back += other.arrows_back;
    }

    fn line(&self, name: &str) -> String {
        let long = self.functions.iter().filter(|lines| **lines > FUNCTION_LINES_MAX).count();
        format!(
            "{name:10} {:5} {:9} {:6} {:3} {long:7} {:6} {:7} {:8} {:6}\n",
            self.files,
            self.functions.len(),
            self.percentile(50),
            self.percentile(90),
            self.widest,
            self.circles,
            self.circling,
            self.arrows_back,
        )
    }
}

/// The figures of each room below `src`, their totals, and how often each rule is broken.
pub fn table(house: &House, rules: &[(&str, Vec<Breach>)]) -> String {
    let mut rooms: BTreeMap<String, Figures> = BTreeMap::new();
    for (path, source) in house.in_src() {
        let figures = rooms.entry(room(path).to_owned()).or_default();
        figures.files += 1;
        let widest = source.text.lines().map(|line| line.chars().count()).max();
        figures.widest = figures.widest.max(widest.unwrap_or(0));
    }
    for form in &house.forms {
        if let Some(path) = form.path.strip_prefix("src/") {
            let lines = form::functions(form).map(|function| function.code_lines);
            rooms.entry(room(path).to_owned()).or_default().functions.extend(lines);
        }
    }
    for circle in of_files(house) {
        let figures = rooms.entry(room_of(&circle).to_owned()).or_default();
        figures.circles += 1;
        figures.circling += circle.members.len();
    }
    let among_rooms = of_folders(house).into_iter().fold(0, |among_rooms, circle| {
        if circle.place == "src" {
            return among_rooms + 1;
        }
        rooms.entry(room_of(&circle).to_owned()).or_default().circles += 1;
        among_rooms
    });
    for breach in arrows::back(house) {
        let path = breach.file.trim_start_matches("src/").to_owned();
        if let Some(figures) = rooms.get_mut(room(&path)) {
            figures.arrows_back += 1;
        }
    }
    let mut total = Figures { circles: among_rooms, ..Figures::default() };
    rooms.values().for_each(|figures| total.add(figures));
    let mut text = String::from(
        "room       files functions median p90 over-60 widest circles circling arrows\n",
    );
    rooms.iter().for_each(|(name, figures)| text.push_str(&figures.line(name)));
    text.push_str(&total.line("all"));
    text.push('\n');
    for (rule, breaches) in rules {
        writeln!(text, "{:5} {rule}", breaches.len()).expect("a string takes everything");
    }
    text
}

fn room_of<'a>(circle: &'a Circle<'_>) -> &'a str {
    room(circle.place.trim_start_matches("src/"))
}
