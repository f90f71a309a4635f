//! `OpenDSR` as a controller lives it: over real sockets, with signatures checked by other code than made them.
//! It owns the stories; the interface behind them is the one that `serve` serves.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, TimeDelta, Utc};
use retentiond::clock::Clock;
use retentiond::config::HttpConfig;
use retentiond::deliveries::{Means, run_once};
use retentiond::gather;
use retentiond::http::{bind, new_token, serve};
use retentiond::id::TenantId;
use retentiond::ledger::{Ledger, NewToken, RequestState, Role};
use retentiond::service::Service;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use crate::harness::{World, instant};
use crate::outgoing::receiver::{Arrived, Receiver};

const ID: &str = "a7551968-d5d6-44b2-9831-815ac9017798";
const CERTIFICATE: &str = include_str!("opendsr/certificate.pem");
const PHONE: &str = "+6591110001";

/// A center that serves, with a token for each role.
struct Center {
    world: World,
    service: Arc<Service>,
    base: String,
    http: reqwest::Client,
}

impl Center {
    async fn start(callbacks: &Receiver) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let world = World::center();
        world.write("opendsr.pem", CERTIFICATE);
        world.write("opendsr.key", include_str!("opendsr/key.pem"));
        let host = callbacks.address;
        let text = std::fs::read_to_string(world.path("retentiond.toml")).unwrap();
        let lines = format!(
            "[opendsr]\ndomain = \"opendsr.example.com\"\ncertificate = \"opendsr.pem\"\nkey = \"opendsr.key\"\n\
             [opendsr.identities]\ncontroller_customer_id = \"agent\"\n\
             [tenants.t-1]\ncontroller = \"controller-7\"\ncallback_hosts = [\"{host}\"]\n\
             [outgoing]\nprivate_hosts = [\"{host}\"]\n"
        );
        world.write("retentiond.toml", &format!("{text}\n{lines}"));
        let loaded = gather::World { clock: Clock::System, ..world.load(now()) };
        let http = HttpConfig { listen: "127.0.0.1:0".to_owned(), ..loaded.config.http.clone() };
        let service = Arc::new(Service::new(loaded, Arc::new(world.ledger().await)));
        let bound = bind(&http).await.unwrap_or_else(|error| panic!("{error}"));
        let base = format!("http://{}", bound.address().unwrap());
        tokio::spawn(serve(Arc::clone(&service), bound));
        Self { world, service, base, http: reqwest::Client::new() }
    }

    fn ledger(&self) -> &dyn Ledger {
        self.service.ledger().as_ref()
    }

    async fn token(&self, role: Role, tenant: Option<&str>) -> String {
        let (token, digest) = new_token().unwrap();
        let tenant = tenant.map(|tenant| TenantId::parse(tenant).unwrap());
        let principal = format!("{role:?}-of-{tenant:?}");
        let new = NewToken { principal, role, tenant, digest, expires_at: None };
        self.ledger().make_token(&new, now()).await.unwrap();
        token.expose_secret().to_owned()
    }

    async fn call(&self, method: &str, path: &str, token: &str, body: Option<String>) -> Answered {
        let mut call = self.http.request(method.parse().unwrap(), format!("{}{path}", self.base));
        if !token.is_empty() {
            call = call.bearer_auth(token);
        }
        if let Some(body) = body {
            call = call.header("content-type", "application/json").body(body);
        }
        let response = call.send().await.expect("an answer");
        let status = response.status().as_u16();
        let header = |name: &str| {
            response.headers().get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default()
        };
        let (domain, signature) = (header("x-opendsr-processor-domain"), header("x-opendsr-signature"));
        assert_eq!(domain, header("x-opengdpr-processor-domain"));
        assert_eq!(signature, header("x-opengdpr-signature"));
        let bytes = response.bytes().await.unwrap().to_vec();
        let json = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        Answered { status, domain, signature, bytes, json }
    }

    async fn post(&self, token: &str, body: &Value) -> Answered {
        self.call("POST", "/v2/requests", token, Some(body.to_string())).await
    }

    async fn tell(&self) -> usize {
        let means = Means::of(&self.service.world()).expect("means");
        run_once(&self.service, &means, Clock::System.now()).await.unwrap().received
    }
}

struct Answered {
    status: u16,
    domain: String,
    signature: String,
    bytes: Vec<u8>,
    json: Value,
}

impl Answered {
    fn is(&self, status: u16) -> &Self {
        assert_eq!(self.status, status, "{}", String::from_utf8_lossy(&self.bytes));
        self
    }

    fn is_signed(&self) -> &Self {
        assert_eq!(self.domain, "opendsr.example.com");
        assert_signed(&self.signature, &self.bytes);
        self
    }

    fn reason(&self) -> &str {
        assert_eq!(self.json["error"]["code"], self.status);
        self.json["error"]["errors"][0]["reason"].as_str().unwrap_or_default()
    }
}

/// Checked with the certificate, as a controller does, by code that cannot sign.
fn assert_signed(signature: &str, bytes: &[u8]) {
    let certificate = CertificateDer::from_pem_slice(CERTIFICATE.as_bytes()).unwrap();
    let certificate = webpki::EndEntityCert::try_from(&certificate).unwrap();
    let signature = STANDARD.decode(signature).expect("base64");
    let algorithm = webpki::ring::RSA_PKCS1_2048_8192_SHA256;
    certificate.verify_signature(algorithm, bytes, &signature).expect("the signature");
    assert!(certificate.verify_signature(algorithm, b"other", &signature).is_err());
}

fn now() -> DateTime<Utc> {
    Clock::System.now()
}

fn body(callback: Option<&str>) -> Value {
    json!({
        "regulation": "gdpr",
        "subject_request_id": ID,
        "subject_request_type": "erasure",
        "submitted_time": (now() - TimeDelta::days(3)).to_rfc3339(),
        "subject_identities": [
            {"identity_type": "controller_customer_id", "identity_value": "A1", "identity_format": "raw"},
        ],
        "api_version": "2.0",
        "status_callback_urls": callback.into_iter().collect::<Vec<_>>(),
        "extensions": {"opendsr.example.com": {
            "identities": [{"identity_type": "phone", "identity_value": PHONE, "identity_format": "e164"}],
        }},
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_taken_carried_out_and_told_to_its_controller() {
    let mut receiver = Receiver::plain().await;
    let center = Center::start(&receiver).await;
    let token = center.token(Role::Requester, Some("t-1")).await;
    let url = receiver.url("/opendsr_callbacks");
    let sent = body(Some(&url));
    let before = now();
    let made = center.post(&token, &sent).await;
    made.is(201).is_signed();
    assert_eq!(made.json["controller_id"], "controller-7");
    assert_eq!(made.json["subject_request_id"], ID);
    let encoded = STANDARD.decode(made.json["encoded_request"].as_str().unwrap()).unwrap();
    assert_eq!(encoded, sent.to_string().into_bytes());
    let received = instant(made.json["received_time"].as_str().unwrap());
    assert!(received >= before - TimeDelta::seconds(1) && received <= now());
    // The clock started when the subject asked: 20 days for agents, the earliest of the two categories.
    let submitted = instant(sent["submitted_time"].as_str().unwrap());
    let expected = instant(made.json["expected_completion_time"].as_str().unwrap());
    assert!((expected - submitted - TimeDelta::days(20)).abs() <= TimeDelta::seconds(1), "{expected}");
    assert!(made.json.get("api_version").is_none());
    // What lies between is covered too: the other clock moves the deadline and nothing else.
    let row = center.ledger().requests().await.unwrap().remove(0);
    assert!((row.received_at - received).abs() <= TimeDelta::seconds(1), "{}", row.received_at);
    assert!((row.deadline - expected).abs() <= TimeDelta::seconds(1), "{}", row.deadline);

    let pending = center.call("GET", &format!("/v2/requests/{ID}"), &token, None).await;
    pending.is(200).is_signed();
    assert_eq!(pending.json["request_status"], "pending");
    let ours = &pending.json["extensions"]["opendsr.example.com"];
    assert_eq!((&ours["tenant_id"], &ours["state"]), (&json!("t-1"), &json!("received")));
    assert_eq!(ours["placements"].as_array().unwrap().len(), 3);
    assert_eq!(center.tell().await, 0);

    // What is on disk in between names nobody.
    let id = center.ledger().requests().await.unwrap()[0].request_id.clone();
    let told = center.ledger().opendsr_untold().await.unwrap();
    assert_eq!((told.len(), told[0].request_id == id), (1, true));
    for file in ["retentiond.db", "retentiond.db-wal"] {
        let bytes = std::fs::read(center.world.path(file)).unwrap_or_default();
        let encoded = STANDARD.encode(PHONE);
        for value in [PHONE, encoded.trim_end_matches('=')] {
            assert!(!bytes.windows(value.len()).any(|part| part == value.as_bytes()), "{file} holds {value}");
        }
    }

    center.world.ok("enforce");
    assert_eq!(center.world.agents("t-1"), ["A2"]);
    for other in ["t-10", "T-1", "t-1x"] {
        assert_eq!(center.world.agents(other), ["A1", "A2"]);
    }
    let done = center.call("GET", &format!("/v2/requests/{ID}"), &token, None).await;
    assert_eq!(done.is(200).is_signed().json["request_status"], "completed");

    assert_eq!(center.tell().await, 1);
    assert_eq!(center.tell().await, 0);
    let told = receiver.next().await;
    assert_callback(&told, &url, "completed");
    let certificate = told_json(&told)["extensions"]["opendsr.example.com"]["certificate_url"].clone();
    assert_eq!(certificate, format!("https://opendsr.example.com/v1/certificates/{id}"));
    receiver.assert_nothing();
    center.service.stop.cancel();
}

fn told_json(told: &Arrived) -> Value {
    serde_json::from_slice(&told.body).unwrap()
}

fn assert_callback(told: &Arrived, url: &str, status: &str) {
    assert_eq!(told.line, "POST /opendsr_callbacks HTTP/1.1");
    assert_eq!(told.header("x-opendsr-processor-domain"), "opendsr.example.com");
    assert_signed(told.header("x-opendsr-signature"), &told.body);
    assert_signed(told.header("x-opengdpr-signature"), &told.body);
    let json = told_json(told);
    assert_eq!(json["status_callback_url"], url);
    assert_eq!(json["subject_request_id"], ID);
    assert_eq!(json["controller_id"], "controller-7");
    assert_eq!(json["request_status"], status);
    assert!(json["expected_completion_time"].is_string());
    assert!(!String::from_utf8_lossy(&told.body).contains("9111"), "a value of a subject");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_request_gets_the_same_answer_and_another_body_is_refused() {
    let receiver = Receiver::plain().await;
    let center = Center::start(&receiver).await;
    let token = center.token(Role::Requester, Some("t-1")).await;
    let sent = body(None);
    let (first, second) = tokio::join!(center.post(&token, &sent), center.post(&token, &sent));
    assert_eq!(first.is(201).bytes, second.is(201).bytes);
    assert_eq!(first.signature, second.signature);
    assert_eq!(center.ledger().requests().await.unwrap().len(), 1);
    for change in ["subject_identities", "status_callback_urls", "submitted_time"] {
        let mut other = sent.clone();
        match change {
            "subject_identities" => other[change][0]["identity_value"] = json!("A2"),
            "status_callback_urls" => other[change] = json!([receiver.url("/")]),
            _ => other[change] = json!((now() - TimeDelta::days(2)).to_rfc3339()),
        }
        let refused = center.post(&token, &other).await;
        assert_eq!(refused.is(400).reason(), "other_request", "{change}");
    }
    // Another tenant may have chosen the same id: it is another request.
    let other = center.token(Role::Requester, Some("t-10")).await;
    center.post(&other, &sent).await.is(201);
    assert_eq!(center.ledger().requests().await.unwrap().len(), 2);
    // Also when it is over: nothing is begun again.
    center.world.ok("enforce");
    assert_eq!(center.post(&token, &sent).await.is(201).bytes, first.bytes);
    assert_eq!(center.ledger().requests().await.unwrap().len(), 2);
    center.service.stop.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_pending_request_is_cancelled_and_both_ends_are_told() {
    let mut receiver = Receiver::plain().await;
    let center = Center::start(&receiver).await;
    let token = center.token(Role::Requester, Some("t-1")).await;
    let url = receiver.url("/opendsr_callbacks");
    center.post(&token, &body(Some(&url))).await.is(201);
    let path = format!("/v2/requests/{ID}");
    let cancelled = center.call("DELETE", &path, &token, None).await;
    cancelled.is(202).is_signed();
    assert_eq!(cancelled.json["subject_request_id"], ID);
    assert!(cancelled.json["received_time"].is_string() && cancelled.json["controller_id"].is_string());
    let again = center.call("DELETE", &path, &token, None).await;
    assert_eq!(again.is(400).reason(), "not_pending");
    assert!(again.json["error"]["message"].as_str().unwrap().contains("cancelled"));
    assert_eq!(center.tell().await, 1);
    assert_callback(&receiver.next().await, &url, "cancelled");
    center.world.ok("enforce");
    assert_eq!(center.world.agents("t-1"), ["A1", "A2"]);
    center.service.stop.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_under_a_hold_says_that_it_waits_and_is_not_cancelled() {
    let mut receiver = Receiver::plain().await;
    let center = Center::start(&receiver).await;
    let token = center.token(Role::Requester, Some("t-1")).await;
    let url = receiver.url("/opendsr_callbacks");
    center.post(&token, &body(Some(&url))).await.is(201);
    center.world.ok("hold place --tenant t-1 --authority Court");
    center.world.ok("enforce");
    let path = format!("/v2/requests/{ID}");
    let waiting = center.call("GET", &path, &token, None).await;
    assert_eq!(waiting.is(200).json["request_status"], "in_progress");
    let ours = &waiting.json["extensions"]["opendsr.example.com"];
    assert_eq!((&ours["state"], &ours["waits_for"]), (&json!("waiting"), &json!(["hold"])));
    assert!(!String::from_utf8_lossy(&waiting.bytes).contains("Court"), "whose order it is stays here");
    let refused = center.call("DELETE", &path, &token, None).await;
    assert!(refused.is(400).json["error"]["message"].as_str().unwrap().contains("in_progress"));
    assert_eq!(center.tell().await, 1);
    assert_callback(&receiver.next().await, &url, "in_progress");
    center.service.stop.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn discovery_says_what_can_be_matched_and_where_the_certificate_is() {
    let receiver = Receiver::plain().await;
    let center = Center::start(&receiver).await;
    for path in ["/v2/discovery", "/discovery"] {
        let found = center.call("GET", path, "", None).await;
        found.is(200);
        assert_eq!(found.json["api_version"], "2.0");
        let raw = |name: &str| json!({"identity_type": name, "identity_format": "raw"});
        assert_eq!(found.json["supported_identities"], json!([raw("controller_customer_id")]));
        assert_eq!(found.json["supported_subject_request_types"], json!(["erasure"]));
        assert_eq!(found.json["processor_certificate"], "https://opendsr.example.com/v2/certificate");
        let e164 = json!({"identity_type": "phone", "identity_format": "e164"});
        let own = json!([raw("agent"), raw("phone"), e164]);
        assert_eq!(found.json["extensions"]["opendsr.example.com"]["identities"], own);
    }
    let certificate = center.call("GET", "/v2/certificate", "", None).await;
    let der = |bytes: &[u8]| CertificateDer::from_pem_slice(bytes).unwrap().to_vec();
    assert_eq!(der(&certificate.is(200).bytes), der(CERTIFICATE.as_bytes()));
    assert!(!String::from_utf8_lossy(&certificate.bytes).contains("PRIVATE"));
    center.call("GET", "/v2/status", "", None).await.is(200);
    center.service.stop.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn version_one_is_honoured_under_its_own_names() {
    let receiver = Receiver::plain().await;
    let center = Center::start(&receiver).await;
    let token = center.token(Role::Requester, Some("t-1")).await;
    let mut sent = body(None);
    sent.as_object_mut().unwrap().remove("regulation");
    sent["api_version"] = json!("0.1");
    let made = center.call("POST", "/opengdpr_requests", &token, Some(sent.to_string())).await;
    made.is(201).is_signed();
    let path = format!("/opengdpr_requests/{ID}");
    center.call("GET", &path, &token, None).await.is(200).is_signed();
    center.call("DELETE", &path, &token, None).await.is(202).is_signed();
    assert_eq!(center.ledger().requests().await.unwrap()[0].state, RequestState::Cancelled);
    center.service.stop.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tenant_is_the_credentials_and_nobody_learns_of_another() {
    let receiver = Receiver::plain().await;
    let center = Center::start(&receiver).await;
    let own = center.token(Role::Requester, Some("t-1")).await;
    let other = center.token(Role::Requester, Some("t-10")).await;
    let operator = center.token(Role::Operator, None).await;
    let auditor = center.token(Role::Auditor, None).await;
    let mut named = body(None);
    named["extensions"]["opendsr.example.com"]["tenant_id"] = json!("t-1");
    assert_eq!(center.post("", &named).await.is(401).json["error"]["code"], 401);
    center.post("rt_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", &named).await.is(401);
    center.post(&auditor, &named).await.is(403);
    center.post(&other, &named).await.is(403);
    assert_eq!(center.post(&operator, &body(None)).await.is(400).reason(), "missing_tenant");
    assert!(center.ledger().requests().await.unwrap().is_empty());
    center.post(&operator, &named).await.is(201);
    assert_eq!(center.ledger().requests().await.unwrap()[0].tenant.as_str(), "t-1");

    let path = format!("/v2/requests/{ID}");
    for token in [&own, &operator, &auditor] {
        center.call("GET", &path, token, None).await.is(200);
    }
    let foreign = center.call("GET", &path, &other, None).await;
    let unknown = center.call("GET", "/v2/requests/b7551968-d5d6-44b2-9831-815ac9017798", &own, None).await;
    assert_eq!(foreign.is(404).bytes, unknown.is(404).bytes);
    center.call("DELETE", &path, &other, None).await.is(404);
    center.call("DELETE", &path, &auditor, None).await.is(403);
    center.call("GET", &path, "", None).await.is(401);
    assert_eq!(center.ledger().requests().await.unwrap()[0].state, RequestState::Received);
    center.service.stop.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_kept_is_refused_at_the_door_and_nothing_is_recorded() {
    let receiver = Receiver::plain().await;
    let center = Center::start(&receiver).await;
    let token = center.token(Role::Requester, Some("t-1")).await;
    let with = |name: &str, value: Value| {
        let mut body = body(None);
        body[name] = value;
        body.to_string()
    };
    let raw =
        |kind: &str| json!([{"identity_type": kind, "identity_value": "x7x", "identity_format": "raw"}]);
    let hashed = json!([{"identity_type": "controller_customer_id", "identity_value": "x7x", "identity_format": "md5"}]);
    let callback = |url: &str| with("status_callback_urls", json!([url]));
    let cases = [
        ("unsupported_request_type", with("subject_request_type", json!("access"))),
        ("unsupported_request_type", with("subject_request_type", json!("portability"))),
        ("unsupported_identity", with("subject_identities", raw("email"))),
        ("unsupported_identity", with("subject_identities", hashed)),
        ("future_time", with("submitted_time", json!((now() + TimeDelta::minutes(10)).to_rfc3339()))),
        ("callback_not_allowed", callback("http://127.0.0.1/")),
        ("callback_not_allowed", callback("https://169.254.169.254/")),
        ("callback_not_allowed", callback("https://elsewhere.example.com/")),
        ("callback_not_allowed", callback(&format!("https://{}@elsewhere.example.com/", receiver.address))),
        ("", body(None).to_string().replacen('{', "{\"regulation\":\"ccpa\",", 1)),
        ("", "[]".to_owned()),
        ("", format!("{}{}", "[".repeat(1_000), "]".repeat(1_000))),
    ];
    for (reason, body) in cases {
        let refused = center.call("POST", "/v2/requests", &token, Some(body)).await;
        assert_eq!(refused.is(400).reason(), reason);
        let text = String::from_utf8_lossy(&refused.bytes).into_owned();
        assert!(!text.contains("x7x") && !text.contains("elsewhere") && !text.contains(PHONE), "{text}");
    }
    center.call("PUT", "/v2/requests", &token, Some(body(None).to_string())).await.is(405);
    center.call("GET", "/v2/requests", &token, None).await.is(405);
    assert!(center.ledger().requests().await.unwrap().is_empty());
    assert_eq!(center.world.number("retentiond.db", "SELECT count(*) FROM opendsr_request"), 0);
    center.service.stop.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn serving_tells_by_itself_and_stops_when_told() {
    let mut receiver = Receiver::plain().await;
    let center = Center::start(&receiver).await;
    let token = center.token(Role::Requester, Some("t-1")).await;
    let url = receiver.url("/opendsr_callbacks");
    center.post(&token, &body(Some(&url))).await.is(201);
    center.call("DELETE", &format!("/v2/requests/{ID}"), &token, None).await.is(202);
    let telling = tokio::spawn(retentiond::deliveries::run(Arc::clone(&center.service)));
    assert_callback(&receiver.next().await, &url, "cancelled");
    center.service.stop.cancel();
    telling.await.expect("it ends");
    assert_eq!(center.ledger().opendsr_untold().await.unwrap(), []);
}
