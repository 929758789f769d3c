//! The seed in the Keychain. What the Keychain's answers mean is the plugin's to say; this only puts it in the node's words.

use pilotlight_node::{Error, ErrorCode, Found, Result, Seed, SeedStore};
use tauri_plugin_background::ios::keychain::Item;
use tauri_plugin_background::secrets;

/// The app's items in the Keychain.
const SERVICE: &str = "app.pilotlight.wallet";

/// One seed for each network.
pub struct KeychainSeeds {
    item: Item,
}

impl KeychainSeeds {
    /// Touches nothing.
    pub fn new(network: bitcoin::Network) -> Self {
        Self {
            item: Item::new(SERVICE, format!("seed.{network}")),
        }
    }
}

impl SeedStore for KeychainSeeds {
    fn load(&self) -> Result<Found> {
        match self.item.read() {
            Ok(secrets::Found::Secret(bytes)) => Seed::decode(&bytes).map(Found::Seed),
            Ok(secrets::Found::Nothing) => Ok(Found::Nothing),
            Ok(secrets::Found::Unknown) => Ok(Found::Unknown),
            Err(refused) => Err(failed(refused)),
        }
    }

    fn keep(&self, seed: &Seed) -> Result<()> {
        self.item.add(&seed.encode()?).map_err(failed)
    }
}

fn failed(refused: secrets::Refused) -> Error {
    let code = match refused {
        secrets::Refused::Exists => ErrorCode::WalletExists,
        secrets::Refused::Locked => ErrorCode::Locked,
        _ => ErrorCode::StorageFailed,
    };
    Error::new(code, refused)
}
