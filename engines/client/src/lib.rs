//! Talking to an API server, in process or over HTTP, and keeping snapshots current.
