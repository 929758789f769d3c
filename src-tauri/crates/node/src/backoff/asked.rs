//! What a server asks for in `Retry-After` (RFC 9110, 10.2.3): seconds, or a date.

use std::time::{Duration, SystemTime};

use super::rule::LONGEST_ASKED;

/// Longer than any date or number of seconds that means something.
const LONGEST_VALUE: usize = 64;

/// The wait that a header asks for, at most [`LONGEST_ASKED`]; `None` if it says nothing that can be understood. A date in
/// the past asks for none.
pub fn retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    if value.is_empty() || value.len() > LONGEST_VALUE {
        return None;
    }
    let wait = if value.bytes().all(|byte| byte.is_ascii_digit()) {
        // More seconds than a number can hold are too many in any case.
        value.parse().map_or(LONGEST_ASKED, Duration::from_secs)
    } else {
        let until = httpdate::parse_http_date(value).ok()?;
        until.duration_since(now).unwrap_or_default()
    };
    Some(wait.min(LONGEST_ASKED))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn seconds_and_dates_are_understood_and_bounded() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let date = |ahead: i64| {
            let at = 1_800_000_000_i64 + ahead;
            httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + Duration::from_secs(at.unsigned_abs()))
        };
        let table = [
            ("0".to_owned(), Some(0)),
            ("120".to_owned(), Some(120)),
            (" 7 ".to_owned(), Some(7)),
            (u64::MAX.to_string(), Some(4 * 3600)),
            ("9".repeat(60), Some(4 * 3600)),
            (date(90), Some(90)),
            (date(-90), Some(0)),
            (date(1_000_000), Some(4 * 3600)),
            (String::new(), None),
            ("-5".to_owned(), None),
            ("1.5".to_owned(), None),
            ("soon".to_owned(), None),
            ("1".repeat(1_000), None),
        ];
        for (value, expected) in table {
            let got = retry_after(&value, now).map(|wait| wait.as_secs());
            assert_eq!(got, expected, "{value}");
        }
    }

    proptest! {
        #[test]
        fn nothing_a_server_writes_is_too_much(value in any::<String>()) {
            let wait = retry_after(&value, SystemTime::UNIX_EPOCH);
            prop_assert!(wait.is_none_or(|wait| wait <= LONGEST_ASKED));
        }
    }
}
