//! Finds one number in the Prometheus text exposition format 0.0.4. Skips all text that is not a sample of the metric,
//! ignores labels, and adds the samples of one metric. Does not know what a number means.

/// The sum of the samples of a gauge. `None` when the text has no sample with a finite number.
#[must_use]
pub fn sum_gauge(text: &[u8], family: &str) -> Option<f64> {
    let mut sum = None;
    for line in text.split(|b| *b == b'\n') {
        if let Some(value) = parse_sample(line, family) {
            sum = Some(sum.unwrap_or(0.0) + value);
        }
    }
    sum.filter(|v: &f64| v.is_finite())
}

/// Parses `name value [timestamp]` or `name{labels} value [timestamp]`. A blank may precede the brace.
fn parse_sample(line: &[u8], family: &str) -> Option<f64> {
    let after_name = line.trim_ascii().strip_prefix(family.as_bytes())?;
    let after_blanks = after_name.trim_ascii_start();
    let after_labels = match (after_name.first()?, after_blanks.first()?) {
        (_, b'{') => skip_labels(after_blanks)?,
        (b' ' | b'\t', _) => after_blanks,
        _ => return None, // The name of another metric that begins with this name.
    };
    let value = after_labels
        .split(u8::is_ascii_whitespace)
        .find(|part| !part.is_empty())?;
    let value: f64 = std::str::from_utf8(value).ok()?.parse().ok()?;
    value.is_finite().then_some(value)
}

/// The text after the closing brace of the labels. A brace in a quoted label value does not close them.
fn skip_labels(text: &[u8]) -> Option<&[u8]> {
    let mut in_quotes = false;
    let mut escaped = false;
    for (i, byte) in text.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_quotes => escaped = true,
            b'"' => in_quotes = !in_quotes,
            b'}' if !in_quotes => return text.get(i + 1..),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &str = "qix_active_sessions";

    fn read(text: &str) -> Option<f64> {
        sum_gauge(text.as_bytes(), NAME)
    }

    #[test]
    fn finds_the_metric_among_others() {
        let text = "# HELP qix_active_sessions Sessions.\n# TYPE qix_active_sessions gauge\n\
                    qix_active_sessions_peak 99\nqix_active_sessions 12\nqix_sessions_total 40\n";
        assert_eq!(read(text), Some(12.0));
    }

    #[test]
    fn accepts_labels_timestamps_and_windows_line_ends() {
        assert_eq!(
            read("qix_active_sessions{a=\"}\\\"{\"} 3 1700000000000\r\n"),
            Some(3.0)
        );
        assert_eq!(
            read("qix_active_sessions{t=\"a\"} 1\nqix_active_sessions{t=\"b\"} 2"),
            Some(3.0)
        );
        assert_eq!(read("  qix_active_sessions\t4.0"), Some(4.0));
        assert_eq!(read("qix_active_sessions {a=\"b\"} 5"), Some(5.0));
        assert_eq!(read("qix_active_sessions\t{ a = \"b\" }\t6"), Some(6.0));
    }

    #[test]
    fn invalid_samples_are_ignored() {
        for text in [
            "",
            "<html>",
            "qix_active_sessions",
            "qix_active_sessions ",
            "qix_active_sessions many",
            "qix_active_sessions NaN",
            "qix_active_sessions{a=\"b 3",
            "qix_active_sessionsx 3",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
