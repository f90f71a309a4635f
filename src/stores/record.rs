//! Records as they are read out: what `explain` needs of one, and everything in them, exact, with bytes as a stream, for a
//! tenant that takes its data along. It owns these types; how a store reads is its own.

use chrono::{DateTime, Utc};
use tokio::sync::mpsc;

use super::{Key, Position, StoreError};
use crate::id::TenantId;

/// Pieces of a body that may wait for their reader. With [`PIECE_BYTES`] this bounds what one body holds in memory.
const PIECES_WAITING: usize = 4;

/// How large a piece of a body is as a rule.
pub const PIECE_BYTES: usize = 256 * 1024;

/// One record as `explain` needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Whose it is; `None` is parked.
    pub tenant: Option<TenantId>,
    /// Its event time.
    pub event_time: SeenTime,
    /// Values of the columns that name subjects, by kind, for comparison with holds and requests. Never printed.
    pub subjects: Vec<(String, String)>,
}

/// An event time as a store holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SeenTime {
    /// The placement has none.
    None,
    /// Readable, not zero, plausible and not in the future.
    Usable(DateTime<Utc>),
    /// Null, zero, unreadable, implausible or in the future.
    Unusable,
}

/// A value of a field, exact: nothing is rounded, folded or made readable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Field {
    /// Nothing is stored.
    Null,
    /// A whole number.
    Int(i128),
    /// Another number, in the digits in which it is stored.
    Number(String),
    /// Text in UTF-8.
    Text(String),
    /// Bytes, also of a text that is not UTF-8.
    Bytes(Vec<u8>),
    /// A JSON document, letter by letter.
    Json(String),
    /// Several values: elements of a list, members of a set, pairs of a hash.
    List(Vec<Self>),
}

impl Field {
    /// Text where the bytes are UTF-8, otherwise the bytes.
    pub fn of_bytes(bytes: Vec<u8>) -> Self {
        String::from_utf8(bytes).map_or_else(|wrong| Self::Bytes(wrong.into_bytes()), Self::Text)
    }
}

/// One record, with everything in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Whose it is, as the store itself says.
    pub tenant: TenantId,
    /// What names it in its placement.
    pub key: Key,
    /// Its fields, in the store's order.
    pub fields: Vec<(String, Field)>,
    /// True where it also has bytes, to be had from [`super::Reader::body`].
    pub has_body: bool,
}

/// The next records of a selection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Read {
    /// In order; none where all that were found went, or changed, before they were read.
    pub records: Vec<Record>,
    /// Give this to the next `read`.
    pub position: Position,
}

/// The bytes of an object or a file, piece by piece.
#[derive(Debug)]
pub struct Body {
    /// What only whoever opens the bytes learns of them: the type and labels that an object carries.
    pub about: Vec<(String, Field)>,
    pieces: mpsc::Receiver<Piece>,
}

/// What travels from a store to who reads.
#[derive(Debug)]
enum Piece {
    Bytes(Vec<u8>),
    Broken(StoreError),
    End,
}

/// The other end of a [`Body`].
#[derive(Debug, Clone)]
pub struct Pieces(mpsc::Sender<Piece>);

/// Nobody reads any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NobodyReads;

impl Body {
    /// An empty stream and its other end.
    pub fn channel() -> (Pieces, Self) {
        let (sender, pieces) = mpsc::channel(PIECES_WAITING);
        (Pieces(sender), Self { about: Vec::new(), pieces })
    }

    /// A stream of these bytes.
    pub fn of(bytes: Vec<u8>) -> Self {
        let (sender, pieces) = mpsc::channel(2);
        // There is room for both.
        drop(sender.try_send(Piece::Bytes(bytes)));
        drop(sender.try_send(Piece::End));
        Self { about: Vec::new(), pieces }
    }

    /// The next piece; `None` only where all of it was read. A stream that breaks off is an error, not an end.
    ///
    /// # Errors
    /// What the store met, or `broken` where it fell silent.
    pub async fn next(&mut self, broken: impl FnOnce() -> StoreError) -> Result<Option<Vec<u8>>, StoreError> {
        match self.pieces.recv().await {
            Some(Piece::Bytes(bytes)) => Ok(Some(bytes)),
            Some(Piece::End) => Ok(None),
            Some(Piece::Broken(error)) => Err(error),
            None => Err(broken()),
        }
    }
}

impl Pieces {
    /// Hands over a piece; waits while there is no room.
    ///
    /// # Errors
    /// Where nobody reads any more.
    pub async fn give(&self, bytes: Vec<u8>) -> Result<(), NobodyReads> {
        self.0.send(Piece::Bytes(bytes)).await.map_err(|_| NobodyReads)
    }

    /// As [`Pieces::give`], on a thread that may block.
    ///
    /// # Errors
    /// As there.
    pub fn give_blocking(&self, bytes: Vec<u8>) -> Result<(), NobodyReads> {
        self.0.blocking_send(Piece::Bytes(bytes)).map_err(|_| NobodyReads)
    }

    /// Says how it ended: whole, or broken.
    pub async fn end(self, how: Result<(), StoreError>) {
        // Whoever stopped reading needs no end.
        drop(self.0.send(Self::last(how)).await);
    }

    /// As [`Pieces::end`], on a thread that may block.
    pub fn end_blocking(self, how: Result<(), StoreError>) {
        drop(self.0.blocking_send(Self::last(how)));
    }

    fn last(how: Result<(), StoreError>) -> Piece {
        how.map_or_else(Piece::Broken, |()| Piece::End)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::StoreId;
    use crate::stores::{ErrorKind, Retry};

    fn broken() -> StoreError {
        StoreError {
            kind: ErrorKind::Unreachable,
            retry: Retry::Later,
            operation: "read",
            store: StoreId::new("s"),
            message: "it fell silent".to_owned(),
        }
    }

    #[tokio::test]
    async fn a_stream_that_breaks_off_is_no_end() {
        let mut whole = Body::of(b"ab".to_vec());
        assert_eq!(whole.next(broken).await.unwrap(), Some(b"ab".to_vec()));
        assert_eq!(whole.next(broken).await.unwrap(), None);
        let (pieces, mut silent) = Body::channel();
        pieces.give(b"a".to_vec()).await.unwrap();
        drop(pieces);
        assert_eq!(silent.next(broken).await.unwrap(), Some(b"a".to_vec()));
        assert_eq!(silent.next(broken).await.unwrap_err().message, "it fell silent");
        let (pieces, mut failed) = Body::channel();
        pieces.end(Err(broken())).await;
        assert!(failed.next(broken).await.is_err());
    }

    #[test]
    fn what_is_not_utf_8_stays_bytes() {
        assert_eq!(Field::of_bytes(b"abc".to_vec()), Field::Text("abc".to_owned()));
        assert_eq!(Field::of_bytes(vec![0xff, 0]), Field::Bytes(vec![0xff, 0]));
    }
}
