//! Axes with round ticks.

use crate::cli::screen::units::unit_of_bytes;

/// An axis that begins at 0.
pub struct Axis {
    /// Where it ends.
    pub end: f64,
    /// The place of each tick, as a share of the axis, and its label.
    pub ticks: Vec<(f64, String)>,
    /// The unit of all the labels, where they do not say it themselves.
    pub unit: String,
}

/// The most steps that an axis of values has.
const VALUE_STEPS_MAX: f64 = 5.0;
/// The most steps that an axis of times has.
const TIME_STEPS_MAX: f64 = 7.0;

impl Axis {
    /// An axis of bytes, or of bytes and then `per`, to the next tick after `largest`.
    pub fn of_bytes(largest: f64, per: &str) -> Self {
        let (unit, name) = unit_of_bytes(largest);
        Self::of_values(largest / unit, unit, format!("{name}{per}"))
    }

    /// An axis of anything that is counted, to the next tick after `largest`.
    pub fn of_counts(largest: f64, name: &str) -> Self {
        Self::of_values(largest, 1.0, name.to_owned())
    }

    /// An axis of values. `largest` and the labels are in units; `end` is not.
    fn of_values(largest: f64, unit: f64, name: String) -> Self {
        let largest = if largest.is_finite() && largest > 0.0 { largest } else { 1.0 };
        let step = round_step(largest / VALUE_STEPS_MAX);
        // Three steps of 0.1 are a little more than 0.3.
        let steps = (largest / step - 1e-9).ceil().max(1.0);
        // A step of 0.05 takes two decimals: its logarithm is -1.3.
        let decimals = (-step.log10().floor()).max(0.0) as usize;
        let tick = |n: u32| (f64::from(n) / steps, format!("{:.decimals$}", f64::from(n) * step));
        Self { end: steps * step * unit, ticks: (0..=steps as u32).map(tick).collect(), unit: name }
    }

    /// An axis of times, which ends with `seconds` and not with a tick.
    pub fn of_times(seconds: f64) -> Self {
        let seconds = if seconds.is_finite() { seconds.max(1e-9) } else { 1.0 };
        let step = time_step(seconds / TIME_STEPS_MAX);
        let (unit, name) = match step {
            days if days >= 86_400.0 => (86_400.0, "d"),
            hours if hours >= 3600.0 => (3600.0, "h"),
            minutes if minutes >= 60.0 => (60.0, "min"),
            whole if whole >= 0.1 => (1.0, "s"),
            millis if millis >= 1e-4 => (1e-3, "ms"),
            _ => (1e-6, "µs"),
        };
        let decimals = (-(step / unit).log10().floor()).max(0.0) as usize;
        let ticks = (0..=(seconds / step + 1e-9) as u32).map(|n| {
            let time = f64::from(n) * step;
            let label =
                if n == 0 { "0".to_owned() } else { format!("{:.decimals$} {name}", time / unit) };
            (time / seconds, label)
        });
        Self { end: seconds, ticks: ticks.collect(), unit: String::new() }
    }
}

/// The next 1, 2 or 5 times a power of ten that is not below `step`.
fn round_step(step: f64) -> f64 {
    let power = 10f64.powf(step.log10().floor());
    [1.0, 2.0, 5.0]
        .map(|factor| factor * power)
        .into_iter()
        .find(|&round| round >= step * (1.0 - 1e-9))
        .unwrap_or(10.0 * power)
}

/// The next step that clocks and calendars know.
fn time_step(step: f64) -> f64 {
    const KNOWN: [f64; 15] = [
        1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1800.0, 3600.0, 7200.0,
        10_800.0,
    ];
    const LONG: [f64; 3] = [21_600.0, 43_200.0, 86_400.0];
    match step {
        short if short <= 0.5 => round_step(short),
        long if long > 86_400.0 => round_step(long / 86_400.0) * 86_400.0,
        other => KNOWN.into_iter().chain(LONG).find(|&known| known >= other).unwrap_or(86_400.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: &Axis) -> String {
        let labels: Vec<&str> = axis.ticks.iter().map(|(_, label)| &**label).collect();
        format!("{} {}", labels.join(" "), axis.unit).trim_end().to_owned()
    }

    #[test]
    fn values_get_round_ticks_in_one_unit() {
        for (largest, told) in [
            (0.0, "0.0 0.2 0.4 0.6 0.8 1.0 B/s"),
            (7.0, "0 2 4 6 8 B/s"),
            (1.2e9, "0.0 0.5 1.0 1.5 GB/s"),
            (430e6, "0 100 200 300 400 500 MB/s"),
            (300e6, "0 100 200 300 MB/s"),
            (f64::INFINITY, "0.0 0.2 0.4 0.6 0.8 1.0 EB/s"),
        ] {
            assert_eq!(labels(&Axis::of_bytes(largest, "/s")), told, "{largest}");
        }
        let axis = Axis::of_bytes(1.2e9, "/s");
        assert_eq!((axis.end, axis.ticks[3].0), (1.5e9, 1.0));
        assert_eq!(labels(&Axis::of_counts(64.0, "blocks")), "0 20 40 60 80 blocks");
    }

    #[test]
    fn times_get_ticks_that_clocks_have() {
        for (seconds, told) in [
            (0.0, "0"),
            (0.003, "0 0.5 ms 1.0 ms 1.5 ms 2.0 ms 2.5 ms 3.0 ms"),
            (0.9, "0 0.2 s 0.4 s 0.6 s 0.8 s"),
            (5.2, "0 1 s 2 s 3 s 4 s 5 s"),
            (61.0, "0 10 s 20 s 30 s 40 s 50 s 60 s"),
            (2700.0, "0 10 min 20 min 30 min 40 min"),
            (5.0 * 3600.0, "0 1 h 2 h 3 h 4 h 5 h"),
            (5.5 * 86_400.0, "0 1 d 2 d 3 d 4 d 5 d"),
            (1e9, "0 2000 d 4000 d 6000 d 8000 d 10000 d"),
        ] {
            let axis = Axis::of_times(seconds);
            assert!(labels(&axis).starts_with(told), "{seconds}: {}", labels(&axis));
            assert!(
                axis.ticks.iter().all(|(at, _)| (0.0..=1.000_001).contains(at))
                    && axis.ticks.len() <= 8
            );
        }
    }
}
