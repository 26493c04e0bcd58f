//! `corten image …`: the node's images, also while no cluster runs.

use crate::cli::Image;
use anyhow::{Context, Result, bail};
use corten_images::{ImageStore, ImportOptions, ImportSource, PullOptions};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where a cluster keeps its images.
pub fn root(data: &Path) -> PathBuf {
    data.join("images")
}

fn open(data: &Path) -> Result<ImageStore> {
    let root = root(data);
    std::fs::create_dir_all(&root).with_context(|| format!("cannot make {}", root.display()))?;
    ImageStore::open(&root).with_context(|| format!("cannot open the images in {}", root.display()))
}

/// Runs one image command.
pub async fn run(command: Image) -> Result<()> {
    match command {
        Image::Import { file, name, data } => {
            let source = if file.as_os_str() == "-" {
                ImportSource::Stdin
            } else {
                ImportSource::File(file.clone())
            };
            let options = ImportOptions {
                name,
                ..ImportOptions::default()
            };
            let images = open(&data.data_dir)?
                .import(source, options)
                .await
                .with_context(|| format!("cannot import {}", file.display()))?;
            // An archive may hold one image under several names.
            let names: BTreeSet<&str> = images
                .iter()
                .flat_map(|image| image.names())
                .filter(|name| !name.contains('@'))
                .collect();
            for name in &names {
                println!("{name}");
            }
            if names.is_empty() {
                println!("<none>");
            }
        }
        Image::List { data } => list(&open(&data.data_dir)?)?,
        Image::Rm { image, data } => {
            // Whether a container uses it is the node agent's to know: only the name goes, the node collects the rest.
            let removed = open(&data.data_dir)?
                .remove(&image, Arc::new(|_| true))
                .await?;
            for name in removed.untagged {
                println!("untagged {name}");
            }
        }
        Image::Pull {
            image,
            plain_http,
            data,
        } => {
            if plain_http {
                bail!("plain HTTP registries are configured by certs.d/hosts.toml");
            }
            let pulled = open(&data.data_dir)?
                .pull(&image, &PullOptions::default())
                .await?;
            println!("{}", pulled.image_ref());
        }
    }
    Ok(())
}

fn list(store: &ImageStore) -> Result<()> {
    println!("{:<60} {:<15} SIZE", "IMAGE", "ID");
    for image in store.list()? {
        let id = image.id.0.hex();
        for name in image.names() {
            println!(
                "{name:<60} {:<15} {:.1} MB",
                &id[..12],
                image.size as f64 / 1e6
            );
        }
    }
    Ok(())
}
