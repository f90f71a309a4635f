//! Everything that is sent to an address from outside: where it may go, and what becomes of it.
//! It owns the stories over real sockets; names are looked up by a resolver that the tests control.

pub(crate) mod receiver;

use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use hmac::{Hmac, KeyInit, Mac};
use retentiond::id::TenantId;
use retentiond::ledger::{Ledger, NewDelivery};
use retentiond::outgoing::sign::Secrets;
use retentiond::outgoing::{Message, Outgoing, Resolve, Unsent, deliver_once};
use sha2::Sha256;

use crate::harness::{World, instant};
use receiver::{Answer, Receiver};

/// Answers in turn; the last answer stays. Counts how often it is asked.
struct FakeResolver {
    answers: Mutex<Vec<Result<Vec<IpAddr>, &'static str>>>,
    asked: Mutex<Vec<String>>,
}

impl FakeResolver {
    fn new(answers: &[Result<&[&str], &'static str>]) -> Arc<Self> {
        let addresses = |texts: &[&str]| texts.iter().map(|text| text.parse().expect("an address")).collect();
        let answers = answers.iter().rev().map(|answer| answer.map(addresses)).collect();
        Arc::new(Self { answers: Mutex::new(answers), asked: Mutex::new(Vec::new()) })
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

#[async_trait::async_trait]
impl Resolve for FakeResolver {
    async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, &'static str> {
        self.asked.lock().unwrap().push(host.to_owned());
        let mut answers = self.answers.lock().unwrap();
        if answers.len() > 1 { answers.pop().unwrap() } else { answers[0].clone() }
    }
}

fn now() -> DateTime<Utc> {
    instant("2026-11-24T12:00:00Z")
}

/// A client whose configuration has these lines at its end.
fn client(lines: &str, resolver: Arc<dyn Resolve>) -> Outgoing {
    let world = World::center();
    client_of(&world, lines, resolver)
}

fn client_of(world: &World, lines: &str, resolver: Arc<dyn Resolve>) -> Outgoing {
    let text = std::fs::read_to_string(world.path("retentiond.toml")).unwrap();
    world.write("retentiond.toml", &format!("{text}\n{lines}\n"));
    Outgoing::with_resolver(&world.load(now()).config, resolver).unwrap()
}

fn nobody() -> Arc<FakeResolver> {
    FakeResolver::new(&[Err("nobody knows")])
}

fn message(url: &str) -> Message<'_> {
    Message { url, tenant: None, body: r#"{"a":1}"#, headers: &[] }
}

fn refused(sent: Result<u16, Unsent>) -> String {
    match sent {
        Err(Unsent::Refused(why)) => why,
        other => panic!("not refused: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_arrives_with_its_headers_and_every_byte_of_its_body() {
    let mut receiver = Receiver::plain().await;
    let host = receiver.address;
    let outgoing =
        client(&format!("[outgoing]\nhosts = [\"{host}\"]\nprivate_hosts = [\"{host}\"]"), nobody());
    let headers = [("X-Of-Ours".to_owned(), "7".to_owned())];
    let url = receiver.url("/in?x=1");
    let sent = outgoing.send(Message { headers: &headers, ..message(&url) }).await;
    assert_eq!(sent, Ok(202));
    let arrived = receiver.next().await;
    assert_eq!(arrived.line, "POST /in?x=1 HTTP/1.1");
    assert_eq!(arrived.body, br#"{"a":1}"#);
    assert_eq!(arrived.header("content-type"), "application/json");
    assert_eq!(arrived.header("x-of-ours"), "7");
    assert_eq!(arrived.header("host"), host.to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn no_list_opens_an_address_that_is_not_public_and_no_spelling_hides_one() {
    let hosts = "[outgoing]\nhosts = [\"127.0.0.1\", \"[::1]\", \"169.254.169.254\", \"100.100.100.200\", \
                 \"10.0.0.1\", \"[fd00:ec2::254]\", \"[64:ff9b::a00:1]\", \"0.0.0.0\", \"hooks.example.com\"]";
    let outgoing = client(hosts, FakeResolver::new(&[Ok(&["8.8.8.8"])]));
    for url in [
        "http://127.0.0.1",
        "http://[::1]",
        "http://169.254.169.254/",
        "http://0x7f000001",
        "http://2130706433",
        "http://[::ffff:10.0.0.1]",
        "http://100.100.100.200/",
        "https://127.0.0.1/",
        "https://[::1]/",
        "https://169.254.169.254/latest/meta-data/",
        "https://0x7f000001/",
        "https://2130706433/",
        "https://0177.0.0.1/",
        "https://127.1/",
        "https://[::ffff:10.0.0.1]/",
        "https://[::ffff:a00:1]/",
        "https://100.100.100.200/",
        "https://10.0.0.1/",
        "https://0.0.0.0/",
        "https://[fd00:ec2::254]/",
        "https://[64:ff9b::a00:1]/",
        "https://user:hunter2@hooks.example.com/",
        "https://hooks.example.com:22/",
        "http://hooks.example.com/",
        "https://hooks.example.com/#a",
        "https://other.example.com/",
        "file:///etc/passwd",
        "gopher://hooks.example.com/",
        &format!("https://hooks.example.com/{}", "a".repeat(65_536)),
    ] {
        let why = refused(outgoing.send(message(url)).await);
        assert!(!why.contains("hunter2") && why.len() < 100, "{url}: {why}");
    }
    assert!(outgoing.check("https://hooks.example.com/in", None).is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_is_looked_up_once_and_the_connection_goes_where_it_was_checked() {
    let mut first = Receiver::start("127.0.0.1", None).await;
    let port = first.address.port();
    let other = tokio::net::TcpListener::bind(("127.0.0.2", port)).await.unwrap();
    // Public when it is checked, another when it is asked again: the name is never asked again.
    let resolver = FakeResolver::new(&[Ok(&["127.0.0.1"]), Ok(&["127.0.0.2"])]);
    let host = format!("rebinding.example.com:{port}");
    let lines = format!("[outgoing]\nhosts = [\"{host}\"]\nprivate_hosts = [\"{host}\"]");
    let outgoing = client(&lines, Arc::clone(&resolver) as Arc<dyn Resolve>);
    assert_eq!(outgoing.send(message(&format!("http://{host}/"))).await, Ok(202));
    assert_eq!(first.next().await.header("host"), host);
    assert_eq!(resolver.asked(), ["rebinding.example.com"]);
    let nobody_came = tokio::time::timeout(Duration::from_millis(1), other.accept()).await;
    assert!(nobody_came.is_err(), "somebody connected to the second address");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_private_address_among_public_ones_is_enough_to_refuse() {
    for addresses in [
        &["8.8.8.8", "10.0.0.1"][..],
        &["10.0.0.1"],
        &["2606:4700::1111", "::1"],
        &["127.0.0.1", "8.8.8.8"],
        &["::ffff:8.8.8.8"],
    ] {
        let lines = "[outgoing]\nhosts = [\"hooks.example.com\"]";
        let outgoing = client(lines, FakeResolver::new(&[Ok(addresses)]));
        let why = refused(outgoing.send(message("https://hooks.example.com/")).await);
        assert!(why.starts_with("leads to"), "{why}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_cannot_be_looked_up_is_not_called_whatever_it_says_later() {
    let receiver = Receiver::plain().await;
    let port = receiver.address.port();
    let resolver = FakeResolver::new(&[Err("nobody knows"), Ok(&[]), Ok(&["127.0.0.1"])]);
    let lines = "[outgoing]\nhosts = [\"hooks.example.com\", \"hooks.example.com:PORT\"]"
        .replace("PORT", &port.to_string());
    let outgoing = client(&lines, Arc::clone(&resolver) as Arc<dyn Resolve>);
    let url = format!("https://hooks.example.com:{port}/");
    assert_eq!(outgoing.send(message(&url)).await, Err(Unsent::Unreachable("nobody knows")));
    assert!(matches!(outgoing.send(message(&url)).await, Err(Unsent::Unreachable(_))));
    assert!(refused(outgoing.send(message(&url)).await).contains("loopback"));
    assert_eq!(resolver.asked().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_redirect_is_followed() {
    let mut receiver = Receiver::plain().await;
    let mut inside = Receiver::plain().await;
    let host = receiver.address;
    let outgoing =
        client(&format!("[outgoing]\nhosts = [\"{host}\"]\nprivate_hosts = [\"{host}\"]"), nobody());
    for to in [inside.url("/secret"), "file:///etc/passwd".to_owned(), "gopher://127.0.0.1:6379/".to_owned()]
    {
        receiver.answer(&[Answer::Redirect(to)]);
        assert_eq!(outgoing.send(message(&receiver.url("/"))).await, Ok(307));
        receiver.next().await;
    }
    receiver.assert_nothing();
    inside.assert_nothing();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_answers_never_or_without_end_holds_nobody_up() {
    let silent = Receiver::plain().await;
    silent.answer(&[Answer::Silence]);
    let endless = Receiver::plain().await;
    endless.answer(&[Answer::Endless]);
    let hosts = format!("[\"{}\", \"{}\"]", silent.address, endless.address);
    let outgoing = client(&format!("[outgoing]\nhosts = {hosts}\nprivate_hosts = {hosts}"), nobody());
    let (to_silent, to_endless) = (silent.url("/"), endless.url("/"));
    let both =
        async { tokio::join!(outgoing.send(message(&to_silent)), outgoing.send(message(&to_endless))) };
    let (from_silent, from_endless) =
        tokio::time::timeout(Duration::from_secs(15), both).await.expect("both end within ten seconds");
    assert!(matches!(from_silent, Err(Unsent::Unreachable(_))), "{from_silent:?}");
    assert_eq!(from_endless, Ok(200));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_certificate_is_checked_against_the_name_and_not_the_address() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut authority = rcgen::CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority_key = rcgen::KeyPair::generate().unwrap();
    let authority_pem = authority.self_signed(&authority_key).unwrap().pem();
    let issuer = rcgen::Issuer::new(authority, authority_key);
    let key = rcgen::KeyPair::generate().unwrap();
    let names = vec!["hooks.example.com".to_owned()];
    let certificate = rcgen::CertificateParams::new(names).unwrap().signed_by(&key, &issuer).unwrap();
    let server = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            rustls::pki_types::PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
        )
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(server));
    let mut receiver = Receiver::start("127.0.0.1", Some(acceptor)).await;
    let port = receiver.address.port();
    let world = World::center();
    world.write("ca.pem", &authority_pem);
    let hosts = format!("[\"hooks.example.com:{port}\", \"other.example.com:{port}\"]");
    let lines = format!("[outgoing]\nhosts = {hosts}\nprivate_hosts = {hosts}\nca_file = \"ca.pem\"");
    let outgoing = client_of(&world, &lines, FakeResolver::new(&[Ok(&["127.0.0.1"])]));
    assert_eq!(outgoing.send(message(&format!("https://hooks.example.com:{port}/"))).await, Ok(202));
    assert_eq!(receiver.next().await.header("host"), format!("hooks.example.com:{port}"));
    let sent = outgoing.send(message(&format!("https://other.example.com:{port}/"))).await;
    assert!(matches!(sent, Err(Unsent::Unreachable(_))), "{sent:?}");
    receiver.assert_nothing();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_of_the_deployment_and_its_own_interface_are_never_called_even_where_they_are_listed() {
    let lines = "[stores.search]\nkind = \"elasticsearch\"\nurl = \"http://search.internal:9200\"\n\
                 [http]\nlisten = \"127.0.0.1:8787\"\n[outgoing]\n\
                 hosts = [\"10.0.0.7:9200\", \"127.0.0.1:8787\"]\n\
                 private_hosts = [\"10.0.0.7:9200\", \"127.0.0.1:8787\"]";
    let outgoing = client(lines, FakeResolver::new(&[Ok(&["10.0.0.7"])]));
    for url in ["http://10.0.0.7:9200/_bulk", "http://127.0.0.1:8787/v1/requests"] {
        assert!(refused(outgoing.send(message(url)).await).contains("store of this deployment"), "{url}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ledger_metrics_and_collector_are_of_the_deployment_and_every_address_where_it_listens_on_all() {
    let world = World::center();
    world.edit("retentiond.toml", "sqlite://retentiond.db", "mysql://u:p@10.0.0.8:3307/ledger");
    let lines = "[http]\nlisten = \"127.0.0.1:8787\"\nmetrics = \"0.0.0.0:9464\"\n\
                 [telemetry]\notlp = \"http://10.0.0.9:4318\"\n[outgoing]\n\
                 hosts = [\"10.0.0.8:3307\", \"127.0.0.1:9464\", \"10.0.0.9:4318\"]\n\
                 private_hosts = [\"10.0.0.8:3307\", \"127.0.0.1:9464\", \"10.0.0.9:4318\"]";
    let outgoing = client_of(&world, lines, nobody());
    for url in ["http://10.0.0.8:3307/", "http://127.0.0.1:9464/metrics", "http://10.0.0.9:4318/v1/traces"] {
        assert!(refused(outgoing.send(message(url)).await).contains("store of this deployment"), "{url}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_of_one_tenant_is_called_about_that_tenant_only() {
    let lines = "[tenants.t-1]\ncallback_hosts = [\"hooks.example.com\"]";
    let outgoing = client(lines, nobody());
    let tenant = |text: &str| TenantId::parse(text).unwrap();
    let url = "https://hooks.example.com/in";
    assert!(outgoing.check(url, Some(&tenant("t-1"))).is_ok());
    for other in [Some(tenant("t-10")), Some(tenant("T-1")), None] {
        assert!(outgoing.check(url, other.as_ref()).is_err(), "{other:?}");
    }
}

fn delivery(key: &str, url: String) -> NewDelivery {
    NewDelivery {
        key: key.to_owned(),
        kind: "alarm".to_owned(),
        tenant: None,
        url,
        body: format!("{{\"key\":\"{key}\"}}"),
    }
}

fn secrets() -> Secrets {
    Secrets { general: Some("a secret of thirty characters.".into()), ..Secrets::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_signed_and_sent_until_it_is_received() {
    let mut receiver = Receiver::plain().await;
    let host = receiver.address;
    let world = World::center();
    let lines = format!("[outgoing]\nhosts = [\"{host}\"]\nprivate_hosts = [\"{host}\"]");
    let outgoing = client_of(&world, &lines, nobody());
    let ledger = world.ledger().await;
    assert!(ledger.enqueue(&delivery("a", receiver.url("/")), now()).await.unwrap());
    assert!(!ledger.enqueue(&delivery("a", receiver.url("/")), now()).await.unwrap());

    receiver.answer(&[Answer::Status("503 Service Unavailable"), Answer::Status("204 No Content")]);
    let pass = deliver_once(&ledger, &outgoing, &secrets(), now()).await.unwrap();
    assert_eq!((pass.taken, pass.received, pass.given_up), (1, 0, 0));
    let first = receiver.next().await;
    let waiting = ledger.undelivered(10).await.unwrap();
    assert_eq!(waiting[0].failure.as_deref(), Some("the answer was 503"));

    let early = deliver_once(&ledger, &outgoing, &secrets(), now() + TimeDelta::seconds(14)).await.unwrap();
    assert_eq!(early.taken, 0);
    let later = now() + TimeDelta::seconds(31);
    let pass = deliver_once(&ledger, &outgoing, &secrets(), later).await.unwrap();
    assert_eq!((pass.taken, pass.received, pass.given_up), (1, 1, 0));
    assert!(ledger.undelivered(10).await.unwrap().is_empty());

    let second = receiver.next().await;
    assert_eq!(second.header("retentiond-delivery"), first.header("retentiond-delivery"));
    for (arrived, sent_at) in [(first, now()), (second, later)] {
        let signature = arrived.header("retentiond-signature");
        let (time, digest) = signature.strip_prefix("t=").unwrap().split_once(",v1=").unwrap();
        assert_eq!(time, sent_at.timestamp().to_string());
        let mut mac = Hmac::<Sha256>::new_from_slice(b"a secret of thirty characters.").unwrap();
        mac.update(time.as_bytes());
        mac.update(b".");
        mac.update(&arrived.body);
        mac.verify_slice(&hex::decode(digest).unwrap()).expect("the signature");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_for_good_is_given_up_at_once_and_everything_else_after_three_days() {
    let receiver = Receiver::plain().await;
    let host = receiver.address;
    let world = World::center();
    let lines = format!("[outgoing]\nhosts = [\"{host}\"]\nprivate_hosts = [\"{host}\"]");
    let outgoing = client_of(&world, &lines, nobody());
    let ledger = world.ledger().await;
    receiver.answer(&[Answer::Status("404 Not Found")]);
    ledger.enqueue(&delivery("gone", receiver.url("/")), now()).await.unwrap();
    ledger.enqueue(&delivery("forbidden", "https://other.example.com/".to_owned()), now()).await.unwrap();
    let pass = deliver_once(&ledger, &outgoing, &secrets(), now()).await.unwrap();
    assert_eq!((pass.taken, pass.received, pass.given_up), (2, 0, 1));

    let mut at = now();
    while at < now() + TimeDelta::hours(72) {
        at += TimeDelta::hours(1);
        deliver_once(&ledger, &outgoing, &secrets(), at).await.unwrap();
    }
    let listed = ledger.undelivered(10).await.unwrap();
    let given_up: Vec<_> = listed.iter().map(|row| (row.key.as_str(), row.given_up_at)).collect();
    assert_eq!(given_up, [("gone", Some(now())), ("forbidden", Some(now() + TimeDelta::hours(72)))]);
    assert!(listed[1].failure.as_deref().unwrap().contains("not on the list"), "{listed:?}");
    let after = deliver_once(&ledger, &outgoing, &secrets(), at + TimeDelta::days(30)).await.unwrap();
    assert_eq!(after.taken, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_is_down_costs_one_try_and_others_do_not_wait_for_it() {
    let mut receiver = Receiver::plain().await;
    let down = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dead = down.local_addr().unwrap();
    drop(down);
    let hosts = format!("[\"{}\", \"{dead}\"]", receiver.address);
    let world = World::center();
    let outgoing =
        client_of(&world, &format!("[outgoing]\nhosts = {hosts}\nprivate_hosts = {hosts}"), nobody());
    let ledger = world.ledger().await;
    for index in 0..10 {
        ledger.enqueue(&delivery(&format!("dead-{index}"), format!("http://{dead}/")), now()).await.unwrap();
    }
    ledger.enqueue(&delivery("alive", receiver.url("/")), now()).await.unwrap();
    let pass = deliver_once(&ledger, &outgoing, &secrets(), now()).await.unwrap();
    assert_eq!((pass.taken, pass.received, pass.given_up), (11, 1, 0));
    assert_eq!(receiver.next().await.body, br#"{"key":"alive"}"#);
    assert_eq!(ledger.undelivered(20).await.unwrap().len(), 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_signed_is_not_sent() {
    let mut receiver = Receiver::plain().await;
    let host = receiver.address;
    let world = World::center();
    let lines = format!("[outgoing]\nhosts = [\"{host}\"]\nprivate_hosts = [\"{host}\"]");
    let outgoing = client_of(&world, &lines, nobody());
    let ledger = world.ledger().await;
    ledger.enqueue(&delivery("a", receiver.url("/")), now()).await.unwrap();
    let pass = deliver_once(&ledger, &outgoing, &Secrets::default(), now()).await.unwrap();
    assert_eq!((pass.taken, pass.received), (1, 0));
    receiver.assert_nothing();
}
