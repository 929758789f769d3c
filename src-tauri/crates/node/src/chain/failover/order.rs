//! Who is asked, and how long one may take while others wait for their turn. Plain functions.

use std::time::Duration;

use crate::backoff::{Asker, Standing};

/// So long the first server may be silent before the next is asked for its tip as well. A phone's connection with TLS needs
/// four round trips and the radio's waking, two seconds at worst; who has said nothing after three is most often not there,
/// and waiting for the request's own time-out would take a fifth of a refresh grant.
pub const SILENCE: Duration = Duration::from_secs(3);

/// In what order servers are asked, by how each of them stands: those that are not to be left alone now, in the order of the
/// list. If all are, whoever calls has decided that it is worth asking (a person, or money that is running out): then those
/// that did not ask for it themselves, and else all of them.
pub fn order(standings: &[Option<Standing>], now_ms: u64) -> Vec<usize> {
    let free = |asker| {
        let standings = standings.iter().enumerate();
        let free = standings.filter(move |(_, standing)| {
            standing.is_none_or(|standing| standing.held_back(asker, now_ms).is_none())
        });
        free.map(|(at, _)| at).collect::<Vec<_>>()
    };
    let calm = free(Asker::Background { left: None });
    if !calm.is_empty() {
        return calm;
    }
    let unasked = free(Asker::Person);
    if !unasked.is_empty() {
        return unasked;
    }
    (0..standings.len()).collect()
}

/// How much of the time that is left a server may take while so many wait for their turn after it: half. A good server needs
/// a tenth of that, and one that drips its answers must leave enough for another. The last takes what there is.
pub fn share(left: Option<Duration>, after: usize) -> Option<Duration> {
    left.filter(|_| after > 0).map(|left| left / 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backoff::Failure;
    use crate::error::ErrorCode;

    const NOW: u64 = 1_800_000_000_000;

    fn failed(asked_secs: Option<u64>) -> Standing {
        let asked = asked_secs.map(Duration::from_secs);
        let code = ErrorCode::RateLimited;
        Standing::after(None, Failure::RateLimited, code, asked, NOW, 0.0)
    }

    #[test]
    fn the_first_that_may_be_asked_and_if_none_may_those_that_did_not_ask_for_it() {
        let (ours, asked) = (Some(failed(None)), Some(failed(Some(1_800))));
        let table: [(&[Option<Standing>], &[usize]); 6] = [
            (&[None, None], &[0, 1]),
            (&[ours, None, None], &[1, 2]),
            (&[None, asked], &[0]),
            (&[ours, asked, ours], &[0, 2]),
            (&[asked, asked], &[0, 1]),
            (&[], &[]),
        ];
        for (standings, expected) in table {
            assert_eq!(order(standings, NOW), expected, "{standings:?}");
        }
        assert_eq!(order(&[ours, None], NOW + 300_000), [0, 1], "its time is over");
    }

    #[test]
    fn a_server_leaves_half_of_the_time_to_those_after_it() {
        let s = Duration::from_secs;
        for (left, after, expected) in [
            (Some(s(24)), 1, Some(s(12))),
            (Some(s(24)), 3, Some(s(12))),
            (Some(s(24)), 0, None),
            (None, 2, None),
        ] {
            assert_eq!(share(left, after), expected);
        }
    }
}
