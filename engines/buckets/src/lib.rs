//! Files in S3-compatible object stores: upload, download, list, remove, below one prefix of one bucket. Credentials,
//! region and endpoint come from the usual `AWS_*` variables. Invariant: an upload appears whole or not at all.
//! Leaves out what the files are.

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _};
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path as Key;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt as _, RetryConfig, WriteMultipart};
use std::path::Path;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// What the addresses of object stores begin with.
const SCHEME: &str = "s3://";
/// The bytes of one part of an upload. A file may have 10,000 parts: 80 GiB.
const PART: usize = 8 << 20;
/// Parts of an upload that are on their way at once.
const PARTS_MAX: usize = 4;
/// How long a request that fails in passing is tried again.
const PATIENCE: Duration = Duration::from_secs(30);

/// Why a file could not be moved.
#[derive(Debug, thiserror::Error)]
pub enum BucketError {
    /// The address is none.
    #[error("{url:?} is not an address such as s3://bucket/prefix")]
    Address {
        /// What was given.
        url: String,
    },
    /// The variables are wrong or missing.
    #[error(
        "cannot use {url}: {source}; set AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION and, for a store that is not Amazon's, AWS_ENDPOINT_URL"
    )]
    Settings {
        /// The bucket.
        url: String,
        /// What is wrong.
        source: object_store::Error,
    },
    /// The object store refused, or did not answer.
    #[error("{attempt}: {source}")]
    Remote {
        /// What was tried.
        attempt: String,
        /// How it failed.
        source: object_store::Error,
    },
    /// The local file could not be read or written.
    #[error("{attempt}: {source}")]
    Local {
        /// What was tried.
        attempt: String,
        /// How it failed.
        source: std::io::Error,
    },
}

/// A bucket and a prefix in it.
#[derive(Debug)]
pub struct Bucket {
    store: AmazonS3,
    url: String,
    prefix: String,
}

/// Whether this is the address of a bucket rather than a path.
pub fn is_address(text: &str) -> bool {
    text.starts_with(SCHEME)
}

/// Bucket and the rest of an address.
fn split(url: &str) -> Result<(&str, &str), BucketError> {
    let rest = url.strip_prefix(SCHEME).unwrap_or_default();
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    match bucket.is_empty() {
        true => Err(BucketError::Address {
            url: url.to_owned(),
        }),
        false => Ok((bucket, prefix.trim_matches('/'))),
    }
}

impl Bucket {
    /// The bucket and prefix of an address such as `s3://bucket/some/prefix`, with the settings of the environment.
    /// Nothing is asked yet.
    pub fn open(url: &str) -> Result<Bucket, BucketError> {
        let (bucket, prefix) = split(url)?;
        let retry = RetryConfig {
            max_retries: 5,
            retry_timeout: PATIENCE,
            ..RetryConfig::default()
        };
        let store = AmazonS3Builder::from_env()
            .with_bucket_name(bucket)
            .with_retry(retry)
            // Not every object store deletes in bulk.
            .with_disable_bulk_delete(true)
            .build()
            .map_err(|source| BucketError::Settings {
                url: url.to_owned(),
                source,
            })?;
        Ok(Bucket {
            store,
            url: format!("{SCHEME}{bucket}"),
            prefix: prefix.to_owned(),
        })
    }

    /// The address of a file below the prefix.
    pub fn address(&self, name: &str) -> String {
        format!("{}/{}", self.url, self.key(name))
    }

    fn key(&self, name: &str) -> Key {
        let parts = self.prefix.split('/').chain([name]);
        parts.filter(|part| !part.is_empty()).collect()
    }

    fn remote(
        &self,
        what: &str,
        name: &str,
    ) -> impl Fn(object_store::Error) -> BucketError + use<> {
        let attempt = format!("{what} {}", self.address(name));
        move |source| BucketError::Remote {
            attempt: attempt.clone(),
            source,
        }
    }

    /// Writes a local file under a name, over whatever was there. It appears whole or not at all.
    pub async fn upload(&self, name: &str, file: &Path) -> Result<(), BucketError> {
        let (local, remote) = (local("reading", file), self.remote("uploading", name));
        let key = self.key(name);
        let mut input = tokio::fs::File::open(file).await.map_err(&local)?;
        let length = input.metadata().await.map_err(&local)?.len();
        if length <= PART as u64 {
            let mut whole = Vec::with_capacity(length as usize);
            input.read_to_end(&mut whole).await.map_err(&local)?;
            let put = self.store.put(&key, Bytes::from(whole).into()).await;
            return put.map(drop).map_err(remote);
        }
        let upload = self.store.put_multipart(&key).await;
        let mut parts = WriteMultipart::new_with_chunk_size(upload.map_err(&remote)?, PART);
        let sent = send(&mut input, &mut parts).await;
        match sent {
            Ok(()) => parts.finish().await.map(drop).map_err(remote),
            Err(failed) => {
                // The parts cost money until they are given up; it is the failure that is told.
                let _ = parts.abort().await;
                Err(match failed {
                    Failed::Local(source) => local(source),
                    Failed::Remote(source) => remote(source),
                })
            }
        }
    }

    /// Reads the file of a name into a local one, which is made anew.
    pub async fn download(&self, name: &str, file: &Path) -> Result<(), BucketError> {
        let (local, remote) = (local("writing", file), self.remote("downloading", name));
        let got = self.store.get(&self.key(name)).await.map_err(&remote)?;
        let mut output = tokio::fs::File::create(file).await.map_err(&local)?;
        let mut chunks = got.into_stream();
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(&remote)?;
            output.write_all(&chunk).await.map_err(&local)?;
        }
        output.sync_all().await.map_err(local)
    }

    /// The names right below the prefix, in order.
    pub async fn list(&self) -> Result<Vec<String>, BucketError> {
        let prefix = self.key("");
        let listed = self.store.list(Some(&prefix));
        let found: Vec<ObjectMeta> = listed
            .try_collect()
            .await
            .map_err(self.remote("listing", ""))?;
        let names = found.iter().filter_map(|object| {
            let mut rest = object.location.prefix_match(&prefix)?;
            let first = rest.next()?;
            rest.next().is_none().then(|| first.as_ref().to_owned())
        });
        let mut names: Vec<String> = names.collect();
        names.sort();
        Ok(names)
    }

    /// Removes a file; what is not there is removed.
    pub async fn remove(&self, name: &str) -> Result<(), BucketError> {
        match self.store.delete(&self.key(name)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(self.remote("removing", name)(error)),
        }
    }
}

fn local(what: &str, file: &Path) -> impl Fn(std::io::Error) -> BucketError + use<> {
    let attempt = format!("{what} {}", file.display());
    move |source| BucketError::Local {
        attempt: attempt.clone(),
        source,
    }
}

enum Failed {
    Local(std::io::Error),
    Remote(object_store::Error),
}

async fn send(input: &mut tokio::fs::File, parts: &mut WriteMultipart) -> Result<(), Failed> {
    let mut buffer = vec![0; 256 << 10];
    loop {
        parts
            .wait_for_capacity(PARTS_MAX)
            .await
            .map_err(Failed::Remote)?;
        match input.read(&mut buffer).await.map_err(Failed::Local)? {
            0 => return Ok(()),
            read => parts.write(&buffer[..read]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_apart() {
        assert_eq!(split("s3://b").unwrap(), ("b", ""));
        assert_eq!(split("s3://b/").unwrap(), ("b", ""));
        assert_eq!(split("s3://b/c/d/").unwrap(), ("b", "c/d"));
        for wrong in ["s3://", "s3:///x", "/s3/b", "http://b"] {
            assert!(split(wrong).is_err(), "{wrong}");
        }
        assert!(is_address("s3://x") && !is_address("s3/x"));
    }

    #[test]
    fn files_are_below_the_prefix() {
        let bucket = Bucket::open("s3://backups/clusters/one/").unwrap();
        assert_eq!(
            bucket.address("a.backup"),
            "s3://backups/clusters/one/a.backup"
        );
        let bucket = Bucket::open("s3://backups").unwrap();
        assert_eq!(bucket.address("a.backup"), "s3://backups/a.backup");
    }
}
