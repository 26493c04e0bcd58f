//! The providers of one resource in their order: the first writes, the first that fits reads.

use crate::cipher::{Key, Kind};
use crate::kms::Kms;
use crate::{EncryptionError, PREFIX};
use std::sync::Arc;

/// One provider: its keys in their order, or none for `identity`.
pub(crate) enum Provider {
    Identity,
    Keys(Kind, Vec<(String, Key)>),
    Kms(Kms),
}

/// What was read.
#[derive(Debug, PartialEq, Eq)]
pub struct Read {
    /// The object's bytes.
    pub bytes: Vec<u8>,
    /// Whether another provider or key than the first wrote it, so that it should be written again.
    pub is_stale: bool,
}

/// The providers of one resource. Cheap to clone.
#[derive(Clone)]
pub struct Providers(pub(crate) Arc<Vec<Provider>>);

impl Providers {
    /// What a resource has that no configuration names: plain bytes, and a refusal to read others.
    pub fn identity() -> Providers {
        Providers(Arc::new(vec![Provider::Identity]))
    }

    /// Whether objects are written as they are.
    pub fn writes_plain(&self) -> bool {
        matches!(self.0.first(), Some(Provider::Identity) | None)
    }

    /// The bytes to store for an object kept at `place` (its path in the store).
    pub fn to_storage(&self, plain: &[u8], place: &[u8]) -> Result<Vec<u8>, EncryptionError> {
        match self.0.first() {
            Some(Provider::Keys(kind, keys)) => {
                let (name, key) = keys.first().ok_or(EncryptionError::NoProvider)?;
                let sealed = key.seal(plain, place)?;
                let mut stored = Vec::with_capacity(64 + sealed.len());
                stored.extend_from_slice(kind.prefix().as_bytes());
                stored.extend_from_slice(name.as_bytes());
                stored.push(b':');
                stored.extend_from_slice(&sealed);
                Ok(stored)
            }
            Some(Provider::Kms(kms)) => {
                let sealed = kms.seal(plain, place)?;
                Ok([kms.prefix().as_bytes(), &sealed].concat())
            }
            Some(Provider::Identity) | None => Ok(plain.to_vec()),
        }
    }

    /// The object kept at `place`, from the bytes stored there.
    pub fn from_storage(&self, stored: &[u8], place: &[u8]) -> Result<Read, EncryptionError> {
        // The last failure of a provider whose prefix fits says more than that none does.
        let mut failure = None;
        for (index, provider) in self.0.iter().enumerate() {
            match provider {
                Provider::Identity if stored.starts_with(PREFIX) => {
                    failure = failure.or(Some(EncryptionError::Encrypted));
                }
                Provider::Identity => {
                    return Ok(Read {
                        bytes: stored.to_vec(),
                        is_stale: index != 0,
                    });
                }
                Provider::Keys(kind, keys) => match open(*kind, keys, stored, place) {
                    Some(Ok((bytes, number))) => {
                        return Ok(Read {
                            bytes,
                            is_stale: index != 0 || number != 0,
                        });
                    }
                    Some(Err(error)) => failure = Some(error),
                    None => {}
                },
                Provider::Kms(kms) => match stored.strip_prefix(kms.prefix().as_bytes()) {
                    None => {}
                    Some(sealed) => match kms.open(sealed, place) {
                        Ok(Some((bytes, is_stale))) => {
                            return Ok(Read {
                                bytes,
                                is_stale: index != 0 || is_stale,
                            });
                        }
                        Ok(None) => failure = Some(EncryptionError::Cipher(kms.prefix())),
                        Err(error) => failure = Some(error),
                    },
                },
            }
        }
        Err(failure.unwrap_or(EncryptionError::NoProvider))
    }
}

/// What a provider makes of it and the number of the key that fitted; none if it is another's.
fn open(
    kind: Kind,
    keys: &[(String, Key)],
    stored: &[u8],
    place: &[u8],
) -> Option<Result<(Vec<u8>, usize), EncryptionError>> {
    let rest = stored.strip_prefix(kind.prefix().as_bytes())?;
    let mut failure = EncryptionError::NoProvider;
    for (number, (name, key)) in keys.iter().enumerate() {
        let own = rest
            .strip_prefix(name.as_bytes())
            .and_then(|rest| rest.strip_prefix(b":"));
        let Some(sealed) = own else { continue };
        match key.open(sealed, place) {
            Ok(Some(plain)) => return Some(Ok((plain, number))),
            Ok(None) => failure = EncryptionError::Cipher(name.clone()),
            Err(error) => failure = error,
        }
    }
    Some(Err(failure))
}
