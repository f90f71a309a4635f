//! Sealing of what a ledger may hold but not show: subject values and batches, and keyed fingerprints of them.
//! It owns the master key and its file; it does not know which rows exist.

mod key_file;

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hmac;
use secrecy::zeroize::Zeroizing;

use super::LedgerError;
use crate::id::{Fingerprint, TenantId};

pub(super) use key_file::{make_or_read, read};

/// ChaCha20-Poly1305 and HMAC-SHA-256 both take 256 bits.
const KEY_BYTES: usize = 32;

/// A key in memory; zeroed when dropped.
type Key = Zeroizing<[u8; KEY_BYTES]>;

/// The master key of a ledger. Wraps the keys of rows, makes fingerprints.
pub(super) struct Seal {
    master: Key,
}

/// The own key of one request, hold or run.
pub(super) struct RowKey {
    key: Key,
    owner: String,
}

impl Seal {
    /// Takes the master key.
    pub(super) fn new(master: Key) -> Self {
        Self { master }
    }

    /// What the ledger remembers of its key, to notice another one.
    pub(super) fn check_value(&self, ledger_id: &str) -> String {
        hex::encode(self.derive("check", ledger_id.as_bytes()).as_slice())
    }

    /// The keyed fingerprint of a subject: the same tenant, kind and value give the same one, and nothing else does.
    pub(super) fn fingerprint(&self, tenant: &TenantId, kind: &str, value: &str) -> Fingerprint {
        let key = self.derive("fingerprint", tenant.as_str().as_bytes());
        let text = Zeroizing::new([kind.as_bytes(), b"\0", value.as_bytes()].concat());
        Fingerprint::new(hex::encode(&mac(key.as_slice(), &text)[..16]))
    }

    /// A keyed digest, for comparing what may not be stored.
    pub(super) fn digest(&self, purpose: &str, text: &str) -> String {
        hex::encode(mac(self.derive("digest", purpose.as_bytes()).as_slice(), text.as_bytes()))
    }

    /// A new random key for a row, and the form of it that may be stored.
    pub(super) fn new_row_key(&self, owner: &str) -> Result<(RowKey, Vec<u8>), LedgerError> {
        let mut key: Key = Zeroizing::new([0; KEY_BYTES]);
        fill_random(key.as_mut_slice())?;
        let stored = seal(&self.wrapping_key(), owner, key.as_slice())?;
        Ok((RowKey { key, owner: owner.to_owned() }, stored))
    }

    /// The key of a row, from its stored form.
    pub(super) fn row_key(&self, owner: &str, stored: &[u8]) -> Result<RowKey, LedgerError> {
        let plain = open(&self.wrapping_key(), owner, stored)?;
        let bytes: [u8; KEY_BYTES] = plain.as_slice().try_into().map_err(|_| does_not_open(owner))?;
        Ok(RowKey { key: Zeroizing::new(bytes), owner: owner.to_owned() })
    }

    fn wrapping_key(&self) -> Key {
        self.derive("wrap", b"")
    }

    fn derive(&self, purpose: &str, context: &[u8]) -> Key {
        Zeroizing::new(mac(self.master.as_slice(), &[purpose.as_bytes(), b"\0", context].concat()))
    }
}

impl RowKey {
    /// Seals a text under this key. `place` says which text of the owner it is, so that two cannot be swapped.
    pub(super) fn seal(&self, place: &str, text: &str) -> Result<Vec<u8>, LedgerError> {
        seal(&self.key, &self.context(place), text.as_bytes())
    }

    /// Opens what [`RowKey::seal`] made for the same place.
    pub(super) fn open(&self, place: &str, sealed: &[u8]) -> Result<Zeroizing<String>, LedgerError> {
        let plain = open(&self.key, &self.context(place), sealed)?;
        let text = std::str::from_utf8(&plain).map_err(|_| does_not_open(&self.owner))?;
        Ok(Zeroizing::new(text.to_owned()))
    }

    fn context(&self, place: &str) -> String {
        format!("{}\0{place}", self.owner)
    }
}

/// Fills with random bytes of the operating system.
pub(super) fn fill_random(bytes: &mut [u8]) -> Result<(), LedgerError> {
    getrandom::fill(bytes).map_err(|error| LedgerError::Unreachable {
        operation: "get random bytes",
        message: error.to_string(),
    })
}

/// Nonce, cipher text, tag. The nonce is random: a row's key seals far fewer than 2^32 texts.
fn seal(key: &Key, context: &str, plain: &[u8]) -> Result<Vec<u8>, LedgerError> {
    let mut nonce = [0; NONCE_LEN];
    fill_random(&mut nonce)?;
    let mut text = plain.to_vec();
    cipher(key)?
        .seal_in_place_append_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(context.as_bytes()),
            &mut text,
        )
        .map_err(|_| LedgerError::State("failed to seal: the text is too long".to_owned()))?;
    Ok([&nonce[..], &text].concat())
}

fn open(key: &Key, context: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, LedgerError> {
    let owner = context.split('\0').next().unwrap_or_default();
    let (nonce, text) = sealed.split_at_checked(NONCE_LEN).ok_or_else(|| does_not_open(owner))?;
    let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| does_not_open(owner))?;
    let mut text = Zeroizing::new(text.to_vec());
    let length = cipher(key)?
        .open_in_place(nonce, Aad::from(context.as_bytes()), &mut text)
        .map_err(|_| does_not_open(owner))?
        .len();
    text.truncate(length);
    Ok(text)
}

fn cipher(key: &Key) -> Result<LessSafeKey, LedgerError> {
    let unbound = UnboundKey::new(&CHACHA20_POLY1305, key.as_slice())
        .map_err(|_| LedgerError::Doubt("the key file does not hold a key of 32 bytes".to_owned()))?;
    Ok(LessSafeKey::new(unbound))
}

fn mac(key: &[u8], text: &[u8]) -> [u8; KEY_BYTES] {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text);
    let mut bytes = [0; KEY_BYTES];
    bytes.copy_from_slice(tag.as_ref());
    bytes
}

fn does_not_open(owner: &str) -> LedgerError {
    LedgerError::Doubt(format!(
        "what is sealed for `{owner}` does not open: the key file is another one, or the ledger is damaged"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seal_of(byte: u8) -> Seal {
        Seal::new(Zeroizing::new([byte; KEY_BYTES]))
    }

    #[test]
    fn a_sealed_text_opens_only_with_its_key_its_owner_and_its_place() {
        let seal = seal_of(1);
        let (key, stored) = seal.new_row_key("req-1").expect("a key");
        let sealed = key.seal("subjects", "+6591234567").expect("sealed");
        let again = seal.row_key("req-1", &stored).expect("the same key");
        assert_eq!(again.open("subjects", &sealed).expect("opens").as_str(), "+6591234567");
        assert!(again.open("batch-1", &sealed).is_err(), "another place");
        assert!(seal.row_key("req-2", &stored).is_err(), "another owner");
        assert!(seal_of(2).row_key("req-1", &stored).is_err(), "another master key");
        let mut flipped = sealed;
        flipped[NONCE_LEN] ^= 1;
        assert!(again.open("subjects", &flipped).is_err(), "a flipped bit");
        assert!(again.open("subjects", &[]).is_err(), "nothing");
    }

    #[test]
    fn a_fingerprint_depends_on_key_tenant_kind_and_value() {
        let tenant = |text: &str| TenantId::parse(text).expect("a tenant");
        let seal = seal_of(1);
        let print = seal.fingerprint(&tenant("t-1"), "phone", "1");
        assert_eq!(print, seal.fingerprint(&tenant("t-1"), "phone", "1"));
        assert_eq!(print.as_str().len(), 32);
        for other in [
            seal_of(2).fingerprint(&tenant("t-1"), "phone", "1"),
            seal.fingerprint(&tenant("t-10"), "phone", "1"),
            seal.fingerprint(&tenant("T-1"), "phone", "1"),
            seal.fingerprint(&tenant("t-1"), "agent", "1"),
            seal.fingerprint(&tenant("t-1"), "phone", "10"),
        ] {
            assert_ne!(print, other);
        }
    }
}
