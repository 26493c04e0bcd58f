//! Between paths here (`/registry/…`) and keys there, which begin with the prefix that upstream calls `--etcd-prefix`.
//! Leaves out what is under them.

use bytes::Bytes;
use corten_store::Resource;

/// Between paths here (`/registry/…`) and keys there.
#[derive(Clone, Debug)]
pub(crate) struct Keys {
    prefix: String,
}

impl Keys {
    pub(crate) fn new(prefix: &str) -> Keys {
        Keys {
            prefix: format!("/{}/", prefix.trim_matches('/')),
        }
    }

    pub(crate) fn there(&self, path: &str) -> Bytes {
        let rest = path.strip_prefix(corten_store::ROOT).unwrap_or(path);
        format!("{}{rest}", self.prefix).into()
    }

    pub(crate) fn here(&self, key: &[u8]) -> Option<Bytes> {
        let rest = key.strip_prefix(self.prefix.as_bytes())?;
        Some([corten_store::ROOT.as_bytes(), rest].concat().into())
    }

    pub(crate) fn start(&self) -> Bytes {
        self.prefix.clone().into()
    }

    /// The first key after all of them: '0' is the byte after '/'.
    pub(crate) fn end(&self) -> Bytes {
        format!("{}0", self.prefix.trim_end_matches('/')).into()
    }

    /// The keys of one resource: the first, and the first after them.
    pub(crate) fn of(&self, resource: &Resource) -> (Bytes, Bytes) {
        let front = format!("{}{resource}", self.prefix);
        (format!("{front}/").into(), format!("{front}0").into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_take_the_prefix_there_and_lose_it_here() {
        let keys = Keys::new("/my/prefix");
        assert_eq!(keys.there("/registry/pods/a/b"), "/my/prefix/pods/a/b");
        assert_eq!(
            keys.here(b"/my/prefix/pods/a/b").unwrap(),
            "/registry/pods/a/b"
        );
        assert_eq!(keys.here(b"/other"), None);
        assert_eq!(
            (keys.start(), keys.end()),
            ("/my/prefix/".into(), "/my/prefix0".into())
        );
        assert_eq!(
            keys.of(&Resource::new("services/specs")),
            (
                "/my/prefix/services/specs/".into(),
                "/my/prefix/services/specs0".into()
            )
        );
    }
}
