//! Electrum's proofs that a transaction is in a block: its position, and the hashes beside its way up the merkle tree.

use bitcoin::hashes::{Hash, HashEngine, sha256d};
use bitcoin::{TxMerkleNode, Txid};

/// Most levels of a block's tree. A block has fewer than 2^17 transactions of 60 bytes; this leaves room.
const DEEPEST: usize = 20;

/// The root of the tree in which a transaction is at this position, if `beside` are the hashes beside its way, lowest first.
/// `None` if there is no such tree.
///
/// That a tree like this stands in a header proves the transaction only if that is not one of 64 bytes, which is seen to
/// where the transaction itself is read.
pub fn root(txid: &Txid, position: u64, beside: &[Txid]) -> Option<TxMerkleNode> {
    if beside.len() > DEEPEST || position >> beside.len() != 0 {
        return None;
    }
    let mut node = txid.to_byte_array();
    for (level, beside) in beside.iter().enumerate() {
        let beside = beside.to_byte_array();
        let right = position >> level & 1 == 1;
        if right && beside == node {
            // A lonely node is paired with itself, and is the left one. Otherwise one transaction would have two positions.
            return None;
        }
        let (left, right) = if right { (beside, node) } else { (node, beside) };
        let mut engine = sha256d::Hash::engine();
        engine.input(&left);
        engine.input(&right);
        node = sha256d::Hash::from_engine(engine).to_byte_array();
    }
    Some(TxMerkleNode::from_byte_array(node))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bitcoin::merkle_tree::calculate_root;
    use proptest::prelude::*;

    fn txids(count: usize) -> Vec<Txid> {
        let numbered = 0..count;
        numbered.map(|n| Txid::hash(&n.to_le_bytes())).collect()
    }

    /// The honest proof.
    fn beside(txids: &[Txid], position: usize) -> Vec<Txid> {
        let mut level: Vec<[u8; 32]> = txids.iter().map(|txid| txid.to_byte_array()).collect();
        let (mut at, mut proof) = (position, Vec::new());
        while level.len() > 1 {
            if level.len() % 2 == 1 {
                level.push(*level.last().unwrap());
            }
            proof.push(Txid::from_byte_array(level[at ^ 1]));
            level = level
                .chunks(2)
                .map(|pair| sha256d::Hash::hash(&pair.concat()).to_byte_array())
                .collect();
            at /= 2;
        }
        proof
    }

    proptest! {
        #[test]
        fn every_transaction_of_every_block_is_proved_at_its_position_and_at_no_other(
            count in 1usize..70, at in any::<prop::sample::Index>(), other in 0u64..1 << 21
        ) {
            let txids = txids(count);
            let expected = TxMerkleNode::from_raw_hash(
                calculate_root(txids.iter().map(|txid| txid.to_raw_hash())).unwrap(),
            );
            let at = at.index(count);
            let proof = beside(&txids, at);
            prop_assert_eq!(root(&txids[at], at as u64, &proof), Some(expected));
            if other != at as u64 {
                prop_assert_ne!(root(&txids[at], other, &proof), Some(expected));
            }
        }

        #[test]
        fn a_proof_with_a_change_proves_nothing(count in 2usize..70, level in any::<prop::sample::Index>(), bit in 0usize..256) {
            let txids = txids(count);
            let mut proof = beside(&txids, 0);
            let honest = root(&txids[0], 0, &proof);
            let level = level.index(proof.len());
            let mut changed = proof[level].to_byte_array();
            changed[bit / 8] ^= 1 << (bit % 8);
            proof[level] = Txid::from_byte_array(changed);
            prop_assert_ne!(root(&txids[0], 0, &proof), honest);
        }
    }

    #[test]
    fn no_tree_is_endless() {
        let txids = txids(22);
        assert!(root(&txids[0], 0, &txids[1..21]).is_some());
        assert!(root(&txids[0], 0, &txids[1..22]).is_none());
        assert!(root(&txids[0], u64::MAX, &[]).is_none());
    }
}
