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
/// component, and something after the prefix. See [`proves_bytes`].
pub fn proves(template: &str, tenant: &TenantId, name: &str) -> bool {
    proves_bytes(template, tenant, name.as_bytes())
}

/// As [`proves`], for names that need not be UTF-8.
///
/// *Properties.* A template that does not end in a separator proves nothing: `rec/t-1` would also begin `rec/t-10/x`.
/// A template without `{tenant}` proves the place and not the tenant; the caller must know whose place it is.
pub fn proves_bytes(template: &str, tenant: &TenantId, name: &[u8]) -> bool {
    prefix_of(template, tenant).is_some_and(|prefix| {
        prefix.ends_with('/')
            && name.len() > prefix.len()
            && name.starts_with(prefix.as_bytes())
            && !name.contains(&0)
            && name.split(|byte| *byte == b'/').all(|part| !matches!(part, b"" | b"." | b".."))
    })
}

/// The text that stands for `{tenant}` in `name`, by one component of a template: `acme` for `app-{tenant}` and
/// `app-acme`. `None` where the name does not fit, or the component has no mark.
pub fn tenant_text<'n>(component: &str, name: &'n str) -> Option<&'n str> {
    let marks = component.matches(TENANT_MARK).count();
    let start = component.find(TENANT_MARK)?;
    let room = name.len().checked_sub(component.len() - marks * TENANT_MARK.len())?;
    if room % marks != 0 {
        return None;
    }
    let text = name.get(start..start + room / marks)?;
    (component.replace(TENANT_MARK, text) == name).then_some(text)
}

/// The tenant that a name proves by a template such as `rec/{tenant}/`. `None` where it proves none.
pub fn tenant_of(template: &str, name: &str) -> Option<TenantId> {
    let tenant = template.split('/').zip(name.split('/')).find_map(|(component, part)| {
        component.contains(TENANT_MARK).then(|| tenant_text(component, part))
    })??;
    let tenant = TenantId::observed(tenant)?;
    proves(template, &tenant, name).then_some(tenant)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(name: &str) -> TenantId {
        serde_json::from_value(name.into()).unwrap()
    }

    #[test]
    fn a_prefix_proves_its_own_tenant_and_no_neighbour() {
        let template = "rec/{tenant}/";
        assert!(proves(template, &tenant("t-1"), "rec/t-1/a.wav"));
        for neighbour in ["t-10", "T-1", "t-1x", "t-", "t"] {
            assert!(!proves(template, &tenant(neighbour), "rec/t-1/a.wav"), "{neighbour}");
        }
        assert!(!proves(template, &tenant("t-1"), "rec/t-10/a.wav"));
    }

    #[test]
    fn a_name_that_steps_outside_proves_nothing() {
        let t1 = tenant("t-1");
        for name in [
            "rec/t-1/",
            "rec/t-1",
            "rec/t-1/../t-2/a",
            "rec/t-1/./a",
            "rec/t-1//a",
            "rec/t-1/a/",
            "/rec/t-1/a",
            "x/rec/t-1/a",
            "rec/t-1/..",
            "rec/t-1/a\0b",
            "",
        ] {
            assert!(!proves("rec/{tenant}/", &t1, name), "{name:?}");
        }
        // Another tenant's prefix deeper inside is only a name.
        assert!(proves("rec/{tenant}/", &t1, "rec/t-1/rec/t-2/a"));
    }

    #[test]
    fn a_tenant_that_could_leave_its_prefix_has_none() {
        for name in ["", ".", "..", "a/b", "a\\b", "a\0b"] {
            assert_eq!(prefix_of("rec/{tenant}/", &tenant(name)), None, "{name:?}");
        }
        assert_eq!(prefix_of("rec/{tenant}/", &tenant("{tenant}")).as_deref(), Some("rec/{tenant}/"));
    }

    #[test]
    fn a_template_that_ends_in_no_separator_proves_nothing() {
        assert!(!proves("rec/{tenant}", &tenant("t-1"), "rec/t-1/a"));
        assert!(!proves("rec/{tenant}", &tenant("t-1"), "rec/t-10/a"));
    }

    #[test]
    fn names_that_are_not_utf8_are_proven_by_their_bytes() {
        assert!(proves_bytes("rec/{tenant}/", &tenant("t-1"), b"rec/t-1/\xff\xfe"));
        assert!(!proves_bytes("rec/{tenant}/", &tenant("t-1"), b"rec/t-\xff/a"));
    }

    #[test]
    fn the_tenant_is_read_out_of_a_component() {
        assert_eq!(tenant_text("{tenant}", "t-1"), Some("t-1"));
        assert_eq!(tenant_text("app-{tenant}.d", "app-t-1.d"), Some("t-1"));
        assert_eq!(tenant_text("app-{tenant}.d", "app-t-1"), None);
        assert_eq!(tenant_text("app-{tenant}", "ap"), None);
        assert_eq!(tenant_text("{tenant}-{tenant}", "ab-ab"), Some("ab"));
        assert_eq!(tenant_text("{tenant}-{tenant}", "ab-cd"), None);
        assert_eq!(tenant_text("rec", "rec"), None);
    }

    #[test]
    fn the_tenant_is_read_out_of_a_name() {
        assert_eq!(tenant_of("rec/{tenant}/", "rec/t-1/a"), Some(tenant("t-1")));
        assert_eq!(tenant_of("rec/{tenant}/x/", "rec/t-1/x/a"), Some(tenant("t-1")));
        for name in ["rec/t-1/y/a", "other/t-1/x/a", "rec/ /x/a", "rec//x/a", "rec/t-1/x/", "rec"] {
            assert_eq!(tenant_of("rec/{tenant}/x/", name), None, "{name:?}");
        }
    }
}
