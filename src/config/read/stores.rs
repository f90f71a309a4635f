//! The `[stores.NAME]` stanzas.
//! It owns their keys by kind and that no store lies where retentiond keeps its own; it opens none.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use secrecy::SecretString;

use super::settings::{path, sqlite_path};
use crate::config::{DeleteIntegrity, LedgerConfig, LedgerPlace, S3Config, StoreConfig, server_place};
use crate::facts::Capability;
use crate::id::StoreId;
use crate::policy::parse::name;
use crate::policy::schema::{KINDS, STORE_GROUPS};
use crate::policy::tree::{Group, Section, Value, Wrong};

/// What each store can do, told by its kind alone.
pub(super) fn capabilities(stores: &BTreeMap<StoreId, StoreConfig>) -> BTreeMap<StoreId, Capability> {
    let of = |store: &StoreConfig| crate::stores::KINDS.iter().find(|kind| kind.name == store.kind());
    stores.iter().filter_map(|(id, store)| Some((id.clone(), (of(store)?.capability)()))).collect()
}

/// Reads every stanza; `None` where one of them is wrong.
pub(super) fn read(root: &Section<'_>, base: &Path) -> Option<BTreeMap<StoreId, StoreConfig>> {
    let Some(value) = root.get("stores") else {
        return Some(BTreeMap::new());
    };
    let stores: Vec<_> =
        value.free_section()?.entries().map(|(id, value)| read_store(id, &value, base)).collect();
    stores.into_iter().collect()
}

fn read_store(id: &str, value: &Value<'_>, base: &Path) -> Option<(StoreId, StoreConfig)> {
    let id = name(id).map_err(|wrong| value.fault(&wrong.message, &wrong.help)).ok();
    let section = value.free_section()?;
    let kinds: Vec<(&str, &'static Group)> =
        KINDS.iter().copied().zip(STORE_GROUPS.iter().copied()).collect();
    let kind = section.require("kind", "say what kind of store it is, for example kind = \"sqlite\"")?;
    let group = kind.word(&kinds)?;
    section.check_keys(group);
    let store = match group.name {
        "mysql" => StoreConfig::Mysql { url: mysql_url(&section)? },
        "sqlite" => {
            let url = section.require("url", "for example url = \"sqlite://calls.db\"")?;
            StoreConfig::Sqlite { path: url.parsed(|text| sqlite_path(text, base))? }
        }
        "redis" => redis(&section)?,
        "s3" => s3(&section)?,
        "elasticsearch" => elasticsearch(&section, base)?,
        _ => StoreConfig::Files { path: root_folder(&section.require("path", "name the folder")?, base)? },
    };
    Some((StoreId::new(id?), store))
}

fn mysql_url(section: &Section<'_>) -> Option<SecretString> {
    let url = section.require("url", "for example url = \"mysql://${DB_USER}:${DB_PASSWORD}@db/calls\"")?;
    url.parsed(|text| address(text, &["mysql://"])).map(SecretString::from)
}

/// An address that begins with one of these schemes. The address itself is never repeated: it may hold a password.
fn address(text: &str, schemes: &[&str]) -> Result<String, Wrong> {
    let rest = schemes.iter().find_map(|scheme| text.strip_prefix(scheme));
    if rest.is_none_or(|rest| rest.is_empty() || rest.starts_with('/') || text.contains(char::is_whitespace))
    {
        let all = schemes.join("… or ");
        return Err(Wrong::new("this is not the address of such a store", format!("write {all}…")));
    }
    Ok(text.to_owned())
}

fn redis(section: &Section<'_>) -> Option<StoreConfig> {
    let given: Vec<&str> =
        ["url", "nodes", "sentinel"].into_iter().filter(|key| section.get(key).is_some()).collect();
    let help = "say one of url, nodes, sentinel";
    match given.as_slice() {
        [_] => {}
        [] => {
            section.fault("the store has no address", help);
            return None;
        }
        [first, second, ..] => {
            section.fault_of(second, &format!("`{second}` stands beside `{first}`"), help);
            return None;
        }
    }
    let text = |key: &str| section.get(key).map_or(Some(None), |value| value.text().map(Some));
    let (user, password) = (text("user"), text("password"));
    if section.get("user").is_some() && section.get("password").is_none() {
        section.fault_of("user", "`user` stands without `password`", "write both, or only the password");
    }
    for key in ["user", "password"] {
        if section.get(key).is_some() && section.get("url").is_some() {
            let help = "write them into the url: redis://user:password@host:6379/0";
            section.fault_of(key, &format!("`{key}` stands beside `url`"), help);
        }
    }
    let list = |key: &str| section.get(key).map_or(Some(Vec::new()), |value| some_texts(&value));
    let url = section.get("url").map(|value| value.parsed(|text| address(text, &["redis://", "rediss://"])));
    Some(StoreConfig::Redis {
        url: url.map_or(Some(None), |url| url.map(|url| Some(SecretString::from(url))))?,
        nodes: list("nodes")?,
        sentinel: list("sentinel")?,
        user: user?,
        password: password?.map(SecretString::from),
    })
}

fn some_texts(value: &Value<'_>) -> Option<Vec<String>> {
    let texts = value.texts(|text| without_password(text, "redis"))?;
    if texts.is_empty() {
        value.fault("the list is empty", "name at least one");
        return None;
    }
    Some(texts)
}

fn s3(section: &Section<'_>) -> Option<StoreConfig> {
    let text = |key: &str| section.get(key).map_or(Some(None), |value| value.text().map(Some));
    let bucket = section.require("bucket", "name the bucket").and_then(|value| value.text());
    let endpoint = section
        .get("endpoint")
        .map_or(Some(None), |value| value.parsed(|text| without_password(text, "s3")).map(Some));
    let path_style = section.get("path_style").map_or(Some(false), |value| value.boolean());
    let integrity = [("crc32", DeleteIntegrity::Crc32), ("md5", DeleteIntegrity::Md5)];
    let delete_integrity =
        section.get("delete_integrity").map_or(Some(DeleteIntegrity::Crc32), |value| value.word(&integrity));
    let (access_key, secret_key) = (text("access_key"), text("secret_key"));
    both_or_none(section, "access_key", "secret_key");
    let region = text("region");
    let keys = access_key?.map(SecretString::from).zip(secret_key?.map(SecretString::from));
    Some(StoreConfig::S3(S3Config {
        bucket: bucket?,
        endpoint: endpoint?,
        region: region?,
        path_style: path_style?,
        delete_integrity: delete_integrity?,
        keys,
    }))
}

fn elasticsearch(section: &Section<'_>, base: &Path) -> Option<StoreConfig> {
    let text = |key: &str| section.get(key).map_or(Some(None), |value| value.text().map(Some));
    let url = section.require("url", "for example url = \"https://search:9200\"").and_then(|value| {
        value.parsed(|text| {
            let text = address(text, &["http://", "https://"])?;
            without_password(&text, "elasticsearch")
        })
    });
    let (user, password) = (text("user"), text("password"));
    both_or_none(section, "user", "password");
    let ca_file = section.get("ca_file").map_or(Some(None), |value| path(&value, base).map(Some));
    Some(StoreConfig::Elasticsearch {
        url: url?,
        user: user?,
        password: password?.map(SecretString::from),
        ca_file: ca_file?,
    })
}

fn without_password(text: &str, kind: &str) -> Result<String, Wrong> {
    if text.contains('@') {
        let help = match kind {
            "elasticsearch" => "use user and password",
            "s3" => "use access_key and secret_key",
            _ => "use user and password",
        };
        return Err(Wrong::new("the address holds a user or a password, and addresses are shown", help));
    }
    Ok(text.to_owned())
}

fn both_or_none(section: &Section<'_>, first: &str, second: &str) {
    for (there, missing) in [(first, second), (second, first)] {
        if section.get(there).is_some() && section.get(missing).is_none() {
            section.fault_of(there, &format!("`{there}` stands without `{missing}`"), "write both or none");
        }
    }
}

/// The root of a store of files. What lies close to the root of the machine is never one tenant's data.
fn root_folder(value: &Value<'_>, base: &Path) -> Option<PathBuf> {
    let folder = path(value, base)?;
    let names: Vec<String> = folder
        .components()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(name.to_string_lossy().into_owned()),
            Component::Prefix(_) | Component::RootDir | Component::CurDir | Component::ParentDir => None,
        })
        .collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    // Only what the operator wrote here: the folder of the configuration may have been named with `..`.
    let written = folder.strip_prefix(base).unwrap_or(&folder);
    let steps_up = written.components().any(|component| component == Component::ParentDir);
    let why = match names.as_slice() {
        _ if steps_up => "holds `..`",
        [] | [_] => "is the root of the machine or a folder right below it",
        ["home" | "Users", _] => "is the home of a person",
        _ => return Some(folder),
    };
    let help = "name a folder that holds nothing but the files of this store, for example /srv/recordings";
    value.fault(&format!("the folder {why}"), help);
    None
}

/// What belongs to retentiond itself.
pub(super) struct Own<'c> {
    /// The configuration file.
    pub file: &'c Path,
    /// The ledger and its key.
    pub ledger: Option<&'c LedgerConfig>,
    /// The audit log.
    pub audit: Option<&'c Path>,
    /// The policies.
    pub policies: Option<&'c Path>,
}

/// Reports stores that lie in each other, and stores that hold what is retentiond's own: erasing in one would then
/// erase in the other.
pub(super) fn keep_apart(root: &Section<'_>, stores: &BTreeMap<StoreId, StoreConfig>, own: &Own<'_>) {
    let file = std::path::absolute(own.file).unwrap_or_else(|_| own.file.to_owned());
    let mut places: Vec<(String, PathBuf)> = vec![("the configuration".to_owned(), file)];
    if let Some(ledger) = own.ledger {
        places.extend(ledger.place.file().map(|path| ("the ledger".to_owned(), path.to_owned())));
        places.push(("the key of the ledger".to_owned(), ledger.key_file.clone()));
    }
    places.extend(own.audit.map(|path| ("the audit log".to_owned(), path.to_owned())));
    places.extend(own.policies.map(|path| ("the policies".to_owned(), path.to_owned())));
    let Some(section) = root.get("stores").and_then(|value| value.free_section()) else { return };
    for (id, store) in stores {
        if let StoreConfig::Mysql { url } = store
            && own.ledger.is_some_and(|ledger| is_ledger(&ledger.place, url))
        {
            let help = "give the ledger a database of its own, apart from what the stores keep";
            section.fault_of(id.as_str(), &format!("the store `{id}` and the ledger are one database"), help);
        }
        let (StoreConfig::Sqlite { path } | StoreConfig::Files { path }) = store else { continue };
        let clash = places.iter().find(|(_, other)| path.starts_with(other) || other.starts_with(path));
        if let Some((what, _)) = clash {
            let help = "give every store a place of its own, apart from what retentiond keeps";
            section.fault_of(id.as_str(), &format!("the store `{id}` and {what} lie in each other"), help);
        }
        places.push((format!("the store `{id}`"), path.clone()));
    }
}

/// True where the address leads to the database that is the ledger.
fn is_ledger(place: &LedgerPlace, store: &SecretString) -> bool {
    match place {
        LedgerPlace::Mysql { url } => {
            server_place(url).is_some_and(|ledger| server_place(store) == Some(ledger))
        }
        LedgerPlace::Sqlite { .. } => false,
    }
}
