//! Where a wallet that knows nothing of the chain begins to read: not at the chain's beginning, but at its own.
//!
//! Found by headers alone, 80 bytes a block, where a filter has 20,000. Who was never paid has nothing to look for below.

use std::time::Duration;

use bip157::HashCheckpoint;
use bitcoin::Network;
use bitcoin::block::Header;
use bitcoin::constants::genesis_block;

use super::jury::{self, AHEAD_LIMIT, Branch};
use super::trail::{Mark, Trail};
use super::{FiltersSource, Place};
use crate::birthday::Birthday;
use crate::chain::Round;
use crate::error::{Error, ErrorCode, Result};

/// A block may bear a time two hours late or an hour early, and a phone's clock may be wrong. A day of blocks more costs 3 MB,
/// once.
const MARGIN: Duration = Duration::from_secs(24 * 60 * 60);

/// Times that [`AHEAD_LIMIT`] headers are asked for: two million blocks, twice as many as there are.
const BATCHES: usize = 100;

/// What is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sought {
    /// The newest block: nobody was given an address yet.
    Tip,
    /// The newest block whose time is before this one, Unix time in s: somebody was given an address after it.
    Before(u64),
    /// The block of this height, or the newest one.
    At(u32),
}

impl Sought {
    fn of(birthday: Birthday, address_given: bool) -> Self {
        match birthday {
            Birthday::Made(_) if !address_given => Self::Tip,
            Birthday::Made(at_ms) => Self::Before((at_ms / 1000).saturating_sub(MARGIN.as_secs())),
            Birthday::Since(height) => Self::At(height),
        }
    }

    /// How many of these headers, the first of this height, are not above what is looked for.
    fn reach(self, headers: &[Header], first: u32) -> usize {
        match self {
            Self::Tip => headers.len(),
            Self::Before(secs) => headers
                .iter()
                .rposition(|header| u64::from(header.time) < secs)
                .map_or(0, |place| place + 1),
            Self::At(height) => {
                let reach = height.saturating_add(1).saturating_sub(first);
                usize::try_from(reach).unwrap_or(usize::MAX).min(headers.len())
            }
        }
    }
}

/// The block above which a wallet of this network can have anything at all: on the main network the last one without SegWit,
/// because all its addresses are SegWit's.
pub fn first_block(network: Network) -> Place {
    match network {
        Network::Bitcoin => place(HashCheckpoint::segwit_activation()),
        _ => Place {
            height: 0,
            hash: genesis_block(network).block_hash(),
        },
    }
}

/// The highest block known to this app from which headers may be asked.
fn lowest(network: Network, sought: Sought) -> Place {
    let later = place(HashCheckpoint::taproot_activation());
    match sought {
        Sought::At(height) if height < later.height => first_block(network),
        _ if network == Network::Bitcoin => later,
        _ => first_block(network),
    }
}

fn place(checkpoint: HashCheckpoint) -> Place {
    Place {
        height: checkpoint.height,
        hash: checkpoint.hash,
    }
}

impl FiltersSource {
    /// The last blocks in which nothing can be ours, if the wallet knows nothing of the chain and when it was made is known.
    pub(super) async fn born_above(&self, round: &Round<'_>, trail: &Trail) -> Result<Option<Trail>> {
        let strangers = round.whole
            && round.known.is_none()
            && trail.tip().is_none()
            && round.heads.iter().all(|(height, _)| *height == 0)
            && round.wallet.checkpoint().height() == 0
            && !round.wallet.scanned();
        let Some(birthday) = self.settings.birthday.filter(|_| strangers) else {
            return Ok(None);
        };
        let network = self.settings.network;
        let given = round.wallet.address_given();
        let mut sought = Sought::of(birthday, given);
        let mut below = self.walk(sought, lowest(network, sought)).await?;
        // Somebody who was given an address on the way may have paid in one of these blocks; who is given one from now on
        // pays in a later one.
        if round.wallet.address_given() != given {
            sought = Sought::of(birthday, true);
            below = self.walk(sought, lowest(network, sought)).await?;
        }
        Ok(below.tip().is_some().then_some(below))
    }

    /// Goes up the chain by its headers, as far as is looked for. Gives the last blocks of the way.
    async fn walk(&self, sought: Sought, from: Place) -> Result<Trail> {
        let network = self.settings.network;
        let (mut at, mut way, mut found) = (from, Trail::default(), Trail::default());
        let mut jurors = self.seated(&[at], &way).await?;
        for _ in 0..BATCHES {
            let Some(branch) = jury::best(&jurors, &way, at) else {
                break;
            };
            let reach = sought.reach(&branch.headers, branch.fork.height.saturating_add(1));
            if reach > 0 {
                push(&mut way, &branch, 0..reach);
                found = way.clone();
            }
            push(&mut way, &branch, reach..branch.headers.len());
            let enough = matches!(sought, Sought::At(_)) && reach < branch.headers.len();
            if enough || branch.headers.len() < AHEAD_LIMIT {
                break;
            }
            let Some(top) = way.tip() else { break };
            at = top.place();
            // Who has another chain, or not so much of this one, is no help further up. That is no crime.
            let (with, others): (Vec<_>, Vec<_>) =
                jurors.into_iter().partition(|juror| juror.reaches(&branch));
            self.dismiss(others);
            let wires = with.into_iter().map(|juror| juror.wire).collect();
            let (heard, failures) = jury::hear(wires, &[at], &way, network).await;
            self.note(&failures);
            if heard.len() < self.settings.required {
                let what = format!("filters: too few peers have the chain above block {}", at.height);
                return Err(Error::new(ErrorCode::NetworkUnavailable, what));
            }
            jurors = heard;
        }
        self.dismiss(jurors);
        Ok(found)
    }
}

fn push(way: &mut Trail, branch: &Branch, run: std::ops::Range<usize>) {
    for (header, height) in branch.headers.iter().zip(branch.fork.height + 1..) {
        let at = (height - branch.fork.height - 1) as usize;
        if run.contains(&at) {
            way.push(Mark {
                height,
                header: *header,
                filter_header: None,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(times: &[u32]) -> Vec<Header> {
        let genesis = genesis_block(Network::Regtest).header;
        times
            .iter()
            .map(|time| Header {
                time: *time,
                ..genesis
            })
            .collect()
    }

    #[test]
    fn what_is_sought_is_the_tip_a_time_or_a_height() {
        // Times of blocks go up and down a little.
        let headers = headers(&[100, 300, 200, 400, 350]);
        let reach = |sought: Sought| sought.reach(&headers, 10);
        assert_eq!(reach(Sought::Tip), 5);
        assert_eq!(reach(Sought::Before(100)), 0);
        assert_eq!(reach(Sought::Before(301)), 3);
        assert_eq!(reach(Sought::Before(1_000)), 5);
        assert_eq!(reach(Sought::At(9)), 0);
        assert_eq!(reach(Sought::At(10)), 1);
        assert_eq!(reach(Sought::At(14)), 5);
        assert_eq!(reach(Sought::At(u32::MAX)), 5);
    }

    #[test]
    fn who_was_given_an_address_before_is_looked_for_from_a_day_before_the_wallet_was_made() {
        let made = Birthday::Made(90_000_000);
        assert_eq!(Sought::of(made, false), Sought::Tip);
        assert_eq!(Sought::of(made, true), Sought::Before(3_600));
        assert_eq!(Sought::of(Birthday::Made(5), true), Sought::Before(0));
        assert_eq!(Sought::of(Birthday::Since(7), true), Sought::At(7));
    }

    #[test]
    fn headers_are_asked_from_the_highest_known_block_that_is_low_enough() {
        let height = |network, sought| lowest(network, sought).height;
        assert_eq!(height(Network::Bitcoin, Sought::Tip), 709_631);
        assert_eq!(height(Network::Bitcoin, Sought::At(709_631)), 709_631);
        assert_eq!(height(Network::Bitcoin, Sought::At(709_630)), 481_823);
        assert_eq!(height(Network::Bitcoin, Sought::At(3)), 481_823);
        assert_eq!(height(Network::Signet, Sought::Tip), 0);
    }
}
