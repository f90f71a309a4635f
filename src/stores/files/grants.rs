//! What a folder must let retentiond's user do, as lines for a shell. It changes nothing.

use std::collections::BTreeSet;

use crate::config::StoreConfig;
use crate::stores::grants::{Need, fixed_prefix, shell_quoted};

/// Owner and mode of the root, of the folders that the placements name, and of the files in them.
pub fn grants(config: &StoreConfig, needs: &[Need<'_>]) -> String {
    let StoreConfig::Files { path } = config else { return String::new() };
    let root = shell_quoted(&path.to_string_lossy());
    let mut text = format!(
        "# The user that retentiond runs as lists and changes these folders: a file is erased in the folder that holds it.\n\
         # It is never root, and the root of the store holds the marker. `plan` alone needs no more than reading.\n\
         chgrp retentiond {root}\n\
         chmod g+rwx {root}\n"
    );
    let records = needs.iter().filter_map(|need| need.placement.records.as_ref());
    let folders: BTreeSet<String> = records
        .filter_map(fixed_prefix)
        .map(|prefix| prefix.rsplit_once('/').map_or("", |(folder, _)| folder))
        .map(|folder| shell_quoted(&path.join(folder).to_string_lossy()))
        .collect();
    for folder in folders {
        text.push_str(&format!("chgrp -R retentiond {folder}\nchmod -R g+rwX {folder}\n"));
    }
    text
}
