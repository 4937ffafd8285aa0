//! Figures, each beside its floor and its goal. Measures nothing.

use serde::Serialize;

/// All of them.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    agents: usize,
    figures: Vec<Figure>,
    /// What was not measured, and why.
    skipped: Vec<String>,
}

/// One figure.
#[derive(Debug, Serialize)]
pub(crate) struct Figure {
    what: String,
    value: f64,
    unit: &'static str,
    /// What cannot be done without, or what others take, measured in the same run.
    floor: Option<f64>,
    /// The value in floors.
    ratio: Option<f64>,
    goal: Option<String>,
    met: Option<bool>,
}

/// What a figure should be.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Goal {
    /// At most that.
    Most(f64),
    /// At most so many floors.
    Floors(f64),
    /// At most that share of what the others take.
    Of(f64),
}

impl Report {
    pub(crate) fn new(agents: usize) -> Self {
        Self {
            agents,
            figures: Vec::new(),
            skipped: Vec::new(),
        }
    }

    pub(crate) fn skip(&mut self, why: String) {
        eprintln!("SKIPPED: {why}");
        self.skipped.push(why);
    }

    /// Adds a figure, and says it.
    pub(crate) fn add(
        &mut self,
        what: impl Into<String>,
        value: f64,
        unit: &'static str,
        floor: Option<f64>,
        goal: Option<Goal>,
    ) {
        let ratio = floor.filter(|floor| *floor > 0.0).map(|floor| value / floor);
        let met = goal.and_then(|goal| match goal {
            Goal::Most(most) => Some(value <= most),
            Goal::Floors(times) => ratio.map(|ratio| ratio <= times),
            Goal::Of(share) => ratio.map(|ratio| ratio <= share),
        });
        let figure = Figure {
            what: what.into(),
            value,
            unit,
            floor,
            ratio,
            goal: goal.map(|goal| match goal {
                Goal::Most(most) => format!("≤ {} {unit}", short(most)),
                Goal::Floors(times) => format!("≤ {times} × floor"),
                Goal::Of(share) => format!("≤ 1/{:.0}", 1.0 / share),
            }),
            met,
        };
        eprint!("{}", line(&figure));
        self.figures.push(figure);
    }

    /// The value of a figure that was added.
    pub(crate) fn value(&self, what: &str) -> Option<f64> {
        let found = self.figures.iter().find(|figure| figure.what == what);
        found.map(|figure| figure.value)
    }

    pub(crate) fn text(&self) -> String {
        let mut text = format!(
            "\n{} agents; server and load share this machine\n\n{:<58}{:>14}{:>14}{:>10}  {:<20}\n",
            self.agents, "", "value", "floor", "×", "goal"
        );
        text.extend(self.figures.iter().map(line));
        text.extend(self.skipped.iter().map(|why| format!("SKIPPED: {why}\n")));
        text
    }
}

fn line(figure: &Figure) -> String {
    let Figure {
        what,
        value,
        unit,
        floor,
        ratio,
        goal,
        met,
    } = figure;
    let with_unit = |value: f64| format!("{} {unit}", short(value));
    let floor = floor.map_or_else(String::new, with_unit);
    let ratio = ratio.map_or_else(String::new, short);
    let mark = match met {
        Some(true) => "met",
        Some(false) => "MISSED",
        None => "",
    };
    let goal = goal.as_deref().unwrap_or_default();
    format!(
        "{what:<58}{:>14}{floor:>14}{ratio:>10}  {goal:<20}{mark}\n",
        with_unit(*value)
    )
}

/// Three digits that matter.
fn short(value: f64) -> String {
    match value.abs() {
        large if large >= 100.0 => format!("{value:.0}"),
        middle if middle >= 10.0 => format!("{value:.1}"),
        small if small >= 0.01 || small == 0.0 => format!("{value:.2}"),
        _ => format!("{value:.1e}"),
    }
}
