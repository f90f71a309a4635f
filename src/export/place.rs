//! Where an export is put: a folder or a bucket, as it is written in the ledger, and what is refused. It owns the reading of
//! such a text; it opens nothing.

use std::path::{Path, PathBuf};

use crate::config::{S3Config, StoreConfig};
use crate::gather::{Trouble, World};
use crate::id::{ExportId, StoreId};

/// Where an export is put.
#[derive(Debug, Clone)]
pub(super) enum Place {
    /// A folder, absolute.
    Folder(PathBuf),
    /// A bucket and what its keys begin with: nothing, or something that ends in `/`.
    Bucket(StoreId, Box<S3Config>, String),
}

impl Place {
    /// As [`Place::of`], for an export that has its id: the name of a store alone means a place of the export's own in it.
    pub(super) fn of_export(world: &World, text: &str, id: &ExportId) -> Result<Self, Trouble> {
        match world.config.stores.get(&StoreId::new(text)) {
            Some(StoreConfig::S3(settings)) => {
                Self::bucket(world, &StoreId::new(text), settings, id.as_str())
            }
            Some(StoreConfig::Files { path }) => {
                require_free(world, &StoreId::new(text))?;
                Ok(Self::Folder(path.join(id.as_str())))
            }
            Some(
                StoreConfig::Mysql { .. }
                | StoreConfig::Sqlite { .. }
                | StoreConfig::Redis { .. }
                | StoreConfig::Elasticsearch { .. },
            )
            | None => Self::of(world, text),
        }
    }

    /// Reads `s3://BUCKET/PREFIX` of a configured store, `STORE:PREFIX`, or an absolute folder.
    ///
    /// # Errors
    /// Where it is none of these, or where what is put there could be taken for data of a store.
    pub(super) fn of(world: &World, text: &str) -> Result<Self, Trouble> {
        if let Some(rest) = text.strip_prefix("s3://") {
            let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
            let mut named = buckets(world).filter(|(_, settings)| settings.bucket == bucket);
            return match (named.next(), named.next()) {
                (Some((id, settings)), None) => Self::bucket(world, id, settings, prefix),
                (None, _) => Err(wrong(&format!("no configured store has the bucket `{bucket}`"))),
                (Some(_), Some(_)) => {
                    Err(wrong(&format!("several stores have the bucket `{bucket}`: write STORE:PREFIX")))
                }
            };
        }
        if let Some((name, prefix)) = text.split_once(':')
            && let Some((id, settings)) = buckets(world).find(|(id, _)| id.as_str() == name)
        {
            return Self::bucket(world, id, settings, prefix);
        }
        let path = PathBuf::from(text);
        if !path.is_absolute() {
            return Err(wrong("it is neither a bucket of a configured store nor an absolute path"));
        }
        Self::folder(world, &path)
    }

    /// True where one of the two is the other, or lies in it.
    pub(super) fn meets(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Folder(one), Self::Folder(other)) => {
                let (one, other) = (real(one), real(other));
                one.starts_with(&other) || other.starts_with(&one)
            }
            (Self::Bucket(_, one, prefix), Self::Bucket(_, other, other_prefix)) => {
                (&one.bucket, &one.endpoint) == (&other.bucket, &other.endpoint)
                    && (prefix.starts_with(other_prefix) || other_prefix.starts_with(prefix))
            }
            (Self::Folder(_), Self::Bucket(..)) | (Self::Bucket(..), Self::Folder(_)) => false,
        }
    }

    fn bucket(world: &World, id: &StoreId, settings: &S3Config, prefix: &str) -> Result<Self, Trouble> {
        require_free(world, id)?;
        let prefix = prefix.trim_matches('/');
        if prefix.split('/').any(|part| matches!(part, "." | "..")) || prefix.len() > 250 {
            return Err(wrong("the prefix is too long, or goes up"));
        }
        let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
        Ok(Self::Bucket(id.clone(), Box::new(settings.clone()), prefix))
    }

    fn folder(world: &World, path: &Path) -> Result<Self, Trouble> {
        let path: PathBuf = path.components().collect();
        let real = real(&path);
        let config = &world.config;
        let roots = config.stores.values().filter_map(|store| match store {
            StoreConfig::Files { path } => Some(path.as_path()),
            StoreConfig::Mysql { .. }
            | StoreConfig::Sqlite { .. }
            | StoreConfig::Redis { .. }
            | StoreConfig::S3(_)
            | StoreConfig::Elasticsearch { .. } => None,
        });
        for own in roots.chain([config.audit.as_path(), config.policies.as_path()]) {
            let own = own.canonicalize().unwrap_or_else(|_| own.to_owned());
            if real.starts_with(&own) || own.starts_with(&real) {
                return Err(wrong(
                    "the folder is, holds or lies in one that a store or retentiond itself uses",
                ));
            }
        }
        Ok(Self::Folder(path))
    }
}

/// What is put where records lie could be taken for records: erased, or exported again.
fn require_free(world: &World, id: &StoreId) -> Result<(), Trouble> {
    let mut placements = world.policies.iter().flat_map(|policy| &policy.placements);
    if placements.any(|placement| &placement.store == id) {
        return Err(wrong(&format!("store `{id}` holds data itself: an export needs a place of its own")));
    }
    Ok(())
}

/// The path with every link of what exists of it followed.
fn real(path: &Path) -> PathBuf {
    let mut missing = Vec::new();
    let mut at = path;
    loop {
        if let Ok(real) = at.canonicalize() {
            return missing.iter().rev().fold(real, |real, name| real.join(name));
        }
        match (at.parent(), at.file_name()) {
            (Some(parent), Some(name)) => {
                missing.push(name.to_owned());
                at = parent;
            }
            _ => return path.to_owned(),
        }
    }
}

fn buckets(world: &World) -> impl Iterator<Item = (&StoreId, &S3Config)> {
    world.config.stores.iter().filter_map(|(id, store)| match store {
        StoreConfig::S3(settings) => Some((id, settings)),
        StoreConfig::Mysql { .. }
        | StoreConfig::Sqlite { .. }
        | StoreConfig::Redis { .. }
        | StoreConfig::Elasticsearch { .. }
        | StoreConfig::Files { .. } => None,
    })
}

fn wrong(why: &str) -> Trouble {
    Trouble::Schema(format!("failed to use the export's target: {why}"))
}
