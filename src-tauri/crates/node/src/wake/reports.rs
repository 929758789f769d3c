//! What a wake has to tell of others: a peer that was caught in a lie, for one. Made fit for a record and for a screen.
//!
//! The sentences are ours, but there are names and words of strangers in them.

/// Reports kept of one wake. More are counted only: a network full of liars is told by the first few.
const LIMIT: usize = 8;

/// Longest report kept, in characters. A name has up to 253.
const LENGTH: usize = 400;

/// The reports as they are kept: few, short, each once, and of nothing but printable characters on one line.
pub fn kept(reports: &[String]) -> Vec<String> {
    let mut kept: Vec<String> = Vec::new();
    for report in reports {
        let clean = clean(report);
        if !clean.is_empty() && !kept.contains(&clean) {
            kept.push(clean);
        }
    }
    if kept.len() > LIMIT {
        let more = kept.len() - (LIMIT - 1);
        kept.truncate(LIMIT - 1);
        kept.push(format!("and {more} more of this kind"));
    }
    kept
}

fn clean(report: &str) -> String {
    let shown = report.chars().map(|c| if is_shown(c) { c } else { ' ' });
    let words: String = shown.collect();
    let line = words.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= LENGTH {
        return line;
    }
    line.chars().take(LENGTH - 1).chain(['…']).collect()
}

/// Not what hides, or turns the text around it (Unicode's invisible and bidirectional marks).
fn is_shown(c: char) -> bool {
    let hidden = matches!(
        c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}'
    );
    !hidden && !c.is_control()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(reports: &[&str]) -> Vec<String> {
        kept(
            &reports
                .iter()
                .map(|report| (*report).to_owned())
                .collect::<Vec<_>>(),
        )
    }

    #[test]
    fn reports_are_few_short_and_on_one_line() {
        assert_eq!(of(&[]), [""; 0]);
        assert_eq!(
            of(&["a lied", "", " \n", "a lied", "b lied"]),
            ["a lied", "b lied"]
        );
        assert_eq!(
            of(&["one\u{1b}[31m\ntwo\u{202e}\u{200b} three"]),
            ["one [31m two three"]
        );
        let long = of(&["é".repeat(5_000).as_str()]);
        assert_eq!(long[0].chars().count(), LENGTH);
        assert!(long[0].ends_with('…'));
        let many: Vec<String> = (0..50).map(|n| format!("peer {n} lied")).collect();
        let many = kept(&many);
        assert_eq!(many.len(), LIMIT);
        assert_eq!(many[LIMIT - 1], "and 43 more of this kind");
    }

    proptest! {
        #[test]
        fn whatever_strangers_write_stays_within_bounds(reports in proptest::collection::vec(any::<String>(), 0..40)) {
            let kept = kept(&reports);
            prop_assert!(kept.len() <= LIMIT);
            for report in &kept {
                prop_assert!(!report.is_empty() && report.chars().count() <= LENGTH);
                prop_assert!(report.chars().all(is_shown));
            }
        }
    }
}
