//! The miner's purse: pays out of block rewards, and keeps a market of small transactions going so that
//! `estimatesmartfee` always has an answer. Keys and signatures are ours; `bitcoind` has no wallet.

use std::collections::{HashSet, VecDeque};

use bitcoin::ecdsa::Signature;
use bitcoin::key::{CompressedPublicKey, Keypair};
use bitcoin::secp256k1::{All, Message, Secp256k1};
use bitcoin::sighash::{EcdsaSighashType, SighashCache};
use bitcoin::{
    Address, Amount, Network, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Witness, absolute,
    transaction,
};

use crate::Error;
use crate::esplora::chain::{Chain, script_hash};
use crate::esplora::fees::NOMINAL_SAT_PER_VB;

/// Blocks before we spend a reward: the 100 of consensus, and some more. A payment out of a reward that is ripe by a
/// hair falls out of the mempool when a reorganisation makes the chain shorter for a moment.
const MATURITY: u32 = 100 + 20;
/// Coins of the fee market. One is used per block and comes back confirmed with that block; a hundred leave room for
/// blocks that are mined in one go.
const MARKET_COINS: usize = 100;
/// Each market coin lasts for a few thousand rounds of fees.
const MARKET_COIN: Amount = Amount::from_sat(5_000_000);
/// Coins made together with the market's, for payments: that many can be made without a block in between.
const PURSE_COINS: usize = 200;
const PURSE_COIN: Amount = Amount::from_sat(10_000_000);
/// Change below this would be dust.
const CHANGE_LEAST: Amount = Amount::from_sat(1_000);
/// What a change output adds: its fee and its least value.
const CHANGE_ROOM: Amount = Amount::from_sat(2_000);
/// Sizes in virtual bytes of a transaction's frame, of a signed P2WPKH input, and of an output without its script.
const OVERHEAD_VB: u64 = 11;
const INPUT_VB: u64 = 68;
const OUTPUT_VB: u64 = 9;

/// An output we can spend.
#[derive(Clone, Copy, Debug)]
struct Coin {
    outpoint: OutPoint,
    value: Amount,
}

/// Keys and small change of the miner.
pub(crate) struct Faucet {
    secp: Secp256k1<All>,
    keypair: Keypair,
    script: ScriptBuf,
    market: VecDeque<Coin>,
    // Everything the market was ever made of and still may hold: not to be paid out.
    reserved: HashSet<OutPoint>,
}

impl Faucet {
    pub(crate) fn new() -> Self {
        let secp = Secp256k1::new();
        let keypair = Keypair::new(&secp, &mut rand::thread_rng());
        let script = ScriptBuf::new_p2wpkh(&CompressedPublicKey(keypair.public_key()).wpubkey_hash());
        Self {
            secp,
            keypair,
            script,
            market: VecDeque::new(),
            reserved: HashSet::new(),
        }
    }

    /// Where rewards are mined to.
    pub(crate) fn address(&self) -> String {
        Address::from_script(&self.script, Network::Regtest)
            .map(|address| address.to_string())
            .expect("a P2WPKH script has an address")
    }

    /// A signed payment of `outputs`, from coins that nothing else in the mempool spends.
    pub(crate) fn payment(&self, chain: &Chain, outputs: &[TxOut]) -> Result<Transaction, Error> {
        // Amounts come from outside, and adding them must not overflow.
        let wanted = outputs
            .iter()
            .try_fold(Amount::ZERO, |sum, out| sum.checked_add(out.value))
            .filter(|wanted| *wanted <= Amount::MAX_MONEY)
            .ok_or_else(|| Error::Input("that is more money than there will ever be".into()))?;
        let mut coins = self.ripe_coins(chain);
        // The smallest that suffices alone, so that small payments leave the large coins to large ones; else the
        // largest first, for few inputs. The sort is stable: oldest first among equals.
        coins.sort_by_key(|coin| coin.value);
        let alone = wanted + fee(1, outputs) + CHANGE_ROOM;
        match coins.iter().position(|coin| coin.value >= alone) {
            Some(at) => coins.drain(..at).for_each(drop),
            None => coins.reverse(),
        }
        let mut chosen: Vec<Coin> = Vec::new();
        let mut have = Amount::ZERO;
        for coin in coins {
            chosen.push(coin);
            have += coin.value;
            let mut all = outputs.to_owned();
            all.push(TxOut {
                value: Amount::ZERO,
                script_pubkey: self.script.clone(),
            });
            let needed = wanted + fee(chosen.len(), &all) + CHANGE_LEAST;
            if have >= needed {
                all.last_mut().expect("just pushed").value = have - needed + CHANGE_LEAST;
                return Ok(self.signed(&chosen, all));
            }
        }
        Err(Error::Faucet(format!(
            "it has {have} ripe, {wanted} was asked for; mine more blocks"
        )))
    }

    /// The next transaction of the fee market, if it has coins.
    pub(crate) fn market_step(&mut self) -> Option<Transaction> {
        let coin = self.market.pop_front()?;
        let mut output = TxOut {
            value: Amount::ZERO,
            script_pubkey: self.script.clone(),
        };
        output.value = coin.value.checked_sub(fee(1, std::slice::from_ref(&output)))?;
        let value = output.value;
        let tx = self.signed(&[coin], vec![output]);
        self.reserved.remove(&coin.outpoint);
        self.add_to_market(
            OutPoint {
                txid: tx.compute_txid(),
                vout: 0,
            },
            value,
        );
        Some(tx)
    }

    pub(crate) fn market_is_empty(&self) -> bool {
        self.market.is_empty()
    }

    /// A transaction that gives the market new coins. They may be used when it is confirmed.
    pub(crate) fn open_market(&mut self, chain: &Chain) -> Result<Transaction, Error> {
        self.close_market();
        let coin = |value| TxOut {
            value,
            script_pubkey: self.script.clone(),
        };
        let mut outputs = vec![coin(MARKET_COIN); MARKET_COINS];
        outputs.extend(vec![coin(PURSE_COIN); PURSE_COINS]);
        let tx = self.payment(chain, &outputs)?;
        let txid = tx.compute_txid();
        for vout in (0..).take(MARKET_COINS) {
            self.add_to_market(OutPoint { txid, vout }, MARKET_COIN);
        }
        Ok(tx)
    }

    /// Forgets the market's coins; they become ordinary ones. For when a reorganisation took some of them back.
    pub(crate) fn close_market(&mut self) {
        self.market.clear();
        self.reserved.clear();
    }

    fn add_to_market(&mut self, outpoint: OutPoint, value: Amount) {
        self.market.push_back(Coin { outpoint, value });
        self.reserved.insert(outpoint);
    }

    fn ripe_coins(&self, chain: &Chain) -> Vec<Coin> {
        let next = chain.height().map_or(0, |height| height + 1);
        chain
            .unspent(&script_hash(&self.script))
            .into_iter()
            .filter(|(outpoint, out, place)| {
                let Some(place) = place else { return false };
                let ripe = place.position > 0 || next >= place.height + MATURITY;
                ripe && out.value > Amount::ZERO && !self.reserved.contains(outpoint)
            })
            .map(|(outpoint, out, _)| Coin {
                outpoint,
                value: out.value,
            })
            .collect()
    }

    fn signed(&self, coins: &[Coin], output: Vec<TxOut>) -> Transaction {
        let mut tx = Transaction {
            version: transaction::Version::TWO,
            lock_time: absolute::LockTime::ZERO,
            input: coins
                .iter()
                .map(|coin| TxIn {
                    previous_output: coin.outpoint,
                    script_sig: ScriptBuf::new(),
                    sequence: Sequence::ENABLE_RBF_NO_LOCKTIME,
                    witness: Witness::new(),
                })
                .collect(),
            output,
        };
        let mut witnesses = Vec::with_capacity(coins.len());
        let mut cache = SighashCache::new(&tx);
        for (index, coin) in coins.iter().enumerate() {
            let hash = cache
                .p2wpkh_signature_hash(index, &self.script, coin.value, EcdsaSighashType::All)
                .expect("the index is that of an input, the script P2WPKH");
            let signature = Signature {
                signature: self
                    .secp
                    .sign_ecdsa(&Message::from(hash), &self.keypair.secret_key()),
                sighash_type: EcdsaSighashType::All,
            };
            witnesses.push(Witness::p2wpkh(&signature, &self.keypair.public_key()));
        }
        for (input, witness) in tx.input.iter_mut().zip(witnesses) {
            input.witness = witness;
        }
        tx
    }
}

fn fee(inputs: usize, outputs: &[TxOut]) -> Amount {
    let outputs: u64 = outputs
        .iter()
        .map(|out| OUTPUT_VB + out.script_pubkey.len() as u64)
        .sum();
    let vsize = OVERHEAD_VB + INPUT_VB * inputs as u64 + outputs;
    Amount::from_sat(vsize * NOMINAL_SAT_PER_VB)
}
