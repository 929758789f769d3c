//! The peers that must agree: what each of them says the chain is, and what each says the filters are.
//!
//! A block whose filter not enough peers vouch for is not skipped and not trusted: it is read whole. So a peer that lies,
//! alone, costs us bytes and its own good name, never a transaction.

use std::time::Duration;

use bitcoin::bip158::{FilterHash, FilterHeader};
use bitcoin::block::Header;
use bitcoin::{Block, Network};
use futures::StreamExt;
use futures::future::join_all;
use futures::stream::FuturesUnordered;
use tokio::time::timeout;

use super::headers;
use super::trail::{Trail, hashes, no_work};
use super::wire::{FILTER_HEADERS_AT_ONCE, HEADERS_AT_ONCE, Wire};
use super::{Dial, Place};
use crate::chain::host::HostPort;
use crate::clock;
use crate::error::{Error, ErrorCode, Result};

/// Headers taken in at once, 1.6 MB: five months of blocks. Whoever is further behind takes several rounds.
pub const AHEAD_LIMIT: usize = 10 * HEADERS_AT_ONCE;

/// So long the first peer that is asked for a block has it to itself; then another one is asked as well. A block comes to a
/// phone in a second or two; one that is withheld must not cost a wake half its time.
const PATIENCE: Duration = Duration::from_secs(4);

/// A peer, and what it says the chain is.
pub struct Juror {
    /// The connection to it.
    pub wire: Wire,
    branch: Branch,
}

/// Blocks above one that we know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Branch {
    /// The last block in common.
    pub fork: Place,
    /// The headers above it, lowest first.
    pub headers: Vec<Header>,
}

impl Branch {
    /// How high it goes.
    pub fn height(&self) -> u32 {
        self.fork.height.saturating_add(count(&self.headers))
    }

    /// How many of the other's headers, from the lowest on, are also in this one.
    fn shares(&self, other: &Branch) -> usize {
        if self.fork != other.fork {
            return 0;
        }
        let both = self.headers.iter().zip(&other.headers);
        both.take_while(|(one, two)| one == two).count()
    }
}

/// What the peers say of a run of blocks.
pub struct Agreed {
    /// The height of the first.
    pub first: u32,
    /// The blocks' headers.
    pub headers: Vec<Header>,
    /// Their filters' hashes; `None` where not enough peers said the same.
    pub hashes: Vec<Option<FilterHash>>,
    /// Who said what.
    pub votes: Vec<Vote>,
    /// The filter header before the first block, if all say the same.
    pub before: Option<FilterHeader>,
}

/// What one peer says the filters' hashes are, from the first block on.
pub struct Vote {
    /// Who.
    pub peer: HostPort,
    /// The hashes; shorter than the run if it does not have the last blocks.
    pub hashes: Vec<FilterHash>,
    before: FilterHeader,
}

/// What went wrong with whom.
pub type Failure = (HostPort, Error);

/// Connects to peers until there are `required`, asking several at once.
pub async fn seat(
    mut wires: Vec<Wire>,
    candidates: &[HostPort],
    required: usize,
    dial: &Dial,
) -> (Vec<Wire>, Vec<Failure>) {
    let mut failures = Vec::new();
    let strangers: Vec<&HostPort> = candidates
        .iter()
        .filter(|peer| wires.iter().all(|wire| wire.peer() != *peer))
        .collect();
    let mut next = strangers.as_slice();
    while wires.len() < required && !next.is_empty() {
        let (now, later) = next.split_at((required - wires.len()).min(next.len()));
        next = later;
        let calls = now
            .iter()
            .map(|peer| Wire::connect(peer, dial.network, dial.proxy));
        for (peer, wire) in now.iter().zip(join_all(calls).await) {
            match wire {
                Ok(wire) => wires.push(wire),
                Err(error) => failures.push(((*peer).clone(), error)),
            }
        }
    }
    (wires, failures)
}

/// Asks everybody for the chain above what we know.
pub async fn hear(
    wires: Vec<Wire>,
    known: &[Place],
    trail: &Trail,
    network: Network,
) -> (Vec<Juror>, Vec<Failure>) {
    let asked = wires.into_iter().map(|mut wire| async move {
        match branch(&mut wire, known, trail, network).await {
            Ok(branch) => Ok(Juror { wire, branch }),
            Err(error) => Err((wire.peer().clone(), error)),
        }
    });
    let (mut jurors, mut failures) = (Vec::new(), Vec::new());
    for heard in join_all(asked).await {
        match heard {
            Ok(juror) => jurors.push(juror),
            Err(failure) => failures.push(failure),
        }
    }
    (jurors, failures)
}

async fn branch(wire: &mut Wire, known: &[Place], trail: &Trail, network: Network) -> Result<Branch> {
    let lie = |wire: &Wire, what: &str| super::wire::fault(wire.peer(), ErrorCode::ChainSyncFailed, what);
    let now = clock::since_epoch().as_secs();
    let mut headers = wire.headers(hashes(known)).await?;
    let fork = match headers.first() {
        // It has nothing above the first block of ours that it knows.
        None => known.first(),
        Some(first) => known.iter().find(|place| place.hash == first.prev_blockhash),
    };
    let fork = *fork.ok_or_else(|| lie(wire, "its chain has no block in common with ours"))?;
    let mut parent = trail.at(fork).map(|mark| mark.header);
    let (mut checked, mut batch) = (0, headers.len());
    loop {
        let height = fork
            .height
            .saturating_add(1)
            .saturating_add(count(&headers[..checked]));
        headers::check(&headers[checked..], parent.as_ref(), height, network, now)
            .map_err(|what| lie(wire, what))?;
        checked = headers.len();
        parent = headers.last().copied();
        let Some(last) = parent.filter(|_| batch == HEADERS_AT_ONCE && checked < AHEAD_LIMIT) else {
            return Ok(Branch { fork, headers });
        };
        let more = wire.headers(vec![last.block_hash()]).await?;
        batch = more.len();
        if more
            .first()
            .is_some_and(|first| first.prev_blockhash != last.block_hash())
        {
            // Its chain changed while it talked. What it said first is still a chain; the next round sees the rest.
            return Ok(Branch { fork, headers });
        }
        headers.extend(more);
    }
}

impl Juror {
    /// Whether it has the whole branch.
    pub fn reaches(&self, branch: &Branch) -> bool {
        self.behind(branch) == 0
    }

    /// How many of the branch's blocks it does not have.
    pub fn behind(&self, branch: &Branch) -> usize {
        branch.headers.len() - self.branch.shares(branch)
    }
}

/// The branch with the most work, if it has more than our own chain, which was read up to `at`.
pub fn best(jurors: &[Juror], trail: &Trail, at: Place) -> Option<Branch> {
    let branches = jurors.iter().map(|juror| &juror.branch);
    // Blocks of ours whose headers are not kept count as one of those that are shown now.
    let one = branches
        .clone()
        .filter_map(|branch| branch.headers.first())
        .map(Header::work)
        .max()?;
    let lowest = branches.clone().map(|branch| branch.fork.height).min()?;
    let ours = |up_to: u32| {
        let heights = (lowest..up_to).map(|below| below + 1);
        heights.fold(no_work(), |work, height| {
            work + trail.work_at(height).unwrap_or(one)
        })
    };
    let work = |branch: &Branch| ours(branch.fork.height) + headers::work(&branch.headers);
    let best = branches.max_by_key(|branch| work(branch))?;
    (!best.headers.is_empty() && work(best) > ours(at.height)).then(|| best.clone())
}

/// Asks who has them what the filters of the branch's blocks are, from `done` blocks above its fork on, for as many as fit
/// one answer.
pub async fn agree(
    jurors: &mut [Juror],
    branch: &Branch,
    done: usize,
    required: usize,
) -> (Agreed, Vec<Failure>) {
    let run = (branch.headers.len() - done).min(FILTER_HEADERS_AT_ONCE as usize);
    let headers = branch.headers[done..done + run].to_vec();
    let first = branch
        .fork
        .height
        .saturating_add(1)
        .saturating_add(count(&branch.headers[..done]));
    let asked = jurors.iter_mut().filter_map(|juror| {
        let has = juror.branch.shares(branch).saturating_sub(done).min(run);
        let stop = headers.get(has.checked_sub(1)?)?.block_hash();
        Some(async move {
            let count = u32::try_from(has).unwrap_or(u32::MAX);
            let peer = juror.wire.peer().clone();
            match juror.wire.filter_headers(first, stop, count).await {
                Ok(answer) => Ok(Vote {
                    peer,
                    hashes: answer.filter_hashes,
                    before: answer.previous_filter_header,
                }),
                Err(error) => Err((peer, error)),
            }
        })
    });
    let (mut votes, mut failures) = (Vec::new(), Vec::new());
    for vote in join_all(asked).await {
        match vote {
            Ok(vote) => votes.push(vote),
            Err(failure) => failures.push(failure),
        }
    }
    let hashes = count_votes(&votes, run, required);
    let before = votes.first().map(|vote| vote.before);
    let before =
        before.filter(|before| votes.len() >= required && votes.iter().all(|vote| vote.before == *before));
    let agreed = Agreed {
        first,
        headers,
        hashes,
        votes,
        before,
    };
    (agreed, failures)
}

/// For each block the hash that everybody who voted gave, if enough did.
fn count_votes(votes: &[Vote], run: usize, required: usize) -> Vec<Option<FilterHash>> {
    let place = |place: usize| {
        let mut said = votes.iter().filter_map(|vote| vote.hashes.get(place));
        let first = *said.next()?;
        let mut agreeing = 1;
        for hash in said {
            if *hash != first {
                return None;
            }
            agreeing += 1;
        }
        (agreeing >= required).then_some(first)
    };
    (0..run).map(place).collect()
}

impl Agreed {
    /// Peers whose filter headers do not continue those that were agreed on before, unless that is all of them.
    pub fn breaks_with(&self, known: FilterHeader) -> Vec<HostPort> {
        let breaking: Vec<HostPort> = self
            .votes
            .iter()
            .filter(|vote| vote.before != known)
            .map(|vote| vote.peer.clone())
            .collect();
        if breaking.len() == self.votes.len() {
            Vec::new()
        } else {
            breaking
        }
    }

    /// How many blocks must be read whole because of disagreement or too few voices.
    pub fn unvouched(&self) -> usize {
        self.hashes.iter().filter(|hash| hash.is_none()).count()
    }
}

/// Gets a block from whoever gives it first. Who was asked and did not is among the failures.
///
/// # Errors
/// The last peer's, if nobody does.
pub async fn block(jurors: &mut [Juror], place: Place) -> (Result<Block>, Vec<Failure>) {
    let mut others = jurors.iter_mut().filter(|juror| juror.wire.usable());
    let (mut asked, mut silent) = (FuturesUnordered::new(), Vec::new());
    let mut failures: Vec<Failure> = Vec::new();
    loop {
        let one_more = others.next().map(|juror| {
            let peer = juror.wire.peer().clone();
            silent.push(peer.clone());
            asked.push(async move { (peer, juror.wire.block(place.hash).await) });
        });
        let answer = match one_more {
            Some(()) => timeout(PATIENCE, asked.next()).await,
            None => Ok(asked.next().await),
        };
        match answer {
            Ok(Some((peer, Ok(block)))) => {
                let slow = silent.into_iter().filter(|other| *other != peer).map(|other| {
                    let error = super::wire::fault(&other, ErrorCode::SyncTimeout, "no block in time");
                    (other, error)
                });
                failures.extend(slow);
                return (Ok(block), failures);
            }
            Ok(Some((peer, Err(error)))) => {
                silent.retain(|other| *other != peer);
                failures.push((peer, error));
            }
            // Nobody is left.
            Ok(None) => break,
            // The next one is asked as well.
            Err(_) => {}
        }
    }
    let error = failures.last().map_or_else(
        || {
            Error::new(
                ErrorCode::NetworkUnavailable,
                "no filter peer is left to give a block",
            )
        },
        |(_, error)| error.clone(),
    );
    (Err(error), failures)
}

/// A number of blocks as a height counts them.
fn count(headers: &[Header]) -> u32 {
    u32::try_from(headers.len()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bitcoin::hashes::Hash;

    fn vote(name: u16, hashes: &[u8]) -> Vote {
        Vote {
            peer: format!("10.0.0.1:{name}").parse().unwrap(),
            hashes: hashes
                .iter()
                .map(|n| FilterHash::from_byte_array([*n; 32]))
                .collect(),
            before: FilterHeader::from_byte_array([u8::try_from(name).unwrap(); 32]),
        }
    }

    #[test]
    fn a_hash_counts_only_if_enough_say_it_and_nobody_says_otherwise() {
        let counted = |votes: &[Vote], required| {
            count_votes(votes, 4, required)
                .into_iter()
                .map(|hash| hash.map(|hash| hash.to_byte_array()[0]))
                .collect::<Vec<_>>()
        };
        let two = [vote(1, &[1, 2, 3, 4]), vote(2, &[1, 9, 3])];
        assert_eq!(counted(&two, 2), [Some(1), None, Some(3), None]);
        assert_eq!(counted(&two, 1), [Some(1), None, Some(3), Some(4)]);
        let three = [
            vote(1, &[1, 2, 3, 4]),
            vote(2, &[1, 2, 3, 4]),
            vote(3, &[1, 9, 3, 4]),
        ];
        assert_eq!(counted(&three, 2), [Some(1), None, Some(3), Some(4)]);
        assert_eq!(counted(&[], 1), [None; 4]);
    }

    #[test]
    fn who_breaks_with_the_past_is_named_unless_everybody_does() {
        let agreed = |votes| Agreed {
            first: 1,
            headers: Vec::new(),
            hashes: Vec::new(),
            votes,
            before: None,
        };
        let both = agreed(vec![vote(1, &[]), vote(2, &[])]);
        let known = |n: u8| FilterHeader::from_byte_array([n; 32]);
        assert_eq!(both.breaks_with(known(1)), [vote(2, &[]).peer]);
        assert!(both.breaks_with(known(7)).is_empty());
        assert!(agreed(vec![vote(1, &[])]).breaks_with(known(1)).is_empty());
    }

    #[test]
    fn branches_share_blocks_only_from_the_same_fork_on() {
        let genesis = bitcoin::constants::genesis_block(Network::Regtest).header;
        let header = |n: u32| Header { nonce: n, ..genesis };
        let fork = |height| Place {
            height,
            hash: genesis.block_hash(),
        };
        let branch = |height, nonces: &[u32]| Branch {
            fork: fork(height),
            headers: nonces.iter().map(|n| header(*n)).collect(),
        };
        let whole = branch(5, &[1, 2, 3]);
        assert_eq!(branch(5, &[1, 2]).shares(&whole), 2);
        assert_eq!(branch(5, &[1, 7, 3]).shares(&whole), 1);
        assert_eq!(branch(4, &[1, 2, 3]).shares(&whole), 0);
        assert_eq!(whole.height(), 8);
    }
}
