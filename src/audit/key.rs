//! The key that signs the log: made once, on first use, readable by its owner only.
//! It owns `log.key` and `log.key.pub`; when a key may be made is decided by who calls it.

use std::os::unix::fs::PermissionsExt;

use ed25519_dalek::SigningKey;
use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{DecodePrivateKey, EncodePrivateKey};

use crate::audit::AuditError;
use crate::audit::checkpoint::{Checkpoint, NotAccepted, VerifierKey, sign_note};
use crate::audit::folder::{Access, Folder, KEY, PUBLIC_KEY};

/// The signing key, with its public half under the log's name.
pub(crate) struct LogKey {
    signing: SigningKey,
    verifier: VerifierKey,
}

impl LogKey {
    /// A new key from the system's randomness, in memory only.
    pub(crate) fn generate(origin: &str) -> Result<Self, AuditError> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed)
            .map_err(|error| AuditError::Refused(format!("the system gives no randomness: {error}")))?;
        Self::new(SigningKey::from_bytes(&seed), origin)
    }

    /// The key in the folder; `None` where there is none. A public half that is missing is written anew.
    pub(crate) fn load(folder: &mut Folder, origin: &str) -> Result<Option<Self>, AuditError> {
        let Some(bytes) = folder.read(KEY)? else { return Ok(None) };
        let mode = folder.path().join(KEY).metadata().map_or(0, |metadata| metadata.permissions().mode());
        if mode & 0o077 != 0 {
            return Err(AuditError::Refused(
                "log.key can be read by others than its owner; hint: chmod 600 it".into(),
            ));
        }
        let signing =
            std::str::from_utf8(&bytes)
                .ok()
                .and_then(|pem| SigningKey::from_pkcs8_pem(pem).ok())
                .ok_or_else(|| AuditError::Refused("log.key is not an Ed25519 key in PKCS#8 PEM".into()))?;
        let key = Self::new(signing, origin)?;
        match public(folder)? {
            None => {
                folder.write(PUBLIC_KEY, key.public_text().as_bytes(), Access::Shared)?;
                folder.sync()?;
            }
            Some(Ok(known)) if known == key.verifier => {}
            Some(Ok(_) | Err(_)) => {
                return Err(AuditError::Refused("log.key.pub is not the public half of log.key".into()));
            }
        }
        Ok(Some(key))
    }

    /// Both halves are on disk for good once this returns.
    pub(crate) fn save(&self, folder: &mut Folder) -> Result<(), AuditError> {
        let pem = self
            .signing
            .to_pkcs8_pem(LineEnding::LF)
            .map_err(|error| AuditError::Refused(format!("the key cannot be encoded: {error}")))?;
        folder.write(KEY, pem.as_bytes(), Access::Secret)?;
        folder.write(PUBLIC_KEY, self.public_text().as_bytes(), Access::Shared)?;
        folder.sync()
    }

    /// The public half.
    pub(crate) fn verifier(&self) -> &VerifierKey {
        &self.verifier
    }

    /// The signed note of a checkpoint.
    pub(crate) fn sign(&self, checkpoint: &Checkpoint) -> Result<String, AuditError> {
        checkpoint.sign(&self.signing).map_err(|error| AuditError::Refused(error.to_string()))
    }

    /// The signed note of a text that is no checkpoint.
    pub(crate) fn sign_text(&self, text: &str) -> Result<String, AuditError> {
        sign_note(text, self.verifier.name(), &self.signing)
            .map_err(|error| AuditError::Refused(error.to_string()))
    }

    fn new(signing: SigningKey, origin: &str) -> Result<Self, AuditError> {
        let verifier = VerifierKey::new(origin, signing.verifying_key())
            .map_err(|error| AuditError::Refused(format!("the log cannot be named `{origin}`: {error}")))?;
        Ok(Self { signing, verifier })
    }

    fn public_text(&self) -> String {
        format!("{}\n", self.verifier)
    }
}

/// What `log.key.pub` says; `None` where it is not there.
pub(crate) fn public(folder: &Folder) -> Result<Option<Result<VerifierKey, NotAccepted>>, AuditError> {
    Ok(folder.read(PUBLIC_KEY)?.map(|bytes| VerifierKey::parse(&String::from_utf8_lossy(&bytes))))
}
