//! (being built)
use crate::facts::Capability;
/// (being built)
pub fn capability() -> Capability {
    unimplemented!()
}
