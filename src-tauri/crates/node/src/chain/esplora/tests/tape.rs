//! What a real server answered to every question that may be asked about one chain.

use std::collections::BTreeMap;
use std::time::Duration;

use bitcoin::Txid;
use bitcoin::block::Header;
use bitcoin::consensus::encode::deserialize_hex;
use pilotlight_devnet::Devnet;
use serde_json::json;

/// An answer: the status, and the body.
pub type Answer = (u16, Vec<u8>);

/// Blocks under the tip about which every question can be answered.
const BLOCKS: u32 = 130;

/// The answers by path, and what is true.
pub struct Tape {
    pub answers: BTreeMap<String, Answer>,
    /// By height.
    pub headers: Vec<Header>,
    /// The transactions of the newest blocks: height and position.
    pub places: BTreeMap<Txid, (u32, usize)>,
}

impl Tape {
    /// Asks the devnet about its blocks, and whatever these paths ask for.
    pub async fn record(devnet: &Devnet, more: Vec<String>) -> Self {
        let (client, url) = (reqwest::Client::new(), devnet.plain_esplora_url());
        let mut tape = Self {
            answers: BTreeMap::new(),
            headers: Vec::new(),
            places: BTreeMap::new(),
        };
        let tip = devnet.height().await.unwrap();
        let mut paths = vec![
            "/blocks".into(),
            "/blocks/tip/hash".into(),
            "/fee-estimates".into(),
        ];
        for height in 0..=tip {
            let header = devnet.header(height).await.unwrap();
            let hash = header.block_hash();
            tape.headers.push(header);
            if height + BLOCKS < tip {
                continue;
            }
            let block: String = devnet.rpc().call("getblock", json!([hash, 0])).await.unwrap();
            let block: bitcoin::Block = deserialize_hex(&block).unwrap();
            for (position, transaction) in block.txdata.iter().enumerate() {
                let txid = transaction.compute_txid();
                tape.places.insert(txid, (height, position));
                paths.push(format!("/tx/{txid}/raw"));
                paths.push(format!("/tx/{txid}/merkleblock-proof"));
                paths.push(format!("/tx/{txid}/outspends"));
                paths.extend((0..transaction.output.len()).map(|vout| format!("/tx/{txid}/outspend/{vout}")));
            }
            paths.push(format!("/blocks/{height}"));
            paths.push(format!("/block-height/{height}"));
            paths.push(format!("/block/{hash}/status"));
            paths.push(format!("/block/{hash}/txid/0"));
        }
        paths.extend(more);
        for path in paths {
            let response = client.get(format!("{url}{path}"));
            let response = response.timeout(Duration::from_secs(10)).send().await.unwrap();
            let status = response.status().as_u16();
            let body = response.bytes().await.unwrap().to_vec();
            tape.answers.insert(path, (status, body));
        }
        tape
    }

    /// The true answer.
    pub fn answer(&self, path: &str) -> Answer {
        let known = self.answers.get(path).cloned();
        known.unwrap_or_else(|| (404, b"not found".to_vec()))
    }

    /// What is false in saying that a transaction is there.
    pub fn denies(&self, txid: &Txid, header: &Header, height: u32, position: usize) -> Option<String> {
        let place = self.places.get(txid);
        let true_header = self.headers.get(height as usize);
        let fine = place == Some(&(height, position)) && true_header == Some(header);
        (!fine).then(|| format!("{txid} at {height}, position {position}: it is at {place:?}"))
    }
}
