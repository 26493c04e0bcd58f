//! Archives of images: OCI layouts and `docker save`, from a file or a stream.

mod import;
pub(crate) mod index;

use std::path::PathBuf;

pub(crate) use import::import;

/// Where an archive comes from.
pub enum ImportSource {
    /// A file.
    File(PathBuf),
    /// The standard input of this process.
    Stdin,
    /// Any stream; it is kept in a temporary file of the store while it is imported.
    Reader(Box<dyn std::io::Read + Send>),
}

/// How to import.
#[derive(Debug, Clone, Default)]
pub struct ImportOptions {
    /// Names the image instead of the archive's own names. With several images in the archive this must be a
    /// repository without a tag, and the archive's tags are kept.
    pub name: Option<String>,
    /// Keeps the images from being collected (they then go only by name).
    pub pinned: bool,
}
