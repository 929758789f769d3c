//! How every endpoint stands, in one small file.

use std::collections::BTreeMap;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use bitcoin::secp256k1::PublicKey;
use pilotlight_store::files;

use super::rule::{Asker, Failure, Standing};
use crate::clock;
use crate::error::{Error, Result};
use crate::lock::lock;

/// Endpoints kept. A wallet has a handful; the oldest failures are forgotten first.
const KEPT: usize = 64;

/// Somebody on the network whom we ask for something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// A source of the chain, by its URL or address.
    Chain(String),
    /// A Lightning peer.
    Peer(PublicKey),
    /// A server of network graphs, by its URL.
    Gossip(String),
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Chain(url) => write!(f, "chain {url}"),
            Self::Peer(id) => write!(f, "peer {id}"),
            Self::Gossip(url) => write!(f, "gossip {url}"),
        }
    }
}

/// How the endpoints of one wallet stand. What cannot be read or written is forgotten: asking once too often is no harm.
#[derive(Debug)]
pub struct Backoffs {
    path: PathBuf,
    /// What is in the file, once it was read.
    known: Mutex<Option<BTreeMap<String, Standing>>>,
}

impl Backoffs {
    /// The file in a data folder; made with the first failure.
    pub fn new(data_dir: &Path) -> Self {
        Self {
            path: data_dir.join("endpoints.json"),
            known: Mutex::default(),
        }
    }

    /// How an endpoint stands; `None` if its last answer was good, or it was never asked.
    pub fn standing(&self, endpoint: &Endpoint) -> Option<Standing> {
        self.with(|known| known.get(&endpoint.to_string()).copied())
    }

    /// Notes how an endpoint answered.
    pub fn learn<T>(&self, endpoint: &Endpoint, answer: &Result<T>) {
        match answer {
            Ok(_) => self.succeeded(endpoint),
            Err(error) => self.failed(endpoint, error),
        }
    }

    /// Notes that an endpoint failed. An error that is not its fault changes nothing.
    pub fn failed(&self, endpoint: &Endpoint, error: &Error) {
        self.failed_at(endpoint, error, clock::now_ms(), random());
    }

    /// The same, at a moment and with a chance that the caller gives.
    pub fn failed_at(&self, endpoint: &Endpoint, error: &Error, now_ms: u64, random: f64) {
        let Some(failure) = Failure::of(error) else {
            return;
        };
        let standing = self.with(|known| {
            let before = known.get(&endpoint.to_string()).copied();
            let standing =
                Standing::after(before, failure, error.code(), error.retry_after(), now_ms, random);
            known.insert(endpoint.to_string(), standing);
            while known.len() > KEPT {
                let oldest = known.iter().min_by_key(|(_, standing)| standing.failed_at_ms);
                let Some(oldest) = oldest.map(|(name, _)| name.clone()) else {
                    break;
                };
                known.remove(&oldest);
            }
            self.write(known);
            standing
        });
        tracing::info!(%endpoint, failures = standing.failures, wait_ms = standing.wait_ms, "left alone for a while");
    }

    /// Notes that an endpoint did what it was asked.
    pub fn succeeded(&self, endpoint: &Endpoint) {
        self.with(|known| {
            if known.remove(&endpoint.to_string()).is_some() {
                self.write(known);
            }
        });
    }

    /// Whether somebody may ask an endpoint now.
    ///
    /// # Errors
    /// That of its last failure, if it is to be left alone for longer.
    pub fn may_ask(&self, endpoint: &Endpoint, asker: Asker) -> Result<()> {
        self.may_ask_at(endpoint, asker, clock::now_ms())
    }

    /// The same, at a moment that the caller gives.
    ///
    /// # Errors
    /// As [`Self::may_ask`].
    pub fn may_ask_at(&self, endpoint: &Endpoint, asker: Asker, now_ms: u64) -> Result<()> {
        let Some(standing) = self.standing(endpoint) else {
            return Ok(());
        };
        match standing.held_back(asker, now_ms) {
            None => Ok(()),
            Some(wait) => {
                let words = format!(
                    "{endpoint} failed {} times in a row and is left alone for {} s more",
                    standing.failures,
                    wait.as_secs()
                );
                let by_request = (standing.asked_ms > 0).then_some(wait);
                Err(Error::new(standing.code, words).with_retry_after(by_request))
            }
        }
    }

    /// Whether somebody may ask one of these now.
    ///
    /// # Errors
    /// That of the first of them whose wait is over, if all are to be left alone for longer.
    pub fn may_ask_any(&self, endpoints: &[Endpoint], asker: Asker) -> Result<()> {
        let now_ms = clock::now_ms();
        let mut soonest: Option<Error> = None;
        for endpoint in endpoints {
            let Err(error) = self.may_ask_at(endpoint, asker, now_ms) else {
                return Ok(());
            };
            let sooner = |known: &Error| error.retry_after() < known.retry_after();
            if soonest.as_ref().is_none_or(sooner) {
                soonest = Some(error);
            }
        }
        soonest.map_or(Ok(()), Err)
    }

    fn with<T>(&self, work: impl FnOnce(&mut BTreeMap<String, Standing>) -> T) -> T {
        let mut known = lock(&self.known);
        work(known.get_or_insert_with(|| self.read()))
    }

    fn read(&self) -> BTreeMap<String, Standing> {
        let Ok(Some(bytes)) = files::read_if_present(&self.path) else {
            return BTreeMap::new();
        };
        serde_json::from_slice(&bytes).unwrap_or_else(|error| {
            tracing::warn!(%error, "how the servers stood cannot be read");
            BTreeMap::new()
        })
    }

    fn write(&self, known: &BTreeMap<String, Standing>) {
        let written = serde_json::to_vec(known)
            .map_err(std::io::Error::other)
            .and_then(|bytes| files::write_atomically(&self.path, &bytes));
        if let Err(error) = written {
            tracing::warn!(%error, "how the servers stand is not written");
        }
    }
}

/// From 0 to 1. Nothing secret hangs on it.
fn random() -> f64 {
    // The keys of a hasher come from the system's randomness.
    let bits = RandomState::new().hash_one(0_u8);
    // 32 of them fit a float whole.
    f64::from((bits >> 32) as u32) / (f64::from(u32::MAX) + 1.0)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::error::ErrorCode;

    const NOW: u64 = 1_800_000_000_000;
    const IDLE: Asker = Asker::Background { left: None };

    fn limited(asked_secs: Option<u64>) -> Error {
        Error::new(ErrorCode::RateLimited, "HTTP 429").with_retry_after(asked_secs.map(Duration::from_secs))
    }

    #[test]
    fn failures_are_known_to_the_next_process_and_a_success_forgets_them() {
        let dir = tempfile::tempdir().unwrap();
        let server = Endpoint::Chain("https://example.com".to_owned());
        let other = Endpoint::Gossip("https://example.com".to_owned());
        let first = Backoffs::new(dir.path());
        assert!(first.may_ask_at(&server, IDLE, NOW).is_ok());
        first.failed_at(&server, &limited(None), NOW, 0.0);
        first.failed_at(&server, &limited(Some(1_800)), NOW, 0.0);
        first.failed_at(&server, &Error::new(ErrorCode::Cancelled, ""), NOW, 0.0);

        let second = Backoffs::new(dir.path());
        assert_eq!(second.standing(&server).unwrap().failures, 2);
        let error = second.may_ask_at(&server, IDLE, NOW + 60_000).unwrap_err();
        assert_eq!(error.code(), ErrorCode::RateLimited);
        assert_eq!(error.retry_after(), Some(Duration::from_secs(1_740)));
        assert!(
            second.may_ask_at(&server, Asker::Person, NOW).is_err(),
            "it asked for it"
        );
        assert!(
            second.may_ask_at(&other, IDLE, NOW).is_ok(),
            "each endpoint for itself"
        );
        second.succeeded(&server);
        assert_eq!(Backoffs::new(dir.path()).standing(&server), None);
    }

    #[test]
    fn a_damaged_file_forgets_and_a_flood_of_endpoints_stays_small() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("endpoints.json"), b"{ not json").unwrap();
        let backoffs = Backoffs::new(dir.path());
        for n in 0..200_u64 {
            backoffs.failed_at(&Endpoint::Chain(n.to_string()), &limited(None), NOW + n, 0.0);
        }
        let kept: BTreeMap<String, Standing> =
            serde_json::from_slice(&std::fs::read(dir.path().join("endpoints.json")).unwrap()).unwrap();
        assert_eq!(kept.len(), KEPT);
        assert!(kept.contains_key("chain 199") && !kept.contains_key("chain 0"));
    }

    #[test]
    fn chance_is_between_nought_and_one() {
        for _ in 0..1_000 {
            assert!((0.0..1.0).contains(&random()));
        }
    }
}
