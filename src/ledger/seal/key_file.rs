//! The file that holds the master key: made once, readable by its owner only.
//! It owns how the file is made and which one is refused; it does not use the key.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use secrecy::zeroize::Zeroizing;

use super::{KEY_BYTES, Key, fill_random};
use crate::ledger::LedgerError;

/// Reads the key. `None` where there is no such file.
pub(in crate::ledger) fn read(path: &Path) -> Result<Option<Key>, LedgerError> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("read the key file", path, &error)),
    };
    let about = file.metadata().map_err(|error| failed("read the key file", path, &error))?;
    if about.mode() & 0o077 != 0 {
        return Err(LedgerError::Doubt(format!(
            "the key file {} can be read by others than its owner; hint: chmod 600 it, and make a new ledger if \
             somebody may have read it",
            path.display()
        )));
    }
    let mut text = Zeroizing::new(String::new());
    file.read_to_string(&mut text).map_err(|error| failed("read the key file", path, &error))?;
    let mut key: Key = Zeroizing::new([0; KEY_BYTES]);
    hex::decode_to_slice(text.trim_end(), key.as_mut_slice()).map_err(|_| {
        LedgerError::Doubt(format!("the key file {} does not hold 64 hex digits", path.display()))
    })?;
    Ok(Some(key))
}

/// Reads the key, or makes the file with a random one.
///
/// *Properties*: two processes that come first at the same time end up with the same key; a file that exists is
/// never changed; the key is on disk before this returns.
pub(in crate::ledger) fn make_or_read(path: &Path) -> Result<Key, LedgerError> {
    if let Some(key) = read(path)? {
        return Ok(key);
    }
    make(path)?;
    read(path)?.ok_or_else(|| {
        LedgerError::Doubt(format!("the key file {} is gone as soon as it was made", path.display()))
    })
}

/// Writes the key aside and links it into place, so that nobody ever reads half of it.
fn make(path: &Path) -> Result<(), LedgerError> {
    let fail = |error: &std::io::Error| failed("make the key file", path, error);
    let mut key: Key = Zeroizing::new([0; KEY_BYTES]);
    fill_random(key.as_mut_slice())?;
    let mut mark = [0; 8];
    fill_random(&mut mark)?;
    let mut aside = path.as_os_str().to_owned();
    aside.push(format!(".new-{}", hex::encode(mark)));
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&aside)
        .map_err(|error| fail(&error))?;
    let text = Zeroizing::new(format!("{}\n", hex::encode(key.as_slice())));
    let linked = file
        .write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::hard_link(&aside, path));
    fs::remove_file(&aside).map_err(|error| fail(&error))?;
    match linked {
        // Another process was first: its key counts.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        Err(error) => return Err(fail(&error)),
        Ok(()) => {}
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(|error| fail(&error))
}

fn failed(operation: &'static str, path: &Path, error: &std::io::Error) -> LedgerError {
    LedgerError::Unreachable { operation, message: format!("{}: {error}", path.display()) }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_key_file_is_made_once_for_its_owner_only() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("ledger.key");
        assert!(read(&path).expect("no error").is_none());
        let first = make_or_read(&path).expect("made");
        assert_eq!(fs::metadata(&path).expect("there").mode() & 0o777, 0o600);
        assert_eq!(first.as_slice(), make_or_read(&path).expect("read").as_slice());
        assert_eq!(fs::read_dir(dir.path()).expect("a folder").count(), 1, "nothing is left aside");
    }

    #[test]
    fn a_key_file_that_others_can_read_or_that_is_cut_is_refused() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("ledger.key");
        make_or_read(&path).expect("made");
        for mode in [0o640, 0o604, 0o620] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("chmod");
            assert!(matches!(read(&path), Err(LedgerError::Doubt(_))), "{mode:o}");
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("chmod");
        assert!(read(&path).expect("fine again").is_some());
        fs::write(&path, "00ff").expect("cut");
        assert!(matches!(make_or_read(&path), Err(LedgerError::Doubt(_))));
    }
}
