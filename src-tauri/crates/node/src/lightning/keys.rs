//! LDK's keys, with the on-chain wallet as the place where money comes home to.

use std::sync::Arc;

use bitcoin::secp256k1::ecdh::SharedSecret;
use bitcoin::secp256k1::ecdsa::{RecoverableSignature, Signature};
use bitcoin::secp256k1::{All, PublicKey, Scalar, Secp256k1, schnorr};
use bitcoin::{ScriptBuf, Transaction, TxOut, absolute};
use lightning::ln::inbound_payment::ExpandedKey;
use lightning::ln::msgs::UnsignedGossipMessage;
use lightning::ln::script::ShutdownScript;
use lightning::offers::invoice::UnsignedBolt12Invoice;
use lightning::sign::{
    ChangeDestinationSource, EntropySource, InMemorySigner, KeysManager, NodeSigner, OutputSpender,
    PeerStorageKey, ReceiveAuthKey, Recipient, SignerProvider, SpendableOutputDescriptor,
};
use lightning::util::async_poll::AsyncResult;
use lightning_invoice::RawBolt11Invoice;

use crate::clock;
use crate::onchain::OnchainWallet;

/// LDK's `KeysManager`, whose destination scripts are addresses of the on-chain wallet.
pub struct Keys {
    ldk: KeysManager,
    wallet: Arc<OnchainWallet>,
}

impl Keys {
    /// From LDK's seed. Channels' remote keys are derived so that the seed alone finds them (`v2_remote_key_derivation`).
    pub fn new(seed: &[u8; 32], wallet: Arc<OnchainWallet>) -> Self {
        let now = clock::since_epoch();
        Self {
            ldk: KeysManager::new(seed, now.as_secs(), now.subsec_nanos(), true),
            wallet,
        }
    }

    fn address(&self) -> Result<bitcoin::Address, ()> {
        // Not one that a person may hand out: a quick scan of the chain asks for those only.
        self.wallet.change_address().map_err(|error| {
            tracing::error!(%error, detail = error.detail(), "no address for LDK");
        })
    }
}

impl EntropySource for Keys {
    fn get_secure_random_bytes(&self) -> [u8; 32] {
        self.ldk.get_secure_random_bytes()
    }
}

impl NodeSigner for Keys {
    fn get_node_id(&self, recipient: Recipient) -> Result<PublicKey, ()> {
        self.ldk.get_node_id(recipient)
    }

    fn ecdh(
        &self,
        recipient: Recipient,
        other_key: &PublicKey,
        tweak: Option<&Scalar>,
    ) -> Result<SharedSecret, ()> {
        self.ldk.ecdh(recipient, other_key, tweak)
    }

    fn get_expanded_key(&self) -> ExpandedKey {
        self.ldk.get_expanded_key()
    }

    fn get_peer_storage_key(&self) -> PeerStorageKey {
        self.ldk.get_peer_storage_key()
    }

    fn get_receive_auth_key(&self) -> ReceiveAuthKey {
        self.ldk.get_receive_auth_key()
    }

    fn sign_invoice(
        &self,
        invoice: &RawBolt11Invoice,
        recipient: Recipient,
    ) -> Result<RecoverableSignature, ()> {
        self.ldk.sign_invoice(invoice, recipient)
    }

    fn sign_bolt12_invoice(&self, invoice: &UnsignedBolt12Invoice) -> Result<schnorr::Signature, ()> {
        self.ldk.sign_bolt12_invoice(invoice)
    }

    fn sign_gossip_message(&self, msg: UnsignedGossipMessage) -> Result<Signature, ()> {
        self.ldk.sign_gossip_message(msg)
    }

    fn sign_message(&self, msg: &[u8]) -> Result<String, ()> {
        self.ldk.sign_message(msg)
    }
}

impl SignerProvider for Keys {
    type EcdsaSigner = InMemorySigner;

    fn generate_channel_keys_id(&self, inbound: bool, user_channel_id: u128) -> [u8; 32] {
        self.ldk.generate_channel_keys_id(inbound, user_channel_id)
    }

    fn derive_channel_signer(&self, channel_keys_id: [u8; 32]) -> InMemorySigner {
        self.ldk.derive_channel_signer(channel_keys_id)
    }

    fn get_destination_script(&self, _channel_keys_id: [u8; 32]) -> Result<ScriptBuf, ()> {
        Ok(self.address()?.script_pubkey())
    }

    fn get_shutdown_scriptpubkey(&self) -> Result<ShutdownScript, ()> {
        let program = self.address()?.witness_program().ok_or(())?;
        ShutdownScript::new_witness_program(&program).map_err(|_| ())
    }
}

impl OutputSpender for Keys {
    fn spend_spendable_outputs(
        &self,
        descriptors: &[&SpendableOutputDescriptor],
        outputs: Vec<TxOut>,
        change_destination_script: ScriptBuf,
        feerate_sat_per_1000_weight: u32,
        locktime: Option<absolute::LockTime>,
        secp_ctx: &Secp256k1<All>,
    ) -> Result<Transaction, ()> {
        self.ldk.spend_spendable_outputs(
            descriptors,
            outputs,
            change_destination_script,
            feerate_sat_per_1000_weight,
            locktime,
            secp_ctx,
        )
    }
}

impl ChangeDestinationSource for Keys {
    fn get_change_destination_script(&self) -> AsyncResult<'_, ScriptBuf, ()> {
        Box::pin(async move {
            self.wallet
                .change_address()
                .map(|address| address.script_pubkey())
                .map_err(|error| {
                    tracing::error!(%error, detail = error.detail(), "no address for a sweep");
                })
        })
    }
}
