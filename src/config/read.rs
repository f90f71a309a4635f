//! Reads `retentiond.toml` and the policies that it names, and reports every fault of all of them at once.
//! It owns the reading of files; what a policy may say is judged by `policy`, and no store is opened.

mod http;
mod rollovers;
mod settings;
mod stores;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::Config;
use crate::policy::Policies;
use crate::policy::parse::{ParsedPolicy, parse_marked};
use crate::policy::schema::{CONFIG, CONFIG_GROUPS};
use crate::policy::tree::{
    Dialect, Document, FILE_BYTES_MAX, Fault, Lookup, Secrets, Severity, has_errors, render, text_of,
};
use crate::policy::validate::validate;

/// Everything that was read, or why it was not.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The configuration; there only where no fault of its own file is an error. The emergency stop and holds need no
    /// more; what plans or erases asks for [`Loaded::policies`] too.
    pub config: Option<Config>,
    /// The policies; there only where no fault of any file is an error.
    pub policies: Option<Policies>,
    /// What is wrong, configuration first, then file by file.
    pub faults: Vec<Fault>,
    /// The text of each file, for [`render_faults`]. It may hold secrets and is never logged.
    pub sources: BTreeMap<PathBuf, String>,
}

/// Reads the configuration and its policies, with `${NAME}` from the environment of the process or, where it is not there,
/// from the file of that name in the folder that `CREDENTIALS_DIRECTORY` names: secrets as systemd (`LoadCredential`),
/// Docker and Kubernetes hand them over.
pub fn load(config_file: &Path) -> Loaded {
    load_with(config_file, &|name| std::env::var(name).ok().or_else(|| credential(name)))
}

fn credential(name: &str) -> Option<String> {
    let folder = PathBuf::from(std::env::var_os("CREDENTIALS_DIRECTORY")?);
    let text = std::fs::read_to_string(folder.join(name)).ok()?;
    Some(text.trim_end_matches(['\r', '\n']).to_owned())
}

/// As [`load`], with another environment.
pub fn load_with(config_file: &Path, lookup: Lookup<'_>) -> Loaded {
    let mut loaded = Loaded { config: None, policies: None, faults: Vec::new(), sources: BTreeMap::new() };
    let settings = read_config(config_file, lookup, &mut loaded);
    let parsed = match &settings.policies {
        Some(folder) => read_policies(folder, &mut loaded),
        None => Vec::new(),
    };
    let capabilities = settings.stores.as_ref().map(stores::capabilities);
    let mut across = validate(&parsed, capabilities.as_ref());
    loaded.faults.append(&mut across);
    loaded.config = settings.config;
    if !has_errors(&loaded.faults) {
        loaded.policies = Some(Policies::new(parsed.into_iter().map(|parsed| parsed.policy).collect()));
    }
    loaded
}

/// All faults for people, each with file, line, the text in question and a `help:` line.
pub fn render_faults(loaded: &Loaded, color: bool) -> String {
    render(&loaded.faults, &loaded.sources, color)
}

/// What could be read of the configuration: policies are judged even where another part of it is wrong.
#[derive(Default)]
struct Settings {
    config: Option<Config>,
    policies: Option<PathBuf>,
    stores: Option<BTreeMap<crate::id::StoreId, super::StoreConfig>>,
}

fn read_config(file: &Path, lookup: Lookup<'_>, loaded: &mut Loaded) -> Settings {
    let bytes = match read_bytes(file) {
        Ok(bytes) => bytes,
        Err(error) => {
            let help = "name it with --config FILE; `retentiond demo` makes an example to start from";
            loaded.faults.push(Fault::of_file(
                file,
                &format!("failed to read the configuration: {error}"),
                help,
            ));
            return Settings::default();
        }
    };
    let text = match text_of(file, &bytes) {
        Ok(text) => text,
        Err(fault) => {
            loaded.faults.push(*fault);
            return Settings::default();
        }
    };
    let base = match std::path::absolute(file) {
        Ok(absolute) => absolute.parent().map(Path::to_owned).unwrap_or_default(),
        Err(error) => {
            let message = format!("failed to find the folder of the configuration: {error}");
            loaded.faults.push(Fault::of_file(file, &message, "name it with an absolute path"));
            return Settings::default();
        }
    };
    loaded.sources.insert(file.to_owned(), text.to_owned());
    let dialect = Dialect { groups: CONFIG_GROUPS, lookup: Some(lookup), secrets: Secrets::Allowed };
    let document = Document::parse(file, text, dialect);
    let mut settings = settings::read(&document.root(&CONFIG), file, &base);
    if document.has_errors() {
        settings.config = None;
    }
    loaded.faults.append(&mut document.into_faults());
    settings
}

/// Every `*.toml` of the folder, in order of name. A file is read once; what is digested is what was parsed.
fn read_policies(folder: &Path, loaded: &mut Loaded) -> Vec<ParsedPolicy> {
    let files = match policy_files(folder, &mut loaded.faults) {
        Ok(files) => files,
        Err(error) => {
            let help = "[policies] path names a folder with one *.toml for each category";
            loaded.faults.push(Fault::of_file(
                folder,
                &format!("failed to read the policies: {error}"),
                help,
            ));
            return Vec::new();
        }
    };
    if files.is_empty() {
        let help =
            "without a policy nothing is erased, and that is an error; write one *.toml for each category";
        loaded.faults.push(Fault::of_file(folder, "there is no policy in the folder", help));
    }
    let mut parsed = Vec::new();
    for file in files {
        match read_bytes(&file) {
            Ok(bytes) => {
                if let Ok(text) = text_of(&file, &bytes) {
                    loaded.sources.insert(file.clone(), text.to_owned());
                }
                parsed.extend(parse_marked(&file, &bytes, &mut loaded.faults));
            }
            Err(error) => {
                let help = "mend or remove the file; a policy that cannot be read is never skipped";
                loaded.faults.push(Fault::of_file(
                    &file,
                    &format!("failed to read the policy: {error}"),
                    help,
                ));
            }
        }
    }
    parsed
}

fn policy_files(folder: &Path, faults: &mut Vec<Fault>) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let lower = name.to_lowercase();
        if name.starts_with('.') {
            // Editors keep their own files here; `*.toml` in a shell leaves them out too.
        } else if name.ends_with(".toml") {
            files.push(path);
        } else if [".toml", ".yaml", ".yml", ".json"].iter().any(|end| lower.ends_with(end)) {
            let help = "a policy is a file that ends in .toml; rename or remove it";
            let mut fault = Fault::of_file(&path, "the file is not read as a policy", help);
            fault.severity = Severity::Warning;
            faults.push(fault);
        }
    }
    files.sort();
    Ok(files)
}

/// The bytes of a file, but never many more than are accepted.
fn read_bytes(file: &Path) -> io::Result<Vec<u8>> {
    let limit = u64::try_from(FILE_BYTES_MAX).unwrap_or(u64::MAX).saturating_add(1);
    let mut bytes = Vec::new();
    File::open(file)?.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}
