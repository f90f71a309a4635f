//! What looks like a password or an access key.
//! It owns the looks; it never repeats what it saw.

use toml::de::{DeTable, DeValue};

use super::{Document, Severity};

const SECRET_NAMES: [&str; 12] = [
    "password",
    "passwd",
    "pwd",
    "secret",
    "secret_key",
    "access_key",
    "access_key_id",
    "secret_access_key",
    "token",
    "api_key",
    "private_key",
    "credentials",
];

/// True for a key that by its name holds a secret.
pub(super) fn is_secret_name(name: &str) -> bool {
    let name = name.to_ascii_lowercase().replace('-', "_");
    SECRET_NAMES.contains(&name.as_str())
}

/// True for an address with a password in it, `mysql://reader:…@db`.
pub(super) fn holds_credentials(text: &str) -> bool {
    text.split("://").skip(1).any(|rest| {
        let authority = rest.split(['/', '?', '#', ' ', '"', '\'']).next().unwrap_or_default();
        authority.contains('@')
    })
}

/// True for a line of a file that may show a secret, so that it is not printed.
pub(super) fn may_show(line: &str) -> bool {
    let line = line.to_ascii_lowercase().replace('-', "_");
    // Also of an address that is written wrong: `mysql:/reader:…@db`.
    let is_address = |word: &str| word.split_once('@').is_some_and(|(before, _)| before.contains(':'));
    let mut words = line.split(|c: char| c.is_whitespace() || c == '"' || c == '\'');
    holds_credentials(&line) || words.any(is_address) || SECRET_NAMES.iter().any(|name| line.contains(name))
}

/// Reports every secret in the document.
pub(super) fn refuse(document: &Document<'_>) {
    refuse_in(document, &document.table, "");
}

fn refuse_in(document: &Document<'_>, table: &DeTable<'_>, path: &str) {
    for (key, value) in table {
        let field =
            if path.is_empty() { key.get_ref().to_string() } else { format!("{path}.{}", key.get_ref()) };
        if is_secret_name(key.get_ref()) {
            let help = "put it into the configuration, as ${NAME} from the environment";
            let message = format!("`{}` looks like a secret; a policy holds none", key.get_ref());
            document.push(Severity::Error, key.span(), &field, &message, Some(help.to_owned()));
        } else {
            refuse_value(document, value, &field);
        }
    }
}

fn refuse_value(document: &Document<'_>, value: &toml::Spanned<DeValue<'_>>, field: &str) {
    match value.get_ref() {
        DeValue::String(text) if holds_credentials(text) => {
            let help = "a policy names a store; its address stands in the configuration";
            let message = "the address holds a password; a policy holds none";
            document.push(Severity::Error, value.span(), field, message, Some(help.to_owned()));
        }
        DeValue::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                refuse_value(document, item, &format!("{field}[{index}]"));
            }
        }
        DeValue::Table(table) => refuse_in(document, table, field),
        DeValue::String(_)
        | DeValue::Integer(_)
        | DeValue::Float(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_) => {}
    }
}
