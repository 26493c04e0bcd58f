//! Names that are a domain and a path: `acme.io/foo`.

use crate::error::FieldError;
use crate::names;
use corten_core::Path;

const PATH: &str = "[A-Za-z0-9/\\-._~%!$&'()*+,;=:]+";

/// A subdomain, a slash and a path.
pub(crate) fn domain_prefixed_path(path: &Path, text: &str) -> Vec<FieldError> {
    if text.is_empty() {
        return vec![FieldError::required(path, "")];
    }
    let Some((host, rest)) = text
        .split_once('/')
        .filter(|(h, r)| !h.is_empty() && !r.is_empty())
    else {
        let detail = "must be a domain-prefixed path (such as \"acme.io/foo\")";
        return vec![FieldError::invalid(path, text, detail)];
    };
    let wrong = names::dns_subdomain(host).into_iter();
    let mut errors: Vec<FieldError> = wrong.map(|m| FieldError::invalid(path, host, m)).collect();
    let fine = |b: u8| b.is_ascii_alphanumeric() || b"/-._~%!$&'()*+,;=:".contains(&b);
    if !rest.bytes().all(fine) {
        let detail = names::format_error("Invalid path", PATH, &[]);
        errors.push(FieldError::invalid(path, rest, detail));
    }
    errors
}
