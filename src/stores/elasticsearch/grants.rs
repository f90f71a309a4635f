//! The least that a search cluster must let us do, as a role for Elasticsearch and one for `OpenSearch`. It owns which
//! call needs which privilege, and asks nobody.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::indices::MARKER;
use crate::config::StoreConfig;
use crate::policy::Records;
use crate::policy::template::TENANT_MARK;
use crate::stores::grants::Need;

/// What looking needs of `OpenSearch`, call by call.
const LOOKING: [&str; 6] = [
    "read",
    "indices:admin/aliases/get",
    "indices:admin/mappings/get",
    "indices:admin/refresh*",
    "indices:admin/resolve/index",
    "indices:monitor/settings/get",
];

/// Both roles. Neither may delete or close an index, or change a mapping or a setting.
pub fn grants(_config: &StoreConfig, needs: &[Need<'_>]) -> String {
    let (written, erased): (Vec<&Need<'_>>, Vec<&Need<'_>>) =
        needs.iter().partition(|need| need.overwrites());
    let mut ours = Vec::new();
    let mut theirs = Vec::new();
    for (names, more) in [(names(&erased), None), (names(&written), Some("index"))] {
        if names.is_empty() {
            continue;
        }
        let mut privileges = vec!["read", "delete", "view_index_metadata", "maintenance"];
        privileges.extend(more);
        ours.push(of_elasticsearch(&names, &privileges));
        let mut actions = LOOKING.to_vec();
        actions.extend(["indices:data/write/bulk*", "indices:data/write/delete"]);
        actions.extend(more.map(|_| "indices:data/write/index"));
        theirs.push(of_opensearch(&names, &actions));
    }
    let marker = BTreeSet::from([MARKER.to_owned()]);
    ours.push(of_elasticsearch(&marker, &["read", "create_index", "create_doc", "maintenance"]));
    let leaving = [
        "read",
        "create_index",
        "indices:data/write/bulk*",
        "indices:data/write/index",
        "indices:admin/refresh*",
    ];
    theirs.push(of_opensearch(&marker, &leaving));
    let ours = json!({ "cluster": ["monitor", "monitor_snapshot"], "indices": ours });
    let cluster = [
        "cluster_composite_ops",
        "cluster:monitor/main",
        "cluster:monitor/health",
        "cluster:admin/repository/get",
        "cluster:admin/opendistro/ism/managedindex/explain",
    ];
    let theirs = json!({ "cluster_permissions": cluster, "index_permissions": theirs });
    format!(
        "# Elasticsearch: PUT /_security/role/retentiond\n{ours:#}\n\
         # OpenSearch: PUT /_plugins/_security/api/roles/retentiond\n{theirs:#}\n"
    )
}

fn of_elasticsearch(names: &BTreeSet<String>, privileges: &[&str]) -> Value {
    json!({ "names": names, "privileges": privileges })
}

fn of_opensearch(names: &BTreeSet<String>, actions: &[&str]) -> Value {
    json!({ "index_patterns": names, "allowed_actions": actions })
}

/// The patterns of the placements. In an index that is named by tenant, any tenant is meant.
fn names(needs: &[&Need<'_>]) -> BTreeSet<String> {
    let records = needs.iter().filter_map(|need| need.placement.records.as_ref());
    let of = |records: &Records| match records {
        Records::Index(pattern) => pattern.split(',').map(ToOwned::to_owned).collect(),
        Records::FoundBy { prefix, .. } => {
            let index = prefix.split('/').next().unwrap_or_default();
            vec![index.replace(TENANT_MARK, "*")]
        }
        Records::Table { .. } | Records::Prefix(_) | Records::Keys(_) => Vec::new(),
    };
    records.flat_map(of).collect()
}
