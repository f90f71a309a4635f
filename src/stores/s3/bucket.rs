//! A bucket and the client that reaches it: signing, time-outs, retries, and what an error of the server means.
//! It owns the connection; what is listed, judged and erased is said by the others.

use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::config::interceptors::AfterDeserializationInterceptorContextRef;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    BehaviorVersion, ConfigBag, Credentials, Intercept, ProvideCredentials as _, Region,
    RequestChecksumCalculation, ResponseChecksumValidation, RuntimeComponents,
};
use aws_sdk_s3::error::{BoxError, ProvideErrorMetadata, SdkError};
use aws_smithy_http_client::tls::{self, rustls_provider::CryptoMode};
use secrecy::ExposeSecret as _;

use crate::config::{DeleteIntegrity, S3Config};
use crate::id::StoreId;
use crate::stores::{ErrorKind, Retry, StoreError};

/// The region where the configuration names none. Most servers that are not AWS ask for no other.
const REGION_DEFAULT: &str = "us-east-1";

/// One request, from sending it to its whole answer. A `DeleteObjects` of 1,000 keys on a busy server takes seconds.
const ATTEMPT: Duration = Duration::from_secs(60);

/// How long credentials may take to be found: outside a cloud, its address for them never answers.
const CREDENTIALS: Duration = Duration::from_secs(10);

/// Tries of the client for one request; the caller tries again on top of that.
const TRIES: u32 = 3;

/// A bucket, reached.
#[derive(Debug, Clone)]
pub(super) struct Bucket {
    pub(super) id: StoreId,
    pub(super) client: Client,
    pub(super) name: String,
    pub(super) integrity: DeleteIntegrity,
    /// Bucket, endpoint and region, for people.
    pub(super) fingerprint: String,
    /// True where another server than that of AWS answers: it may deviate.
    pub(super) is_foreign: bool,
}

impl Bucket {
    /// Makes a client with connections of its own. Sends nothing to the bucket.
    pub(super) async fn open(id: &StoreId, settings: &S3Config) -> Result<Self, StoreError> {
        let region = settings.region.clone().unwrap_or_else(|| REGION_DEFAULT.to_owned());
        let http = aws_smithy_http_client::Builder::new()
            .tls_provider(tls::Provider::Rustls(CryptoMode::Ring))
            .build_https();
        let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12())
            .http_client(http)
            .region(Region::new(region.clone()));
        if let Some((access, secret)) = &settings.keys {
            loader = loader.credentials_provider(Credentials::new(
                access.expose_secret(),
                secret.expose_secret(),
                None,
                None,
                "retentiond",
            ));
        }
        let base = loader.load().await;
        if settings.keys.is_none() {
            let found = match base.credentials_provider() {
                Some(provider) => {
                    let asked = tokio::time::timeout(CREDENTIALS, provider.provide_credentials()).await;
                    asked.is_ok_and(|answer| answer.is_ok())
                }
                None => false,
            };
            if !found {
                return Err(no_credentials(id));
            }
        }
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(Duration::from_secs(5))
            .operation_attempt_timeout(ATTEMPT)
            .build();
        let mut config = aws_sdk_s3::config::Builder::from(&base)
            .interceptor(Whole)
            .retry_config(RetryConfig::standard().with_max_attempts(TRIES))
            .timeout_config(timeouts)
            .force_path_style(settings.path_style);
        if let Some(endpoint) = &settings.endpoint {
            // Other servers than AWS refuse the checksums that the client would add of its own accord.
            config = config
                .endpoint_url(endpoint)
                .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
                .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
        }
        let place = settings.endpoint.as_deref().unwrap_or("aws");
        Ok(Self {
            id: id.clone(),
            client: Client::from_conf(config.build()),
            name: settings.bucket.clone(),
            integrity: settings.delete_integrity,
            fingerprint: format!("{}@{place}/{region}", settings.bucket),
            is_foreign: settings.endpoint.is_some(),
        })
    }

    /// An error of this store. The text must name no object: keys may hold a subject's value.
    pub(super) fn error(
        &self,
        operation: &'static str,
        kind: ErrorKind,
        retry: Retry,
        message: impl Into<String>,
    ) -> StoreError {
        StoreError { kind, retry, operation, store: self.id.clone(), message: message.into() }
    }

    /// What an answer that is an error means. Never "absent". The server's own text is left out: it may name the key.
    pub(super) fn failed<E>(&self, operation: &'static str, error: &SdkError<E, HttpResponse>) -> StoreError
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let status = error.raw_response().map(|response| response.status().as_u16());
        let (kind, retry, message) = match error {
            SdkError::TimeoutError(_) => {
                (ErrorKind::Unreachable, Retry::Later, "the server did not answer in time".into())
            }
            SdkError::DispatchFailure(failure) => {
                let text = failure.as_connector_error().map(|error| root_cause(error));
                let why = text.unwrap_or_else(|| "the server cannot be reached".into());
                (ErrorKind::Unreachable, Retry::Later, why)
            }
            SdkError::ConstructionFailure(_) => {
                let why = "the request could not be made; are the credentials still valid?";
                (ErrorKind::Unreachable, Retry::Later, why.into())
            }
            SdkError::ServiceError(service) => {
                self.meaning(service.err().code().unwrap_or_default(), status.unwrap_or_default())
            }
            // And whatever the client adds later.
            SdkError::ResponseError(_) | _ => {
                let why = format!("the answer cannot be read (HTTP {})", status.unwrap_or_default());
                (ErrorKind::Unreachable, Retry::Later, why)
            }
        };
        self.error(operation, kind, retry, message)
    }

    fn meaning(&self, code: &str, status: u16) -> (ErrorKind, Retry, String) {
        let shown =
            if code.is_empty() { format!("HTTP {status}") } else { format!("{code} (HTTP {status})") };
        match (code, status) {
            ("NoSuchBucket", _) => {
                (ErrorKind::Unreachable, Retry::Never, format!("there is no bucket `{}`: {shown}", self.name))
            }
            (
                "PermanentRedirect" | "AuthorizationHeaderMalformed" | "IllegalLocationConstraintException",
                _,
            )
            | (_, 301 | 307) => {
                let why = format!("the bucket is in another region than the configuration says: {shown}");
                (ErrorKind::Unreachable, Retry::Never, why)
            }
            ("RequestTimeTooSkewed", _) => {
                let why = format!("the server's clock and ours differ; ours is suspect: {shown}");
                (ErrorKind::Identity, Retry::Never, why)
            }
            ("ExpiredToken" | "TokenRefreshRequired", _) => {
                (ErrorKind::Refused, Retry::Later, format!("the credentials have expired: {shown}"))
            }
            (_, 401 | 403) => (ErrorKind::Refused, Retry::Never, format!("the server refused: {shown}")),
            (
                "SlowDown" | "ServiceUnavailable" | "InternalError" | "RequestTimeout" | "OperationAborted",
                _,
            )
            | (_, 429 | 500..=599)
                if code != "NotImplemented" =>
            {
                (ErrorKind::Unreachable, Retry::Later, format!("the server is busy or in trouble: {shown}"))
            }
            _ => (ErrorKind::Refused, Retry::Never, format!("the server refused: {shown}")),
        }
    }
}

/// Refuses an answer that breaks off: without it, a listing that was cut would be read as a shorter one.
#[derive(Debug)]
struct Whole;

impl Intercept for Whole {
    fn name(&self) -> &'static str {
        "Whole"
    }

    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        match context.response().body().bytes() {
            Some(body) if !is_whole(body) => Err("the answer breaks off".into()),
            // The bytes of an object are not read here.
            Some(_) | None => Ok(()),
        }
    }
}

/// False for XML that does not end with its root. Anything else is for the client to read.
fn is_whole(body: &[u8]) -> bool {
    let mut rest = body.trim_ascii();
    while rest.starts_with(b"<?") || rest.starts_with(b"<!") {
        let Some(end) = rest.iter().position(|byte| *byte == b'>') else { return false };
        rest = rest.get(end + 1..).unwrap_or_default().trim_ascii_start();
    }
    let Some(inside) = rest.strip_prefix(b"<") else { return true };
    let end = inside.iter().position(|byte| byte.is_ascii_whitespace() || b"/>".contains(byte));
    let Some(root) = end.and_then(|end| inside.get(..end)) else { return false };
    let is_single = inside.ends_with(b"/>") && !inside.contains(&b'<');
    let closing = [b"</", root, b">"].concat();
    is_single || rest.ends_with(&closing)
}

/// The code that the server gave; empty where it gave none.
pub(super) fn code_of<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> String {
    error.as_service_error().and_then(ProvideErrorMetadata::code).unwrap_or_default().to_owned()
}

/// True where the server does not know such a request at all.
pub(super) fn is_unknown_request<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> bool {
    let status = error.raw_response().map(|response| response.status().as_u16());
    matches!(code_of(error).as_str(), "NotImplemented" | "MethodNotAllowed")
        || matches!(status, Some(405 | 501))
}

fn root_cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

fn no_credentials(id: &StoreId) -> StoreError {
    StoreError {
        kind: ErrorKind::Unreachable,
        retry: Retry::Never,
        operation: "open",
        store: id.clone(),
        message: "no credentials were found: neither access_key and secret_key in the configuration, nor \
                  AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile, or the machine's own role"
            .into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_without_its_end_is_none() {
        for whole in [
            "",
            "{\"a\": 1}",
            "<a/>",
            "<a x='1'/>",
            "<?xml version=\"1.0\"?>\n<a><b/></a>\n",
            "<!-- x --><a xmlns=\"y\">z</a>",
        ] {
            assert!(is_whole(whole.as_bytes()), "{whole}");
        }
        for cut in ["<a", "<a>", "<a><b/>", "<a><b></b>", "<a></ab>", "<?xml version=\"1.0\"", "<a x='1'><b>"]
        {
            assert!(!is_whole(cut.as_bytes()), "{cut}");
        }
    }
}
