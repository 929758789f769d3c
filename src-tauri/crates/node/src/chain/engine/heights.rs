//! At which height a block is, on the block's own word.
//!
//! A header does not hold its height. LDK closes channels by heights, and cannot be told of a lower one again; so a server that
//! could name any would do harm that outlives it. The first transaction of a block says it (BIP 34), and its place is
//! proved as any other's.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use bitcoin::hashes::Hash;
use bitcoin::opcodes::all::{OP_PUSHNUM_1, OP_PUSHNUM_16};
use bitcoin::script::{Instruction, read_scriptint};
use bitcoin::{BlockHash, Transaction};
use futures::stream::{self, StreamExt, TryStreamExt};

use super::proof::lie;
use super::recent::Recent;
use super::server::Server;
use crate::chain::source::Checkpoint;
use crate::error::Result;
use crate::lock::lock;

/// Most heights that are remembered. A wallet has a few blocks with something of its own, and a process sees some hundred tips;
/// what is forgotten is asked again.
const KEPT: usize = 2_000;

/// The heights that blocks have proved in this process.
#[derive(Default)]
pub struct Heights {
    proved: Mutex<BTreeMap<BlockHash, u32>>,
    /// LDK's part and the wallet's ask about the same tip at the same moment: the second waits for the first.
    turn: tokio::sync::Mutex<()>,
}

impl Heights {
    /// Proves these blocks' heights, unless that was done before.
    ///
    /// # Errors
    /// Typed by cause; [`crate::ErrorCode::ChainSyncFailed`] if a block is at another height, or does not say.
    pub async fn prove(&self, server: &dyn Server, blocks: BTreeSet<(BlockHash, u32)>) -> Result<()> {
        if blocks.iter().all(|(block, height)| self.knows(block, *height)) {
            return Ok(());
        }
        let _turn = self.turn.lock().await;
        let unknown = blocks
            .into_iter()
            .filter(|(block, height)| !self.knows(block, *height));
        let proofs = stream::iter(unknown.collect::<Vec<_>>()).map(|(block, height)| async move {
            let Some(first) = server.first_transaction(&block, height).await? else {
                return Ok(());
            };
            match height_in(&first) {
                Some(said) if said == height => {
                    let mut proved = lock(&self.proved);
                    if proved.len() >= KEPT {
                        proved.clear();
                    }
                    proved.insert(block, height);
                    Ok(())
                }
                Some(said) => Err(lie(&format!("block {block} is at height {said}, not {height}"))),
                None => Err(lie(&format!("block {block} does not say at which height it is"))),
            }
        });
        proofs.buffer_unordered(server.parallel()).try_collect().await
    }

    /// The same for a tip, unless it is seen to stand on the last checkpoint, whose height is known.
    ///
    /// # Errors
    /// As [`Self::prove`].
    pub async fn prove_tip(
        &self,
        server: &dyn Server,
        recent: &Recent,
        known: Option<Checkpoint>,
    ) -> Result<()> {
        if known.is_some_and(|known| recent.at(known.height) == Some(known.hash)) {
            return Ok(());
        }
        // The first block of all says nothing, and nothing is under it.
        if recent.tip.height == 0 && recent.tip.header.prev_blockhash == BlockHash::all_zeros() {
            return Ok(());
        }
        let tip = BTreeSet::from([(recent.tip.hash, recent.tip.height)]);
        self.prove(server, tip).await
    }

    fn knows(&self, block: &BlockHash, height: u32) -> bool {
        lock(&self.proved).get(block) == Some(&height)
    }
}

/// The height that a block's first transaction says: the first thing in the script of its only input.
fn height_in(first: &Transaction) -> Option<u32> {
    if !first.is_coinbase() {
        return None;
    }
    let mut script = first.input.first()?.script_sig.instructions_minimal();
    let number = match script.next()?.ok()? {
        Instruction::PushBytes(bytes) => read_scriptint(bytes.as_bytes()).ok()?,
        // The heights up to 16 have a word of their own each.
        Instruction::Op(op) if (OP_PUSHNUM_1.to_u8()..=OP_PUSHNUM_16.to_u8()).contains(&op.to_u8()) => {
            i64::from(op.to_u8() - OP_PUSHNUM_1.to_u8()) + 1
        }
        Instruction::Op(_) => return None,
    };
    u32::try_from(number).ok().filter(|height| *height > 0)
}

#[cfg(test)]
mod tests {
    use bitcoin::script::Builder;
    use bitcoin::{OutPoint, ScriptBuf, TxIn, absolute, transaction};
    use proptest::prelude::*;

    use super::*;

    fn first(script_sig: ScriptBuf, previous_output: OutPoint) -> Transaction {
        Transaction {
            version: transaction::Version::ONE,
            lock_time: absolute::LockTime::ZERO,
            input: vec![TxIn {
                previous_output,
                script_sig,
                ..TxIn::default()
            }],
            output: Vec::new(),
        }
    }

    #[test]
    fn only_a_block_s_first_transaction_says_its_height() {
        let script = Builder::new().push_int(850_000).push_slice([7; 8]).into_script();
        assert_eq!(height_in(&first(script.clone(), OutPoint::null())), Some(850_000));
        let other = OutPoint {
            vout: 0,
            ..OutPoint::null()
        };
        assert_eq!(height_in(&first(script, other)), None);
        for nothing in [
            ScriptBuf::new(),
            ScriptBuf::from_bytes(vec![3, 1]),
            ScriptBuf::from_bytes(vec![0x4c]),
            ScriptBuf::from_bytes(vec![0xff]),
            Builder::new().push_int(-5).into_script(),
            Builder::new().push_int(0).into_script(),
            Builder::new().push_slice([9; 40]).into_script(),
        ] {
            assert_eq!(height_in(&first(nothing, OutPoint::null())), None);
        }
    }

    proptest! {
        #[test]
        fn every_height_is_read_as_bitcoin_core_writes_it(height in 1u32..500_000_000) {
            let script = Builder::new().push_int(i64::from(height)).into_script();
            prop_assert_eq!(height_in(&first(script, OutPoint::null())), Some(height));
        }

        #[test]
        fn whatever_stands_there_it_is_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = height_in(&first(ScriptBuf::from_bytes(bytes), OutPoint::null()));
        }
    }
}
