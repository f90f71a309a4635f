//! What errors of a Redis server and of the way to it mean: kind, retry, and a text of our own. It never repeats the
//! server's text, which may quote a key.

use ::redis::{ErrorKind as Kind, RedisError, ServerError};

use crate::id::StoreId;
use crate::stores::{ErrorKind, Retry, StoreError};

/// What happened to one command.
#[derive(Debug)]
pub(super) enum Wrong {
    /// The key's slot is on another node now, or on its way there.
    Moved,
    /// Anything else.
    Store(StoreError),
}

impl From<StoreError> for Wrong {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// An error without a server's answer behind it.
pub(super) fn error(
    store: &StoreId,
    operation: &'static str,
    kind: ErrorKind,
    retry: Retry,
    message: impl Into<String>,
) -> StoreError {
    StoreError { kind, retry, operation, store: store.clone(), message: message.into() }
}

/// A connection that could not be made, or broke.
pub(super) fn of_connection(store: &StoreId, operation: &'static str, failed: &RedisError) -> StoreError {
    use ErrorKind::{Refused, Schema, Unreachable};
    use Retry::{Later, Never};
    let kind = failed.kind();
    let (kind, retry, message) = if kind == Kind::AuthenticationFailed {
        (Refused, Never, "the server refuses the login".to_owned())
    } else if kind == Kind::InvalidClientConfig {
        (Schema, Never, "the address cannot be used".to_owned())
    } else if failed.to_string().contains("switch database") {
        (Refused, Never, "the server does not let the user select the logical database".to_owned())
    } else if matches!(kind, Kind::Server(_) | Kind::Extension) {
        return of_code(store, operation, failed.code().unwrap_or("ERR"));
    } else if kind == Kind::Io && failed.is_timeout() {
        (Unreachable, Later, "the server did not answer in time".to_owned())
    } else if kind == Kind::Io {
        // The system's own words; nothing was answered yet that could be in them.
        (Unreachable, Later, format!("no connection: {failed}"))
    } else {
        (Unreachable, Later, format!("the connection failed ({})", failed.category()))
    };
    error(store, operation, kind, retry, message)
}

/// An answer that is an error.
pub(super) fn of_answer(store: &StoreId, operation: &'static str, answer: &ServerError) -> Wrong {
    match answer.code() {
        "MOVED" | "ASK" => Wrong::Moved,
        code => Wrong::Store(of_code(store, operation, code)),
    }
}

fn of_code(store: &StoreId, operation: &'static str, code: &str) -> StoreError {
    use ErrorKind::{Identity, Refused, Unreachable};
    use Retry::{Later, Never};
    let (kind, retry, message) = match code {
        "MOVED" | "ASK" | "TRYAGAIN" => (Unreachable, Later, "slots of the cluster are being moved"),
        "CLUSTERDOWN" => (Unreachable, Later, "the cluster is down"),
        "LOADING" => (Unreachable, Later, "the server is loading its data"),
        "MASTERDOWN" => (Unreachable, Later, "the replica has lost its primary"),
        "BUSY" => (Unreachable, Later, "a script keeps the server busy"),
        "MISCONF" => (Unreachable, Later, "the server takes no changes, for its snapshots fail"),
        "NOREPLICAS" => (Unreachable, Later, "the server takes no changes without its replicas"),
        "OOM" => (Unreachable, Later, "the server has no memory left"),
        "READONLY" => (Identity, Never, "the server is a replica"),
        "NOPERM" => (Refused, Never, "the user lacks a permission for it"),
        "NOAUTH" | "WRONGPASS" => (Refused, Never, "the server refuses the login"),
        "EXECABORT" => (Refused, Never, "the server refuses the transaction"),
        "WRONGTYPE" => (Refused, Never, "a key is of another type"),
        "CROSSSLOT" => (Refused, Never, "keys of different slots stood in one command"),
        _ => {
            let code: String = code.chars().filter(char::is_ascii_uppercase).take(20).collect();
            return error(store, operation, Refused, Never, format!("the server answers {code}"));
        }
    };
    error(store, operation, kind, retry, message)
}
