//! Resource quantities in the server's canonical form: `1000m` is `1`, `1024Mi` is `1Gi`.
//!
//! Used by `decode` on every field that the schema calls a quantity.

const NANO: i128 = 1_000_000_000;
const BINARY: [&str; 7] = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
const DECIMAL: [(&str, i32); 10] = [
    ("n", -9),
    ("u", -6),
    ("m", -3),
    ("", 0),
    ("k", 3),
    ("M", 6),
    ("G", 9),
    ("T", 12),
    ("P", 15),
    ("E", 18),
];

/// The canonical text, or `None` when `text` is no quantity.
pub(crate) fn canonical(text: &str) -> Option<String> {
    let end = text
        .char_indices()
        .find(|(at, c)| !(c.is_ascii_digit() || *c == '.' || (*at == 0 && matches!(c, '+' | '-'))))
        .map_or(text.len(), |(at, _)| at);
    let (number, suffix) = text.split_at(end);
    if let Some(power) = BINARY
        .iter()
        .position(|name| *name == suffix)
        .filter(|power| *power > 0)
    {
        let nano = scaled(number, 0)?.checked_mul(1024_i128.checked_pow(u32::try_from(power).ok()?)?)?;
        let whole = -(-nano).div_euclid(NANO);
        return Some(if whole.abs() < 1024 {
            decimal(nano)
        } else {
            binary(whole)
        });
    }
    if let Some((_, power)) = DECIMAL.iter().find(|(name, _)| *name == suffix) {
        return scaled(number, *power).map(decimal);
    }
    let power: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
    let nano = scaled(number, power)?;
    let (mantissa, power) = shortest(nano);
    Some(if power == 0 {
        mantissa.to_string()
    } else {
        format!("{mantissa}e{power}")
    })
}

/// `number` × 10^`power` in billionths, rounded away from zero.
fn scaled(number: &str, power: i32) -> Option<i128> {
    let (sign, digits) = match number.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, number.strip_prefix('+').unwrap_or(number)),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
        return None;
    }
    let value: i128 = format!("{whole}{fraction}").parse().ok()?;
    let shift = power + 9 - i32::try_from(fraction.len()).ok()?;
    let factor = 10_i128.checked_pow(shift.unsigned_abs())?;
    let value = if shift >= 0 {
        value.checked_mul(factor)?
    } else {
        (value + factor - 1) / factor
    };
    Some(sign * value)
}

/// The smallest mantissa, with a power of ten that is a multiple of three.
fn shortest(nano: i128) -> (i128, i32) {
    let (mut mantissa, mut power) = (nano, -9);
    while mantissa != 0 && mantissa % 1000 == 0 && power < 18 {
        mantissa /= 1000;
        power += 3;
    }
    if mantissa == 0 { (0, 0) } else { (mantissa, power) }
}

fn decimal(nano: i128) -> String {
    let (mantissa, power) = shortest(nano);
    let suffix = DECIMAL.iter().find(|(_, p)| *p == power).map_or("", |(name, _)| name);
    format!("{mantissa}{suffix}")
}

fn binary(mut whole: i128) -> String {
    let mut power = 0;
    while whole % 1024 == 0 && power + 1 < BINARY.len() {
        whole /= 1024;
        power += 1;
    }
    format!("{whole}{}", BINARY[power])
}

#[cfg(test)]
mod tests {
    use super::canonical;

    #[test]
    fn quantities_are_written_as_the_server_writes_them() {
        let cases = [
            ("1000m", "1"),
            ("0.5", "500m"),
            ("1024Mi", "1Gi"),
            ("1.5Gi", "1536Mi"),
            ("100Mi", "100Mi"),
            ("1", "1"),
            ("0", "0"),
            ("1000", "1k"),
            ("1024", "1024"),
            ("0.1", "100m"),
            ("64Mi", "64Mi"),
            ("1e3", "1e3"),
            ("512Ki", "512Ki"),
            ("1Ki", "1Ki"),
            ("0.5Ki", "512"),
            ("-1", "-1"),
            ("2000Mi", "2000Mi"),
            ("100n", "100n"),
        ];
        for (given, expected) in cases {
            assert_eq!(canonical(given).as_deref(), Some(expected), "{given}");
        }
        for wrong in ["", "abc", "1Zi", "1..2", "--1", "."] {
            assert_eq!(canonical(wrong), None, "{wrong}");
        }
    }
}
