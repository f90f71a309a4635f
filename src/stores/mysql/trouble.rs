//! What errors of a `MySQL` or `MariaDB` server mean: which kind of trouble, and whether trying again can help. It owns
//! the table of numbers; a server's own text is passed on only where it can hold no stored value.

use sqlx::mysql::MySqlDatabaseError;

use crate::id::StoreId;
use crate::stores::{ErrorKind, Retry, StoreError};

/// What an error needs to know of its surroundings.
#[derive(Debug, Clone, Copy)]
pub(super) struct Trouble<'a> {
    pub(super) store: &'a StoreId,
    pub(super) operation: &'static str,
}

impl Trouble<'_> {
    /// An error of our own that trying again does not help.
    pub(super) fn of(&self, kind: ErrorKind, message: &str) -> StoreError {
        self.error(kind, Retry::Never, message.to_owned())
    }

    /// The policy and the schema do not fit.
    pub(super) fn schema(&self, message: String) -> StoreError {
        self.error(ErrorKind::Schema, Retry::Never, message)
    }

    /// An error that passes.
    pub(super) fn later(&self, message: &str) -> StoreError {
        self.error(ErrorKind::Refused, Retry::Later, message.to_owned())
    }

    /// The connection is gone; the next operation opens another one.
    pub(super) fn lost(&self, message: &str) -> StoreError {
        self.error(ErrorKind::Unreachable, Retry::Later, message.to_owned())
    }

    /// What an error of the driver means.
    pub(super) fn from(&self, error: &sqlx::Error) -> StoreError {
        if let Some(database) = of_server(error) {
            return self.server_said(database);
        }
        if matches!(error, sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_)) {
            return self.of(
                ErrorKind::Refused,
                "a stored value is not of the type that it is read as, or not UTF-8",
            );
        }
        if let sqlx::Error::Io(io) = error {
            return self.lost(&format!("the connection was lost: {io}"));
        }
        if let sqlx::Error::Tls(tls) = error {
            let message =
                format!("the server did not prove who it is: {tls}; ssl-mode in the url says what is asked");
            return self.of(ErrorKind::Unreachable, &message);
        }
        if is_lost(error) {
            return self.lost("the connection was lost");
        }
        self.of(ErrorKind::Unreachable, "the driver could not carry it out")
    }

    /// <https://mariadb.com/kb/en/mariadb-error-code-reference/>; `MySQL` has the same numbers but for those marked.
    fn server_said(&self, error: &MySqlDatabaseError) -> StoreError {
        let message = || error.message().to_owned();
        match error.number() {
            1205 => self.later("somebody else holds a lock"),
            1213 | 1020 => self.later("a deadlock: the server rolled the whole batch back"),
            // 1969 is MariaDB's, 3024 MySQL's.
            1317 | 1969 | 3024 => self.later("the statement was ended by the server before it was done"),
            1021 | 1030 | 1114 | 1026 | 1598 => self.later("the server has no room to write"),
            1040 | 1203 | 1226 => self.lost("the server has no connection to give"),
            // 1927 is MariaDB's, 4031 MySQL's.
            1053 | 1077 | 1079 | 1152 | 1184 | 1927 | 4031 => self.lost("the server closed the connection"),
            1290 | 1836 | 3100 => {
                self.of(ErrorKind::Identity, "the server is read-only: it may be a replica")
            }
            1792 => self.of(ErrorKind::Refused, "the connection that looks may not write"),
            1451 | 1217 => {
                self.of(ErrorKind::Refused, &format!("rows of another table refer to it: {}", message()))
            }
            1044 | 1045 | 1095 | 1142 | 1143 | 1227 | 1370 => self.of(ErrorKind::Refused, &message()),
            1049 => self.of(ErrorKind::Unreachable, &message()),
            1054 | 1146 | 1109 | 1051 => self.schema(message()),
            1412 => self.later("the table was changed just now"),
            1644 => self.of(ErrorKind::Refused, "a trigger refused"),
            // 4025 is MariaDB's, 3819 MySQL's.
            4025 | 3819 => self.of(ErrorKind::Refused, "a check constraint does not allow the zeros"),
            1062 => self.of(ErrorKind::Refused, "a unique index does not allow it"),
            // A text of any other error may hold a stored value.
            number => self.of(ErrorKind::Unreachable, &format!("the server answered with error {number}")),
        }
    }

    fn error(&self, kind: ErrorKind, retry: Retry, message: String) -> StoreError {
        StoreError { kind, retry, operation: self.operation, store: self.store.clone(), message }
    }
}

/// True where nothing can be sent over the connection any more, or nobody knows what would come back.
pub(super) fn is_lost(error: &sqlx::Error) -> bool {
    match of_server(error) {
        Some(database) => matches!(database.number(), 1053 | 1077 | 1079 | 1152 | 1184 | 1927 | 4031),
        None => !matches!(
            error,
            sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) | sqlx::Error::Encode(_)
        ),
    }
}

fn of_server(error: &sqlx::Error) -> Option<&MySqlDatabaseError> {
    error.as_database_error().and_then(|error| error.try_downcast_ref::<MySqlDatabaseError>())
}
