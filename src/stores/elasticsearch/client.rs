//! The REST calls that this store can make, and what their answers mean as errors. It owns the transport; there is no call
//! that deletes an index or that carries a query to delete by: such a request cannot be written here.

use std::path::Path;
use std::time::Duration;

use reqwest::header::CONTENT_TYPE;
use reqwest::{Certificate, Method, redirect};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;

use super::indices::MARKER;
use crate::id::StoreId;
use crate::stores::{ErrorKind, Retry, StoreError};

/// A connection that is not there after this long is not made.
const CONNECT: Duration = Duration::from_secs(10);

/// A page of documents or a bulk request on a busy cluster takes seconds; what takes longer has failed.
const ANSWER: Duration = Duration::from_secs(120);

/// Servers refuse request lines above 4096 bytes (`http.max_initial_line_length`); the rest of the line fits beside this.
const NAMES_BYTES_MAX: usize = 3_000;

/// One of the requests that are made. All of them read, but for the marker and the bulk request.
#[derive(Debug, Clone, Copy)]
pub(super) enum Call<'c> {
    /// What the cluster says it is.
    Cluster,
    /// Which indices, aliases and data streams a pattern means.
    Resolve(&'c str),
    /// The filters of an alias.
    Alias(&'c str),
    /// Mappings of concrete indices.
    Mapping(&'c str),
    /// Settings of concrete indices.
    Settings(&'c str),
    /// Lifecycle policies of concrete indices, where a plugin manages them.
    Lifecycle(&'c str),
    /// Where snapshots are kept.
    Repositories,
    /// Whether every shard of concrete indices has a place.
    Health(&'c str),
    /// Makes what was written searchable.
    Refresh(&'c str),
    /// How many documents concrete indices hold.
    Count(&'c str),
    /// A page of one shard of one index.
    SearchShard(&'c str, u64),
    /// A search over all shards of one index.
    Search(&'c str),
    /// Documents by index, id and routing, as they are this instant.
    MultiGet,
    /// Single writes, each of which says which version of which document it means.
    Bulk,
    /// The marker.
    ReadMarker,
    /// Makes the index of the marker.
    MakeMarker,
    /// Leaves the marker where there is none.
    LeaveMarker,
}

impl Call<'_> {
    fn method(self) -> Method {
        match self {
            Self::Cluster
            | Self::Resolve(_)
            | Self::Alias(_)
            | Self::Mapping(_)
            | Self::Settings(_)
            | Self::Lifecycle(_)
            | Self::Health(_)
            | Self::Repositories
            | Self::ReadMarker => Method::GET,
            Self::Refresh(_)
            | Self::Count(_)
            | Self::SearchShard(..)
            | Self::Search(_)
            | Self::MultiGet
            | Self::Bulk => Method::POST,
            Self::MakeMarker | Self::LeaveMarker => Method::PUT,
        }
    }

    fn path(self) -> String {
        // Without it a search would answer with what it could reach, as if that were all.
        const WHOLE: &str = "allow_partial_search_results=false";
        match self {
            Self::Cluster => "/".to_owned(),
            Self::Resolve(pattern) => {
                format!("/_resolve/index/{}?expand_wildcards=all", encoded(pattern))
            }
            Self::Alias(name) => format!("/_alias/{}", encoded(name)),
            Self::Mapping(names) => format!("/{}/_mapping", encoded(names)),
            Self::Settings(names) => format!("/{}/_settings?flat_settings=true", encoded(names)),
            Self::Lifecycle(names) => format!("/_plugins/_ism/explain/{}", encoded(names)),
            Self::Repositories => "/_snapshot".to_owned(),
            Self::Health(names) => format!("/_cluster/health/{}", encoded(names)),
            Self::Refresh(names) => format!("/{}/_refresh", encoded(names)),
            Self::Count(names) => format!("/{}/_count", encoded(names)),
            Self::SearchShard(name, shard) => {
                format!("/{}/_search?preference=_shards:{shard}&{WHOLE}", encoded(name))
            }
            Self::Search(name) => format!("/{}/_search?{WHOLE}", encoded(name)),
            Self::MultiGet => "/_mget?realtime=true".to_owned(),
            Self::Bulk => "/_bulk".to_owned(),
            Self::ReadMarker => format!("/{MARKER}/_doc/{MARKER}"),
            Self::MakeMarker => format!("/{MARKER}"),
            Self::LeaveMarker => format!("/{MARKER}/_create/{MARKER}?refresh=true"),
        }
    }
}

/// What stands in a request.
#[derive(Debug)]
pub(super) enum Body {
    /// Nothing.
    None,
    /// One document.
    Json(Value),
    /// One document a line.
    Lines(Vec<Value>),
}

/// What came back, whatever the status.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Value,
}

/// A cluster behind an address.
#[derive(Debug)]
pub(super) struct Client {
    http: reqwest::Client,
    base: String,
    user: Option<(String, SecretString)>,
    store: StoreId,
}

/// A client at work on something that errors can name.
#[derive(Debug, Clone, Copy)]
pub(super) struct Session<'c> {
    client: &'c Client,
    operation: &'static str,
}

impl Client {
    /// Prepares a connection pool; nothing is sent.
    pub(super) fn new(
        store: &StoreId,
        url: &str,
        user: Option<(String, SecretString)>,
        ca_file: Option<&Path>,
    ) -> Result<Self, StoreError> {
        let error = |message: String| StoreError {
            kind: ErrorKind::Unreachable,
            retry: Retry::Never,
            operation: "open",
            store: store.clone(),
            message,
        };
        // Whoever comes first installs it; a second time changes nothing.
        drop(rustls::crypto::ring::default_provider().install_default());
        let mut builder = reqwest::Client::builder()
            .connect_timeout(CONNECT)
            .timeout(ANSWER)
            // An answer from elsewhere would be an answer of another cluster.
            .redirect(redirect::Policy::none())
            .no_proxy();
        if url.starts_with("http://") {
            // Nothing is encrypted, so that the system's authorities need not be read, which takes long.
            builder = builder.tls_certs_only([]);
        } else if let Some(path) = ca_file {
            let pem = std::fs::read(path).map_err(|trouble| {
                error(format!("cannot read the ca_file `{}`: {trouble}", path.display()))
            })?;
            let certificates = Certificate::from_pem_bundle(&pem)
                .map_err(|_| error(format!("the ca_file `{}` holds no certificate", path.display())))?;
            if certificates.is_empty() {
                return Err(error(format!("the ca_file `{}` holds no certificate", path.display())));
            }
            builder = builder.tls_certs_merge(certificates);
        }
        let http = builder.build().map_err(|trouble| error(trouble.without_url().to_string()))?;
        Ok(Self { http, base: url.trim_end_matches('/').to_owned(), user, store: store.clone() })
    }

    /// A session for one operation, as a verb: `find documents`.
    pub(super) fn session(&self, operation: &'static str) -> Session<'_> {
        Session { client: self, operation }
    }
}

impl Session<'_> {
    /// An error that trying again does not mend.
    pub(super) fn error(&self, kind: ErrorKind, message: impl Into<String>) -> StoreError {
        StoreError {
            kind,
            retry: Retry::Never,
            operation: self.operation,
            store: self.client.store.clone(),
            message: message.into(),
        }
    }

    /// An error that a later try may not meet.
    pub(super) fn later(&self, message: impl Into<String>) -> StoreError {
        StoreError { retry: Retry::Later, ..self.error(ErrorKind::Unreachable, message) }
    }

    /// The body of an answer that says yes; anything else is an error.
    pub(super) async fn ask(&self, call: Call<'_>, body: Body) -> Result<Value, StoreError> {
        let answer = self.send(call, body).await?;
        if (200..300).contains(&answer.status) { Ok(answer.body) } else { Err(self.refusal(&answer)) }
    }

    /// The body of an answer that says yes, as it came.
    pub(super) async fn ask_bytes(&self, call: Call<'_>, body: Body) -> Result<Vec<u8>, StoreError> {
        let (status, bytes) = self.exchange(call, body).await?;
        if (200..300).contains(&status) {
            return Ok(bytes);
        }
        let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        Err(self.refusal(&Answer { status, body }))
    }

    /// Whatever came back; only where nothing did it is an error.
    pub(super) async fn send(&self, call: Call<'_>, body: Body) -> Result<Answer, StoreError> {
        let (status, bytes) = self.exchange(call, body).await?;
        match serde_json::from_slice(&bytes) {
            Ok(body) => Ok(Answer { status, body }),
            // A gateway in front of the cluster answers in words of its own.
            Err(_) if !(200..300).contains(&status) => Ok(Answer { status, body: Value::Null }),
            Err(_) => Err(self.later("the answer is cut off or no JSON; is this a search cluster?")),
        }
    }

    async fn exchange(&self, call: Call<'_>, body: Body) -> Result<(u16, Vec<u8>), StoreError> {
        let client = self.client;
        let mut request = client.http.request(call.method(), format!("{}{}", client.base, call.path()));
        if let Some((user, password)) = &client.user {
            request = request.basic_auth(user, Some(password.expose_secret()));
        }
        request = match body {
            Body::None => request,
            Body::Json(value) => request.header(CONTENT_TYPE, "application/json").body(value.to_string()),
            Body::Lines(lines) => {
                let mut text = String::new();
                for line in lines {
                    text.push_str(&line.to_string());
                    text.push('\n');
                }
                request.header(CONTENT_TYPE, "application/x-ndjson").body(text)
            }
        };
        let broken = |error: reqwest::Error| {
            let why = if error.is_timeout() {
                "no answer in time".to_owned()
            } else {
                chain_of(&error.without_url())
            };
            self.later(format!("the cluster cannot be reached: {why}"))
        };
        let response = request.send().await.map_err(broken)?;
        let status = response.status().as_u16();
        let bytes = response.bytes().await.map_err(broken)?;
        Ok((status, bytes.to_vec()))
    }

    /// What an answer that says no means. Only types are repeated: reasons may hold values.
    pub(super) fn refusal(&self, answer: &Answer) -> StoreError {
        self.refusal_of(answer.status, &answer.body["error"])
    }

    /// As [`Session::refusal`], for the error of one document in an answer.
    pub(super) fn refusal_of(&self, status: u16, error: &Value) -> StoreError {
        let kind = error["type"].as_str().unwrap_or_default();
        let index = error["index"].as_str().map(|name| format!(" (index `{name}`)")).unwrap_or_default();
        match (status, kind) {
            (_, "index_closed_exception") => self.error(
                ErrorKind::Unreachable,
                format!("an index is closed{index}: open it, or leave it out of the pattern"),
            ),
            // While a cluster has no master everything is blocked, which passes.
            (503, "cluster_block_exception") => self.later(format!("the cluster is not ready{index}")),
            (_, "cluster_block_exception") => {
                let reason = error["reason"].as_str().unwrap_or("blocked");
                self.error(ErrorKind::Refused, format!("an index is blocked: {reason}"))
            }
            (429 | 502 | 503 | 504, _)
            | (_, "es_rejected_execution_exception" | "rejected_execution_exception") => self.later(format!(
                "the cluster is too busy or a shard is not available: {status} {kind}{index}"
            )),
            (401 | 403, _) => {
                self.error(ErrorKind::Refused, format!("the user is not allowed to: {status} {kind}{index}"))
            }
            (404, _) => self.error(ErrorKind::Schema, format!("it is not there: {kind}{index}")),
            (500..600, _) => self.later(format!("the cluster failed: {status} {kind}{index}")),
            _ => self.error(
                ErrorKind::Schema,
                format!("the cluster refused the question: {status} {kind}{index}"),
            ),
        }
    }
}

/// Names joined by commas, in as many groups as request lines need.
pub(super) fn groups<'n>(names: impl IntoIterator<Item = &'n str>) -> Vec<String> {
    let mut groups: Vec<String> = Vec::new();
    for name in names {
        match groups.last_mut() {
            Some(group) if encoded(group).len() + encoded(name).len() < NAMES_BYTES_MAX => {
                group.push(',');
                group.push_str(name);
            }
            _ => groups.push(name.to_owned()),
        }
    }
    groups
}

/// Percent encoding of everything that could mean something in a path, but for the comma between names.
fn encoded(text: &str) -> String {
    let mut path = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~,".contains(&byte) {
            path.push(char::from(byte));
        } else {
            path.push('%');
            for digit in [byte >> 4, byte & 15] {
                path.extend(char::from_digit(u32::from(digit), 16).map(|digit| digit.to_ascii_uppercase()));
            }
        }
    }
    path
}

/// An error with its causes; the address is not among them.
fn chain_of(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_never_becomes_another_path() {
        assert_eq!(Call::Search("a/b?x=1#*").path().split('?').next(), Some("/a%2Fb%3Fx%3D1%23%2A/_search"));
        assert_eq!(Call::Refresh("cc-a,cc-b").path(), "/cc-a,cc-b/_refresh");
    }

    #[test]
    fn no_call_deletes() {
        let calls = [
            Call::Cluster,
            Call::Resolve("a"),
            Call::Alias("a"),
            Call::Mapping("a"),
            Call::Settings("a"),
            Call::Lifecycle("a"),
            Call::Health("a"),
            Call::Repositories,
            Call::Refresh("a"),
            Call::Count("a"),
            Call::SearchShard("a", 0),
            Call::Search("a"),
            Call::MultiGet,
            Call::Bulk,
            Call::ReadMarker,
            Call::MakeMarker,
            Call::LeaveMarker,
        ];
        for call in calls {
            assert_ne!(call.method(), Method::DELETE);
            assert!(!call.path().contains("delete"), "{call:?}");
        }
    }

    #[test]
    fn many_names_go_in_several_requests() {
        let names: Vec<String> = (0..400).map(|n| format!("cc-logs-2025.01.{n:03}")).collect();
        let groups = groups(names.iter().map(String::as_str));
        assert!(groups.len() > 1 && groups.iter().all(|group| group.len() <= NAMES_BYTES_MAX));
        assert_eq!(groups.join(","), names.join(","));
    }
}
