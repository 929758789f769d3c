//! Who is asked, and how long one may take while others wait for their turn. Plain functions.

use std::time::Duration;

use crate::backoff::{Asker, Standing};
use crate::chain::source::{Depth, Terms};

/// So long the first server may be silent before the next is asked for its tip as well. A phone's connection with TLS needs
/// four round trips and the radio's waking, two seconds at worst; who has said nothing after three is most often not there,
/// and waiting for the request's own time-out would take a fifth of a refresh grant.
pub const SILENCE: Duration = Duration::from_secs(3);

/// Somebody whom nothing drives: not the person, and no money.
pub const CALM: Asker = Asker::Background { left: None };

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
    let calm = free(CALM);
    if !calm.is_empty() {
        return calm;
    }
    let unasked = free(Asker::Person);
    if !unasked.is_empty() {
        return unasked;
    }
    (0..standings.len()).collect()
}

/// Blocks come every ten minutes, as a rule.
const BLOCK: Duration = Duration::from_secs(600);

/// Most blocks that are read by filters first, where neither data nor power nor time cost anything: a week, 20 MB of filters
/// at some 20 kB a block.
const FREELY: u32 = 1_008;

/// Most blocks that are read by filters in an open app when every server failed: a day, 3 MB.
const IN_THE_APP: u32 = 144;

/// The same in a refresh wake: two hours, a quarter of a megabyte, some seconds with the peers that must be found first.
const IN_A_REFRESH: u32 = 12;

/// Where filters stand among servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// Before every server.
    First,
    /// When every server failed.
    Last,
    /// Not this time.
    Never,
}

/// Whether a round asks peers for filters, by how closely it looks, what it may take, and how long ago the chain was last
/// seen; `None`: never. See docs/decisions, "Who is asked".
pub fn filters_turn(depth: Depth, terms: &Terms, since: Option<Duration>) -> Turn {
    let Some(since) = since else {
        // Every block since the network's first: nothing that happens unasked.
        return Turn::Never;
    };
    let blocks = u32::try_from(since.as_secs() / BLOCK.as_secs()).unwrap_or(u32::MAX);
    match (terms.generous, depth) {
        (true, _) if blocks <= FREELY => Turn::First,
        (false, Depth::Deep) if blocks <= IN_THE_APP => Turn::Last,
        (false, Depth::Quick) if blocks <= IN_A_REFRESH => Turn::Last,
        _ => Turn::Never,
    }
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
    fn filters_come_first_where_nothing_costs_and_last_where_they_are_few() {
        use Turn::{First, Last, Never};
        let hour = Duration::from_secs(3_600);
        let (free, not) = (true, false);
        let table = [
            (Depth::Quick, free, Some(2 * hour), First),
            (Depth::Quick, free, Some(168 * hour), First),
            (Depth::Quick, free, Some(169 * hour), Never),
            (Depth::Quick, not, Some(2 * hour), Last),
            (Depth::Quick, not, Some(3 * hour), Never),
            (Depth::Deep, not, Some(24 * hour), Last),
            (Depth::Deep, not, Some(25 * hour), Never),
            (Depth::Deep, free, Some(25 * hour), First),
            (Depth::Deep, not, None, Never),
            (Depth::Quick, free, None, Never),
        ];
        for (depth, generous, since, expected) in table {
            let terms = Terms {
                until: None,
                generous,
            };
            assert_eq!(
                filters_turn(depth, &terms, since),
                expected,
                "{depth:?} {generous} {since:?}"
            );
        }
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
