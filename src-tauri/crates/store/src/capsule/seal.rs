//! The encryption of a capsule: bytes in, bytes out. Owns the key, the header and nothing else.
//!
//! | bytes | content |
//! |---|---|
//! | 0..6 | `PLCAPS` |
//! | 6..8 | format, now 1 |
//! | 8..16 | generation |
//! | 16..40 | nonce |
//! | 40.. | XChaCha20-Poly1305 of the content, with bytes 0..40 authenticated |

use chacha20poly1305::aead::{Aead, AeadCore, KeyInit, OsRng, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroizing;

use super::CapsuleError;

const MAGIC: &[u8; 6] = b"PLCAPS";
const FORMAT: u16 = 1;
const NONCE_LEN: usize = 24;
const HEADER_LEN: usize = 16 + NONCE_LEN;
/// Keeps this key apart from any other that is derived from the same secret.
const KEY_PURPOSE: &[u8] = b"pilotlight-store/capsule/1/xchacha20poly1305";

/// The key of all capsules of a wallet. Wiped from memory when dropped.
pub(super) struct Key(Zeroizing<[u8; 32]>);

impl Key {
    /// Derives the key (HKDF-SHA256) from a secret that only this wallet has.
    pub(super) fn derive(secret: &[u8; 32]) -> Self {
        let mut key = Zeroizing::new([0; 32]);
        Hkdf::<Sha256>::new(None, secret)
            .expand(KEY_PURPOSE, key.as_mut())
            .expect("32 bytes are a length that HKDF-SHA256 gives");
        Self(key)
    }

    pub(super) fn seal(&self, generation: u64, content: &[u8]) -> Result<Vec<u8>, CapsuleError> {
        // 192 random bits never repeat, so no counter has to survive anything.
        let nonce = XChaCha20Poly1305::generate_nonce(&mut OsRng);
        let mut capsule = Vec::with_capacity(HEADER_LEN + content.len() + 16);
        capsule.extend_from_slice(MAGIC);
        capsule.extend_from_slice(&FORMAT.to_be_bytes());
        capsule.extend_from_slice(&generation.to_be_bytes());
        capsule.extend_from_slice(&nonce);
        let sealed = self
            .cipher()
            .encrypt(
                &nonce,
                Payload {
                    msg: content,
                    aad: &capsule,
                },
            )
            .map_err(|_| CapsuleError::TooLarge)?;
        capsule.extend_from_slice(&sealed);
        Ok(capsule)
    }

    /// The generation and the content of a capsule that this key sealed and nobody changed.
    pub(super) fn open(&self, capsule: &[u8]) -> Result<(u64, Zeroizing<Vec<u8>>), CapsuleError> {
        let (header, sealed) = capsule
            .split_first_chunk::<HEADER_LEN>()
            .ok_or(CapsuleError::Unreadable("it is cut short"))?;
        let [m0, m1, m2, m3, m4, m5, f0, f1, rest @ ..] = *header;
        if [m0, m1, m2, m3, m4, m5] != *MAGIC {
            return Err(CapsuleError::Unreadable("it is no capsule"));
        }
        if u16::from_be_bytes([f0, f1]) != FORMAT {
            return Err(CapsuleError::Unreadable(
                "it has a format this program does not know",
            ));
        }
        let [g0, g1, g2, g3, g4, g5, g6, g7, nonce @ ..] = rest;
        let payload = Payload {
            msg: sealed,
            aad: header,
        };
        let content = self
            .cipher()
            .decrypt(XNonce::from_slice(&nonce), payload)
            .map_err(|_| CapsuleError::Unreadable("it was changed, or belongs to another wallet"))?;
        let generation = u64::from_be_bytes([g0, g1, g2, g3, g4, g5, g6, g7]);
        Ok((generation, Zeroizing::new(content)))
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new(self.0.as_slice().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_key_opens_an_unchanged_capsule() {
        let key = Key::derive(&[1; 32]);
        let capsule = key.seal(7, b"money").unwrap();
        let (generation, content) = key.open(&capsule).unwrap();
        assert_eq!((generation, content.as_slice()), (7, &b"money"[..]));
        assert!(Key::derive(&[2; 32]).open(&capsule).is_err());
        assert_ne!(key.seal(7, b"money").unwrap(), capsule, "a nonce was used twice");
        assert!(!capsule.windows(5).any(|window| window == b"money"));
        for at in 0..capsule.len() {
            let mut changed = capsule.clone();
            changed[at] ^= 1;
            assert!(key.open(&changed).is_err(), "byte {at}");
            assert!(key.open(&capsule[..at]).is_err(), "cut at {at}");
        }
    }
}
