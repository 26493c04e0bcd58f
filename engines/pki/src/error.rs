//! What can go wrong with keys and certificates; each variant names the attempt that failed.

use std::path::PathBuf;

/// A failed attempt to make, read or write PKI material.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file could not be read.
    #[error("read {path}: {source}; check that the file exists and that this user may read it")]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    /// A file could not be written.
    #[error("write {path}: {source}; check permissions and free space of the directory")]
    Write {
        path: PathBuf,
        source: std::io::Error,
    },
    /// A key could not be generated.
    #[error("generate a key for {name:?}: {source}")]
    Generate { name: String, source: rcgen::Error },
    /// A key or certificate on disk is not usable.
    #[error(
        "parse {what}: {source}; restore the file or remove it together with its pair to have it made again"
    )]
    Parse { what: String, source: rcgen::Error },
    /// A certificate could not be signed.
    #[error("sign a certificate for {name:?}: {source}")]
    Sign { name: String, source: rcgen::Error },
    /// A subject alternative name is neither an IP address nor a DNS name.
    #[error("the name {name:?} cannot stand in a certificate: {source}")]
    Name { name: String, source: rcgen::Error },
    /// A certificate request (CSR) cannot be read or its signature is wrong.
    #[error("parse the certificate request: {source}")]
    Request { source: rcgen::Error },
    /// A PEM certificate cannot be parsed.
    #[error("parse the certificate {what}: {detail}")]
    Certificate { what: String, detail: String },
    /// Half of a pair is on disk.
    #[error("{missing} is missing while {present} exists; restore it or remove both")]
    HalfPair { missing: PathBuf, present: PathBuf },
}
