//! Images: archives, registries, layers on disk.
