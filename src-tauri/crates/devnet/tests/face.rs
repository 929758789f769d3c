//! The Esplora face, asked by the clients it is made for, compared with what `bitcoind` says itself.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::HashSet;

use bitcoin::hashes::Hash;
use bitcoin::secp256k1::Secp256k1;
use bitcoin::{Address, Amount, BlockHash, Network, Transaction, Txid};
use esplora_client::{AsyncClient, Builder};
use pilotlight_devnet::{Devnet, Options};
use serde_json::{Value, json};

fn client(url: &str) -> AsyncClient {
    Builder::new(url)
        .timeout(10)
        .max_retries(0)
        .build_async()
        .unwrap()
}

fn some_address() -> Address {
    let secp = Secp256k1::new();
    let key = bitcoin::key::Keypair::new(&secp, &mut rand::thread_rng());
    Address::p2tr(&secp, key.x_only_public_key().0, None, Network::Regtest)
}

async fn rpc<T: serde::de::DeserializeOwned>(devnet: &Devnet, method: &str, params: Value) -> T {
    devnet.rpc().call(method, params).await.unwrap()
}

/// `bitcoind`'s amounts are decimals of a bitcoin.
fn sats(value: &Value) -> u64 {
    Amount::from_btc(value.as_f64().unwrap()).unwrap().to_sat()
}

#[tokio::test]
async fn blocks_are_what_bitcoind_says() {
    let devnet = Devnet::start(Options::default()).await.unwrap();
    let face = client(&devnet.esplora_url());
    let height: u32 = rpc(&devnet, "getblockcount", json!([])).await;
    let best: BlockHash = rpc(&devnet, "getbestblockhash", json!([])).await;
    assert_eq!(face.get_height().await.unwrap(), height);
    assert_eq!(face.get_tip_hash().await.unwrap(), best);

    for at in [0, 1, 11, height - 1, height] {
        let hash: BlockHash = rpc(&devnet, "getblockhash", json!([at])).await;
        let told: Value = rpc(&devnet, "getblock", json!([hash, 1])).await;
        assert_eq!(face.get_block_hash(at).await.unwrap(), hash);
        let header = face.get_header_by_hash(&hash).await.unwrap();
        assert_eq!(header.block_hash(), hash);
        let info = face.get_block_info(&hash).await.unwrap();
        assert_eq!(info.id, hash);
        assert_eq!(info.height, at);
        assert_eq!(u64::from(info.nonce), told["nonce"]);
        assert_eq!(info.timestamp, told["time"]);
        assert_eq!(info.mediantime, told["mediantime"]);
        assert_eq!(info.tx_count, told["nTx"]);
        assert_eq!(info.size, told["size"]);
        assert_eq!(info.weight, told["weight"]);
        assert_eq!(info.merkle_root.to_string(), told["merkleroot"]);
        assert_eq!(
            info.previousblockhash.map(|h| h.to_string()).as_deref(),
            told["previousblockhash"].as_str()
        );
        assert_eq!(
            format!("{:08x}", info.bits.to_consensus()),
            told["bits"].as_str().unwrap()
        );
        let block = face.get_block_by_hash(&hash).await.unwrap().unwrap();
        assert_eq!(block.block_hash(), hash);
        let txids: Vec<Txid> = serde_json::from_value(told["tx"].clone()).unwrap();
        assert_eq!(face.get_block_txids(&hash).await.unwrap(), txids);
        assert_eq!(
            face.get_txid_at_block_index(&hash, 0).await.unwrap(),
            Some(txids[0])
        );
        assert_eq!(face.get_txid_at_block_index(&hash, 9_999).await.unwrap(), None);
        let txs = face.get_block_txs(&hash, None).await.unwrap();
        assert_eq!(txs.iter().map(|tx| tx.txid).collect::<Vec<_>>(), txids);
        let status = face.get_block_status(&hash).await.unwrap();
        assert!(status.in_best_chain);
        assert_eq!(status.height, Some(at));
        assert_eq!(status.next_best.is_none(), at == height);
    }

    let newest = face.get_block_infos(None).await.unwrap();
    assert_eq!(
        newest.iter().map(|b| b.height).collect::<Vec<_>>(),
        (height - 9..=height).rev().collect::<Vec<_>>()
    );
    let oldest = face.get_block_infos(Some(3)).await.unwrap();
    assert_eq!(oldest.iter().map(|b| b.height).collect::<Vec<_>>(), [3, 2, 1, 0]);

    let unknown = BlockHash::all_zeros();
    assert!(!face.get_block_status(&unknown).await.unwrap().in_best_chain);
    assert!(face.get_header_by_hash(&unknown).await.is_err());
    assert!(face.get_block_by_hash(&unknown).await.unwrap().is_none());
}

/// Compares everything that is said about a transaction with `bitcoind`'s own account of it.
async fn compare_tx(devnet: &Devnet, face: &AsyncClient, txid: Txid) {
    // With verbosity 2, bitcoind adds fee and previous outputs, for transactions in blocks.
    let told: Value = rpc(devnet, "getrawtransaction", json!([txid, 2])).await;
    let tx: Transaction = bitcoin::consensus::encode::deserialize_hex(told["hex"].as_str().unwrap()).unwrap();
    assert_eq!(face.get_tx(&txid).await.unwrap().as_ref(), Some(&tx));
    let info = face.get_tx_info(&txid).await.unwrap().unwrap();
    assert_eq!(info.to_tx(), tx);
    assert_eq!(info.size, told["size"]);
    assert_eq!(info.weight, told["weight"]);
    if let Some(fee) = told["fee"].as_f64() {
        assert_eq!(info.fee, Amount::from_btc(fee).unwrap().to_sat());
    }
    for (ours, theirs) in info.vin.iter().zip(told["vin"].as_array().unwrap()) {
        assert_eq!(ours.is_coinbase, tx.is_coinbase());
        if let (Some(ours), Some(theirs)) = (&ours.prevout, theirs.get("prevout")) {
            assert_eq!(ours.value, sats(&theirs["value"]));
            assert_eq!(ours.scriptpubkey.to_hex_string(), theirs["scriptPubKey"]["hex"]);
        } else {
            assert!(ours.is_coinbase || theirs.get("prevout").is_none());
        }
    }
    let status = face.get_tx_status(&txid).await.unwrap();
    assert_eq!(status, info.status);
    assert_eq!(
        status.block_hash.map(|h| h.to_string()).as_deref(),
        told["blockhash"].as_str()
    );
    assert_eq!(status.confirmed, told["confirmations"].as_u64().unwrap_or(0) > 0);

    let merkle_block = face.get_merkle_block(&txid).await.unwrap();
    let merkle_proof = face.get_merkle_proof(&txid).await.unwrap();
    if !status.confirmed {
        assert!(merkle_block.is_none() && merkle_proof.is_none());
        return;
    }
    let block = status.block_hash.unwrap();
    let theirs: String = rpc(devnet, "gettxoutproof", json!([[txid], block])).await;
    let merkle_block = merkle_block.unwrap();
    assert_eq!(bitcoin::consensus::encode::serialize_hex(&merkle_block), theirs);
    let (mut matches, mut indexes) = (Vec::new(), Vec::new());
    merkle_block.extract_matches(&mut matches, &mut indexes).unwrap();
    assert_eq!(matches, [txid]);

    let proof = merkle_proof.unwrap();
    assert_eq!(Some(proof.block_height), status.block_height);
    assert_eq!(proof.pos, indexes[0] as usize);
    let mut node = txid.to_raw_hash();
    let mut position = proof.pos;
    for sister in proof.merkle {
        let sister = sister.to_raw_hash();
        let pair = if position % 2 == 0 {
            [node, sister]
        } else {
            [sister, node]
        };
        node = bitcoin::hashes::sha256d::Hash::hash(
            &[pair[0].to_byte_array(), pair[1].to_byte_array()].concat(),
        );
        position /= 2;
    }
    assert_eq!(node, merkle_block.header.merkle_root.to_raw_hash());
}

#[tokio::test]
async fn transactions_are_what_bitcoind_says() {
    let devnet = Devnet::start(Options::default()).await.unwrap();
    let face = client(&devnet.esplora_url());
    let address = some_address();

    // A block with an odd number of transactions, so that the tree has a lonely leaf.
    let mut txids = Vec::new();
    for n in 0..5 {
        txids.push(devnet.fund(&address, Amount::from_sat(10_000 + n)).await.unwrap());
    }
    for txid in &txids {
        compare_tx(&devnet, &face, *txid).await;
    }
    let stats = face.get_scripthash_stats(&address.script_pubkey()).await.unwrap();
    assert_eq!(stats.mempool_stats.funded_txo_count, 5);
    assert_eq!(face.get_mempool_txids().await.unwrap().len(), 5);
    assert_eq!(face.get_mempool_stats().await.unwrap().count, 5);
    assert_eq!(face.get_mempool_recent_txs().await.unwrap().len(), 5);

    let height = devnet.mine(1).await.unwrap();
    let hash = face.get_block_hash(height).await.unwrap();
    let in_block = face.get_block_txids(&hash).await.unwrap();
    assert_eq!(in_block.len(), 7, "coinbase, five of ours, one of the fee market");
    for txid in &in_block {
        compare_tx(&devnet, &face, *txid).await;
    }
    assert_eq!(face.get_mempool_stats().await.unwrap().count, 0);
    let stats = face.get_address_stats(&address).await.unwrap();
    assert_eq!(stats.chain_stats.funded_txo_count, 5);
    assert_eq!(stats.chain_stats.funded_txo_sum, 50_010);
    assert_eq!(
        face.get_scripthash_utxos(&address.script_pubkey())
            .await
            .unwrap()
            .len(),
        5
    );
    assert_eq!(face.get_address_utxos(&address).await.unwrap().len(), 5);

    // Every spend that the chain contains, both ways round.
    let mut spends = 0;
    for at in 1..=height {
        let hash = face.get_block_hash(at).await.unwrap();
        for txid in face.get_block_txids(&hash).await.unwrap().into_iter().skip(1) {
            let tx = face.get_tx_no_opt(&txid).await.unwrap();
            for (vin, input) in tx.input.iter().enumerate() {
                let spent = input.previous_output;
                let out = face
                    .get_output_status(&spent.txid, u64::from(spent.vout))
                    .await
                    .unwrap()
                    .unwrap();
                assert!(out.spent);
                assert_eq!(out.txid, Some(txid));
                assert_eq!(out.vin, Some(vin as u64));
                assert_eq!(out.status.unwrap().block_height, Some(at));
                spends += 1;
            }
        }
    }
    assert!(spends > 20, "{spends}");
    let unspent = face.get_tx_outspends(&txids[0]).await.unwrap();
    let theirs: Value = rpc(&devnet, "gettxout", json!([txids[0], 0])).await;
    assert_eq!(unspent.len(), 2);
    assert_eq!(unspent[0].spent, theirs.is_null());

    let nobody = Txid::all_zeros();
    assert_eq!(face.get_tx(&nobody).await.unwrap(), None);
    assert!(face.get_tx_info(&nobody).await.unwrap().is_none());
    assert!(face.get_merkle_block(&nobody).await.unwrap().is_none());
    assert!(!face.get_output_status(&nobody, 0).await.unwrap().unwrap().spent);
}

#[tokio::test]
async fn long_histories_come_in_pages() {
    let devnet = Devnet::start(Options::default()).await.unwrap();
    let face = client(&devnet.esplora_url());
    let address = some_address();
    let script = address.script_pubkey();
    let mut expected = HashSet::new();
    for round in 0..6u64 {
        for n in 0..10 {
            let amount = Amount::from_sat(1_000 + round * 10 + n);
            expected.insert(devnet.fund(&address, amount).await.unwrap());
        }
        if round < 5 {
            devnet.mine(1).await.unwrap();
        }
    }
    // As bdk_esplora reads it: until a page has fewer than 25.
    let (mut seen, mut last, mut heights) = (Vec::new(), None, Vec::new());
    loop {
        let page = face.scripthash_txs(&script, last).await.unwrap();
        last = page.last().map(|tx| tx.txid);
        let full = page.len() >= 25;
        heights.extend(page.iter().map(|tx| tx.status.block_height.unwrap_or(u32::MAX)));
        seen.extend(page.into_iter().map(|tx| tx.txid));
        if !full {
            break;
        }
    }
    assert_eq!(seen.len(), 60, "no transaction twice, none missing");
    assert_eq!(seen.into_iter().collect::<HashSet<_>>(), expected);
    assert!(heights.is_sorted_by(|a, b| a >= b), "newest first: {heights:?}");
    assert_eq!(face.get_mempool_scripthash_txs(&script).await.unwrap().len(), 10);
    assert_eq!(face.get_address_txs(&address, None).await.unwrap().len(), 35);
}

#[tokio::test]
async fn broadcasts_are_taken_and_refused_like_esplora_does() {
    let devnet = Devnet::start(Options::default()).await.unwrap();
    let face = client(&devnet.esplora_url());
    let txid = devnet
        .fund(&some_address(), Amount::from_sat(100_000))
        .await
        .unwrap();
    let tx = face.get_tx_no_opt(&txid).await.unwrap();
    // In the mempool already: no error.
    face.broadcast(&tx).await.unwrap();
    devnet.mine(1).await.unwrap();
    let mut bad = tx.clone();
    bad.output[0].value = Amount::MAX_MONEY;
    match face.broadcast(&bad).await {
        Err(esplora_client::Error::HttpResponse { status: 400, message }) => {
            assert!(
                message.contains("sendrawtransaction RPC error") && message.contains("code"),
                "{message}"
            );
        }
        other => panic!("{other:?}"),
    }
    let refused = face.submit_package(&[bad, tx], None, None).await;
    assert!(refused.is_err() || refused.unwrap().package_msg != "success");
}

#[tokio::test]
async fn fees_are_steady_and_do_not_fade() {
    let devnet = Devnet::start(Options::default()).await.unwrap();
    let face = client(&devnet.esplora_url());
    for _ in 0..3 {
        let estimates = face.get_fee_estimates().await.unwrap();
        for target in (1..=25).chain([144, 504, 1008]) {
            let rate = estimates[&target];
            assert!((4.0..6.0).contains(&rate), "{target}: {rate}");
        }
        let told: Value = rpc(&devnet, "estimatesmartfee", json!([6])).await;
        assert!(
            told["feerate"].is_number(),
            "bitcoind has an answer of its own: {told}"
        );
        devnet.mine(400).await.unwrap();
    }
}

#[tokio::test]
async fn reads_of_one_client_share_a_connection() {
    let devnet = Devnet::start(Options::default()).await.unwrap();
    let face = client(&devnet.esplora_url());
    let tip = devnet.tip().await.unwrap().1;
    for _ in 0..10 {
        face.get_height().await.unwrap();
        face.get_header_by_hash(&tip).await.unwrap();
    }
    let traffic = devnet.traffic();
    assert_eq!(traffic.connections, 1, "HTTP/1.1 keep-alive");
    assert_eq!(traffic.requests, 20);
    assert_eq!(traffic.endpoints["GET /block/:hash/header"].requests, 10);
    assert_eq!(traffic.endpoints["GET /block/:hash/header"].body_bytes, 1_600);
    assert!(traffic.bytes_out > 1_600 && traffic.bytes_in > 0, "{traffic:?}");
    devnet.reset_traffic();
    assert_eq!(devnet.traffic().requests, 0);
}

/// Answers are never older than the question, even while blocks come and go.
#[tokio::test]
async fn answers_keep_up_with_a_moving_chain() {
    let devnet = Devnet::start(Options::default()).await.unwrap();
    let face = client(&devnet.esplora_url());
    let address = some_address();
    for round in 1..=5u32 {
        let txid = devnet.fund(&address, Amount::from_sat(50_000)).await.unwrap();
        assert!(!face.get_tx_status(&txid).await.unwrap().confirmed);
        let height = devnet.mine(1).await.unwrap();
        assert_eq!(face.get_height().await.unwrap(), height);
        assert_eq!(
            face.get_tx_status(&txid).await.unwrap().block_height,
            Some(height)
        );

        let undone = devnet.reorg_empty(1).await.unwrap();
        let old = face.get_block_status(&undone.left_behind[0]).await.unwrap();
        assert!(!old.in_best_chain && old.height.is_none());
        assert!(
            face.get_header_by_hash(&undone.left_behind[0]).await.is_ok(),
            "it is still known"
        );
        assert_eq!(
            face.get_tip_hash().await.unwrap(),
            *undone.instead.last().unwrap()
        );
        assert!(
            !face.get_tx_status(&txid).await.unwrap().confirmed,
            "back in the mempool"
        );
        assert!(face.get_merkle_block(&txid).await.unwrap().is_none());
        let height = devnet.mine(1).await.unwrap();
        assert_eq!(
            face.get_tx_status(&txid).await.unwrap().block_height,
            Some(height)
        );
        let utxos = face.get_address_utxos(&address).await.unwrap();
        assert_eq!(utxos.len(), round as usize);
    }
}
