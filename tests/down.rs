//! What an operator sees while a store is down: which one, what fails, no password, exit code 1.

use crate::harness::World;
use crate::servers::free_port;

/// A stanza whose server is not there, and a placement in it.
fn down(kind: &str, port: u16) -> (String, &'static str) {
    let (stanza, records) = match kind {
        "mysql" => (
            format!("url = \"mysql://someone:hush-hush@127.0.0.1:{port}/calls\""),
            "table = \"t\"\nkey = [\"id\"]\ntenant = { column = \"tenant_id\" }",
        ),
        "redis" => (
            format!("url = \"redis://someone:hush-hush@127.0.0.1:{port}/0\""),
            "keys = \"agent:{tenant}:{id}\"",
        ),
        "s3" => (
            format!(
                "bucket = \"calls\"\nendpoint = \"http://127.0.0.1:{port}\"\naccess_key = \"key\"\n\
                 secret_key = \"hush-hush\"\npath_style = true"
            ),
            "prefix = \"rec/{tenant}/\"",
        ),
        _ => (
            format!("url = \"http://127.0.0.1:{port}\"\nuser = \"someone\"\npassword = \"hush-hush\""),
            "index = \"cc-*\"\ntenant = { field = \"tenant_id\" }",
        ),
    };
    (format!("[stores.far-away]\nkind = \"{kind}\"\n{stanza}\n"), records)
}

#[test]
fn a_store_that_is_down_is_named_with_what_is_wrong_and_without_a_password() {
    for kind in ["mysql", "redis", "s3", "elasticsearch"] {
        let (stanza, records) = down(kind, free_port());
        let world = World::empty();
        world.write(
            "retentiond.toml",
            &format!(
                "[ledger]\nurl = \"sqlite://retentiond.db\"\n[policies]\npath = \"policies\"\n\
                 [limits]\nrecords = 100\nshare = \"100%\"\n{stanza}"
            ),
        );
        world.write(
            "policies/far.toml",
            &format!(
                "category = \"far\"\ntitle = \"Far\"\ntime_zone = \"UTC\"\nmethod = \"delete\"\n\
                 [[rules]]\ntrigger = \"request\"\ndeadline = \"30 days\"\nclause = \"-\"\n\
                 [[placements]]\nname = \"far\"\nstore = \"far-away\"\n{records}\nsubjects = \"none\"\n"
            ),
        );
        let plan = world.exits(1, "plan");
        let check = world.exits(2, "check --online");
        for said in [format!("{} {}", plan.json, plan.stderr), check.json.to_string()] {
            assert!(said.contains("store `far-away`"), "{kind}: {said}");
            assert!(said.to_lowercase().contains("refused"), "{kind}: {said}");
            assert!(!said.contains("hush"), "{kind}: {said}");
        }
        assert!(plan.stderr.contains("run the command again"), "{kind}: {}", plan.stderr);
        assert!(!world.path("retentiond.db").exists(), "{kind}: nothing is recorded");
    }
}
