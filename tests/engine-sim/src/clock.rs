//! The wall clock, for the times that an engine reports.

use std::time::{SystemTime, UNIX_EPOCH};

/// Unix seconds, now.
pub(crate) fn unix_now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

/// A unix time as `20261121T204533.000Z`, the form of the health check's `started`.
pub(crate) fn basic_format(unix: u64) -> String {
    let (days, second) = (unix / 86_400, unix % 86_400);
    let (mut year, mut days_left) = (1970, days);
    while days_left >= year_length(year) {
        days_left -= year_length(year);
        year += 1;
    }
    let mut month = 1;
    while days_left >= month_length(year, month) {
        days_left -= month_length(year, month);
        month += 1;
    }
    let (hour, minute) = (second / 3_600, second / 60 % 60);
    format!(
        "{year:04}{month:02}{:02}T{hour:02}{minute:02}{:02}.000Z",
        days_left + 1,
        second % 60
    )
}

const fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

const fn year_length(year: u64) -> u64 {
    if is_leap(year) { 366 } else { 365 }
}

const fn month_length(year: u64, month: u64) -> u64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(basic_format(0), "19700101T000000.000Z");
        assert_eq!(basic_format(951_782_400), "20000229T000000.000Z");
        assert_eq!(basic_format(1_735_689_599), "20241231T235959.000Z");
    }
}
