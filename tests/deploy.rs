//! What is in `deploy/` fits together and fits the program: units, images and manifests name files that exist, arguments
//! that the program takes and secrets that its configuration asks for. It owns these comparisons; nothing is deployed.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use retentiond::config::read::load_with;
use retentiond::policy::tree::Severity;
use yaml_rust2::{Yaml, YamlLoader};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(file: &str) -> String {
    std::fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

fn yaml(file: &str) -> Vec<Yaml> {
    YamlLoader::load_from_str(&read(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

fn texts(yaml: &Yaml) -> Vec<String> {
    let list = yaml.as_vec().unwrap_or_else(|| panic!("{yaml:?} is no list"));
    list.iter().map(|text| text.as_str().expect("a text").to_owned()).collect()
}

/// The names that a configuration asks for, once it is found to be without a fault.
fn secrets_of(config: &str) -> BTreeSet<String> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("retentiond.toml");
    let policies = format!("path = \"{}\"", root().join("policies").display());
    let config = config
        .replace("path = \"policies\"", &policies)
        .replace("path = \"/etc/retentiond/policies\"", &policies);
    std::fs::write(&file, config).unwrap();
    let asked = RefCell::new(BTreeSet::new());
    let loaded = load_with(&file, &|name| {
        asked.borrow_mut().insert(name.to_owned());
        Some("secret".to_owned())
    });
    let wrong: Vec<_> = loaded.faults.iter().filter(|fault| fault.severity == Severity::Error).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    asked.into_inner()
}

/// The program takes these arguments.
fn is_taken(arguments: &[&str]) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_retentiond"));
    let output = command.args(arguments).arg("--help").output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// The lines of a unit: by section and key, each with all its values.
fn unit(file: &str) -> BTreeMap<(String, String), Vec<String>> {
    let mut section = String::new();
    let mut lines: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
    for line in read(file).lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        match line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            Some(name) => section = name.to_owned(),
            None => {
                let (key, value) = line.split_once('=').unwrap_or_else(|| panic!("{file}: {line}"));
                lines.entry((section.clone(), key.to_owned())).or_default().push(value.to_owned());
            }
        }
    }
    lines
}

const SERVICES: [&str; 2] =
    ["deploy/systemd/retentiond.service", "deploy/systemd/retentiond-enforce.service"];

#[test]
fn the_units_are_hardened_and_start_the_program_as_it_is() {
    for (file, kind) in SERVICES.into_iter().zip(["notify", "oneshot"]) {
        let unit = unit(file);
        let of = |key: &str| unit.get(&("Service".to_owned(), key.to_owned())).cloned().unwrap_or_default();
        for (key, value) in [
            ("Type", kind),
            ("NoNewPrivileges", "yes"),
            ("ProtectSystem", "strict"),
            ("CapabilityBoundingSet", ""),
            ("StateDirectory", "retentiond"),
            ("StateDirectoryMode", "0700"),
            ("UMask", "0077"),
            ("MemoryDenyWriteExecute", "yes"),
        ] {
            assert_eq!(of(key), [value], "{file}: {key}");
        }
        assert!(of("SystemCallFilter").contains(&"@system-service".to_owned()), "{file}");
        let start = of("ExecStart").remove(0);
        let words: Vec<&str> = start.split_whitespace().collect();
        assert_eq!(words[0], "/usr/bin/retentiond", "{file}");
        is_taken(&words[1..]);
        assert!(words.ends_with(&["--config", "/etc/retentiond/retentiond.toml"]), "{file}: {start}");
        let handed: BTreeSet<String> =
            of("LoadCredential").iter().map(|line| line.split(':').next().unwrap().to_owned()).collect();
        assert_eq!(handed, secrets_of(&read("deploy/retentiond.toml")), "{file}");
    }
    let daemon = unit(SERVICES[0]);
    let of = |key: &str| daemon[&("Service".to_owned(), key.to_owned())].join(" ");
    assert!(
        of("WatchdogSec").parse::<u32>().unwrap() >= 60 && of("TimeoutStopSec").parse::<u32>().unwrap() > 60
    );
    let timer = unit("deploy/systemd/retentiond-enforce.timer");
    assert_eq!(timer[&("Timer".to_owned(), "Persistent".to_owned())], ["yes"], "missed nights are made up");
    assert_eq!(timer[&("Timer".to_owned(), "Unit".to_owned())], ["retentiond-enforce.service"]);
}

#[test]
fn the_service_manager_finds_no_fault_with_the_units() {
    let Ok(version) = Command::new("systemd-analyze").arg("--version").output() else {
        // A machine without systemd runs no units; what is in them was read above.
        return;
    };
    assert!(version.status.success());
    let folder = tempfile::tempdir().unwrap();
    let mut files: Vec<PathBuf> = Vec::new();
    for file in SERVICES.into_iter().chain(["deploy/systemd/retentiond-enforce.timer"]) {
        let to = folder.path().join(Path::new(file).file_name().unwrap());
        std::fs::write(&to, read(file).replace("/usr/bin/retentiond", env!("CARGO_BIN_EXE_retentiond")))
            .unwrap();
        files.push(to);
    }
    let found = Command::new("systemd-analyze").args(["verify", "--man=no"]).args(&files).output().unwrap();
    let said = String::from_utf8_lossy(&found.stderr);
    let ours: Vec<&str> = said.lines().filter(|line| line.contains("retentiond")).collect();
    assert!(ours.is_empty(), "{said}");
}

#[test]
fn the_image_has_no_shell_runs_as_nobody_and_is_made_of_files_that_exist() {
    let file = read("deploy/docker/Dockerfile");
    let last = file.rsplit("\nFROM ").next().unwrap();
    assert!(last.starts_with("gcr.io/distroless/") && !last.contains("\nRUN "), "{last}");
    assert!(last.contains("\nUSER 65532:65532"), "{last}");
    let ignored = read("deploy/docker/Dockerfile.dockerignore");
    for line in file.lines().filter(|line| line.starts_with("COPY ") && !line.contains("--from")) {
        let words: Vec<&str> = line.split_whitespace().skip(1).collect();
        for source in &words[..words.len() - 1] {
            assert!(root().join(source).exists(), "{line}");
            assert!(ignored.lines().any(|kept| kept == format!("!{source}")), "{line}: it is ignored");
        }
    }
    let command = last.lines().find_map(|line| line.strip_prefix("CMD ")).unwrap();
    let command: Vec<String> = serde_json::from_str(command).unwrap();
    is_taken(&command.iter().map(String::as_str).collect::<Vec<_>>());
    let rust =
        read("Cargo.toml").lines().find_map(|line| line.strip_prefix("rust-version = ").map(str::to_owned));
    assert!(file.contains(&format!("FROM rust:{}-", rust.unwrap().trim_matches('"'))), "{file}");
}

#[test]
fn compose_starts_it_beside_the_four_systems_with_every_secret() {
    let compose = yaml("deploy/docker/compose.yaml").remove(0);
    let services = &compose["services"];
    for system in ["mysql", "redis", "objects", "search"] {
        assert!(services[system]["image"].as_str().is_some(), "{system}");
    }
    let ours = &services["retentiond"];
    assert_eq!(ours["read_only"].as_bool(), Some(true));
    assert_eq!(ours["user"].as_str(), Some("65532:65532"));
    let folder = root().join("deploy/docker");
    let build = &ours["build"];
    assert!(
        folder.join(build["context"].as_str().unwrap()).join(build["dockerfile"].as_str().unwrap()).exists()
    );
    let config = read("deploy/retentiond.toml");
    let secrets: BTreeSet<String> = texts(&ours["secrets"]).into_iter().collect();
    assert_eq!(secrets, secrets_of(&config));
    for secret in &secrets {
        let file = compose["secrets"][secret.as_str()]["file"].as_str().unwrap();
        assert!(folder.join(file).exists(), "{file}");
    }
    for (name, service) in services.as_hash().unwrap() {
        for volume in service["volumes"].as_vec().into_iter().flatten() {
            let source = volume.as_str().unwrap().split(':').next().unwrap();
            let there = if source.starts_with('.') {
                folder.join(source).exists()
            } else {
                compose["volumes"].as_hash().unwrap().contains_key(&Yaml::String(source.to_owned()))
            };
            assert!(there, "{name:?}: {source}");
        }
    }
    for host in ["@mysql:", "@redis:", "//objects:", "//search:"] {
        assert!(config.contains(host), "{host} is the name of a service");
    }
}

#[test]
fn the_manifests_run_several_replicas_that_share_a_ledger_and_can_be_probed() {
    let all = yaml("deploy/kubernetes/retentiond.yaml");
    let kind = |kind: &str| {
        all.iter().find(|one| one["kind"].as_str() == Some(kind)).unwrap_or_else(|| panic!("no {kind}"))
    };
    for one in &all {
        assert!(
            one["apiVersion"].as_str().is_some() && one["metadata"]["name"].as_str() == Some("retentiond")
        );
    }
    let deployment = kind("Deployment");
    assert!(deployment["spec"]["replicas"].as_i64().unwrap() > 1);
    let pod = &deployment["spec"]["template"]["spec"];
    assert!(pod["terminationGracePeriodSeconds"].as_i64().unwrap() > 60, "longer than a stop may take");
    assert_eq!(pod["securityContext"]["runAsNonRoot"].as_bool(), Some(true));
    let container = &pod["containers"][0];
    let context = &container["securityContext"];
    assert_eq!(context["readOnlyRootFilesystem"].as_bool(), Some(true));
    assert_eq!(context["allowPrivilegeEscalation"].as_bool(), Some(false));
    assert_eq!(texts(&context["capabilities"]["drop"]), ["ALL"]);
    for (probe, path) in
        [("startupProbe", "/healthz"), ("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")]
    {
        assert_eq!(container[probe]["httpGet"]["path"].as_str(), Some(path));
        assert_eq!(container[probe]["httpGet"]["scheme"].as_str(), Some("HTTPS"));
    }
    let arguments = texts(&container["args"]);
    is_taken(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    let volumes: BTreeSet<&str> =
        pod["volumes"].as_vec().unwrap().iter().map(|volume| volume["name"].as_str().unwrap()).collect();
    let mounts = container["volumeMounts"].as_vec().unwrap();
    assert!(mounts.iter().all(|mount| volumes.contains(mount["name"].as_str().unwrap())));
    assert!(kind("PodDisruptionBudget")["spec"]["minAvailable"].as_i64().unwrap() >= 1);
    assert_eq!(texts(&kind("PersistentVolumeClaim")["spec"]["accessModes"]), ["ReadWriteMany"]);
    let config = kind("ConfigMap")["data"]["retentiond.toml"].as_str().unwrap();
    let ledger = "url      = \"mysql://retentiond:${LEDGER_PASSWORD}@mysql:3306/retentiond\"";
    assert!(config.contains(ledger), "several replicas need a server for their ledger");
    for file in ["/tls/tls.crt", "/tls/tls.key", "/etc/retentiond/policies", "/var/lib/retentiond/audit"] {
        assert!(config.contains(file), "{file}");
    }
    // The stores are those of the other deployments.
    let stores = |text: &str| text.lines().filter(|line| line.starts_with("[stores.")).count();
    assert_eq!(stores(config), stores(&read("deploy/retentiond.toml")));
    let mut secrets = secrets_of(config);
    assert!(secrets.remove("LEDGER_PASSWORD"));
    assert_eq!(secrets, secrets_of(&read("deploy/retentiond.toml")));
}
