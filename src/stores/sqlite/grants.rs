//! What a SQLite file and its folder must let retentiond's user do, as lines for a shell. It changes nothing.

use std::path::Path;

use crate::config::StoreConfig;
use crate::stores::grants::{Need, shell_quoted};

/// Owner and mode of the file and of its folder, where the journal is written.
pub fn grants(config: &StoreConfig, _needs: &[Need<'_>]) -> String {
    let StoreConfig::Sqlite { path } = config else { return String::new() };
    let folder = path.parent().unwrap_or(Path::new("."));
    let [file, folder] = [path.as_path(), folder].map(|path| shell_quoted(&path.to_string_lossy()));
    format!(
        "# The user that retentiond runs as reads and writes the file, and the folder, where the journal comes and goes.\n\
         # A group that it shares with the application is enough; `plan` alone needs no more than reading.\n\
         chgrp retentiond {file} {folder}\n\
         chmod g+rw {file}\n\
         chmod g+rwx {folder}\n"
    )
}
