//! A picture of how a fleet got there: time across, share of the agents up, a line per change. SVG by hand: lines and
//! a few words need no library. Pure.

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

/// Draws delays in milliseconds, of each change those of all agents.
pub fn arrivals(title: &str, changes: &[Vec<f64>]) -> String {
    let longest = changes.iter().flatten().copied().fold(0.0, f64::max);
    let step = step(longest / 5.0);
    let end = (longest / step).ceil().max(1.0) * step;
    let x = |milliseconds: f64| LEFT + milliseconds / end * (WIDTH - LEFT - RIGHT);
    let y = |share: f64| HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM);
    // Writing to a String cannot fail.
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"white\"/>\n\
         <text x=\"{LEFT}\" y=\"22\" font-size=\"14\">{}</text>\n",
        escaped(title)
    );
    for tenth in [0.0, 0.25, 0.5, 0.75, 1.0] {
        let (at, end) = (y(tenth), WIDTH - RIGHT);
        let _ = writeln!(
            out,
            "<path d=\"M{LEFT} {at:.1}H{end}\" stroke=\"#ddd\"/><text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{:.0} %</text>",
            LEFT - 6.0,
            at + 4.0,
            tenth * 100.0
        );
    }
    let mut mark = 0.0;
    while mark <= end + step / 2.0 {
        let _ = writeln!(
            out,
            "<path d=\"M{:.1} {TOP}V{}\" stroke=\"#eee\"/><text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
            x(mark),
            HEIGHT - BOTTOM,
            x(mark),
            HEIGHT - BOTTOM + 18.0,
            number(mark)
        );
        mark += step;
    }
    let _ = writeln!(
        out,
        "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">milliseconds since the push was acknowledged</text>",
        LEFT + (WIDTH - LEFT - RIGHT) / 2.0,
        HEIGHT - 10.0
    );
    for delays in changes.iter().filter(|delays| !delays.is_empty()) {
        let mut sorted = delays.clone();
        sorted.sort_by(f64::total_cmp);
        let points = (0..=POINTS).map(|point| {
            let share = f64::from(point) / f64::from(POINTS);
            format!("{:.1},{:.1}", x(quantile(&sorted, share)), y(share))
        });
        let points: Vec<_> = points.collect();
        let _ = writeln!(
            out,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"#1f6feb\" stroke-opacity=\"0.5\"/>",
            points.join(" ")
        );
    }
    out.push_str("</svg>\n");
    out
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
