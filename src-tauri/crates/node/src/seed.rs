//! The recovery words: made, checked, kept, and turned into keys.
//!
//! Owns BIP39 and the derivation, which is ldk-node's, so that the words restore the same wallet there. Does not own
//! where iOS keeps secrets (the Keychain, behind [`SeedStore`]).

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use bip39::{Language, Mnemonic};
use bitcoin::Network;
use bitcoin::bip32::Xpriv;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::error::{Error, ErrorCode, Result};

/// How many recovery words a new wallet gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum WordCount {
    /// 128 bits.
    Twelve,
    /// 256 bits.
    TwentyFour,
}

impl TryFrom<u32> for WordCount {
    type Error = Error;

    fn try_from(count: u32) -> Result<Self> {
        match count {
            12 => Ok(Self::Twelve),
            24 => Ok(Self::TwentyFour),
            _ => Err(Error::new(
                ErrorCode::InvalidInput,
                format!("{count} recovery words; 12 or 24 are possible"),
            )),
        }
    }
}

/// The words and the optional passphrase; wiped from memory when dropped.
#[derive(Clone)]
pub struct Seed {
    words: Zeroizing<String>,
    passphrase: Zeroizing<String>,
}

/// The version of [`Encoded`]. Another one is from an app that knows more than this one.
const ENCODING: u8 = 1;

/// A seed as it is kept.
#[derive(Serialize, Deserialize)]
struct Encoded {
    version: u8,
    words: Zeroizing<String>,
    passphrase: Zeroizing<String>,
}

/// The keys that the seed stands for.
pub struct Keys {
    /// BDK's descriptors hang from this (BIP84).
    pub onchain: Xpriv,
    /// LDK's `KeysManager` starts from this.
    pub lightning: Zeroizing<[u8; 32]>,
}

impl Seed {
    /// New words from the system's randomness.
    ///
    /// # Errors
    /// [`ErrorCode::Internal`] if there is no randomness to be had.
    pub fn generate(count: WordCount, passphrase: Option<&str>) -> Result<Self> {
        let count = match count {
            WordCount::Twelve => 12,
            WordCount::TwentyFour => 24,
        };
        let mnemonic = Mnemonic::generate(count).map_err(|e| Error::new(ErrorCode::Internal, e))?;
        Ok(Self::from_mnemonic(&mnemonic, passphrase))
    }

    /// Words that a person typed: any case, any spacing, checksum verified.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidMnemonic`]; the detail never quotes the words.
    pub fn parse(words: &str, passphrase: Option<&str>) -> Result<Self> {
        let normal = Zeroizing::new(
            words
                .split_whitespace()
                .collect::<Vec<_>>()
                .join(" ")
                .to_lowercase(),
        );
        let mnemonic = Mnemonic::parse_in(Language::English, normal.as_str()).map_err(|e| {
            let why = match e {
                bip39::Error::BadWordCount(n) => format!("{n} words; 12 or 24 are expected"),
                bip39::Error::UnknownWord(i) => format!("word {} is not in the list", i + 1),
                bip39::Error::InvalidChecksum => "the words do not belong together (checksum)".to_owned(),
                _ => "not a BIP39 mnemonic".to_owned(),
            };
            Error::new(ErrorCode::InvalidMnemonic, why)
        })?;
        if !matches!(mnemonic.word_count(), 12 | 24) {
            return Err(Error::new(
                ErrorCode::InvalidMnemonic,
                "12 or 24 words are expected",
            ));
        }
        Ok(Self::from_mnemonic(&mnemonic, passphrase))
    }

    fn from_mnemonic(mnemonic: &Mnemonic, passphrase: Option<&str>) -> Self {
        Self {
            words: Zeroizing::new(mnemonic.to_string()),
            passphrase: Zeroizing::new(passphrase.unwrap_or_default().to_owned()),
        }
    }

    /// The words, for the person who asked to see them.
    pub fn words(&self) -> Zeroizing<String> {
        self.words.clone()
    }

    /// The seed as bytes, for whoever keeps it: JSON with a version.
    ///
    /// # Errors
    /// [`ErrorCode::Internal`], never seen.
    pub fn encode(&self) -> Result<Zeroizing<Vec<u8>>> {
        let encoded = Encoded {
            version: ENCODING,
            words: self.words.clone(),
            passphrase: self.passphrase.clone(),
        };
        serde_json::to_vec(&encoded)
            .map(Zeroizing::new)
            .map_err(|e| Error::new(ErrorCode::Internal, e))
    }

    /// A seed from the bytes of [`Seed::encode`].
    ///
    /// # Errors
    /// [`ErrorCode::StorageCorrupt`]; the detail never quotes the bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let encoded: Encoded = serde_json::from_slice(bytes)
            .map_err(|_| Error::new(ErrorCode::StorageCorrupt, "the kept seed cannot be read"))?;
        if encoded.version != ENCODING {
            let why = format!("the kept seed is of version {}", encoded.version);
            return Err(Error::new(ErrorCode::StorageCorrupt, why));
        }
        Self::parse(&encoded.words, Some(&encoded.passphrase))
            .map_err(|_| Error::new(ErrorCode::StorageCorrupt, "the kept seed holds no valid words"))
    }

    /// Derives the keys as ldk-node does: the BIP39 seed makes the BIP32 master key, and LDK's seed is that key's
    /// secret.
    ///
    /// # Errors
    /// [`ErrorCode::StorageCorrupt`] if the kept words are not valid any more.
    pub fn keys(&self, network: Network) -> Result<Keys> {
        let mnemonic = Mnemonic::parse_in(Language::English, self.words.as_str())
            .map_err(|_| Error::new(ErrorCode::StorageCorrupt, "the kept recovery words are not valid"))?;
        let seed = Zeroizing::new(mnemonic.to_seed(self.passphrase.as_str()));
        let onchain = Xpriv::new_master(network, seed.as_slice())
            .map_err(|e| Error::new(ErrorCode::Internal, format!("master key: {e}")))?;
        Ok(Keys {
            lightning: Zeroizing::new(onchain.private_key.secret_bytes()),
            onchain,
        })
    }
}

/// What was found where the seed is kept.
pub enum Found {
    /// The seed.
    Seed(Seed),
    /// Certainly none.
    Nothing,
    /// It cannot be known now (locked device). Never treat this as [`Found::Nothing`].
    Unknown,
}

/// Where the seed is kept.
pub trait SeedStore: Send + Sync {
    /// Looks.
    ///
    /// # Errors
    /// [`ErrorCode::StorageFailed`] or [`ErrorCode::StorageCorrupt`].
    fn load(&self) -> Result<Found>;

    /// Keeps it, durably, before it returns. Never replaces one that is there.
    ///
    /// # Errors
    /// [`ErrorCode::WalletExists`], [`ErrorCode::StorageFailed`] or [`ErrorCode::Misconfigured`].
    fn keep(&self, seed: &Seed) -> Result<()>;
}

/// A file that only its owner can read: for development on a desktop. Its words are not encrypted, so it refuses
/// mainnet.
pub struct SeedFile {
    path: PathBuf,
    network: Network,
}

impl SeedFile {
    /// The seed file of a data folder.
    pub fn new(data_dir: &Path, network: Network) -> Self {
        Self {
            path: data_dir.join("seed.json"),
            network,
        }
    }
}

impl SeedStore for SeedFile {
    fn load(&self) -> Result<Found> {
        let bytes = match fs::read(&self.path) {
            Ok(bytes) => Zeroizing::new(bytes),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Found::Nothing),
            Err(e) => return Err(Error::new(ErrorCode::StorageFailed, format!("seed file: {e}"))),
        };
        Seed::decode(&bytes).map(Found::Seed)
    }

    fn keep(&self, seed: &Seed) -> Result<()> {
        if self.network == Network::Bitcoin {
            return Err(Error::new(
                ErrorCode::Misconfigured,
                "a plain seed file is not for mainnet",
            ));
        }
        let failed = |e: std::io::Error| Error::new(ErrorCode::StorageFailed, format!("seed file: {e}"));
        let folder = self.path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder).map_err(failed)?;
        let content = seed.encode()?;
        let tmp = self.path.with_extension("tmp");
        let mut options = fs::OpenOptions::new();
        options.write(true).create(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&tmp).map_err(failed)?;
        file.write_all(&content)
            .and_then(|()| file.sync_all())
            .map_err(failed)?;
        // A hard link fails if the name is taken, where a rename would replace the seed that is there.
        let linked = fs::hard_link(&tmp, &self.path);
        let _ = fs::remove_file(&tmp);
        linked.map_err(|e| match e.kind() {
            std::io::ErrorKind::AlreadyExists => Error::new(ErrorCode::WalletExists, "seed file"),
            _ => failed(e),
        })?;
        fs::File::open(folder)
            .and_then(|dir| dir.sync_all())
            .map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORDS: &str =
        "abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon about";

    #[test]
    fn derivation_matches_the_bip32_master_of_the_bip39_test_vector() {
        // BIP39's own vector for these words and the passphrase TREZOR.
        let keys = Seed::parse(WORDS, Some("TREZOR"))
            .unwrap()
            .keys(Network::Bitcoin)
            .unwrap();
        assert_eq!(
            keys.onchain.to_string(),
            "xprv9s21ZrQH143K3h3fDYiay8mocZ3afhfULfb5GX8kCBdno77K4HiA15Tg23wpbeF1pLfs1c5SPmYHrEpTuuRhxMwvKDwqdKiGJS9XFKzUsAF"
        );
        assert_eq!(*keys.lightning, keys.onchain.private_key.secret_bytes());
    }

    #[test]
    fn typed_words_are_forgiven_their_case_and_spaces_but_nothing_else() {
        let messy = format!("  {}\n", WORDS.to_uppercase().replace(' ', "  "));
        assert_eq!(*Seed::parse(&messy, None).unwrap().words(), WORDS);
        for bad in [
            "",
            "abandon",
            &WORDS.replace("about", "abandon"),
            &WORDS.replace("about", "zzz"),
        ] {
            let error = Seed::parse(bad, None).map(|_| ()).unwrap_err();
            assert_eq!(error.code(), ErrorCode::InvalidMnemonic);
            assert!(
                !error.detail().contains("abandon"),
                "the words must not reach a log"
            );
        }
    }

    #[test]
    fn a_kept_seed_comes_back_and_damage_is_told_without_quoting_it() {
        let seed = Seed::parse(WORDS, Some("p\u{e4}ss")).unwrap();
        let bytes = seed.encode().unwrap();
        let back = Seed::decode(&bytes).unwrap();
        assert_eq!(
            (back.words.as_str(), back.passphrase.as_str()),
            (WORDS, "p\u{e4}ss")
        );
        let text = std::str::from_utf8(&bytes).unwrap();
        for bad in [
            text.replace("about", "abandon"),
            text.replace("\"version\":1", "\"version\":2"),
            text.replace("words", "word"),
            text[1..].to_owned(),
            String::new(),
        ] {
            let error = Seed::decode(bad.as_bytes()).map(|_| ()).unwrap_err();
            assert_eq!(error.code(), ErrorCode::StorageCorrupt);
            assert!(
                !error.detail().contains("abandon"),
                "the words must not reach a log"
            );
        }
    }

    #[test]
    fn a_seed_file_is_never_replaced_and_never_on_mainnet() {
        let dir = tempfile::tempdir().unwrap();
        let file = SeedFile::new(dir.path(), Network::Regtest);
        assert!(matches!(file.load().unwrap(), Found::Nothing));
        let seed = Seed::generate(WordCount::TwentyFour, Some("p")).unwrap();
        file.keep(&seed).unwrap();
        let other = Seed::generate(WordCount::Twelve, None).unwrap();
        assert_eq!(file.keep(&other).unwrap_err().code(), ErrorCode::WalletExists);
        let Found::Seed(found) = file.load().unwrap() else {
            panic!("the seed is gone")
        };
        assert_eq!(*found.words(), *seed.words());
        assert_eq!(*found.passphrase, "p");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = fs::metadata(dir.path().join("seed.json"))
                .unwrap()
                .permissions()
                .mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        let mainnet = SeedFile::new(&dir.path().join("main"), Network::Bitcoin);
        assert_eq!(mainnet.keep(&seed).unwrap_err().code(), ErrorCode::Misconfigured);
    }
}
