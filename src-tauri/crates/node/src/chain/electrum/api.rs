//! Electrum's questions, and whatever can be proved of an answer by itself: a header by its work, a transaction by its id.
//! What is made of several answers is left to `look`.

use std::collections::HashMap;

use bitcoin::block::Header;
use bitcoin::consensus::deserialize;
use bitcoin::consensus::encode::serialize_hex;
use bitcoin::hashes::{Hash, sha256};
use bitcoin::hex::FromHex;
use bitcoin::{FeeRate, Network, Script, Transaction, Txid};
use serde::Deserialize;
use serde_json::json;

use super::client::{Client, Reply};
use crate::chain::engine::proof::{has_it, must_be, must_carry_work};
use crate::chain::engine::{garbled, lie, quote};
use crate::chain::fees::Estimates;
use crate::chain::source::{Sent, Tip};
use crate::error::{Error, Result};

/// A header in hex is 160 characters; an id, a height, a rate are less.
const SMALL: usize = 16 * 1024;

/// Most headers of one answer: servers give 2016, a period between two adjustments of the difficulty.
pub const MOST_HEADERS: u32 = 2016;

/// So many headers in hex, each a string of its own (protocol 1.6).
const HEADERS: usize = 2016 * (160 + 4) + SMALL;

/// Most transactions of one script's history, as with Esplora: a thousand payments to one address.
const MOST_ENTRIES: usize = 1_000;

/// So many of some hundred characters each.
const HISTORY: usize = 512 * 1024;

/// Transactions that are sent are answered with an id each, or with what is wrong with it.
const PACKAGE: usize = 64 * 1024;

/// A transaction in hex: a block weighs 4 million units, and a unit is at most a byte.
const TRANSACTION: usize = 8_000_000;

/// The targets that rates are asked for, in blocks: those of LDK's confirmation targets, and what lies between.
const TARGETS: [u16; 8] = [1, 3, 6, 12, 25, 144, 504, 1008];

/// One Electrum server.
pub struct Api {
    client: Client,
    network: Network,
}

/// A transaction of a script's history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// Its id.
    pub txid: Txid,
    /// At which height it is confirmed, if it is; nothing proved.
    pub height: Option<u32>,
}

/// A proof that a transaction is in a block, nothing checked.
#[derive(Debug, Clone, Deserialize)]
pub struct Branch {
    /// Its position in the block.
    pub pos: u64,
    /// The hashes beside its way up, lowest first.
    pub merkle: Vec<Txid>,
}

impl Api {
    /// A server that is not connected yet.
    pub fn new(client: Client, network: Network) -> Self {
        Self { client, network }
    }

    /// The client under it.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The best block, its header with its work. The height is the server's word.
    ///
    /// # Errors
    /// Typed by cause.
    pub async fn top(&self) -> Result<Tip> {
        #[derive(Deserialize)]
        struct Top {
            height: u32,
            hex: String,
        }
        let top: Top = self
            .client
            .must("blockchain.headers.subscribe", json!([]), SMALL)
            .await?;
        let header = self.header_of(&top.hex)?;
        Ok(Tip {
            hash: header.block_hash(),
            height: top.height,
            header,
        })
    }

    /// The header at a height, with its work, on the server's word that it is there; `None` above the tip.
    ///
    /// # Errors
    /// Typed by cause.
    pub async fn header(&self, height: u32) -> Result<Option<Header>> {
        let answer = self
            .client
            .ask::<String>("blockchain.block.header", json!([height]), SMALL)
            .await?;
        match answer {
            Reply::Answer(hex) => self.header_of(&hex).map(Some),
            Reply::Refused(_) => Ok(None),
            Reply::Unknown => Err(lie("it has no headers")),
        }
    }

    /// At most `count` headers from a height on, lowest first, each with its work and on the one before it. Fewer, or none,
    /// above the tip.
    ///
    /// # Errors
    /// Typed by cause; [`crate::ErrorCode::ChainSyncFailed`] if they are no chain.
    pub async fn headers(&self, from: u32, count: u32) -> Result<Vec<Header>> {
        #[derive(Deserialize)]
        struct Some1p4 {
            #[serde(default)]
            hex: Option<String>,
            #[serde(default)]
            headers: Option<Vec<String>>,
        }
        let count = count.min(MOST_HEADERS);
        let answer = self
            .client
            .ask::<Some1p4>("blockchain.block.headers", json!([from, count]), HEADERS)
            .await?;
        let joined = match answer {
            Reply::Answer(Some1p4 { hex: Some(hex), .. }) => hex,
            Reply::Answer(Some1p4 {
                headers: Some(list), ..
            }) => list.concat(),
            Reply::Answer(_) => return Err(lie("headers without headers")),
            // Some servers refuse what begins above their tip.
            Reply::Refused(_) => return Ok(Vec::new()),
            Reply::Unknown => return Err(lie("it has no headers")),
        };
        let bytes = Vec::from_hex(&joined).map_err(|e| garbled("header", &e))?;
        let mut headers: Vec<Header> = Vec::new();
        for bytes in bytes.chunks(Header::SIZE) {
            let header: Header = deserialize(bytes).map_err(|e| garbled("header", &e))?;
            must_carry_work(self.network, &header)?;
            let above = headers.last().map(Header::block_hash);
            if above.is_some_and(|above| above != header.prev_blockhash) {
                return Err(lie(&format!(
                    "block {} is not on the one under it",
                    header.block_hash()
                )));
            }
            headers.push(header);
        }
        if headers.len() > count as usize {
            return Err(lie("more headers than were asked for"));
        }
        Ok(headers)
    }

    fn header_of(&self, hex: &str) -> Result<Header> {
        let bytes = Vec::from_hex(hex).map_err(|e| garbled("header", &e))?;
        let header = deserialize(&bytes).map_err(|e| garbled("header", &e))?;
        must_carry_work(self.network, &header)?;
        Ok(header)
    }

    /// The transactions that pay to a script or spend from it, nothing proved.
    ///
    /// # Errors
    /// Typed by cause.
    pub async fn history(&self, script: &Script) -> Result<Vec<Entry>> {
        #[derive(Deserialize)]
        struct Item {
            tx_hash: Txid,
            height: i64,
        }
        let items: Vec<Item> = self
            .client
            .must(
                "blockchain.scripthash.get_history",
                json!([script_hash(script)]),
                HISTORY,
            )
            .await?;
        if items.len() > MOST_ENTRIES {
            return Err(lie("a script's history does not end"));
        }
        let entries = items.into_iter().map(|item| {
            // 0 is the mempool, -1 the mempool with parents there.
            let height = u32::try_from(item.height.max(0)).map_err(|e| garbled("height", &e))?;
            Ok(Entry {
                txid: item.tx_hash,
                height: Some(height).filter(|height| *height > 0),
            })
        });
        entries.collect()
    }

    /// A transaction; `None` if the server does not have it.
    ///
    /// # Errors
    /// Typed by cause; [`crate::ErrorCode::ChainSyncFailed`] if it is another one, or cannot be one.
    pub async fn transaction(&self, txid: &Txid) -> Result<Option<Transaction>> {
        let answer = self
            .client
            .ask::<String>("blockchain.transaction.get", json!([txid]), TRANSACTION)
            .await?;
        let hex = match answer {
            Reply::Answer(hex) => hex,
            Reply::Refused(_) => return Ok(None),
            Reply::Unknown => return Err(lie("it has no transactions")),
        };
        let bytes = Vec::from_hex(&hex).map_err(|e| garbled("transaction", &e))?;
        let transaction: Transaction = deserialize(&bytes).map_err(|e| garbled("transaction", &e))?;
        must_be(txid, &transaction)?;
        Ok(Some(transaction))
    }

    /// What is to prove that a transaction is in the block at a height; `None` if the server says that it is not.
    ///
    /// # Errors
    /// Typed by cause.
    pub async fn branch(&self, txid: &Txid, height: u32) -> Result<Option<Branch>> {
        let answer = self
            .client
            .ask::<Branch>("blockchain.transaction.get_merkle", json!([txid, height]), SMALL)
            .await?;
        match answer {
            Reply::Answer(branch) => Ok(Some(branch)),
            Reply::Refused(_) => Ok(None),
            Reply::Unknown => Err(lie("it has no proofs")),
        }
    }

    /// The id of the first transaction of the block at a height, and what is to prove that it is there.
    ///
    /// # Errors
    /// Typed by cause; [`crate::ErrorCode::ChainSyncFailed`] if the server does not say.
    pub async fn first(&self, height: u32) -> Result<(Txid, Vec<Txid>)> {
        #[derive(Deserialize)]
        struct First {
            tx_hash: Txid,
            merkle: Vec<Txid>,
        }
        let asked = json!([height, 0, true]);
        let first: First = self
            .client
            .must("blockchain.transaction.id_from_pos", asked, SMALL)
            .await?;
        Ok((first.tx_hash, first.merkle))
    }

    /// Fee estimates: blocks to confirmation, sat/vB. Those that the server has.
    ///
    /// # Errors
    /// Typed by cause.
    pub async fn fees(&self) -> Result<Estimates> {
        let asked = TARGETS.map(|blocks| async move {
            let answer = self
                .client
                .ask::<f64>("blockchain.estimatefee", json!([blocks]), SMALL)
                .await?;
            // -1 is "not known".
            Ok::<_, Error>(match answer {
                Reply::Answer(rate) if rate > 0.0 => Some((blocks, rate * SAT_PER_VB)),
                _ => None,
            })
        });
        let rates = futures::future::try_join_all(asked).await?;
        Ok(rates.into_iter().flatten().collect::<HashMap<_, _>>())
    }

    /// The lowest rate at which a transaction is passed on.
    ///
    /// # Errors
    /// Typed by cause.
    pub async fn floor(&self) -> Result<Option<FeeRate>> {
        #[derive(Deserialize)]
        struct Info {
            minrelaytxfee: f64,
        }
        let answer = self
            .client
            .ask::<f64>("blockchain.relayfee", json!([]), SMALL)
            .await?;
        let rate = match answer {
            Reply::Answer(rate) => rate,
            Reply::Refused(_) => return Ok(None),
            // Protocol 1.6 has another question for it.
            Reply::Unknown => match self
                .client
                .ask::<Info>("mempool.get_info", json!([]), SMALL)
                .await?
            {
                Reply::Answer(info) => info.minrelaytxfee,
                _ => return Ok(None),
            },
        };
        // 1 sat/vB is 250 sat/kWU. What is no rate becomes 0, and what is too high the highest that is believed, elsewhere.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let floor = (rate * SAT_PER_VB * 250.0).ceil() as u64;
        Ok(Some(FeeRate::from_sat_per_kwu(floor)))
    }

    /// Sends a transaction.
    ///
    /// # Errors
    /// Typed by cause, when it is not known whether the server has it.
    pub async fn send(&self, transaction: &Transaction) -> Result<Sent> {
        let hex = serialize_hex(transaction);
        let answer = self
            .client
            .ask::<serde_json::Value>("blockchain.transaction.broadcast", json!([hex]), SMALL)
            .await?;
        match answer {
            Reply::Answer(_) => Ok(Sent::Accepted),
            Reply::Refused(refusal) if has_it(&refusal.words) => Ok(Sent::Accepted),
            Reply::Refused(refusal) => Ok(Sent::Refused(refusal.words)),
            Reply::Unknown => Err(lie("it takes no transactions")),
        }
    }

    /// Sends transactions as one package, parents first; `None` if the server takes no packages.
    ///
    /// # Errors
    /// Typed by cause, when it is not known whether the server has them.
    pub async fn send_package(&self, transactions: &[Transaction]) -> Result<Option<Sent>> {
        #[derive(Deserialize)]
        struct Outcome {
            success: bool,
            #[serde(default)]
            errors: Vec<Failure>,
        }
        #[derive(Deserialize)]
        struct Failure {
            error: String,
        }
        let hex: Vec<String> = transactions.iter().map(serialize_hex).collect();
        let answer = self
            .client
            .ask::<Outcome>("blockchain.transaction.broadcast_package", json!([hex]), PACKAGE)
            .await?;
        Ok(match answer {
            Reply::Answer(Outcome { success: true, .. }) => Some(Sent::Accepted),
            Reply::Answer(Outcome { errors, .. }) => {
                let words: Vec<String> = errors.into_iter().map(|failure| failure.error).collect();
                Some(Sent::Refused(quote(&words.join("; "))))
            }
            Reply::Refused(refusal) => Some(Sent::Refused(refusal.words)),
            Reply::Unknown => None,
        })
    }
}

/// Rates come in BTC per 1000 vB.
const SAT_PER_VB: f64 = 100_000.0;

/// How Electrum names a script: the SHA-256 of its bytes, written backwards.
fn script_hash(script: &Script) -> String {
    let mut hash = sha256::Hash::hash(script.as_bytes()).to_byte_array();
    hash.reverse();
    sha256::Hash::from_byte_array(hash).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_are_named_as_electrum_names_them() {
        // The example of the protocol's description: 1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa.
        let script =
            bitcoin::ScriptBuf::from_hex("76a91462e907b15cbf27d5425399ebf6f0fb50ebb88f1888ac").unwrap();
        assert_eq!(
            script_hash(&script),
            "8b01df4e368ea28f8dc0423bcf7a4923e3a12d307c875e47a0cfbf90b5c39161"
        );
    }
}
