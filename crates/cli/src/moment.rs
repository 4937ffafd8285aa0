//! Points in time as people type them: a date, a time, or how long ago.

use std::str::FromStr;

use jiff::{SignedDuration, Timestamp, Zoned, civil, tz::TimeZone};

/// A point in time, or one seen from now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    /// Then.
    At(Timestamp),
    /// So long ago.
    Ago(SignedDuration),
    /// On the user's clock.
    Local(civil::DateTime),
}

/// A text that is no point in time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no time: write an age like `2h`, `3d` or `1h30m`, a date like `2026-11-01`, or a time like `2026-11-01T08:30:00Z`"
)]
pub(crate) struct Invalid(String);

impl Moment {
    /// When that is, if it is `now`.
    pub(crate) fn when(self, now: Timestamp) -> Timestamp {
        match self {
            Self::At(time) => time,
            Self::Ago(age) => now.checked_sub(age).unwrap_or(Timestamp::MIN),
            Self::Local(local) => {
                let zoned: Option<Zoned> = local.to_zoned(TimeZone::system()).ok();
                zoned.map_or(Timestamp::MAX, |zoned| zoned.timestamp())
            }
        }
    }
}

impl FromStr for Moment {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let text = text.trim();
        let word = text.strip_suffix(" ago").unwrap_or(text);
        if let Some(age) = age(word) {
            return Ok(Self::Ago(age));
        }
        if let Ok(time) = text.parse::<Timestamp>() {
            return Ok(Self::At(time));
        }
        let date = |text: &str| text.parse::<civil::Date>().ok().map(|date| date.at(0, 0, 0, 0));
        // A date alone would read as a time at midnight as well: both mean the same.
        let local = date(text).or_else(|| text.parse::<civil::DateTime>().ok());
        local.map(Self::Local).ok_or_else(|| Invalid(text.to_owned()))
    }
}

/// `90s`, `5m`, `2h`, `3d`, `1w`, or several of them in a row.
fn age(text: &str) -> Option<SignedDuration> {
    let mut rest = text;
    let mut seconds: i64 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|char: char| !char.is_ascii_digit())?;
        let number: i64 = rest[..digits].parse().ok()?;
        let unit = match rest[digits..].chars().next()? {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            'd' => 86_400,
            'w' => 604_800,
            _ => return None,
        };
        seconds = seconds.checked_add(number.checked_mul(unit)?)?;
        rest = &rest[digits + 1..];
    }
    (!text.is_empty()).then(|| SignedDuration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_and_dates_are_read() {
        let now: Timestamp = "2026-11-02T00:00:00Z".parse().unwrap();
        for (text, expected) in [
            ("2h", "2026-11-01T22:00:00Z"),
            ("1h30m", "2026-11-01T22:30:00Z"),
            ("3d ago", "2026-10-30T00:00:00Z"),
            ("1w", "2026-10-26T00:00:00Z"),
            ("2026-11-01T08:30:00Z", "2026-11-01T08:30:00Z"),
            ("2026-11-01T08:30:00+02:00", "2026-11-01T06:30:00Z"),
        ] {
            let moment: Moment = text.parse().unwrap();
            assert_eq!(moment.when(now), expected.parse().unwrap(), "{text}");
        }
        let day: Moment = "2026-11-01".parse().unwrap();
        assert_eq!(day, Moment::Local("2026-11-01T00:00".parse().unwrap()));
    }

    #[test]
    fn what_is_no_time_is_told_how_to_be_written() {
        for bad in [
            "",
            "h",
            "2",
            "2x",
            "yesterday",
            "2026-13-01",
            "99999999999999999999h",
            "9223372036854775807w",
        ] {
            assert!(bad.parse::<Moment>().is_err(), "{bad}");
        }
        let error = "soon".parse::<Moment>().unwrap_err().to_string();
        assert!(
            error.starts_with("`soon` is no time: write an age like `2h`"),
            "{error}"
        );
    }

    #[test]
    fn ages_beyond_all_time_are_the_beginning_of_time() {
        let moment: Moment = "9999999999d".parse().unwrap();
        assert_eq!(moment.when(Timestamp::UNIX_EPOCH), Timestamp::MIN);
    }
}
