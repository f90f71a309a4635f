//! Prefix templates such as `rec/{tenant}/`: how a tenant becomes a prefix, and how a prefix proves a tenant.
//! It owns the substitution; which templates are valid is said by `validate`.

use crate::id::TenantId;

/// The mark that the tenant replaces.
pub const TENANT_MARK: &str = "{tenant}";

/// The exact prefix of a tenant's names. `None` where the tenant could leave its own prefix: a separator, a dot name
/// or a NUL in it.
pub fn prefix_of(template: &str, tenant: &TenantId) -> Option<String> {
    let name = tenant.as_str();
    if name.is_empty() || name == "." || name == ".." || name.contains(['/', '\\', '\0']) {
        return None;
    }
    Some(template.replace(TENANT_MARK, name))
}

/// True where `name` lies below the tenant's own prefix and its path never steps outside: no empty, `.` or `..`
/// component, and something after the prefix.
pub fn proves(template: &str, tenant: &TenantId, name: &str) -> bool {
    prefix_of(template, tenant).is_some_and(|prefix| {
        name.len() > prefix.len()
            && name.starts_with(&prefix)
            && !name.contains('\0')
            && name.split('/').all(|part| !part.is_empty() && part != "." && part != "..")
    })
}
