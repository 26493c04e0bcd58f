//! Layers: reading archives, decompressing them, and unpacking them safely into a directory.

pub(crate) mod decompress;
pub(crate) mod place;
pub(crate) mod root;
pub(crate) mod tarball;
pub(crate) mod unpack;

/// Bounds on what is accepted from archives and registries. The defaults are far above any real image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one layer when uncompressed.
    pub layer_bytes_max: u64,
    /// Entries of one layer.
    pub layer_entries_max: u64,
    /// Layers of one image.
    pub layers_max: usize,
    /// Bytes of a manifest, index or configuration.
    pub document_bytes_max: u64,
    /// Bytes of an archive that comes as a stream or compressed.
    pub archive_bytes_max: u64,
    /// Images of one archive.
    pub images_max: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            layer_bytes_max: 256 << 30,
            layer_entries_max: 20_000_000,
            layers_max: 500,
            document_bytes_max: 8 << 20,
            archive_bytes_max: 1 << 40,
            images_max: 1000,
        }
    }
}
