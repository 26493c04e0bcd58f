//! The ciphers, each a function of key, bytes and place: what they write is upstream's layout, nonce first.

use crate::EncryptionError;
use aws_lc_rs::aead::{self, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::cipher::{
    AES_128, AES_192, AES_256, Algorithm, DecryptionContext, EncryptionContext,
    PaddedBlockDecryptingKey, PaddedBlockEncryptingKey, UnboundCipherKey,
};
use aws_lc_rs::iv::FixedLength;
use crypto_secretbox::aead::Aead;
use crypto_secretbox::{KeyInit, XSalsa20Poly1305};

const GCM_NONCE: usize = 12;
const CBC_BLOCK: usize = 16;
const BOX_NONCE: usize = 24;
const BOX_TAG: usize = 16;

/// The kinds of keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    AesGcm,
    AesCbc,
    Secretbox,
}

impl Kind {
    /// The prefix of what it writes, which the key's name and a colon follow.
    pub(crate) fn prefix(self) -> &'static str {
        match self {
            Kind::AesGcm => "k8s:enc:aesgcm:v1:",
            Kind::AesCbc => "k8s:enc:aescbc:v1:",
            Kind::Secretbox => "k8s:enc:secretbox:v1:",
        }
    }

    /// The lengths that its keys may have, in bytes.
    pub(crate) fn key_lengths(self) -> &'static [usize] {
        match self {
            Kind::AesGcm | Kind::AesCbc => &[16, 24, 32],
            Kind::Secretbox => &[32],
        }
    }
}

/// A key that is ready for use.
pub(crate) enum Key {
    AesGcm(LessSafeKey),
    /// Raw: its halves are made for each use.
    AesCbc(Vec<u8>),
    Secretbox(Box<XSalsa20Poly1305>),
}

impl Key {
    /// The key of this kind; none if its length is wrong.
    pub(crate) fn new(kind: Kind, secret: &[u8]) -> Option<Key> {
        if !kind.key_lengths().contains(&secret.len()) {
            return None;
        }
        Some(match kind {
            Kind::AesGcm => {
                let algorithm = match secret.len() {
                    16 => &aead::AES_128_GCM,
                    24 => &aead::AES_192_GCM,
                    _ => &aead::AES_256_GCM,
                };
                Key::AesGcm(LessSafeKey::new(UnboundKey::new(algorithm, secret).ok()?))
            }
            Kind::AesCbc => Key::AesCbc(secret.to_vec()),
            Kind::Secretbox => {
                Key::Secretbox(Box::new(XSalsa20Poly1305::new_from_slice(secret).ok()?))
            }
        })
    }

    /// Encrypts; `place` is authenticated where the cipher can do that (AES-GCM).
    pub(crate) fn seal(&self, plain: &[u8], place: &[u8]) -> Result<Vec<u8>, EncryptionError> {
        match self {
            Key::AesGcm(key) => {
                let nonce = random::<GCM_NONCE>()?;
                let mut out = Vec::with_capacity(GCM_NONCE + plain.len() + 16);
                out.extend_from_slice(&nonce);
                out.extend_from_slice(plain);
                let nonce = Nonce::assume_unique_for_key(nonce);
                let tag = key
                    .seal_in_place_separate_tag(nonce, Aad::from(place), &mut out[GCM_NONCE..])
                    .map_err(|_| EncryptionError::Random)?;
                out.extend_from_slice(tag.as_ref());
                Ok(out)
            }
            Key::AesCbc(secret) => {
                let iv = random::<CBC_BLOCK>()?;
                let mut padded = plain.to_vec();
                let context = EncryptionContext::Iv128(FixedLength::from(iv));
                PaddedBlockEncryptingKey::cbc_pkcs7(block_key(secret)?)
                    .and_then(|key| key.less_safe_encrypt(&mut padded, context))
                    .map_err(|_| EncryptionError::Random)?;
                Ok([&iv[..], &padded].concat())
            }
            Key::Secretbox(key) => {
                let nonce = random::<BOX_NONCE>()?;
                let sealed = key
                    .encrypt(&nonce.into(), plain)
                    .map_err(|_| EncryptionError::Random)?;
                Ok([&nonce[..], &sealed].concat())
            }
        }
    }

    /// Decrypts what [`Key::seal`] made of it at this place; none if it was not this key, place or text.
    pub(crate) fn open(
        &self,
        stored: &[u8],
        place: &[u8],
    ) -> Result<Option<Vec<u8>>, EncryptionError> {
        match self {
            Key::AesGcm(key) => {
                let (nonce, sealed) = stored
                    .split_first_chunk::<GCM_NONCE>()
                    .ok_or(EncryptionError::Short)?;
                let nonce = Nonce::assume_unique_for_key(*nonce);
                let mut out = sealed.to_vec();
                let opened = key.open_in_place(nonce, Aad::from(place), &mut out);
                let len = opened.map(|plain| plain.len()).ok();
                Ok(len.map(|len| shortened(out, len)))
            }
            Key::AesCbc(secret) => {
                let (iv, sealed) = stored
                    .split_first_chunk::<CBC_BLOCK>()
                    .ok_or(EncryptionError::Short)?;
                let mut out = sealed.to_vec();
                let context = DecryptionContext::Iv128(FixedLength::from(*iv));
                let key = PaddedBlockDecryptingKey::cbc_pkcs7(block_key(secret)?)
                    .map_err(|_| EncryptionError::Random)?;
                let len = key.decrypt(&mut out, context).map(|plain| plain.len()).ok();
                Ok(len.map(|len| shortened(out, len)))
            }
            Key::Secretbox(key) => {
                if stored.len() < BOX_NONCE + BOX_TAG {
                    return Err(EncryptionError::Short);
                }
                let (nonce, sealed) = stored
                    .split_first_chunk::<BOX_NONCE>()
                    .ok_or(EncryptionError::Short)?;
                Ok(key.decrypt(&(*nonce).into(), sealed).ok())
            }
        }
    }
}

fn shortened(mut bytes: Vec<u8>, len: usize) -> Vec<u8> {
    bytes.truncate(len);
    bytes
}

fn block_key(secret: &[u8]) -> Result<UnboundCipherKey, EncryptionError> {
    let algorithm: &'static Algorithm = match secret.len() {
        16 => &AES_128,
        24 => &AES_192,
        _ => &AES_256,
    };
    UnboundCipherKey::new(algorithm, secret).map_err(|_| EncryptionError::Random)
}

fn random<const N: usize>() -> Result<[u8; N], EncryptionError> {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| EncryptionError::Random)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_is_opened_by_the_same_key_at_the_same_place() {
        let all = [
            (Kind::AesGcm, 16),
            (Kind::AesGcm, 24),
            (Kind::AesGcm, 32),
            (Kind::AesCbc, 16),
            (Kind::AesCbc, 24),
            (Kind::AesCbc, 32),
            (Kind::Secretbox, 32),
        ];
        for (kind, len) in all {
            let key = Key::new(kind, &vec![7; len]).unwrap();
            let other = Key::new(kind, &vec![8; len]).unwrap();
            for plain in [&b""[..], b"k8s\0", &[5; 16], &[5; 1000]] {
                let sealed = key.seal(plain, b"/a").unwrap();
                assert_eq!(
                    key.open(&sealed, b"/a").unwrap().as_deref(),
                    Some(plain),
                    "{kind:?}"
                );
                assert_ne!(
                    key.seal(plain, b"/a").unwrap(),
                    sealed,
                    "nonces do not repeat"
                );
                assert_ne!(other.open(&sealed, b"/a").unwrap().as_deref(), Some(plain));
                if kind == Kind::AesGcm {
                    assert_eq!(
                        key.open(&sealed, b"/b").unwrap(),
                        None,
                        "it cannot be moved"
                    );
                }
                assert!(matches!(
                    key.open(&sealed[..5], b"/a"),
                    Err(EncryptionError::Short)
                ));
            }
            assert!(Key::new(kind, &[7; 17]).is_none());
        }
    }

    #[test]
    fn an_independent_library_made_these() {
        let key: Vec<u8> = (0..32).collect();
        let cbc = Key::new(Kind::AesCbc, &key).unwrap();
        let mut stored = vec![0; 16];
        stored.extend(CBC_OF_K8S);
        assert_eq!(
            cbc.open(&stored, b"").unwrap().as_deref(),
            Some(&b"k8s"[..])
        );
    }

    /// `printf k8s | openssl enc -aes-256-cbc -K 000102…1f -iv 0`
    const CBC_OF_K8S: [u8; 16] = [
        0xd0, 0xa8, 0x7c, 0xbe, 0x81, 0x5e, 0x3e, 0xb0, 0xd4, 0x4b, 0x86, 0xb3, 0x39, 0x4c, 0x67,
        0x4c,
    ];
}
