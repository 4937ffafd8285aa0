//! Pictures: how a fleet got there (time across, share of the agents up, a line per change), and how something grows with
//! something else. SVG by hand: lines and a few words need no library. Pure.

use std::fmt::Write as _;

use crate::figures::quantile;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 400.0;
/// Room for the words around the lines.
const LEFT: f64 = 60.0;
const TOP: f64 = 40.0;
const RIGHT: f64 = 20.0;
const BOTTOM: f64 = 50.0;
/// Points of a line.
const POINTS: u32 = 100;

/// Of the first series, and of those after it.
const COLOURS: [&str; 4] = ["#1f6feb", "#d1242f", "#1a7f37", "#8250df"];

/// What grows.
#[derive(Debug, Clone)]
pub struct Series {
    /// What it is.
    pub name: String,
    /// How much it is, at how much of the other.
    pub points: Vec<(f64, f64)>,
}

/// Draws delays in milliseconds, of each change those of all agents.
pub fn arrivals(title: &str, changes: &[Vec<f64>]) -> String {
    let across = Axis::to(changes.iter().flatten().copied().fold(0.0, f64::max));
    let shares = Axis { end: 100.0, step: 25.0 };
    let words = ["milliseconds since the push was acknowledged", "% of the agents"];
    let mut out = page(title, &across, &shares, words);
    for delays in changes.iter().filter(|delays| !delays.is_empty()) {
        let mut sorted = delays.clone();
        sorted.sort_by(f64::total_cmp);
        let points = (0..=POINTS).map(|point| {
            let share = f64::from(point) / f64::from(POINTS);
            place(&across, &shares, quantile(&sorted, share), share * 100.0)
        });
        line(&mut out, points, COLOURS[0], 0.5);
    }
    out.push_str("</svg>\n");
    out
}

/// Draws how things grow with `across`: a line and its points for each, and the straight one from nothing to the last of
/// its points, which it would be if nothing else counted.
pub fn growth(title: &str, across: &str, up: &str, series: &[Series]) -> String {
    let points = || series.iter().flat_map(|series| &series.points);
    let horizontal = Axis::to(points().map(|(x, _)| *x).fold(0.0, f64::max));
    let vertical = Axis::to(points().map(|(_, y)| *y).fold(0.0, f64::max));
    let mut out = page(title, &horizontal, &vertical, [across, up]);
    let at = |(x, y): (f64, f64)| place(&horizontal, &vertical, x, y);
    for ((number, series), colour) in series.iter().enumerate().zip(COLOURS.iter().cycle()) {
        let Some(last) = series.points.last() else { continue };
        line(&mut out, [(0.0, 0.0), *last].into_iter().map(at), colour, 0.25);
        line(&mut out, series.points.iter().copied().map(at), colour, 1.0);
        for (x, y) in series.points.iter().copied().map(at) {
            let _ = writeln!(out, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{colour}\"/>");
        }
        let _ = writeln!(
            out,
            "<text x=\"{}\" y=\"{}\" fill=\"{colour}\">{}</text>",
            LEFT + 12.0,
            TOP + 18.0 + 18.0 * number as f64,
            escaped(&series.name)
        );
    }
    out.push_str("</svg>\n");
    out
}

/// From nothing to `end`, marked every `step`.
struct Axis {
    end: f64,
    step: f64,
}

impl Axis {
    /// One that is as long as it must be.
    fn to(longest: f64) -> Self {
        let step = step(longest / 5.0);
        let end = (longest / step).ceil().max(1.0) * step;
        Self { end, step }
    }

    fn marks(&self) -> impl Iterator<Item = f64> {
        std::iter::successors(Some(0.0), |mark| Some(mark + self.step))
            .take_while(|mark| *mark <= self.end + self.step / 2.0)
    }
}

/// Where something is on the page.
fn place(across: &Axis, up: &Axis, x: f64, y: f64) -> (f64, f64) {
    (
        LEFT + x / across.end * (WIDTH - LEFT - RIGHT),
        HEIGHT - BOTTOM - y / up.end * (HEIGHT - TOP - BOTTOM),
    )
}

/// Everything but what was measured.
fn page(title: &str, across: &Axis, up: &Axis, [below, beside]: [&str; 2]) -> String {
    // Writing to a String cannot fail.
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"white\"/>\n\
         <text x=\"{LEFT}\" y=\"22\" font-size=\"14\">{}</text>\n",
        escaped(title)
    );
    for mark in up.marks() {
        let ((_, at), end) = (place(across, up, 0.0, mark), WIDTH - RIGHT);
        let _ = writeln!(
            out,
            "<path d=\"M{LEFT} {at:.1}H{end}\" stroke=\"#ddd\"/><text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            LEFT - 6.0,
            at + 4.0,
            number(mark)
        );
    }
    let _ = writeln!(
        out,
        "<text x=\"{}\" y=\"{}\">{}</text>",
        LEFT + 6.0,
        TOP - 5.0,
        escaped(beside)
    );
    for mark in across.marks() {
        let (at, _) = place(across, up, mark, 0.0);
        let _ = writeln!(
            out,
            "<path d=\"M{at:.1} {TOP}V{}\" stroke=\"#eee\"/><text x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
            HEIGHT - BOTTOM,
            HEIGHT - BOTTOM + 18.0,
            number(mark)
        );
    }
    let _ = writeln!(
        out,
        "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
        LEFT + (WIDTH - LEFT - RIGHT) / 2.0,
        HEIGHT - 10.0,
        escaped(below)
    );
    out
}

fn line(out: &mut String, points: impl Iterator<Item = (f64, f64)>, colour: &str, opacity: f64) {
    let points: Vec<_> = points.map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
    let _ = writeln!(
        out,
        "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-opacity=\"{opacity}\"/>",
        points.join(" ")
    );
}

/// The next number of the form 1, 2 or 5 times a power of ten.
fn step(least: f64) -> f64 {
    let power = 10_f64.powf(least.max(0.001).log10().floor());
    let steps = [1.0, 2.0, 5.0].map(|factor| factor * power);
    steps.into_iter().find(|step| *step >= least).unwrap_or(10.0 * power)
}

fn number(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_change_is_a_line_and_the_slowest_agent_is_on_the_page() {
        let svg = arrivals("a < b", &[vec![1.0, 90.0, 37.5], vec![2.0], Vec::new()]);
        assert_eq!(svg.matches("<polyline").count(), 2);
        assert!(svg.contains("a &lt; b") && svg.ends_with("</svg>\n"));
        let coordinates = svg.split("points=\"").skip(1).flat_map(|part| {
            let (points, _) = part.split_once('"').unwrap();
            points
                .split(' ')
                .map(|point| point.split_once(',').unwrap().0.parse::<f64>().unwrap())
        });
        assert!(coordinates.into_iter().all(|x| (LEFT..=WIDTH - RIGHT).contains(&x)));
    }

    #[test]
    fn nothing_measured_is_an_empty_picture() {
        assert!(arrivals("none", &[]).contains("</svg>"));
        assert!(growth("none", "agents", "ms", &[]).contains("</svg>"));
    }

    #[test]
    fn what_grows_in_proportion_lies_on_the_straight_line() {
        let series = Series {
            name: "a & b".to_owned(),
            points: vec![(1000.0, 10.0), (40_000.0, 400.0)],
        };
        let svg = growth("growth", "agents", "ms", &[series]);
        assert!(svg.contains("a &amp; b") && svg.matches("<circle").count() == 2);
        let lines: Vec<Vec<(f64, f64)>> = svg
            .split("points=\"")
            .skip(1)
            .map(|part| {
                let points = part.split_once('"').unwrap().0.split(' ');
                let point = points.map(|point| point.split_once(',').unwrap());
                point.map(|(x, y)| (x.parse().unwrap(), y.parse().unwrap())).collect()
            })
            .collect();
        let [straight, own] = &lines[..] else { panic!("{svg}") };
        assert_eq!(straight[1], own[1]);
        let rises = |from: (f64, f64), to: (f64, f64)| (from.1 - to.1) / (to.0 - from.0);
        assert!((rises(straight[0], straight[1]) - rises(own[0], own[1])).abs() < 0.01);
    }

    #[test]
    fn steps_are_round() {
        assert_eq!(
            (step(18.0), step(0.3), step(51.0), step(100.0)),
            (20.0, 0.5, 100.0, 100.0)
        );
        assert_eq!(
            (number(20.0), number(0.5), number(0.0)),
            ("20".to_owned(), "0.5".to_owned(), "0".to_owned())
        );
    }
}
