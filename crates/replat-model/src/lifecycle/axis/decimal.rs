//! Numbers with a fixed count of decimals, as PostgreSQL's `numeric` prints them.

use super::DIGITS_MAX;

/// `text` times ten to the power of `scale`, rounded down, and whether nothing was lost.
///
/// # Errors
///
/// What is wrong with it: no number, none that is finite, or one that is too long to count with.
pub(super) fn parse(text: &str, scale: u32) -> Result<(i128, bool), &'static str> {
    if ["nan", "infinity", "-infinity"].contains(&text.to_ascii_lowercase().as_str()) {
        return Err("an infinite key has no place among partitions");
    }
    let (negative, unsigned) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
    let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    if whole.len() + fraction.len() == 0 || !digits(whole) || !digits(fraction) {
        return Err("it is not a decimal number");
    }
    let kept = fraction.len().min(scale as usize);
    let written = format!("{whole}{}{}", &fraction[..kept], "0".repeat(scale as usize - kept));
    let significant = written.trim_start_matches('0');
    if significant.len() > DIGITS_MAX as usize {
        return Err("it has more digits than can be counted with");
    }
    let n: i128 = if significant.is_empty() {
        0
    } else {
        significant.parse().map_err(|_| "it is not a decimal number")?
    };
    let exact = fraction[kept..].bytes().all(|b| b == b'0');
    let rounded_away = negative && !exact;
    Ok((if negative { -n } else { n } - i128::from(rounded_away), exact))
}

/// `n` divided by ten to the power of `scale`, with exactly so many decimals.
pub(super) fn text(n: i128, scale: u32) -> String {
    let sign = if n < 0 { "-" } else { "" };
    let scale = scale as usize;
    let digits = format!("{:0>width$}", n.unsigned_abs(), width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    if fraction.is_empty() { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") }
}

/// Digits and scale of `numeric(20,2)`; no digits if the type does not bound them. `None` if they cannot be read, or
/// are more than can be counted with.
pub(super) fn modifier(type_name: &str) -> Option<(u32, u32)> {
    let Some((_, rest)) = type_name.split_once('(') else { return Some((0, 0)) };
    let (inside, _) = rest.split_once(')')?;
    let (digits, scale) = inside.split_once(',').unwrap_or((inside, "0"));
    let (digits, scale): (u32, i32) = (digits.trim().parse().ok()?, scale.trim().parse().ok()?);
    // A negative scale rounds to tens or more: there are that many digits before the point in addition.
    let (digits, scale) =
        if scale < 0 { (digits + scale.unsigned_abs(), 0) } else { (digits, scale.unsigned_abs()) };
    (scale <= DIGITS_MAX).then_some((digits, scale))
}
