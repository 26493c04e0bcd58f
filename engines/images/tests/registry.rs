//! Pulling and pushing: against Debian's docker-registry, and against scripted answers for everything that goes wrong.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod fixtures;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use corten_images::{
    Builder, BuiltImage, Capabilities, Compression, Credentials, HostsDirectory, ImageStore,
    LayerFiles, Mirror, Platform, PullEvent, PullOptions, RegistryOptions, StoreOptions,
    push_archive,
};
use fixtures::registry::*;
use fixtures::*;
use serde_json::json;

fn built(compression: Compression) -> BuiltImage {
    let noise: Vec<u8> = (0..200_000u32)
        .flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes())
        .collect();
    let base = LayerFiles::new().file("base", 0o644, noise);
    let top = LayerFiles::new().file("top", 0o4755, "top");
    Builder::new("x:1")
        .unwrap()
        .compression(compression)
        .layer(base)
        .layer(top)
        .build()
        .unwrap()
}

fn options() -> StoreOptions {
    StoreOptions {
        registry: RegistryOptions {
            retry_wait: Duration::from_millis(1),
            ..RegistryOptions::default()
        },
        ..StoreOptions::default()
    }
}

fn open(options: StoreOptions) -> (tempfile::TempDir, ImageStore) {
    let dir = scratch();
    let store = ImageStore::open_with(dir.path().join("images"), options).unwrap();
    (dir, store)
}

fn archive_file(dir: &std::path::Path, image: &BuiltImage) -> std::path::PathBuf {
    let path = dir.join("image.tar");
    corten_images::write_oci_archive(&path, std::slice::from_ref(image)).unwrap();
    path
}

fn secret() -> Credentials {
    Credentials::Basic {
        username: "user".into(),
        password: "secret".into(),
    }
}

/// bcrypt of `secret`.
const HTPASSWD: &str = "user:$2b$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n";

#[tokio::test]
async fn what_is_pushed_can_be_pulled() {
    let (dir, store) = open(options());
    let registry = DockerRegistry::start(dir.path(), "");
    for (n, compression) in [Compression::None, Compression::Gzip, Compression::Zstd]
        .into_iter()
        .enumerate()
    {
        let image = built(compression);
        let path = archive_file(dir.path(), &image);
        let name = format!("{}/team/app:{n}", registry.address);
        let digest = push_archive(&path, "x:1", &name, None, &options().registry)
            .await
            .unwrap();
        assert_eq!(digest, image.manifest.digest);
        // Again: everything is there already.
        push_archive(&path, "x:1", &name, None, &options().registry)
            .await
            .unwrap();

        let events = Arc::new(Mutex::new(Vec::new()));
        let log = events.clone();
        let pull = PullOptions {
            progress: Some(Arc::new(move |event| log.lock().unwrap().push(event))),
            ..PullOptions::default()
        };
        let pulled = store.pull(&name, &pull).await.unwrap();
        assert_eq!(pulled.id, image.id);
        assert!(pulled.tags.contains(&name));
        assert!(
            pulled
                .digests
                .contains(&format!("{}/team/app@{digest}", registry.address))
        );
        assert!(store.lower_directories(&pulled)[0].join("top").exists());
        let events = std::mem::take(&mut *events.lock().unwrap());
        assert_eq!(events[0], PullEvent::Resolved { digest, layers: 2 });
        let done = events
            .iter()
            .filter(|event| matches!(event, PullEvent::LayerDone { .. }))
            .count();
        let present = events
            .iter()
            .filter(|event| matches!(event, PullEvent::LayerPresent { .. }))
            .count();
        // The layers are the same in every compression.
        assert_eq!((done, present), if n == 0 { (2, 0) } else { (0, 2) });
        let by_digest = format!("{}/team/app@{digest}", registry.address);
        assert_eq!(
            store
                .pull(&by_digest, &PullOptions::default())
                .await
                .unwrap()
                .id,
            pulled.id
        );
    }
    let missing = format!("{}/team/app:none", registry.address);
    let error = store
        .pull(&missing, &PullOptions::default())
        .await
        .unwrap_err();
    assert!(error.is_not_found());
    assert_eq!(
        error.to_string(),
        format!(
            "failed to pull and unpack image \"{missing}\": failed to resolve reference \"{missing}\": {missing}: not found"
        )
    );
}

#[tokio::test]
async fn a_registry_with_passwords() {
    let (dir, store) = open(options());
    let file = dir.path().join("htpasswd");
    std::fs::write(&file, HTPASSWD).unwrap();
    let auth = format!(
        "auth:\n  htpasswd:\n    realm: test\n    path: {}\n",
        file.display()
    );
    let registry = DockerRegistry::start(dir.path(), &auth);
    let image = built(Compression::Gzip);
    let path = archive_file(dir.path(), &image);
    let name = format!("{}/app:1", registry.address);
    let error = push_archive(&path, "x:1", &name, None, &options().registry)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("push access denied"), "{error}");
    push_archive(&path, "x:1", &name, Some(secret()), &options().registry)
        .await
        .unwrap();

    let error = store
        .pull(&name, &PullOptions::default())
        .await
        .unwrap_err();
    assert!(error.is_denied());
    assert_eq!(
        error.to_string(),
        format!(
            "failed to pull and unpack image \"{name}\": failed to resolve reference \"{name}\": pull access denied, \
             repository does not exist or may require authorization: authorization failed: no basic auth credentials"
        )
    );
    let wrong = Credentials::Basic {
        username: "user".into(),
        password: "no".into(),
    };
    let only_wrong = PullOptions {
        credentials: vec![wrong.clone()],
        ..PullOptions::default()
    };
    assert!(
        store
            .pull(&name, &only_wrong)
            .await
            .unwrap_err()
            .is_denied()
    );
    // The second secret fits.
    let both = PullOptions {
        credentials: vec![wrong, secret()],
        ..PullOptions::default()
    };
    assert_eq!(store.pull(&name, &both).await.unwrap().id, image.id);
}

/// Serves `image` as `app:1`, `special` answering first.
async fn scripted(
    image: &BuiltImage,
    special: impl Fn(&Asked, usize) -> Option<Answer> + Send + Sync + 'static,
) -> ScriptedRegistry {
    let served = served(image, "1");
    ScriptedRegistry::start(move |asked, before| {
        if let Some(answer) = special(asked, before) {
            return answer;
        }
        let path = asked.path.split('?').next().unwrap();
        match path
            .strip_prefix("/v2/app/")
            .and_then(|rest| served.get(rest))
        {
            Some((bytes, media_type)) => content(bytes, media_type),
            None => status(404),
        }
    })
    .await
}

/// The path and content of the largest blob.
fn largest(image: &BuiltImage) -> (String, Vec<u8>) {
    let (digest, bytes) = image.blobs().max_by_key(|(_, bytes)| bytes.len()).unwrap();
    (format!("/v2/app/blobs/{digest}"), bytes.to_vec())
}

#[tokio::test]
async fn a_broken_download_continues_where_it_stopped() {
    for ranges in [true, false] {
        let image = built(Compression::None);
        let (path, bytes) = largest(&image);
        let (blob_path, whole) = (path.clone(), bytes.clone());
        let registry = scripted(&image, move |asked, before| {
            if asked.path != blob_path {
                return None;
            }
            match before {
                0 => Some(broken(&whole, 100_000)),
                1 => Some(status(503)),
                _ if ranges => {
                    let from: usize = asked
                        .range
                        .as_deref()?
                        .strip_prefix("bytes=")?
                        .strip_suffix('-')?
                        .parse()
                        .ok()?;
                    let range = format!("bytes {from}-{}/{}", whole.len() - 1, whole.len());
                    let mut rest = content(&whole[from..], "application/octet-stream");
                    *rest.status_mut() = http::StatusCode::PARTIAL_CONTENT;
                    Some(with_header(rest, "content-range", &range))
                }
                _ => None,
            }
        })
        .await;
        let (_dir, store) = open(options());
        let pulled = store
            .pull(
                &format!("{}/app:1", registry.address),
                &PullOptions::default(),
            )
            .await
            .unwrap();
        assert_eq!(pulled.id, image.id);
        let asked = registry.asked.lock().unwrap().clone();
        let ranges: Vec<Option<String>> = asked
            .iter()
            .filter(|asked| asked.path == path)
            .map(|asked| asked.range.clone())
            .collect();
        assert_eq!(ranges.len(), 3);
        assert_eq!(ranges[0], None);
        assert!(ranges[1].is_some() && ranges[1] == ranges[2]);
    }
}

#[tokio::test]
async fn a_download_that_never_works_ends() {
    let image = built(Compression::None);
    let (path, _) = largest(&image);
    let blob_path = path.clone();
    let registry = scripted(&image, move |asked, _| {
        (asked.path == blob_path).then(|| status(500))
    })
    .await;
    let (_dir, store) = open(options());
    let error = store
        .pull(
            &format!("{}/app:1", registry.address),
            &PullOptions::default(),
        )
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("failed to copy: failed to fetch sha256:") && error.contains("500"),
        "{error}"
    );
    assert_eq!(
        registry
            .paths()
            .iter()
            .filter(|asked| **asked == path)
            .count(),
        6
    );
    assert!(store.list().unwrap().is_empty());
    assert_eq!(names(&store.root().join("layers")), Vec::<String>::new());
}

#[tokio::test]
async fn content_that_differs_is_refused() {
    let image = built(Compression::None);
    let (path, bytes) = largest(&image);
    let manifest_path = "/v2/app/manifests/1";
    type Case = (&'static str, String, Vec<u8>, &'static str);
    let mut flipped = bytes.clone();
    *flipped.last_mut().unwrap() ^= 1;
    let mut longer = bytes.clone();
    longer.push(0);
    let cases: Vec<Case> = vec![
        ("flipped", path.clone(), flipped, "its digest is sha256:"),
        ("longer", path, longer, "more than the"),
        (
            "not a manifest",
            manifest_path.to_owned(),
            b"{}".to_vec(),
            "unsupported media type",
        ),
        (
            "schema 1",
            manifest_path.to_owned(),
            br#"{"schemaVersion":1}"#.to_vec(),
            "manifest.v1",
        ),
    ];
    for (what, path, bytes, expected) in cases {
        let registry = scripted(&image, move |asked, _| {
            (asked.path == path).then(|| content(&bytes, "application/octet-stream"))
        })
        .await;
        let (_dir, store) = open(options());
        let error = store
            .pull(
                &format!("{}/app:1", registry.address),
                &PullOptions::default(),
            )
            .await
            .unwrap_err();
        assert!(error.to_string().contains(expected), "{what}: {error}");
        assert!(store.list().unwrap().is_empty(), "{what}");
    }
    // A manifest that is not the one asked for by digest.
    let other = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    let manifest = image
        .blobs()
        .find(|(digest, _)| **digest == image.manifest.digest)
        .unwrap()
        .1
        .to_vec();
    let registry = scripted(&image, move |asked, _| {
        asked
            .path
            .contains(other)
            .then(|| content(&manifest, "application/vnd.oci.image.manifest.v1+json"))
    })
    .await;
    let (_dir, store) = open(options());
    let error = store
        .pull(
            &format!("{}/app@{other}", registry.address),
            &PullOptions::default(),
        )
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains(&format!("expected {other}")),
        "{error}"
    );
}

#[tokio::test]
async fn an_index_leads_to_this_machine() {
    let here = built(Compression::Gzip);
    let other = Platform {
        architecture: "s390x".into(),
        os: "linux".into(),
        variant: None,
    };
    let there = Builder::new("x:1")
        .unwrap()
        .platform(other.clone())
        .build()
        .unwrap();
    let index = json!({"schemaVersion": 2, "manifests": [there.manifest, here.manifest]})
        .to_string()
        .into_bytes();
    let digest = corten_images::Digest::of(&index);
    let registry = scripted(&here, move |asked, _| {
        (asked.path == "/v2/app/manifests/multi")
            .then(|| content(&index, "application/vnd.oci.image.index.v1+json"))
    })
    .await;
    let (_dir, store) = open(options());
    let name = format!("{}/app:multi", registry.address);
    let pulled = store.pull(&name, &PullOptions::default()).await.unwrap();
    assert_eq!(pulled.id, here.id);
    assert_eq!(
        pulled.digests,
        [format!("{}/app@{digest}", registry.address)],
        "the digest of the index"
    );
    let riscv = Platform {
        architecture: "riscv64".into(),
        ..other
    };
    let pull = PullOptions {
        platform: Some(riscv),
        ..PullOptions::default()
    };
    let error = store.pull(&name, &pull).await.unwrap_err().to_string();
    assert!(
        error.contains("no match for platform in manifest: not found"),
        "{error}"
    );
}

/// A token service that knows one user.
async fn token_service() -> ScriptedRegistry {
    ScriptedRegistry::start(|asked, _| match asked.authorization.as_deref() {
        Some("Basic dXNlcjpzZWNyZXQ=") => content(br#"{"token":"good"}"#, "application/json"),
        None => content(br#"{"access_token":"anonymous"}"#, "application/json"),
        _ => status(401),
    })
    .await
}

#[tokio::test]
async fn tokens_are_fetched_with_the_credentials() {
    let image = built(Compression::None);
    let tokens = token_service().await;
    let realm = format!("http://{}/token", tokens.address);
    let front = scripted(&image, move |asked, _| {
        let error = match asked.authorization.as_deref() {
            Some("Bearer good") => return None,
            Some(_) => ",error=\"insufficient_scope\"",
            None => "",
        };
        let challenge =
            format!("Bearer realm=\"{realm}\",service=\"s\",scope=\"repository:app:pull\"{error}");
        Some(with_header(status(401), "www-authenticate", &challenge))
    })
    .await;
    let (_dir, store) = open(options());
    let name = format!("{}/app:1", front.address);
    let error = store
        .pull(&name, &PullOptions::default())
        .await
        .unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("server message: insufficient_scope: authorization failed"),
        "{error}"
    );
    let wrong = Credentials::Basic {
        username: "user".into(),
        password: "no".into(),
    };
    let pull = PullOptions {
        credentials: vec![wrong],
        ..PullOptions::default()
    };
    let error = store.pull(&name, &pull).await.unwrap_err();
    assert!(
        error.is_denied() && error.to_string().contains("failed to fetch oauth token"),
        "{error}"
    );
    let pull = PullOptions {
        credentials: vec![secret()],
        ..PullOptions::default()
    };
    store.pull(&name, &pull).await.unwrap();
    let asked = tokens.asked.lock().unwrap().clone();
    assert_eq!(
        asked.last().unwrap().path,
        "/token?scope=repository%3Aapp%3Apull&service=s"
    );
    assert_eq!(asked.len(), 3, "one token per pull");
}

#[tokio::test]
async fn redirects_do_not_carry_credentials() {
    let image = built(Compression::None);
    let storage = scripted(&image, |_, _| None).await;
    let storage_address = storage.address.clone();
    let registry = scripted(&image, move |asked, _| {
        if asked.authorization.is_none() {
            return Some(with_header(
                status(401),
                "www-authenticate",
                "Basic realm=\"x\"",
            ));
        }
        let blob = asked.path.strip_prefix("/v2/app/blobs/")?;
        let location = format!("http://{storage_address}/v2/app/blobs/{blob}");
        Some(with_header(status(307), "location", &location))
    })
    .await;
    let (_dir, store) = open(options());
    let pull = PullOptions {
        credentials: vec![secret()],
        ..PullOptions::default()
    };
    store
        .pull(&format!("{}/app:1", registry.address), &pull)
        .await
        .unwrap();
    let asked = storage.asked.lock().unwrap().clone();
    assert_eq!(asked.len(), 3);
    assert!(asked.iter().all(|asked| asked.authorization.is_none()));
}

#[tokio::test]
async fn mirrors_are_asked_first_and_may_fail() {
    let image = built(Compression::None);
    let empty = ScriptedRegistry::start(|_, _| status(404)).await;
    let blobs_only = scripted(&image, |_, _| None).await;
    let whole = scripted(&image, |_, _| None).await;
    // As hosts.toml, for a registry that does not exist at all.
    let dir = scratch();
    let hosts = dir.path().join("gone.example");
    std::fs::create_dir(&hosts).unwrap();
    let text = format!(
        "[host.\"http://{}\"]\n[host.\"http://{}\"]\ncapabilities = [\"pull\"]\n[host.\"http://{}\"]\n",
        empty.address, blobs_only.address, whole.address
    );
    std::fs::write(hosts.join("hosts.toml"), text).unwrap();
    let mut with_hosts = options();
    with_hosts.registry.hosts.directory = Some(HostsDirectory(dir.path().to_owned()));
    let (_dir, store) = open(with_hosts);
    let pulled = store
        .pull("gone.example/app:1", &PullOptions::default())
        .await
        .unwrap();
    assert_eq!(pulled.tags, ["gone.example/app:1"]);
    assert_eq!(empty.paths()[0], "/v2/app/manifests/1");
    assert_eq!(
        empty.asked.lock().unwrap()[0].path,
        "/v2/app/manifests/1?ns=gone.example"
    );
    assert_eq!(whole.paths(), ["/v2/app/manifests/1"]);
    assert_eq!(blobs_only.paths().len(), 3);

    // As values.
    let mut with_mirror = options();
    let mirror = Mirror {
        capabilities: Capabilities {
            pull: true,
            resolve: true,
            push: false,
        },
        ..Mirror::new(&format!("http://{}", whole.address))
    };
    with_mirror
        .registry
        .hosts
        .mirrors
        .insert("gone.example".to_owned(), vec![mirror]);
    let (_dir, store) = open(with_mirror);
    store
        .pull("gone.example/app:1", &PullOptions::default())
        .await
        .unwrap();
}

#[tokio::test]
async fn no_answer_is_said_so() {
    let (_dir, store) = open(options());
    // A port that was just free.
    let address = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let name = format!("{address}/app:1");
    let error = store
        .pull(&name, &PullOptions::default())
        .await
        .unwrap_err();
    assert!(error.is_registry_unavailable());
    let text = error.to_string();
    assert!(
        text.ends_with(&format!(
            "failed to do request: Get \"https://{address}/v2/app/manifests/1\": dial tcp {address}: connect: connection refused"
        )),
        "{text}"
    );
    assert!(
        store
            .pull("Not A Name", &PullOptions::default())
            .await
            .is_err()
    );
}

#[tokio::test]
async fn pulls_of_one_image_at_once_fetch_each_layer_once() {
    let image = built(Compression::Gzip);
    let registry = scripted(&image, |_, _| None).await;
    let (_dir, store) = open(options());
    let name = format!("{}/app:1", registry.address);
    let pulls = (0..4).map(|_| {
        let (store, name) = (store.clone(), name.clone());
        tokio::spawn(async move { store.pull(&name, &PullOptions::default()).await.unwrap().id })
    });
    for pull in pulls.collect::<Vec<_>>() {
        assert_eq!(pull.await.unwrap(), image.id);
    }
    let (path, _) = largest(&image);
    assert_eq!(
        registry
            .paths()
            .iter()
            .filter(|asked| **asked == path)
            .count(),
        1
    );
    assert_eq!(store.list().unwrap().len(), 1);
}

#[tokio::test]
async fn a_pull_given_up_leaves_nothing() {
    let image = built(Compression::None);
    let (path, bytes) = largest(&image);
    let (started, wait) = tokio::sync::oneshot::channel();
    let started = Mutex::new(Some(started));
    let registry = scripted(&image, move |asked, _| {
        if asked.path != path {
            return None;
        }
        if let Some(started) = started.lock().unwrap().take() {
            started.send(()).unwrap();
        }
        Some(hanging(&bytes, 100_000))
    })
    .await;
    let (_dir, store) = open(options());
    let name = format!("{}/app:1", registry.address);
    let pull = tokio::spawn({
        let store = store.clone();
        async move { store.pull(&name, &PullOptions::default()).await }
    });
    wait.await.unwrap();
    pull.abort();
    assert!(pull.await.unwrap_err().is_cancelled());
    assert!(store.list().unwrap().is_empty());
    let root = store.root().to_owned();
    drop(store);
    let store = ImageStore::open(&root).unwrap();
    assert_eq!(names(&store.root().join("layers")), Vec::<String>::new());
}

#[tokio::test]
async fn certificates_are_checked_unless_told_otherwise() {
    let image = built(Compression::None);
    let documents = served(&image, "1");
    let (registry, certificate) = ScriptedRegistry::start_tls(move |asked, _| {
        let path = asked.path.split('?').next().unwrap();
        match documents.get(path.trim_start_matches("/v2/app/")) {
            Some((bytes, media_type)) => content(bytes, media_type),
            None => status(404),
        }
    })
    .await;
    let port = registry.address.rsplit_once(':').unwrap().1;
    // Loopback may have any certificate.
    let (dir, store) = open(options());
    let name = format!("localhost:{port}/app:1");
    assert_eq!(
        store.pull(&name, &PullOptions::default()).await.unwrap().id,
        image.id
    );

    let file = dir.path().join("ca.pem");
    std::fs::write(&file, certificate).unwrap();
    // The registry itself is a port of loopback where nobody listens.
    let gone = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .to_string();
    let name = format!("{gone}/app:1");
    let through = |mirror: Mirror| {
        let mut with_mirror = options();
        with_mirror
            .registry
            .hosts
            .mirrors
            .insert(gone.clone(), vec![mirror]);
        open(with_mirror)
    };
    let url = format!("https://localhost:{port}");
    let trusting = Mirror {
        trust_files: vec![file],
        ..Mirror::new(&url)
    };
    let lenient = Mirror {
        skip_verify: true,
        ..Mirror::new(&url)
    };
    for mirror in [trusting, lenient] {
        let (_dir, store) = through(mirror);
        store.pull(&name, &PullOptions::default()).await.unwrap();
    }
    let before = registry.asked.lock().unwrap().len();
    let (_dir, store) = through(Mirror::new(&url));
    let error = store
        .pull(&name, &PullOptions::default())
        .await
        .unwrap_err();
    assert!(error.is_registry_unavailable(), "{error}");
    assert_eq!(
        registry.asked.lock().unwrap().len(),
        before,
        "nothing is asked of a stranger"
    );
}
