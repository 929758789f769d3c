//! The wallet's coins, lent to LDK: for the fee of a force-close (anchors), and for sweeps.

use bdk_wallet::SignOptions;
use bitcoin::{Psbt, ScriptBuf, Transaction, WPubkeyHash};
use lightning::events::bump_transaction::{Utxo, WalletSource};
use lightning::util::async_poll::AsyncResult;

use super::{Inner, OnchainWallet};

impl WalletSource for OnchainWallet {
    fn list_confirmed_utxos(&self) -> AsyncResult<'_, Vec<Utxo>, ()> {
        Box::pin(async move {
            let inner = self.lock();
            let coins = inner
                .wallet
                .list_unspent()
                .filter(|coin| coin.chain_position.is_confirmed() && !inner.promised(&coin.outpoint));
            // Our descriptors are wpkh only, so every coin of ours is OP_0 PUSH20 <key hash>.
            let utxos = coins.filter_map(|coin| {
                let script = coin.txout.script_pubkey.as_bytes();
                let hash: [u8; 20] = script.get(2..)?.try_into().ok()?;
                let hash = WPubkeyHash::from_raw_hash(bitcoin::hashes::Hash::from_byte_array(hash));
                Some(Utxo::new_v0_p2wpkh(coin.outpoint, coin.txout.value, &hash))
            });
            Ok(utxos.collect())
        })
    }

    fn get_change_script(&self) -> AsyncResult<'_, ScriptBuf, ()> {
        Box::pin(async move {
            self.change_address()
                .map(|address| address.script_pubkey())
                .map_err(|error| {
                    tracing::error!(%error, detail = error.detail(), "no change address for LDK");
                })
        })
    }

    fn sign_psbt(&self, psbt: Psbt) -> AsyncResult<'_, Transaction, ()> {
        Box::pin(async move { self.lock().sign_ours(psbt, &self.master) })
    }
}

impl Inner {
    /// Signs and finalises the inputs that are ours; LDK signs the others afterwards.
    fn sign_ours(&self, mut psbt: Psbt, master: &bitcoin::bip32::Xpriv) -> Result<Transaction, ()> {
        let outpoints: Vec<_> = psbt
            .unsigned_tx
            .input
            .iter()
            .map(|input| input.previous_output)
            .collect();
        for (input, outpoint) in psbt.inputs.iter_mut().zip(outpoints) {
            if let Some(coin) = self.wallet.get_utxo(outpoint) {
                // LDK's PSBT lacks the key origins without which nothing can be signed.
                *input = self.wallet.get_psbt_input(coin, None, true).map_err(|error| {
                    tracing::error!(%error, "cannot sign an input of ours");
                })?;
            }
        }
        // Errors name the inputs that are not ours.
        let _ = psbt.sign(master, self.wallet.secp_ctx());
        let options = SignOptions {
            trust_witness_utxo: true,
            ..SignOptions::default()
        };
        self.wallet.finalize_psbt(&mut psbt, options).map_err(|error| {
            tracing::error!(%error, "cannot finalise the inputs of ours");
        })?;
        Ok(psbt.extract_tx_unchecked_fee_rate())
    }
}
