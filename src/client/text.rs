//! Formatting for people: numbers, durations, and untrusted text made harmless for a terminal.

/// The text with every character replaced that could move the cursor, change colours or reverse the writing direction.
pub fn printable(text: &str) -> String {
    let harmless = |c: char| match c {
        '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => '\u{fffd}',
        c if c.is_control() => '\u{fffd}',
        c => c,
    };
    text.chars().map(harmless).collect()
}

/// A fraction from 0 to 1 as `94.2 %`.
pub fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

/// A loss or rate with three significant digits: `0.421`, `1.83e3`.
pub fn number(value: f64) -> String {
    let size = value.abs();
    if !value.is_finite() || value == 0.0 {
        return format!("{value}");
    }
    if !(1e-3..1e4).contains(&size) {
        return format!("{value:.2e}");
    }
    let whole_digits = size.log10().floor().max(0.0) as usize + 1;
    let decimals = 3_usize.saturating_sub(if size < 1.0 { 0 } else { whole_digits });
    format!("{value:.decimals$}")
}

/// Seconds as `42 s`, `3 min 20 s`, `2 h 5 min`.
pub fn duration(seconds: f64) -> String {
    if seconds < 9.95 {
        return format!("{seconds:.1} s");
    }
    let whole = seconds.round() as u64;
    match whole {
        0..60 => format!("{whole} s"),
        60..3600 => format!("{} min {} s", whole / 60, whole % 60),
        _ => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_sequences_of_strangers_do_not_reach_the_terminal() {
        let shown = printable("a\u{1b}[2Jb\u{9b}31m\r\nc\u{202e}d");
        assert!(!shown.chars().any(char::is_control));
        assert_eq!(shown, "a\u{fffd}[2Jb\u{fffd}31m\u{fffd}\u{fffd}c\u{fffd}d");
        assert_eq!(printable("naïve 日本"), "naïve 日本");
    }

    #[test]
    fn numbers_have_three_digits() {
        let shown = [0.42111, 2.5, 12.345, 1830.46, 0.00001, 0.0, 1.0, 999.9, 123456.0].map(number);
        assert_eq!(
            shown,
            [
                "0.421", "2.50", "12.3", "1830", "1.00e-5", "0", "1.00", "1000", "1.23e5"
            ]
        );
    }

    #[test]
    fn durations_are_read_at_a_glance() {
        let shown = [0.84, 9.96, 61.0, 7500.0].map(duration);
        assert_eq!(shown, ["0.8 s", "10 s", "1 min 1 s", "2 h 5 min"]);
    }
}
