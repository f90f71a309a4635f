//! What only a folder must stand: links, odd names, names that step outside, files that are replaced, mounts that
//! are gone. It owns hostile trees; what all stores have in common is in `cases`.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use retentiond::id::{PlacementId, StoreId};
use retentiond::plan::{Counts, TenantScope, Times};
use retentiond::policy::{Level, Method, Placement, Records, TenantSource};
use retentiond::stores::files::{FilesReader, FilesStore};
use retentiond::stores::{
    Batch, Budget, ErrorKind, Key, Listed, Query, Reader as _, Store as _, Survival, Value,
};
use tempfile::TempDir;

use super::files_bench::{put, tree};
use super::fixture::{Shape, Time, due, local, query, scope, selection, tenant};

const METHODS: [Method; 3] = [Method::Delete, Method::OverwriteThenDelete, Method::Zero];
const BUDGET: Budget = Budget { records_max: 1000, window_keys: 1 };

/// A marked store in a folder of its own.
struct World {
    root: TempDir,
    store: FilesStore,
}

async fn world() -> World {
    let root = tempfile::tempdir().unwrap();
    let store = FilesStore::open(&StoreId::new("recordings"), root.path()).unwrap();
    store.mark("ledger-1", &StoreId::new("recordings")).await.unwrap();
    World { root, store }
}

impl World {
    fn at(&self, path: &str) -> PathBuf {
        self.root.path().join(path)
    }

    /// An old file that is due by its time of modification.
    fn put(&self, path: &str) -> PathBuf {
        put(&self.at(path), b"secret", local("2024-01-01T12:00:00"));
        self.at(path)
    }

    fn reader(&self) -> FilesReader {
        FilesReader::open(&StoreId::new("recordings"), self.root.path()).unwrap()
    }

    async fn erase(&self, query: &Query, batch: &Batch, method: Method) -> (Counts, Vec<Survival>) {
        let erased = self.store.erase(query, batch, method).await.unwrap();
        let mut total = Counts::default();
        erased.counts.values().for_each(|counts| total.add(counts));
        (total, erased.survivors.into_iter().map(|survivor| survivor.why).collect())
    }
}

fn found_by() -> Query {
    let placement = Placement {
        records: Some(Records::FoundBy {
            placement: PlacementId::new("call-records"),
            column: "recording_key".into(),
            prefix: "rec/{tenant}/".into(),
        }),
        tenant: TenantSource::Template,
        event_time: None,
        ..Shape::prefix(Time::None).placement()
    };
    query(placement, selection(TenantScope::One(tenant("t-1")), vec![scope(None, Times::Any)], vec![]))
}

fn named(owner: &str, locators: &[&str]) -> Batch {
    let listed = locators.iter().map(|locator| Listed {
        tenant: tenant(owner),
        key: Key(vec![Value::Text((*locator).to_owned())]),
        names: Default::default(),
        stamp: String::new(),
    });
    Batch::List(listed.collect())
}

/// Everything of t-1 below `ivr/`, or only what is due of it.
fn everything() -> Query {
    let t1 = TenantScope::One(tenant("t-1"));
    query(Shape::prefix(Time::Modified).placement(), selection(t1, vec![], vec![]))
}

fn due_of_t1() -> Query {
    let mut query = everything();
    query.selection.within = vec![scope(None, due())];
    query
}

async fn find(world: &World, query: &Query) -> Batch {
    world.reader().find(query, None, BUDGET, &[]).await.unwrap().expect("something is found").batch
}

fn failed(survival: &[Survival]) -> Vec<&str> {
    survival
        .iter()
        .map(|why| match why {
            Survival::Failed(text) => text.as_str(),
            Survival::Changed => "changed",
        })
        .collect()
}

#[tokio::test]
async fn a_locator_that_steps_outside_the_prefix_of_its_tenant_erases_nothing() {
    let world = world().await;
    for path in ["rec/t-1/a", "rec/t-10/a", "rec/T-1/a", "rec/t-2/a", "outside", "other/t-1/a"] {
        world.put(path);
    }
    let before = tree(world.root.path());
    let absolute = world.at("rec/t-1/a").display().to_string();
    let locators = [
        "rec/t-1/../t-2/a",
        "rec/t-1/../../outside",
        "../outside",
        "rec/t-1/./a",
        "rec/t-1//a",
        "rec/t-1/a/",
        "rec/t-1/",
        "rec/t-1",
        "rec/t-10/a",
        "rec/T-1/a",
        "rec/t-2/a",
        "outside",
        "other/t-1/a",
        "",
        ".",
        "..",
        ".retentiond-marker",
        "rec/t-1/a\0",
        "/rec/t-1/a",
        absolute.as_str(),
    ];
    for method in METHODS {
        let (counts, survivors) = world.erase(&found_by(), &named("t-1", &locators), method).await;
        assert_eq!(counts, Counts { failed: locators.len() as u64, ..Counts::default() });
        assert!(failed(&survivors).iter().all(|why| why.contains("outside the prefix of its tenant")));
    }
    let there = world.reader().absent(&found_by(), &named("t-1", &locators)).await.unwrap();
    assert_eq!(there.indexes.len(), locators.len(), "what cannot be looked at is not shown absent");
    assert_eq!(tree(world.root.path()), before);
}

#[tokio::test]
async fn named_files_go_and_what_was_never_there_is_already_absent() {
    let world = world().await;
    for method in METHODS {
        world.put("rec/t-1/a");
        world.put("rec/t-1/deep/er/b");
        world.put("rec/t-1/kept");
        let long = format!("rec/t-1/{}", "n".repeat(300));
        let batch =
            named("t-1", &["rec/t-1/a", "rec/t-1/none", "rec/t-1/deep/er/b", "rec/t-1/no/folder/c", &long]);
        let there = world.reader().absent(&found_by(), &batch).await.unwrap();
        assert_eq!((there.indexes, there.tenants[&tenant("t-1")]), (vec![0, 2], 2));
        let (counts, survivors) = world.erase(&found_by(), &batch, method).await;
        assert_eq!(counts, Counts { erased: 2, already_absent: 3, ..Counts::default() });
        assert_eq!(survivors, []);
        let there = world.reader().absent(&found_by(), &batch).await.unwrap();
        assert_eq!((there.indexes.len(), there.tenants.len()), (0, 0));
        assert_eq!(
            tree(world.root.path()).keys().collect::<Vec<_>>(),
            [".retentiond-marker", "rec/t-1/kept"]
        );
    }
}

#[tokio::test]
async fn a_found_by_placement_is_not_walked() {
    let world = world().await;
    world.put("rec/t-1/a");
    let reader = world.reader();
    assert_eq!(reader.survey(&found_by()).await.unwrap_err().kind, ErrorKind::Unresolved);
    assert_eq!(reader.find(&found_by(), None, BUDGET, &[]).await.unwrap_err().kind, ErrorKind::Unresolved);
    let seen = reader.look(&found_by(), &["rec/t-1/a".to_owned()]).await.unwrap().unwrap();
    assert_eq!(seen.tenant, Some(tenant("t-1")));
}

#[tokio::test]
async fn a_symbolic_link_swapped_in_is_not_followed_and_stays() {
    let world = world().await;
    for method in METHODS {
        let victim = world.put("victim");
        let path = world.put("ivr/t-1/a");
        let batch = find(&world, &due_of_t1()).await;
        fs::remove_file(&path).unwrap();
        symlink(&victim, &path).unwrap();
        let (counts, survivors) = world.erase(&due_of_t1(), &batch, method).await;
        assert_eq!(counts, Counts { failed: 1, ..Counts::default() });
        assert_eq!(failed(&survivors), ["it is not a regular file"]);
        assert_eq!(fs::read(&victim).unwrap(), b"secret");
        assert!(fs::symlink_metadata(&path).unwrap().is_symlink());
        assert_eq!(world.reader().absent(&due_of_t1(), &batch).await.unwrap().indexes, [0]);
        fs::remove_file(&path).unwrap();
    }
}

#[tokio::test]
async fn a_folder_swapped_for_a_link_to_another_tenant_erases_nothing() {
    let world = world().await;
    for method in METHODS {
        let foreign = world.put("ivr/t-2/day/a");
        let foreign_recording = world.put("rec/t-2/day/a");
        world.put("ivr/t-1/day/a");
        let batch = find(&world, &due_of_t1()).await;
        fs::remove_dir_all(world.at("ivr/t-1/day")).unwrap();
        fs::create_dir_all(world.at("rec/t-1")).unwrap();
        // One that leads out of the root and back, and one that never leaves it.
        symlink(world.at("ivr/t-2/day"), world.at("ivr/t-1/day")).unwrap();
        symlink("../t-2/day", world.at("rec/t-1/day")).unwrap();

        let (counts, survivors) = world.erase(&due_of_t1(), &batch, method).await;
        assert_eq!((counts.erased, counts.already_absent, counts.failed), (0, 0, 1));
        assert_eq!(failed(&survivors), ["a folder on its path is not a folder"]);
        let deeper = world.put("rec/t-2/day/deep/a");
        let linked = named("t-1", &["rec/t-1/day/a", "rec/t-1/day/deep/a"]);
        let (counts, _) = world.erase(&found_by(), &linked, method).await;
        assert_eq!((counts.erased, counts.already_absent, counts.failed), (0, 0, 2));
        let there = world.reader().absent(&found_by(), &linked).await.unwrap();
        assert_eq!(there.indexes, [0, 1], "not shown absent");
        assert_eq!(fs::read(deeper).unwrap(), b"secret");

        // Nor does a walk go through it: the link is one record that cannot be told apart by age.
        let survey = world.reader().survey(&everything()).await.unwrap();
        assert_eq!(survey.tenants[&tenant("t-1")].records, 1);
        assert!(world.reader().survey(&due_of_t1()).await.unwrap().tenants.is_empty());
        assert_eq!(
            (fs::read(foreign).unwrap(), fs::read(foreign_recording).unwrap()),
            (b"secret".to_vec(), b"secret".to_vec())
        );
        fs::remove_file(world.at("ivr/t-1/day")).unwrap();
        fs::remove_file(world.at("rec/t-1/day")).unwrap();
    }
}

#[tokio::test]
async fn a_tenant_that_is_a_link_has_no_records() {
    let world = world().await;
    world.put("ivr/t-2/a");
    symlink("t-2", world.at("ivr/t-1")).unwrap();
    assert!(world.reader().survey(&everything()).await.unwrap().tenants.is_empty());
}

#[tokio::test]
async fn a_hard_linked_file_survives_and_says_so() {
    let world = world().await;
    for method in METHODS {
        let path = world.put("ivr/t-1/a");
        fs::hard_link(&path, world.at("elsewhere")).unwrap();
        let batch = find(&world, &due_of_t1()).await;
        let (counts, survivors) = world.erase(&due_of_t1(), &batch, method).await;
        assert_eq!(counts, Counts { failed: 1, ..Counts::default() });
        assert_eq!(failed(&survivors), ["it has a second name (hard link)"]);
        assert_eq!(fs::read(world.at("elsewhere")).unwrap(), b"secret");
        fs::remove_file(world.at("elsewhere")).unwrap();
        let (counts, _) = world.erase(&due_of_t1(), &batch, method).await;
        assert_eq!(counts.erased, 1, "once the other name is gone it can be erased");
    }
}

#[tokio::test]
async fn what_is_no_regular_file_is_parked_and_never_opened() {
    let world = world().await;
    world.put("ivr/t-1/a");
    let fifo = rustix::fs::mkfifoat(rustix::fs::CWD, world.at("ivr/t-1/fifo"), rustix::fs::Mode::RUSR);
    fifo.unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(world.at("ivr/t-1/socket")).unwrap();
    symlink("/", world.at("ivr/t-1/root")).unwrap();
    symlink("loop", world.at("ivr/t-1/loop")).unwrap();

    let reader = world.reader();
    assert_eq!(reader.survey(&due_of_t1()).await.unwrap().tenants[&tenant("t-1")].records, 1);
    let mut parked = everything();
    parked.selection.within = vec![scope(None, Times::Unusable)];
    assert_eq!(reader.survey(&parked).await.unwrap().tenants[&tenant("t-1")].records, 4, "parked and seen");
    for method in METHODS {
        let batch = find(&world, &parked).await;
        let (counts, survivors) = world.erase(&parked, &batch, method).await;
        assert_eq!(counts, Counts { failed: 4, ..Counts::default() });
        assert!(failed(&survivors).iter().all(|why| *why == "it is not a regular file"));
    }
    assert_eq!(fs::read_dir(world.at("ivr/t-1")).unwrap().count(), 5);
}

#[tokio::test]
async fn odd_names_are_bytes_and_go_exactly() {
    let world = world().await;
    let names: [&[u8]; 14] = [
        b"-rf",
        b"--",
        b"*",
        b"a b",
        b"$(id)",
        b"`x`",
        b"new\nline",
        b"\xff\xfe",
        b"\xed\xa0\x80",
        b"...",
        b"a&b<",
        b"\x01",
        b"caf\xc3\xa9",
        b"cafe\xcc\x81",
    ];
    for method in METHODS {
        let path = |name: &[u8]| world.at("ivr/t-1").join(OsStr::from_bytes(name));
        for name in names.iter().copied().chain([[b'n'; 255].as_slice()]) {
            put(&path(name), b"secret", local("2024-01-01T12:00:00"));
        }
        put(&path(b"kept"), b"secret", local("2025-09-01T12:00:00"));
        let batch = find(&world, &due_of_t1()).await;
        assert_eq!(batch.records(), 15);
        let Batch::List(listed) = &batch else { panic!("files are listed") };
        let odd = Key(vec![Value::Bytes(b"ivr/t-1/\xff\xfe".to_vec())]);
        assert!(listed.iter().any(|listed| listed.key == odd), "a name that is not UTF-8 is bytes");
        // As it comes back from the ledger.
        let batch: Batch = serde_json::from_str(&serde_json::to_string(&batch).unwrap()).unwrap();
        let (counts, survivors) = world.erase(&due_of_t1(), &batch, method).await;
        assert_eq!((counts.erased, survivors), (15, vec![]));
        assert_eq!(world.reader().absent(&due_of_t1(), &batch).await.unwrap().indexes, Vec::<usize>::new());
        assert_eq!(fs::read_dir(world.at("ivr/t-1")).unwrap().count(), 1);
    }
}

#[tokio::test]
async fn the_walk_is_in_order_of_whole_paths_and_loses_nothing_between_batches() {
    let world = world().await;
    // `a.b` sorts before `a/…` as a path, but after `a` as a name.
    let paths =
        ["ivr/t-1/a.b", "ivr/t-1/a/1", "ivr/t-1/a/b/2", "ivr/t-1/a0", "ivr/t-1/a/b.c", "ivr/t-1/\u{e9}"];
    paths.iter().for_each(|path| drop(world.put(path)));
    let mut expected: Vec<&str> = paths.to_vec();
    expected.sort_unstable();
    for records_max in 1..=7 {
        let mut seen = Vec::new();
        let mut after = None;
        let budget = Budget { records_max, window_keys: 1 };
        while let Some(found) = world.reader().find(&everything(), after.as_ref(), budget, &[]).await.unwrap()
        {
            let Batch::List(listed) = found.batch else { panic!("files are listed") };
            for listed in listed {
                let [Value::Text(path)] = listed.key.0.as_slice() else { panic!("it is text") };
                seen.push(path.clone());
            }
            assert_ne!(after.as_ref(), Some(&found.position), "the walk goes on");
            after = Some(found.position);
        }
        assert_eq!(seen, expected, "{records_max} at a time");
    }
}

#[tokio::test]
async fn a_position_whose_file_and_folder_are_gone_still_goes_forward() {
    let world = world().await;
    for path in ["ivr/t-1/a/1", "ivr/t-1/b/1", "ivr/t-1/c/1"] {
        world.put(path);
    }
    let budget = Budget { records_max: 2, window_keys: 1 };
    let first = world.reader().find(&everything(), None, budget, &[]).await.unwrap().unwrap();
    fs::remove_dir_all(world.at("ivr/t-1/b")).unwrap();
    let next = world.reader().find(&everything(), Some(&first.position), budget, &[]).await.unwrap().unwrap();
    assert_eq!(next.position.0, Key(vec![Value::Text("ivr/t-1/c/1".into())]));
}

#[tokio::test]
async fn a_file_replaced_under_the_same_name_survives() {
    let world = world().await;
    for method in METHODS {
        let path = world.put("ivr/t-1/2024/01/01/a");
        let mut query = everything();
        let mut placement = (*query.placement).clone();
        placement.event_time = Shape::prefix(Time::Key).placement().event_time;
        query.placement = placement.into();
        query.selection.within = vec![scope(None, due())];
        let batch = find(&world, &query).await;
        // Same name, size, content and time; another file.
        put(&world.at("new"), b"secret", local("2024-01-01T12:00:00"));
        fs::rename(world.at("new"), &path).unwrap();
        let (counts, survivors) = world.erase(&query, &batch, method).await;
        assert_eq!((counts.changed, survivors), (1, vec![Survival::Changed]));
        assert_eq!(fs::read(&path).unwrap(), b"secret");
        let batch = find(&world, &query).await;
        assert_eq!(world.erase(&query, &batch, method).await.0.erased, 1, "found anew, it goes");
    }
}

#[tokio::test]
async fn a_file_that_grew_since_it_was_found_survives() {
    let world = world().await;
    let path = world.put("ivr/t-1/a");
    let batch = find(&world, &everything()).await;
    File::options().append(true).open(&path).unwrap().write_all(b"more").unwrap();
    let (counts, _) = world.erase(&everything(), &batch, Method::Zero).await;
    assert_eq!((counts.changed, fs::read(&path).unwrap()), (1, b"secretmore".to_vec()));
}

#[tokio::test]
async fn another_tenants_prefix_deeper_inside_is_only_a_name() {
    let world = world().await;
    world.put("ivr/t-1/ivr/t-2/a");
    world.put("ivr/t-2/a");
    let mut t2 = everything();
    t2.selection.tenants = TenantScope::One(tenant("t-2"));
    assert_eq!(world.reader().survey(&t2).await.unwrap().tenants[&tenant("t-2")].records, 1);
    let batch = find(&world, &t2).await;
    assert_eq!(world.erase(&t2, &batch, Method::Delete).await.0.erased, 1);
    assert!(world.at("ivr/t-1/ivr/t-2/a").exists());
    assert!(!world.at("ivr/t-2/a").exists());
}

#[tokio::test]
async fn zeros_take_the_place_of_every_byte_before_the_name_goes() {
    let world = world().await;
    for method in [Method::OverwriteThenDelete, Method::Zero] {
        // Around the edges of blocks, and larger than what is written at once.
        for size in [0, 1, 300, 4095, 4096, 4097, 3 * 1024 * 1024 + 17] {
            let path = world.at("ivr/t-1/a");
            put(&path, &vec![0xA5; size], local("2024-01-01T12:00:00"));
            let mut open = File::open(&path).unwrap();
            let batch = find(&world, &due_of_t1()).await;
            assert_eq!(world.erase(&due_of_t1(), &batch, method).await.0.erased, 1, "{size}");
            let mut content = Vec::new();
            open.read_to_end(&mut content).unwrap();
            assert!(content.len() >= size, "{size}: not cut short");
            assert!(content.iter().all(|byte| *byte == 0), "{size}: all zeros");
            assert!(!path.exists());
        }
    }
}

#[tokio::test]
async fn a_sparse_file_does_not_grow() {
    let world = world().await;
    let path = world.put("ivr/t-1/sparse");
    let mut file = File::options().read(true).write(true).open(&path).unwrap();
    for at in [1 << 30, 1 << 39] {
        file.seek(SeekFrom::Start(at)).unwrap();
        file.write_all(b"secret").unwrap();
    }
    file.set_len((1 << 39) + (1 << 20)).unwrap();
    file.sync_all().unwrap();
    let blocks = file.metadata().unwrap().blocks();
    let batch = find(&world, &everything()).await;
    assert_eq!(world.erase(&everything(), &batch, Method::Zero).await.0.erased, 1);
    assert!(file.metadata().unwrap().blocks() <= blocks + 16, "holes stay holes");
    for at in [0, 1 << 30, 1 << 39] {
        let mut content = [1; 6];
        file.seek(SeekFrom::Start(at)).unwrap();
        file.read_exact(&mut content).unwrap();
        assert_eq!(content, [0; 6], "at {at}");
    }
}

#[tokio::test]
async fn many_files_are_overwritten_at_once_and_each_is_accounted_for() {
    let world = world().await;
    for index in 0..200 {
        world.put(&format!("ivr/t-1/{}/{index}", index % 7));
    }
    let batch = find(&world, &everything()).await;
    assert_eq!(batch.records(), 200);
    let Batch::List(mut listed) = batch else { panic!("files are listed") };
    fs::hard_link(world.at("ivr/t-1/0/7"), world.at("second")).unwrap();
    fs::remove_file(world.at("ivr/t-1/3/10")).unwrap();
    // The same file twice in a batch is erased once.
    listed.push(listed[0].clone());
    let batch = Batch::List(listed.clone());
    let erased = world.store.erase(&everything(), &batch, Method::Zero).await.unwrap();
    let counts = erased.counts[&tenant("t-1")];
    assert_eq!((counts.erased, counts.failed), (198, 1));
    assert_eq!(counts.already_absent + counts.changed, 2);
    let index = listed.iter().position(|l| l.key == Key(vec![Value::Text("ivr/t-1/0/7".into())])).unwrap();
    assert_eq!(erased.survivors.iter().filter(|s| s.index == index).count(), 1);
    assert_eq!(world.reader().absent(&everything(), &batch).await.unwrap().indexes, [index]);
}

#[tokio::test]
async fn without_its_marker_nothing_is_called_absent() {
    let world = world().await;
    world.put("ivr/t-1/a");
    let batch = find(&world, &everything()).await;
    fs::rename(world.at(".retentiond-marker"), world.at("moved")).unwrap();
    let error = world.store.erase(&everything(), &batch, Method::Delete).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Identity);
    assert_eq!(world.reader().absent(&everything(), &batch).await.unwrap_err().kind, ErrorKind::Identity);
    assert!(world.at("ivr/t-1/a").exists());
}

#[tokio::test]
async fn a_root_that_was_replaced_is_not_read_back() {
    let world = world().await;
    world.put("ivr/t-1/a");
    let (reader, batch) = (world.reader(), find(&world, &everything()).await);
    let aside = world.root.path().with_extension("aside");
    fs::rename(world.root.path(), &aside).unwrap();
    assert_eq!(reader.absent(&everything(), &batch).await.unwrap_err().kind, ErrorKind::Unreachable);
    fs::create_dir(world.root.path()).unwrap();
    fs::copy(aside.join(".retentiond-marker"), world.at(".retentiond-marker")).unwrap();
    assert_eq!(reader.absent(&everything(), &batch).await.unwrap_err().kind, ErrorKind::Identity);
    fs::remove_dir_all(aside).unwrap();
}

#[tokio::test]
async fn roots_that_are_none_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let open = |path: &Path| FilesReader::open(&StoreId::new("recordings"), path).map_err(|error| error.kind);
    assert_eq!(open(Path::new("/")).unwrap_err(), ErrorKind::Refused);
    assert_eq!(open(&folder.path().join("missing")).unwrap_err(), ErrorKind::Unreachable);
    fs::create_dir(folder.path().join("real")).unwrap();
    symlink("real", folder.path().join("link")).unwrap();
    assert_eq!(open(&folder.path().join("link")).unwrap_err(), ErrorKind::Refused);
    assert_eq!(open(&folder.path().join("link/")).unwrap_err(), ErrorKind::Refused, "a trailing separator");
    fs::write(folder.path().join("file"), b"").unwrap();
    assert_eq!(open(&folder.path().join("file")).unwrap_err(), ErrorKind::Refused);
    assert!(open(&folder.path().join("real")).is_ok());
    let up = std::iter::repeat_n("..", 40).fold(folder.path().to_owned(), |path, up| path.join(up));
    assert_eq!(open(&up).unwrap_err(), ErrorKind::Refused, "the root by another name");
}

#[tokio::test]
async fn the_marker_is_private_and_never_a_record() {
    let world = world().await;
    let mode = fs::metadata(world.at(".retentiond-marker")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let names: Vec<_> =
        fs::read_dir(world.root.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, [".retentiond-marker"], "no draft stays");
    // A tenant of that name would be a folder; the marker is none.
    let mut placement = (*everything().placement).clone();
    placement.records = Some(Records::Prefix("{tenant}/".into()));
    assert_eq!(world.reader().population(&placement, 10).await.unwrap(), 0);
    fs::write(world.at(".retentiond-marker"), b"{").unwrap();
    assert_eq!(
        world.reader().identity().await.unwrap_err().kind,
        ErrorKind::Identity,
        "an unreadable one is a doubt"
    );
}

#[tokio::test]
async fn a_constant_tenant_owns_its_prefix_and_nothing_else() {
    let world = world().await;
    world.put("voice/a");
    world.put("voice/deep/b");
    world.put("voices/c");
    let mut query = everything();
    let mut placement = (*query.placement).clone();
    placement.records = Some(Records::Prefix("voice/".into()));
    placement.tenant = TenantSource::Constant(tenant("t-1"));
    query.placement = placement.into();
    assert_eq!(world.reader().survey(&query).await.unwrap().tenants[&tenant("t-1")].records, 2);
    let batch = find(&world, &query).await;
    let Batch::List(mut listed) = batch.clone() else { panic!("files are listed") };
    listed.iter_mut().for_each(|listed| listed.tenant = tenant("t-2"));
    assert_eq!(world.erase(&query, &Batch::List(listed), Method::Delete).await.0.failed, 2);
    assert_eq!(world.erase(&query, &batch, Method::Delete).await.0.erased, 2);
    assert!(world.at("voices/c").exists());
}

#[tokio::test]
async fn the_levels_follow_the_file_system() {
    let world = world().await;
    let zero = world.store.capability().levels[&Method::Zero];
    let magic = rustix::fs::statfs(world.root.path()).unwrap().f_type;
    let in_place = [0xEF53, 0x0102_1994, 0x5846_5342].contains(&magic);
    assert_eq!(zero, if in_place { Level::Scrubbed } else { Level::Deleted });
    let scrubbed = world.store.scrub(&everything().placement).await.unwrap();
    assert_eq!(scrubbed.level, zero);
    assert_eq!(scrubbed.residual[0].what, "file names in directory blocks and journal");
    let findings = world.store.inspect(&everything().placement).await.unwrap();
    assert!(
        findings.iter().any(|finding| !finding.fatal && finding.field == "event_time"),
        "mtime is warned about"
    );
    assert_eq!(
        findings.iter().any(|finding| finding.field == "method"),
        magic != 0xEF53 && magic != 0x0102_1994
    );
}

#[tokio::test]
async fn no_error_names_a_file() {
    let world = world().await;
    world.put("rec/t-1/+6590000001.wav");
    fs::hard_link(world.at("rec/t-1/+6590000001.wav"), world.at("rec/t-1/second")).unwrap();
    let batch = named("t-1", &["rec/t-1/+6590000001.wav", "rec/t-2/+6590000001.wav"]);
    let erased = world.store.erase(&found_by(), &batch, Method::Zero).await.unwrap();
    assert_eq!(erased.survivors.len(), 2);
    assert!(!format!("{:?}", erased.survivors).contains("6590000001"));
}

#[tokio::test]
async fn another_file_system_below_the_root_is_not_entered() {
    let device = |path: &str| fs::metadata(path).map(|facts| facts.dev()).ok();
    if device("/dev/shm").is_none() || device("/dev") == device("/dev/shm") {
        println!("skipped: nothing is mounted on /dev/shm");
        return;
    }
    let reader = FilesReader::open(&StoreId::new("devices"), Path::new("/dev")).unwrap();
    let mut placement = (*everything().placement).clone();
    placement.records = Some(Records::Prefix("shm/".into()));
    placement.tenant = TenantSource::Constant(tenant("t-1"));
    let error = reader.population(&placement, 10).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Refused);
    assert!(error.message.contains("another file system"));
}
