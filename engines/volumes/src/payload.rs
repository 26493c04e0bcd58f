//! The files of a volume that kubelet writes: which keys become which paths with which modes. Pure.
//! Invariant: paths in a payload are clean and relative and never start with `..`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

const FILE_NAME_MAX: usize = 255;
const PATH_MAX: usize = 4096;

/// One file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileProjection {
    /// Its content.
    pub data: Vec<u8>,
    /// Its permission bits.
    pub mode: u32,
    /// Its owner, when not root.
    pub owner: Option<u32>,
}

/// The files of a volume by path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Payload {
    files: BTreeMap<String, FileProjection>,
}

/// `items` of a config map or secret volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyToPath {
    /// The key.
    pub key: String,
    /// Where it goes.
    pub path: String,
    /// The mode, when not the default one.
    pub mode: Option<u32>,
}

/// Whether what is referred to must exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// It must.
    Required,
    /// It may be missing (`optional: true`).
    Optional,
}

/// Files that cannot be in a volume.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PayloadError {
    /// An item of a config map volume without its key.
    #[error("configmap references non-existent config key: {0}")]
    ConfigMapKey(String),
    /// An item of a secret volume without its key.
    #[error("references non-existent secret key: {0}")]
    SecretKey(String),
    /// A path that is not allowed.
    #[error("invalid path: {0}")]
    Path(String),
}

/// The data of a config map or secret by key.
type Data<'d> = BTreeMap<&'d str, &'d [u8]>;

impl Payload {
    /// No files.
    pub fn new() -> Payload {
        Payload::default()
    }

    /// The files of a config map volume; `data` holds `data` and `binaryData`. A missing optional config map has none.
    pub fn from_config_map(
        items: &[KeyToPath],
        data: &Data<'_>,
        default_mode: u32,
        presence: Presence,
    ) -> Result<Payload, PayloadError> {
        Payload::select(
            items,
            data,
            default_mode,
            presence,
            PayloadError::ConfigMapKey,
        )
    }

    /// The files of a secret volume. A missing optional secret has none.
    pub fn from_secret(
        items: &[KeyToPath],
        data: &Data<'_>,
        default_mode: u32,
        presence: Presence,
    ) -> Result<Payload, PayloadError> {
        Payload::select(items, data, default_mode, presence, PayloadError::SecretKey)
    }

    fn select(
        items: &[KeyToPath],
        data: &Data<'_>,
        default_mode: u32,
        presence: Presence,
        missing: fn(String) -> PayloadError,
    ) -> Result<Payload, PayloadError> {
        let mut payload = Payload::new();
        if items.is_empty() {
            for (key, content) in data {
                payload.put(key, *content, default_mode)?;
            }
            return Ok(payload);
        }
        for item in items {
            match data.get(item.key.as_str()) {
                Some(content) => {
                    payload.put(&item.path, *content, item.mode.unwrap_or(default_mode))?
                }
                None if presence == Presence::Optional => {}
                None => return Err(missing(item.key.clone())),
            }
        }
        Ok(payload)
    }

    /// Adds a file, as downward API items are.
    pub fn put(
        &mut self,
        path: &str,
        data: impl Into<Vec<u8>>,
        mode: u32,
    ) -> Result<(), PayloadError> {
        self.put_file(
            path,
            FileProjection {
                data: data.into(),
                mode,
                owner: None,
            },
        )
    }

    /// Adds a credential: a service account token, a trust bundle, a certificate. Where the pod has a user or a group
    /// for files, only that user may read it (the group is let in afterwards).
    pub fn put_credential(
        &mut self,
        path: &str,
        data: impl Into<Vec<u8>>,
        default_mode: u32,
        fs_user: Option<u32>,
        fs_group: Option<u32>,
    ) -> Result<(), PayloadError> {
        let mode = if fs_user.is_some() || fs_group.is_some() {
            0o600
        } else {
            default_mode
        };
        self.put_file(
            path,
            FileProjection {
                data: data.into(),
                mode,
                owner: fs_user,
            },
        )
    }

    /// Adds all files of `other`, which win over those of the same path: the sources of a projected volume in order.
    pub fn merge(&mut self, other: Payload) {
        self.files.extend(other.files);
    }

    /// The files by path.
    pub fn files(&self) -> impl Iterator<Item = (&str, &FileProjection)> {
        self.files.iter().map(|(path, file)| (path.as_str(), file))
    }

    fn put_file(&mut self, path: &str, file: FileProjection) -> Result<(), PayloadError> {
        self.files.insert(validated(path)?, file);
        Ok(())
    }
}

/// The cleaned form of a path that a volume may have.
fn validated(path: &str) -> Result<String, PayloadError> {
    let wrong = |text: String| Err(PayloadError::Path(text));
    if path.is_empty() {
        return wrong("must not be empty: \"\"".to_owned());
    }
    if path.starts_with('/') {
        return wrong(format!("must be relative path: {path}"));
    }
    if path.len() > PATH_MAX {
        return wrong(format!(
            "must be less than or equal to {PATH_MAX} characters"
        ));
    }
    if path.split('/').any(|item| item == "..") {
        return wrong(format!("must not contain '..': {path}"));
    }
    if path.split('/').any(|item| item.len() > FILE_NAME_MAX) {
        return wrong(format!(
            "filenames must be less than or equal to {FILE_NAME_MAX} characters"
        ));
    }
    if path.starts_with("..") {
        return wrong(format!("must not start with '..': {path}"));
    }
    let clean: Vec<&str> = path
        .split('/')
        .filter(|item| !matches!(*item, "" | "."))
        .collect();
    // A leading `./` must not smuggle a reserved name in.
    match clean.first() {
        None => wrong(format!("must not be the volume itself: {path}")),
        Some(first) if first.starts_with("..") => {
            wrong(format!("must not start with '..': {path}"))
        }
        Some(_) => Ok(clean.join("/")),
    }
}

/// Several errors as one text: the only one as it is, more of them in brackets, each text once.
pub fn aggregate<E: Display>(errors: &[E]) -> String {
    let mut seen = BTreeSet::new();
    let texts: Vec<String> = errors
        .iter()
        .map(E::to_string)
        .filter(|text| seen.insert(text.clone()))
        .collect();
    match texts.as_slice() {
        [only] => only.clone(),
        _ => format!("[{}]", texts.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data() -> Data<'static> {
        [("a", &b"1"[..]), ("b", b"2")].into()
    }

    fn item(key: &str, path: &str, mode: Option<u32>) -> KeyToPath {
        KeyToPath {
            key: key.to_owned(),
            path: path.to_owned(),
            mode,
        }
    }

    fn shape(payload: &Payload) -> Vec<(&str, &[u8], u32)> {
        payload
            .files()
            .map(|(path, file)| (path, &*file.data, file.mode))
            .collect()
    }

    #[test]
    fn keys_become_files() {
        let all = Payload::from_config_map(&[], &data(), 0o644, Presence::Required).unwrap();
        assert_eq!(shape(&all), [("a", &b"1"[..], 0o644), ("b", b"2", 0o644)]);
        let items = [item("b", "x/./y", Some(0o400)), item("b", "z", None)];
        let some = Payload::from_secret(&items, &data(), 0o600, Presence::Required).unwrap();
        assert_eq!(
            shape(&some),
            [("x/y", &b"2"[..], 0o400), ("z", b"2", 0o600)]
        );
    }

    #[test]
    fn missing_keys() {
        let items = [item("a", "a", None), item("gone", "g", None)];
        let required =
            |f: fn(&[KeyToPath], &Data<'_>, u32, Presence) -> _| -> Result<Payload, PayloadError> {
                f(&items, &data(), 0o644, Presence::Required)
            };
        assert_eq!(
            required(Payload::from_config_map).unwrap_err().to_string(),
            "configmap references non-existent config key: gone"
        );
        assert_eq!(
            required(Payload::from_secret).unwrap_err().to_string(),
            "references non-existent secret key: gone"
        );
        let optional = Payload::from_secret(&items, &data(), 0o644, Presence::Optional).unwrap();
        assert_eq!(shape(&optional).len(), 1);
    }

    #[test]
    fn paths_are_checked() {
        for (path, text) in [
            ("", "invalid path: must not be empty: \"\""),
            ("/a", "invalid path: must be relative path: /a"),
            ("a/../b", "invalid path: must not contain '..': a/../b"),
            ("..a", "invalid path: must not start with '..': ..a"),
            (
                "./..data",
                "invalid path: must not start with '..': ./..data",
            ),
            (".", "invalid path: must not be the volume itself: ."),
        ] {
            assert_eq!(
                Payload::new()
                    .put(path, "x", 0o644)
                    .unwrap_err()
                    .to_string(),
                text
            );
        }
        assert!(Payload::new().put(&"n".repeat(256), "x", 0o644).is_err());
        assert!(Payload::new().put(&"n/".repeat(2049), "x", 0o644).is_err());
        assert!(Payload::new().put("a/..b", "x", 0o644).is_ok());
    }

    #[test]
    fn credentials_are_for_the_user_alone() {
        let mode = |user, group| {
            let mut payload = Payload::new();
            payload
                .put_credential("token", "t", 0o644, user, group)
                .unwrap();
            let file = payload.files().next().unwrap().1.clone();
            (file.mode, file.owner)
        };
        assert_eq!(mode(None, None), (0o644, None));
        assert_eq!(mode(Some(7), None), (0o600, Some(7)));
        assert_eq!(mode(None, Some(7)), (0o600, None));
    }

    #[test]
    fn later_sources_win_and_errors_aggregate() {
        let mut first = Payload::from_secret(&[], &data(), 0o644, Presence::Required).unwrap();
        let mut second = Payload::new();
        second.put("b", "new", 0o600).unwrap();
        first.merge(second);
        assert_eq!(
            shape(&first),
            [("a", &b"1"[..], 0o644), ("b", b"new", 0o600)]
        );
        assert_eq!(aggregate(&["x"]), "x");
        assert_eq!(aggregate(&["x", "y", "x"]), "[x, y]");
        assert_eq!(aggregate(&["x", "x"]), "x");
    }
}
