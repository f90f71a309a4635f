//! The body of a request, a JSON object, read into what is asked for.
//! It owns the fields of the specification and of our extension; it records nothing and never repeats a value.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Map, Value};

use crate::id::TenantId;

/// Most subjects of one request, so that a request stays one person's.
const SUBJECTS_MAX: usize = 100;

/// Most addresses that are told of changes.
const CALLBACKS_MAX: usize = 8;

/// Longest value of a subject, as on the command line.
const VALUE_BYTES_MAX: usize = 1_024;

/// How far the clock of the other side may be ahead of ours. The clock of the request starts at the receipt then.
const AHEAD_MAX: TimeDelta = TimeDelta::seconds(300);

/// What a request is read against.
#[derive(Debug, Clone)]
pub struct Terms<'t> {
    /// Our domain: the key of our extension.
    pub domain: &'t str,
    /// Kinds of subject by the identity types of the specification that can be matched.
    pub types: &'t BTreeMap<String, String>,
    /// Kinds of subject that our extension may name.
    pub kinds: &'t BTreeSet<String>,
    /// The receipt.
    pub now: DateTime<Utc>,
}

/// What is asked for.
#[derive(Clone, PartialEq, Eq)]
pub struct Asked {
    /// The controller's own id of the request.
    pub subject_request_id: String,
    /// When the subject asked.
    pub submitted_at: DateTime<Utc>,
    /// The tenant, where our extension names one.
    pub tenant: Option<TenantId>,
    /// Kinds and values, sorted, each once.
    pub subjects: Vec<(String, String)>,
    /// Where changes are to be told.
    pub callbacks: Vec<String>,
}

/// One thing that is wrong with a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// A stable word.
    pub reason: &'static str,
    /// A sentence for people, without any value of the request.
    pub message: String,
}

impl Fault {
    /// Joins the two.
    pub fn new(reason: &'static str, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }
}

/// Reads a request.
///
/// # Errors
/// Everything that is wrong with it, at once.
pub fn read(body: &Map<String, Value>, terms: &Terms<'_>) -> Result<Asked, Vec<Fault>> {
    let mut reading = Reading { faults: Vec::new(), terms };
    let asked = reading.request(body);
    match asked {
        Some(asked) if reading.faults.is_empty() => Ok(asked),
        Some(_) | None => Err(reading.faults),
    }
}

struct Reading<'t> {
    faults: Vec<Fault>,
    terms: &'t Terms<'t>,
}

impl Reading<'_> {
    fn fault<T>(&mut self, reason: &'static str, message: impl Into<String>) -> Option<T> {
        self.faults.push(Fault::new(reason, message));
        None
    }

    fn request(&mut self, body: &Map<String, Value>) -> Option<Asked> {
        const KNOWN: [&str; 8] = [
            "regulation",
            "subject_request_id",
            "subject_request_type",
            "submitted_time",
            "subject_identities",
            "api_version",
            "status_callback_urls",
            "extensions",
        ];
        self.refuse_unknown(body, &KNOWN, "the body");
        self.regulation(body);
        self.version(body);
        self.kind_of_request(body);
        let subject_request_id = self.id(body);
        let submitted_at = self.submitted(body);
        let extension = self.extension(body);
        let mut subjects = self.identities(body, extension);
        let tenant = extension.and_then(|extension| self.tenant(extension));
        let callbacks = self.callbacks(body);
        subjects.sort();
        subjects.dedup();
        if subjects.is_empty() && self.faults.is_empty() {
            return self.fault("missing_identity", "the request names nobody");
        }
        if subjects.len() > SUBJECTS_MAX {
            return self.fault("too_many", format!("a request names at most {SUBJECTS_MAX} identities"));
        }
        let (subject_request_id, submitted_at) = (subject_request_id?, submitted_at?);
        Some(Asked { subject_request_id, submitted_at, tenant, subjects, callbacks })
    }

    fn refuse_unknown(&mut self, map: &Map<String, Value>, known: &[&str], place: &str) {
        if map.keys().any(|key| !known.contains(&key.as_str())) {
            let all = known.join(", ");
            self.fault::<()>("unknown_field", format!("{place} has a field other than {all}"));
        }
    }

    /// A text that must be there.
    fn text<'b>(&mut self, map: &'b Map<String, Value>, name: &str) -> Option<&'b str> {
        match map.get(name) {
            Some(Value::String(text)) if !text.trim().is_empty() => Some(text),
            Some(_) => self.fault("invalid_field", format!("`{name}` is not a text, or an empty one")),
            None => self.fault("missing_field", format!("`{name}` is missing")),
        }
    }

    fn regulation(&mut self, body: &Map<String, Value>) {
        // An official example has none, and version 1 did not know it.
        if body.contains_key("regulation")
            && self.text(body, "regulation").is_some_and(|word| !["gdpr", "ccpa"].contains(&word))
        {
            self.fault::<()>("unknown_regulation", "`regulation` is neither gdpr nor ccpa");
        }
    }

    fn version(&mut self, body: &Map<String, Value>) {
        if body.contains_key("api_version")
            && self
                .text(body, "api_version")
                .is_some_and(|text| !["0", "1", "2"].contains(&text.split('.').next().unwrap_or_default()))
        {
            self.fault::<()>("unknown_version", "`api_version` is neither 2 nor an earlier one");
        }
    }

    fn kind_of_request(&mut self, body: &Map<String, Value>) {
        match self.text(body, "subject_request_type") {
            Some("erasure") | None => {}
            Some("access" | "portability") => {
                let message = "only `erasure` is taken here; the tenant exports its data itself, with its own \
                               credential";
                self.fault::<()>("unsupported_request_type", message);
            }
            Some(_) => {
                self.fault::<()>("unsupported_request_type", "`subject_request_type` is not `erasure`");
            }
        }
    }

    fn id(&mut self, body: &Map<String, Value>) -> Option<String> {
        let text = self.text(body, "subject_request_id")?;
        if is_uuid(text) {
            return Some(text.to_owned());
        }
        self.fault("invalid_field", "`subject_request_id` is not a UUID of version 4 in lower case")
    }

    fn submitted(&mut self, body: &Map<String, Value>) -> Option<DateTime<Utc>> {
        let text = self.text(body, "submitted_time")?;
        let read = DateTime::parse_from_rfc3339(text).map(|at| at.to_utc());
        let Some(at) = read.ok().filter(|at| at.timestamp_subsec_nanos() < 1_000_000_000) else {
            return self.fault("invalid_field", "`submitted_time` is not an RFC 3339 time");
        };
        if at > self.terms.now + AHEAD_MAX {
            return self.fault("future_time", "`submitted_time` lies in the future");
        }
        // Before that there was no such right, so the clock of the sender is wrong.
        if at < DateTime::from_timestamp(946_684_800, 0)? {
            return self.fault("implausible_time", "`submitted_time` lies before the year 2000");
        }
        Some(at)
    }

    /// The object under our domain.
    fn extension<'b>(&mut self, body: &'b Map<String, Value>) -> Option<&'b Map<String, Value>> {
        let Value::Object(domains) = body.get("extensions")? else {
            return self.fault("invalid_field", "`extensions` is not an object");
        };
        let Value::Object(ours) = domains.get(self.terms.domain)? else {
            return self.fault("invalid_field", "our extension is not an object");
        };
        self.refuse_unknown(ours, &["tenant_id", "identities"], "our extension");
        Some(ours)
    }

    fn tenant(&mut self, extension: &Map<String, Value>) -> Option<TenantId> {
        if !extension.contains_key("tenant_id") {
            return None;
        }
        let text = self.text(extension, "tenant_id")?;
        match TenantId::parse(text) {
            Ok(tenant) => Some(tenant),
            Err(_) => self.fault("invalid_field", "`tenant_id` is not the name of a tenant"),
        }
    }

    fn identities(
        &mut self,
        body: &Map<String, Value>,
        extension: Option<&Map<String, Value>>,
    ) -> Vec<(String, String)> {
        let mut subjects = Vec::new();
        let terms = self.terms;
        for item in self.list(body, "subject_identities") {
            let found = self.identity(item, |kind| terms.types.get(kind).map(String::as_str));
            subjects.extend(found);
        }
        for item in extension.map(|extension| self.list(extension, "identities")).unwrap_or_default() {
            let found = self.identity(item, |kind| terms.kinds.get(kind).map(String::as_str));
            subjects.extend(found);
        }
        subjects
    }

    fn list<'b>(&mut self, map: &'b Map<String, Value>, name: &str) -> &'b [Value] {
        match map.get(name) {
            None => &[],
            Some(Value::Array(items)) if items.len() <= SUBJECTS_MAX => items,
            Some(Value::Array(_)) => {
                self.fault::<()>("too_many", format!("`{name}` has more than {SUBJECTS_MAX} entries"));
                &[]
            }
            Some(_) => {
                self.fault::<()>("invalid_field", format!("`{name}` is not a list"));
                &[]
            }
        }
    }

    fn identity<'k>(
        &mut self,
        item: &Value,
        kind_of: impl FnOnce(&str) -> Option<&'k str>,
    ) -> Option<(String, String)> {
        let Value::Object(item) = item else {
            return self.fault("invalid_identity", "an identity is not an object");
        };
        self.refuse_unknown(item, &["identity_type", "identity_value", "identity_format"], "an identity");
        let kind = self.text(item, "identity_type");
        let value = self.text(item, "identity_value");
        let format = self.text(item, "identity_format");
        let (kind, value, format) = (kind?, value?, format?);
        let Some(kind) = kind_of(kind) else {
            return self.fault("unsupported_identity", "an identity has a type that discovery does not list");
        };
        match format {
            "raw" => {}
            "e164" if is_e164(value) => {}
            "e164" => return self.fault("invalid_identity", "an identity is not a number as in E.164"),
            _ => {
                return self
                    .fault("unsupported_identity", "an identity has a format that discovery does not list");
            }
        }
        if value.len() > VALUE_BYTES_MAX || value.chars().any(char::is_control) || value.trim() != value {
            let message = "an identity is longer than 1024 bytes, or holds a control character or white space around it";
            return self.fault("invalid_identity", message);
        }
        if value.chars().all(|c| "*%?_".contains(c)) {
            return self.fault("invalid_identity", "an identity is a pattern, and no pattern is ever taken");
        }
        Some((kind.to_owned(), value.to_owned()))
    }

    fn callbacks(&mut self, body: &Map<String, Value>) -> Vec<String> {
        let items = self.list(body, "status_callback_urls");
        let mut urls: Vec<String> = Vec::new();
        for item in items {
            match item.as_str() {
                Some(url) if urls.iter().any(|known| known == url) => {}
                Some(url) => urls.push(url.to_owned()),
                None => self.fault::<()>("invalid_field", "a callback is not a text").unwrap_or_default(),
            }
        }
        if urls.len() > CALLBACKS_MAX {
            self.fault::<()>("too_many", format!("a request has at most {CALLBACKS_MAX} callbacks"));
        }
        urls
    }
}

/// A UUID of version 4 in lower case, with hyphens.
pub fn is_uuid(text: &str) -> bool {
    uuid::Uuid::parse_str(text)
        .is_ok_and(|id| id.hyphenated().to_string() == text && id.get_version_num() == 4)
}

/// `+`, then 7 to 15 digits, the first of which is not 0.
fn is_e164(text: &str) -> bool {
    text.strip_prefix('+').is_some_and(|digits| {
        (7..=15).contains(&digits.len())
            && !digits.starts_with('0')
            && digits.bytes().all(|byte| byte.is_ascii_digit())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const ID: &str = "a7551968-d5d6-44b2-9831-815ac9017798";

    fn at(text: &str) -> DateTime<Utc> {
        DateTime::parse_from_rfc3339(text).unwrap().to_utc()
    }

    fn good() -> Value {
        json!({
            "regulation": "gdpr",
            "subject_request_id": ID,
            "subject_request_type": "erasure",
            "submitted_time": "2026-11-01T15:00:00Z",
            "subject_identities": [
                {"identity_type": "email", "identity_value": "a@example.org", "identity_format": "raw"},
            ],
            "api_version": "2.0",
            "status_callback_urls": ["https://controller.example.com/opendsr/callbacks"],
            "extensions": {
                "other.example.com": {"whatever": 1},
                "opendsr.example.com": {
                    "tenant_id": "acme",
                    "identities": [
                        {"identity_type": "phone", "identity_value": "+6591110001", "identity_format": "e164"},
                        {"identity_type": "agent", "identity_value": "A1", "identity_format": "raw"},
                    ],
                },
            },
        })
    }

    fn read_text(text: &str) -> Result<Asked, Vec<Fault>> {
        let types = BTreeMap::from([("email".to_owned(), "mail".to_owned())]);
        let kinds = BTreeSet::from(["phone".to_owned(), "agent".to_owned()]);
        let now = at("2026-11-24T12:00:00Z");
        read(
            &serde_json::from_str(text).unwrap(),
            &Terms { domain: "opendsr.example.com", types: &types, kinds: &kinds, now },
        )
    }

    fn with(change: impl FnOnce(&mut Value)) -> Result<Asked, Vec<Fault>> {
        let mut body = good();
        change(&mut body);
        read_text(&body.to_string())
    }

    fn reasons(read: Result<Asked, Vec<Fault>>) -> Vec<&'static str> {
        read.err().expect("refused").iter().map(|fault| fault.reason).collect()
    }

    #[test]
    fn a_request_with_our_extension_is_read_whole() {
        let Ok(asked) = read_text(&good().to_string()) else { panic!("refused") };
        assert_eq!(asked.subject_request_id, ID);
        assert_eq!(asked.submitted_at, at("2026-11-01T15:00:00Z"));
        assert_eq!(asked.tenant.as_ref().map(TenantId::as_str), Some("acme"));
        let subjects = [("agent", "A1"), ("mail", "a@example.org"), ("phone", "+6591110001")];
        assert_eq!(asked.subjects, subjects.map(|(kind, value)| (kind.to_owned(), value.to_owned())));
        assert_eq!(asked.callbacks, ["https://controller.example.com/opendsr/callbacks"]);
    }

    #[test]
    fn what_the_official_examples_leave_out_may_be_left_out() {
        let least = with(|body| {
            for name in ["regulation", "api_version", "status_callback_urls", "extensions"] {
                body.as_object_mut().unwrap().remove(name);
            }
        });
        assert!(least.is_ok_and(|asked| asked.tenant.is_none() && asked.callbacks.is_empty()));
        // Identities may all be in the extension.
        assert!(with(|body| drop(body.as_object_mut().unwrap().remove("subject_identities"))).is_ok());
    }

    #[test]
    fn every_fault_has_its_reason_and_no_value_is_repeated() {
        type Change = fn(&mut Value);
        let cases: [(&str, Change); 24] = [
            ("unknown_field", |b| b["secret-7"] = json!(1)),
            ("unknown_regulation", |b| b["regulation"] = json!("secret-7")),
            ("unknown_version", |b| b["api_version"] = json!("3.0")),
            ("unsupported_request_type", |b| b["subject_request_type"] = json!("access")),
            ("unsupported_request_type", |b| b["subject_request_type"] = json!("portability")),
            ("unsupported_request_type", |b| b["subject_request_type"] = json!("secret-7")),
            ("invalid_field", |b| b["subject_request_id"] = json!("A7551968-D5D6-44B2-9831-815AC9017798")),
            ("invalid_field", |b| b["subject_request_id"] = json!("a7551968-d5d6-14b2-9831-815ac9017798")),
            ("invalid_field", |b| b["subject_request_id"] = json!("secret-7")),
            ("invalid_field", |b| b["submitted_time"] = json!("2026-11-01 15:00")),
            ("invalid_field", |b| b["submitted_time"] = json!(1_793_545_200)),
            ("implausible_time", |b| b["submitted_time"] = json!("1970-01-01T00:00:00Z")),
            ("invalid_field", |b| b["subject_identities"] = json!("secret-7")),
            ("invalid_identity", |b| b["subject_identities"][0] = json!(["secret-7"])),
            ("invalid_field", |b| b["subject_identities"][0]["identity_value"] = json!(["secret-7"])),
            ("invalid_field", |b| b["subject_identities"][0]["identity_value"] = json!(" ")),
            ("invalid_identity", |b| b["subject_identities"][0]["identity_value"] = json!("*")),
            ("invalid_identity", |b| b["subject_identities"][0]["identity_value"] = json!("secret-7\n")),
            ("unsupported_identity", |b| b["subject_identities"][0]["identity_format"] = json!("sha256")),
            ("unsupported_identity", |b| b["subject_identities"][0]["identity_type"] = json!("android_id")),
            ("too_many", |b| b["subject_identities"] = json!(vec!["secret-7"; 10_000])),
            ("invalid_field", |b| {
                b["extensions"]["opendsr.example.com"]["tenant_id"] = json!("a/../secret-7");
            }),
            ("unknown_field", |b| b["extensions"]["opendsr.example.com"]["password"] = json!("secret-7")),
            ("invalid_identity", |b| {
                b["extensions"]["opendsr.example.com"]["identities"][0]["identity_value"] =
                    json!("+065secret-7");
            }),
        ];
        for (reason, change) in cases {
            let faults = with(change).err().unwrap_or_else(|| panic!("{reason}: accepted"));
            assert_eq!(faults.iter().map(|fault| fault.reason).collect::<Vec<_>>(), [reason], "{faults:?}");
            assert!(!faults[0].message.contains("secret"), "{faults:?}");
        }
    }

    #[test]
    fn all_faults_are_told_at_once() {
        let found = reasons(with(|body| {
            body["subject_request_type"] = json!("access");
            body["submitted_time"] = json!("soon");
            body["extra"] = json!(1);
        }));
        assert_eq!(found, ["unknown_field", "unsupported_request_type", "invalid_field"]);
        assert_eq!(reasons(read_text("{}")).len(), 3);
    }

    #[test]
    fn a_request_from_the_future_is_refused_but_a_clock_may_be_five_minutes_ahead() {
        let sent = |text: &str| with(|body| body["submitted_time"] = json!(text));
        assert!(sent("2026-11-24T12:05:00Z").is_ok());
        assert_eq!(reasons(sent("2026-11-24T12:05:01Z")), ["future_time"]);
    }

    #[test]
    fn a_request_that_names_nobody_is_refused() {
        let found = with(|body| {
            body["subject_identities"] = json!([]);
            body["extensions"] = json!({});
        });
        assert_eq!(reasons(found), ["missing_identity"]);
    }
}
