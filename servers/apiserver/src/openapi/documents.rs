//! Finished OpenAPI documents. Invariant: each is kept compressed, by its name, and counts as the same for as long as its
//! bytes are the same; a document outlives a catalog whose resources in it did not change.

use std::collections::{HashMap, HashSet};
use std::io::{Read, Write};
use std::sync::Arc;

use bytes::Bytes;

use crate::catalog::Served;

/// A document: its bytes under gzip, and the hash of what they are without.
#[derive(Clone)]
pub(super) struct Document {
    packed: Bytes,
    pub(super) hash: Arc<str>,
}

impl Document {
    /// Packs bytes; `hash` is made of them when none is given.
    pub(super) fn new(body: &[u8], hash: Option<Arc<str>>) -> Option<Document> {
        let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        out.write_all(body).ok()?;
        let mut packed = out.finish().ok()?;
        packed.shrink_to_fit();
        Some(Document {
            packed: packed.into(),
            hash: hash.unwrap_or_else(|| hash_of(body).into()),
        })
    }

    /// The bytes under gzip.
    pub(super) fn packed(&self) -> Bytes {
        self.packed.clone()
    }

    /// The bytes.
    pub(super) fn whole(&self) -> Option<Bytes> {
        let mut whole = Vec::new();
        let mut reader = flate2::read::GzDecoder::new(&*self.packed);
        reader.read_to_end(&mut whole).ok()?;
        Some(whole.into())
    }
}

/// The hash by which a document is named.
pub(super) fn hash_of(body: &[u8]) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA512, body);
    digest.as_ref().iter().map(|b| format!("{b:02X}")).collect()
}

/// The documents of one catalog.
#[derive(Default)]
pub(crate) struct Documents {
    made: parking_lot::Mutex<HashMap<String, Kept>>,
}

#[derive(Clone)]
struct Kept {
    document: Document,
    /// The resources it tells of.
    of: Vec<Arc<Served>>,
    /// What it was made of besides.
    besides: String,
}

impl Documents {
    /// The document of this name over these resources and what it is made of besides, made if it is not there.
    pub(super) fn get(
        &self,
        name: &str,
        of: &[Arc<Served>],
        besides: &str,
        make: impl FnOnce() -> Option<Document>,
    ) -> Option<Document> {
        if let Some(kept) = self.made.lock().get(name)
            && is_same(&kept.of, of)
            && kept.besides == besides
        {
            return Some(kept.document.clone());
        }
        let document = make()?;
        let kept = Kept {
            document: document.clone(),
            of: of.to_vec(),
            besides: besides.to_owned(),
        };
        self.made.lock().insert(name.to_owned(), kept);
        Some(document)
    }

    /// Takes over from the documents of an earlier catalog what tells of resources that all are here still.
    pub(crate) fn inherit(&self, earlier: &Documents, here: &[Arc<Served>]) {
        let here: HashSet<*const Served> = here.iter().map(Arc::as_ptr).collect();
        let mut made = self.made.lock();
        for (name, kept) in earlier.made.lock().iter() {
            if kept
                .of
                .iter()
                .all(|served| here.contains(&Arc::as_ptr(served)))
            {
                made.insert(name.clone(), kept.clone());
            }
        }
    }
}

/// Whether two lists are of the same resources.
fn is_same(old: &[Arc<Served>], new: &[Arc<Served>]) -> bool {
    old.len() == new.len() && old.iter().zip(new).all(|(a, b)| Arc::ptr_eq(a, b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_come_back_whole_and_are_made_once() {
        let documents = Documents::default();
        let get = |text: &'static str| {
            documents.get("a", &[], "", || Document::new(text.as_bytes(), None))
        };
        let first = get("one").unwrap();
        assert_eq!(first.whole().unwrap(), "one");
        let second = get("two").unwrap();
        assert_eq!(
            (second.whole().unwrap(), second.hash),
            (Bytes::from("one"), first.hash)
        );
        let later = Documents::default();
        later.inherit(&documents, &[]);
        let kept = later.get("a", &[], "", || None).unwrap();
        assert_eq!(kept.whole().unwrap(), "one");
    }
}
