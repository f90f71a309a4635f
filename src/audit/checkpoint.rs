//! The signed head of the log: C2SP `tlog-checkpoint` text over a C2SP `signed-note` with Ed25519, and the proof text.
//! It owns what may be read and signed, to the byte; it knows no file and asks nobody for randomness.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use sha2::{Digest, Sha256};

use crate::audit::merkle::Hash;

/// The signature type of plain Ed25519 in signed notes.
const ED25519: u8 = 0x01;

/// Signatures that are read in a note: the number that every verifier must accept, and we take no more.
const SIGNATURES_MAX: usize = 16;

/// A checkpoint is a few hundred bytes; 16 post-quantum cosignatures of 5 kB each still fit.
const NOTE_BYTES_MAX: usize = 128 * 1024;

/// Largest size that is read, so that arithmetic on sizes never overflows.
const SIZE_MAX: u64 = 1 << 62;

/// The head of a log: whose, how many entries, which root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Names the log: `retentiond/` and the ledger's id.
    pub origin: String,
    /// Number of entries.
    pub size: u64,
    /// Root over them.
    pub root: Hash,
}

/// A public key with the name under which it signs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifierKey {
    name: String,
    id: [u8; 4],
    key: VerifyingKey,
}

/// Why a checkpoint or a key is not accepted; a lower-case fragment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotAccepted(&'static str);

impl VerifierKey {
    /// Names a public key.
    ///
    /// # Errors
    /// Where the name is empty or holds white space, a control character or a plus sign.
    pub fn new(name: &str, key: VerifyingKey) -> Result<Self, NotAccepted> {
        if !is_key_name(name) {
            return Err(NotAccepted("the key's name is empty or holds white space or a plus sign"));
        }
        let hash = Sha256::new()
            .chain_update(name.as_bytes())
            .chain_update([b'\n', ED25519])
            .chain_update(key.as_bytes())
            .finalize();
        Ok(Self { name: name.to_owned(), id: [hash[0], hash[1], hash[2], hash[3]], key })
    }

    /// Reads the text `name+id+key`, one line.
    ///
    /// # Errors
    /// Where it is anything else, or its id is not that of its name and key.
    pub fn parse(text: &str) -> Result<Self, NotAccepted> {
        let line = text.strip_suffix('\n').unwrap_or(text);
        let mut parts = line.splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(NotAccepted("the key is not of the form name+id+key"));
        };
        let bytes = STANDARD.decode(key).map_err(|_| NotAccepted("the key is not base64"))?;
        let Some((&ED25519, public)) = bytes.split_first() else {
            return Err(NotAccepted("the key is not of type Ed25519"));
        };
        let public: [u8; 32] = public.try_into().map_err(|_| NotAccepted("the key is not 32 bytes long"))?;
        let public = VerifyingKey::from_bytes(&public)
            .map_err(|_| NotAccepted("the key is not a point of the curve"))?;
        let parsed = Self::new(name, public)?;
        if hex::encode(parsed.id) != id {
            return Err(NotAccepted("the key's id is not that of its name and key"));
        }
        Ok(parsed)
    }

    /// The name under which the key signs.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The public key.
    pub fn key(&self) -> &VerifyingKey {
        &self.key
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = vec![ED25519];
        bytes.extend_from_slice(self.key.as_bytes());
        write!(f, "{}+{}+{}", self.name, hex::encode(self.id), STANDARD.encode(bytes))
    }
}

impl Checkpoint {
    /// The text that is signed.
    pub fn text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, STANDARD.encode(self.root))
    }

    /// The signed note. The key's name is the origin.
    ///
    /// *Properties.* Signing is deterministic. This function does not know what was signed before: who calls it must
    /// have made the head durable first, and must know that it continues every earlier one.
    ///
    /// # Errors
    /// Where the origin cannot be a key's name.
    pub fn sign(&self, key: &SigningKey) -> Result<String, NotAccepted> {
        sign_note(&self.text(), &self.origin, key)
    }

    /// Reads a note and accepts it only where this key has signed it.
    ///
    /// # Errors
    /// Where the note is not exactly as the formats say, where the key's signature is missing or does not fit, where
    /// the origin is not the key's name, or where there are extension lines, which nobody could audit.
    pub fn open(note: &[u8], key: &VerifierKey) -> Result<Self, NotAccepted> {
        let checkpoint = parse_text(open_note(note, key)?)?;
        if checkpoint.origin != key.name {
            return Err(NotAccepted("its origin is not the name of the log's key"));
        }
        Ok(checkpoint)
    }
}

/// The signed note of a text, under the key's name.
///
/// *Properties.* Signing is deterministic. What is no checkpoint begins with a line that no log is named, so that neither
/// is taken for the other.
///
/// # Errors
/// Where the name cannot be a key's name.
pub fn sign_note(text: &str, name: &str, key: &SigningKey) -> Result<String, NotAccepted> {
    let verifier = VerifierKey::new(name, key.verifying_key())?;
    let mut bytes = verifier.id.to_vec();
    bytes.extend_from_slice(&key.sign(text.as_bytes()).to_bytes());
    Ok(format!("{text}\n\u{2014} {name} {}\n", STANDARD.encode(bytes)))
}

/// The text of a note that this key has signed.
///
/// # Errors
/// Where the note is not exactly as the format says, or the key's signature is missing or does not fit.
pub fn open_note<'n>(note: &'n [u8], key: &VerifierKey) -> Result<&'n str, NotAccepted> {
    let (text, signatures) = split_note(note)?;
    let mut signed = false;
    for line in signatures {
        let (name, bytes) = signature_line(line)?;
        if name != key.name || bytes[..4] != key.id {
            // Witnesses and later keys may sign too; what we do not know counts for nothing.
            continue;
        }
        let signature = Signature::from_slice(&bytes[4..])
            .map_err(|_| NotAccepted("the log's signature has the wrong length"))?;
        key.key
            .verify_strict(text.as_bytes(), &signature)
            .map_err(|_| NotAccepted("the log's signature does not fit"))?;
        signed = true;
    }
    if signed { Ok(text) } else { Err(NotAccepted("it is not signed by the log's key")) }
}

/// The self-contained proof text (C2SP `tlog-proof`) that entry `index` is in the tree that the note has signed.
pub fn proof_text(index: u64, hashes: &[Hash], note: &str) -> String {
    let mut text = format!("c2sp.org/tlog-proof@v1\nindex {index}\n");
    for hash in hashes {
        text.push_str(&STANDARD.encode(hash));
        text.push('\n');
    }
    text.push('\n');
    text.push_str(note);
    text
}

fn split_note(note: &[u8]) -> Result<(&str, Vec<&str>), NotAccepted> {
    if note.len() > NOTE_BYTES_MAX {
        return Err(NotAccepted("it is larger than any checkpoint"));
    }
    let note = std::str::from_utf8(note).map_err(|_| NotAccepted("it is not UTF-8"))?;
    if note.chars().any(|c| c < ' ' && c != '\n') {
        return Err(NotAccepted("it holds a control character"));
    }
    if !note.ends_with('\n') {
        return Err(NotAccepted("it does not end with a newline"));
    }
    let at = note.rfind("\n\n").ok_or(NotAccepted("it has no signatures"))?;
    let (text, signatures) = (&note[..=at], &note[at + 2..]);
    let lines: Vec<&str> = signatures.lines().collect();
    if lines.is_empty() {
        return Err(NotAccepted("it has no signatures"));
    }
    if lines.len() > SIGNATURES_MAX {
        return Err(NotAccepted("it has more than 16 signatures"));
    }
    Ok((text, lines))
}

fn signature_line(line: &str) -> Result<(&str, Vec<u8>), NotAccepted> {
    let malformed = NotAccepted("a signature line is not as it should be");
    let (name, signature) =
        line.strip_prefix("\u{2014} ").and_then(|rest| rest.split_once(' ')).ok_or(malformed.clone())?;
    let bytes = STANDARD.decode(signature).map_err(|_| malformed.clone())?;
    if !is_key_name(name) || bytes.len() < 5 {
        return Err(malformed);
    }
    Ok((name, bytes))
}

fn parse_text(text: &str) -> Result<Checkpoint, NotAccepted> {
    let mut lines = text.split_terminator('\n');
    let (Some(origin), Some(size), Some(root), None) =
        (lines.next(), lines.next(), lines.next(), lines.next())
    else {
        return Err(NotAccepted("it is not of three lines"));
    };
    let root = STANDARD.decode(root).map_err(|_| NotAccepted("its root is not base64"))?;
    let root = Hash::try_from(root.as_slice()).map_err(|_| NotAccepted("its root is not 32 bytes long"))?;
    Ok(Checkpoint { origin: origin.to_owned(), size: parse_size(size)?, root })
}

fn parse_size(text: &str) -> Result<u64, NotAccepted> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !digits || (text.len() > 1 && text.starts_with('0')) {
        return Err(NotAccepted("its size is not a plain decimal number"));
    }
    match text.parse::<u64>() {
        Ok(size) if size <= SIZE_MAX => Ok(size),
        Ok(_) | Err(_) => Err(NotAccepted("its size is too large")),
    }
}

fn is_key_name(name: &str) -> bool {
    !name.is_empty() && !name.chars().any(|c| c.is_whitespace() || c.is_control() || c == '+')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::merkle::{empty_root, leaf_hash};

    fn key() -> SigningKey {
        SigningKey::from_bytes(&[7; 32])
    }

    fn checkpoint() -> Checkpoint {
        Checkpoint { origin: "retentiond/led-1".into(), size: 70_000, root: leaf_hash(b"root") }
    }

    fn verifier() -> VerifierKey {
        VerifierKey::new("retentiond/led-1", key().verifying_key()).unwrap()
    }

    fn refused(note: &str) -> String {
        Checkpoint::open(note.as_bytes(), &verifier()).unwrap_err().to_string()
    }

    /// Signs any text, as a log with a fault would.
    fn signed(text: &str) -> String {
        let mut bytes = verifier().id.to_vec();
        bytes.extend_from_slice(&key().sign(text.as_bytes()).to_bytes());
        format!("{text}\n\u{2014} retentiond/led-1 {}\n", STANDARD.encode(bytes))
    }

    #[test]
    fn the_example_of_the_note_format_is_accepted() {
        // The verifier key and signed note that Go's golang.org/x/mod/sumdb/note documents.
        let key =
            VerifierKey::parse("PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW").unwrap();
        assert_eq!(key.to_string(), "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW");
        let text = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n";
        let note = format!(
            "{text}\n\u{2014} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
        );
        // The signature holds; only then does the text turn out to be no checkpoint.
        let refusal = Checkpoint::open(note.as_bytes(), &key).unwrap_err();
        assert_eq!(refusal.to_string(), "it is not of three lines");
        let forged = note.replace("answer", "Answer");
        assert_eq!(
            Checkpoint::open(forged.as_bytes(), &key).unwrap_err().to_string(),
            "the log's signature does not fit"
        );
    }

    #[test]
    fn a_signed_checkpoint_is_read_back() {
        let note = checkpoint().sign(&key()).unwrap();
        assert_eq!(Checkpoint::open(note.as_bytes(), &verifier()).unwrap(), checkpoint());
        let empty = Checkpoint { size: 0, root: empty_root(), ..checkpoint() };
        let note = empty.sign(&key()).unwrap();
        assert_eq!(Checkpoint::open(note.as_bytes(), &verifier()).unwrap(), empty);
    }

    #[test]
    fn the_key_text_is_read_back_and_a_wrong_id_is_refused() {
        let text = verifier().to_string();
        assert_eq!(VerifierKey::parse(&format!("{text}\n")).unwrap(), verifier());
        let other = VerifierKey::new("retentiond/led-2", key().verifying_key()).unwrap();
        assert_ne!(other.id, verifier().id, "the id covers the name too");
        for bad in [
            "",
            "name",
            "a+b",
            "retentiond/led-1+00000000+",
            &text.replace("led-1", "led-2"),
            &format!("{text}\r\n"),
        ] {
            assert!(VerifierKey::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_flipped_bit_in_any_byte_is_refused() {
        let note = checkpoint().sign(&key()).unwrap().into_bytes();
        for at in 0..note.len() {
            for bit in [0, 5] {
                let mut flipped = note.clone();
                flipped[at] ^= 1 << bit;
                // Two spellings of the same signature would be two notes; the strict base64 leaves only one.
                assert!(Checkpoint::open(&flipped, &verifier()).is_err(), "byte {at}, bit {bit}");
            }
        }
    }

    #[test]
    fn notes_that_are_not_exactly_to_the_format_are_refused() {
        let note = checkpoint().sign(&key()).unwrap();
        assert_eq!(refused(&note.replace('\n', "\r\n")), "it holds a control character");
        assert_eq!(refused(note.trim_end()), "it does not end with a newline");
        assert_eq!(refused(&format!("{note}\n")), "it has no signatures");
        assert_eq!(refused(&checkpoint().text()), "it has no signatures");
        assert_eq!(refused(""), "it does not end with a newline");
        assert_eq!(refused(&"x".repeat(NOTE_BYTES_MAX + 1)), "it is larger than any checkpoint");
    }

    #[test]
    fn texts_that_are_signed_but_no_checkpoint_are_refused() {
        let root = STANDARD.encode(leaf_hash(b"root"));
        for (size, why) in [
            ("070", "its size is not a plain decimal number"),
            ("+7", "its size is not a plain decimal number"),
            ("-1", "its size is not a plain decimal number"),
            ("", "its size is not a plain decimal number"),
            ("99999999999999999999", "its size is too large"),
            ("9223372036854775808", "its size is too large"),
        ] {
            assert_eq!(refused(&signed(&format!("retentiond/led-1\n{size}\n{root}\n"))), why, "{size}");
        }
        assert_eq!(
            refused(&signed(&format!("retentiond/led-1\n7\n{root}\nmore\n"))),
            "it is not of three lines"
        );
        assert_eq!(
            refused(&signed(&format!("retentiond/led-2\n7\n{root}\n"))),
            "its origin is not the name of the log's key"
        );
        assert_eq!(refused(&signed("retentiond/led-1\n7\nAAAA\n")), "its root is not 32 bytes long");
    }

    #[test]
    fn unknown_signers_count_for_nothing_and_ours_is_required() {
        let ours = checkpoint().sign(&key()).unwrap();
        let witness = format!("\u{2014} witness.example {}\n", STANDARD.encode([9; 76]));
        assert_eq!(
            Checkpoint::open(format!("{ours}{witness}").as_bytes(), &verifier()).unwrap(),
            checkpoint()
        );
        assert_eq!(
            refused(&format!("{}\n{witness}", checkpoint().text())),
            "it is not signed by the log's key"
        );
        let sixteen = format!("{ours}{}", witness.repeat(15));
        assert!(Checkpoint::open(sixteen.as_bytes(), &verifier()).is_ok());
        assert_eq!(refused(&format!("{sixteen}{witness}")), "it has more than 16 signatures");
        // The same name with another key is another signer.
        let forged = checkpoint().sign(&SigningKey::from_bytes(&[8; 32])).unwrap();
        assert_eq!(refused(&forged), "it is not signed by the log's key");
    }

    #[test]
    fn a_proof_is_the_index_the_hashes_and_the_note() {
        let text = proof_text(5, &[[0; 32]], "note\n");
        assert_eq!(
            text,
            "c2sp.org/tlog-proof@v1\nindex 5\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n\nnote\n"
        );
    }
}
