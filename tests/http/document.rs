//! The document: every field that is answered is in it, and a tool that asks whatever it allows finds no answer that it does
//! not tell.

use std::path::Path;
use std::process::Command;

use retentiond::clock::Clock;
use retentiond::http::Limits;
use retentiond::ledger::Role;
use serde_json::{Value, json};

use super::{Served, call, caller_of};
use crate::harness::World;

/// Holds a value to a schema: types, required fields, and no field that is not told.
fn fits(document: &Value, schema: &Value, value: &Value, place: &str) {
    if let Some(name) = schema["$ref"].as_str() {
        let found = document.pointer(name.trim_start_matches('#'));
        return fits(document, found.unwrap_or_else(|| panic!("{name} is not there")), value, place);
    }
    for several in ["oneOf", "anyOf"] {
        if let Some(options) = schema[several].as_array() {
            let rest: Vec<&Value> = options.iter().filter(|one| one["type"] != "null").collect();
            if !value.is_null() {
                assert_eq!(rest.len(), 1, "{place}");
                fits(document, rest[0], value, place);
            }
            return;
        }
    }
    let kinds: Vec<&str> = match &schema["type"] {
        Value::String(kind) => vec![kind.as_str()],
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
        _ => return,
    };
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    assert!(kinds.contains(&kind), "{place} is {kind}, the document says {kinds:?}");
    match value {
        Value::Array(items) => items.iter().for_each(|item| fits(document, &schema["items"], item, place)),
        Value::Object(fields) => {
            let told =
                schema["properties"].as_object().unwrap_or_else(|| panic!("{place} has no fields told"));
            for (name, field) in fields {
                let schema =
                    told.get(name).unwrap_or_else(|| panic!("{place}.{name} is not in the document"));
                fits(document, schema, field, &format!("{place}.{name}"));
            }
            for name in schema["required"].as_array().into_iter().flatten() {
                assert!(fields.contains_key(name.as_str().unwrap()), "{place} lacks {name}");
            }
        }
        _ => {}
    }
}

#[test]
fn every_route_is_in_the_document_and_every_field_answered_too() {
    let served = Served::new();
    let document = call(served.address, "GET", "/openapi.json", &[], None).is(200);
    let olga = served.operator();
    let anna = served.token("anna", Role::Approver, None);
    let check = |method: &str, route: &str, answer: &super::Answered| {
        let place = format!("{method} {route} {}", answer.status);
        let pointer = format!(
            "/paths/{}/{}/responses/{}/content/application~1json/schema",
            route.replace('~', "~0").replace('/', "~1"),
            method.to_lowercase(),
            answer.status
        );
        let schema = document.pointer(&pointer).unwrap_or_else(|| panic!("{place} is not in the document"));
        fits(&document, schema, &answer.json(), &place);
        answer.json()
    };
    let post = |route: &str, path: &str, key: &str, body: &Value| {
        check("POST", route, &served.post(&olga, path, key, body))
    };
    let text = |value: &Value, name: &str| value[name].as_str().unwrap().to_owned();
    let made = post("/v1/requests", "/v1/requests", "a", &caller_of("t-1"));
    served.world.ok("enforce");
    let hold = json!({"tenant": "t-10", "subjects": [{"kind": "agent", "value": "A2"}], "authority": "x"});
    let hold = text(&post("/v1/holds", "/v1/holds", "b", &hold), "hold_id");
    let grant = json!({"name": "extended-storage", "tenant": "t-1x"});
    let grant = text(&post("/v1/entitlements", "/v1/entitlements", "c", &grant), "entitlement_id");
    post("/v1/entitlements/{id}/end", &format!("/v1/entitlements/{grant}/end"), "d", &json!({}));
    let export = json!({"tenant": "t-1", "target": "takeaway"});
    let export = text(&post("/v1/exports", "/v1/exports", "e", &export), "export_id");
    let release = format!("/v1/holds/{hold}/release");
    let release = post("/v1/holds/{id}/release", &release, "f", &json!({"reason": "x"}));
    post("/v1/tenants/{tenant}/terminate", "/v1/tenants/T-1/terminate", "g", &json!({}));
    post("/v1/stop", "/v1/stop", "h", &json!({"reason": "x"}));
    post("/v1/go", "/v1/go", "i", &json!({}));
    post("/v1/requests", "/v1/requests", "j", &json!({}));
    let second = post("/v1/requests", "/v1/requests", "l", &caller_of("t-10"));
    let path = format!("/v1/requests/{}", text(&second, "request_id"));
    check("DELETE", "/v1/requests/{id}", &served.send("DELETE", &olga, &path, "m", &json!({})));
    check("DELETE", "/v1/requests/{id}", &served.send("DELETE", &olga, &path, "n", &json!({})));
    let proposal = text(&release, "proposal_id");
    let request = text(&made, "request_id");
    for (route, path) in [
        ("/healthz", "/healthz".to_owned()),
        ("/readyz", "/readyz".to_owned()),
        ("/v1/requests", "/v1/requests".to_owned()),
        ("/v1/requests/{id}", format!("/v1/requests/{request}")),
        ("/v1/requests/{id}", "/v1/requests/req-1".to_owned()),
        ("/v1/tenants", "/v1/tenants".to_owned()),
        ("/v1/tenants/{tenant}", "/v1/tenants/t-1".to_owned()),
        ("/v1/entitlements", "/v1/entitlements".to_owned()),
        ("/v1/exports", "/v1/exports".to_owned()),
        ("/v1/exports/{id}", format!("/v1/exports/{export}")),
        ("/v1/exports/{id}/file", format!("/v1/exports/{export}/file?name=manifest.json")),
        ("/v1/holds", "/v1/holds".to_owned()),
        ("/v1/proposals", "/v1/proposals".to_owned()),
        ("/v1/proposals/{id}", format!("/v1/proposals/{proposal}")),
        ("/v1/status", "/v1/status".to_owned()),
        ("/v1/plan", "/v1/plan".to_owned()),
        ("/v1/certificates/{id}", format!("/v1/certificates/{request}")),
        ("/v1/audit/checkpoint", "/v1/audit/checkpoint".to_owned()),
        ("/v1/audit/proof", "/v1/audit/proof?index=0".to_owned()),
    ] {
        check("GET", route, &served.get(&olga, &path));
    }
    let path = format!("/v1/proposals/{proposal}/approve");
    let body = json!({"digest": release["digest"]});
    check("POST", "/v1/proposals/{id}/approve", &served.post(&anna, &path, "o", &body));
}

/// Examples for each operation: as many as take about a minute on two cores.
const EXAMPLES: &str = "12";

#[test]
fn whatever_the_document_allows_or_not_is_answered_as_it_tells() {
    let tool = Path::new(env!("CARGO_MANIFEST_DIR")).join(target().join("api-tools/bin/schemathesis"));
    assert!(tool.exists(), "{} is missing; tests/servers/install brings it", tool.display());
    let limits = Limits { rate: 1_000_000, failures: 1_000_000, ..Limits::default() };
    let served = Served::with(World::center(), limits, Clock::System);
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(&tool)
        .current_dir(folder.path())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .args(["run", &format!("http://{}/openapi.json", served.address)])
        .args(["-H", &format!("Authorization: Bearer {}", served.operator())])
        .args(["--max-examples", EXAMPLES, "--seed", "1", "--no-color", "--workers", "1"])
        .args(["--phases", "examples,coverage,fuzzing"])
        .args(["--checks", "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,ignored_auth"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(call(served.address, "GET", "/healthz", &[], None).status, 200);
    served.stop().ok("audit verify");
}

/// Where the build goes.
fn target() -> std::path::PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), std::path::PathBuf::from)
}
