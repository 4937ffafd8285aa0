//! What many measured values come to. Pure.

use serde::Serialize;

/// How values are spread: those below which a half, nine tenths and so on lie, and the largest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Spread {
    /// The middle one.
    pub p50: f64,
    /// Nine of ten lie below.
    pub p90: f64,
    /// Ninety-nine of a hundred lie below.
    pub p99: f64,
    /// The largest.
    pub max: f64,
}

impl Spread {
    /// Of values in any order; zeros of none.
    pub fn of(values: &[f64]) -> Self {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        Self {
            p50: quantile(&sorted, 0.5),
            p90: quantile(&sorted, 0.9),
            p99: quantile(&sorted, 0.99),
            max: quantile(&sorted, 1.0),
        }
    }

    /// The middle of each figure over several spreads.
    pub fn median(spreads: &[Self]) -> Self {
        let of = |figure: fn(&Self) -> f64| median(&spreads.iter().map(figure).collect::<Vec<_>>());
        Self {
            p50: of(|spread| spread.p50),
            p90: of(|spread| spread.p90),
            p99: of(|spread| spread.p99),
            max: of(|spread| spread.max),
        }
    }
}

/// The middle one of values in any order; 0 of none.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    quantile(&sorted, 0.5)
}

/// The value below which the share `q` of sorted values lies, linearly between neighbours; 0 of none.
pub fn quantile(sorted: &[f64], q: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else {
        return 0.0;
    };
    let place = q.clamp(0.0, 1.0) * last as f64;
    let (below, above) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    below + (above - below) * place.fract()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spread_tells_the_middle_and_the_tail() {
        let values: Vec<f64> = (0..=100).rev().map(f64::from).collect();
        let spread = Spread::of(&values);
        assert_eq!(
            (spread.p50, spread.p90, spread.p99, spread.max),
            (50.0, 90.0, 99.0, 100.0)
        );
        assert_eq!(Spread::of(&[]), Spread::default());
        assert_eq!(quantile(&[1.0, 2.0], 0.5), 1.5);
    }

    #[test]
    fn median_of_spreads_leaves_out_the_odd_one() {
        let spreads = [3.0, 1.0, 900.0].map(|max| Spread {
            max,
            ..Spread::default()
        });
        assert_eq!(Spread::median(&spreads).max, 3.0);
    }
}
