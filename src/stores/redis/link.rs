//! The connections of a store: made on first use, made anew after they broke, with the server's role proven each time.
//! It owns sending and who serves which key; what is sent is said elsewhere.

use std::sync::atomic::{AtomicU64, Ordering};

use ::redis::aio::MultiplexedConnection;
use ::redis::{Cmd, Pipeline, RedisError, Value as Reply};
use tokio::sync::{Mutex, MutexGuard};

use super::place::{Node, Place, Sentinel};
use super::topology::{Primary, SLOTS, own_line, primaries_of, slot_of};
use super::trouble::{Wrong, error, of_answer, of_connection};
use super::wire::{cmd, fact, parts, text};
use crate::id::StoreId;
use crate::stores::{ErrorKind, Retry, StoreError};

/// Why a replica is refused.
const REPLICA: &str = "the server is a replica: it lags behind, and what is erased there comes back";

/// What the connections are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Duty {
    /// Only looking; a replica will do.
    Look,
    /// Erasing, or reading back what was erased: primaries only.
    Erase,
}

/// The way to a store.
#[derive(Debug)]
pub(super) struct Link {
    /// The store, for errors.
    pub(super) store: StoreId,
    place: Place,
    duty: Duty,
    served: Mutex<Option<Connected>>,
}

/// Every primary, and a number that no other set of connections of this process has.
#[derive(Debug)]
struct Connected {
    number: u64,
    all: Vec<Served>,
}

/// A server that we are connected to.
#[derive(Debug, Clone)]
struct Served {
    primary: Primary,
    /// False for a single server that is a replica, which is only looked at.
    is_primary: bool,
    connection: MultiplexedConnection,
}

impl Link {
    /// Connects, and makes sure of the role.
    pub(super) async fn open(store: &StoreId, place: Place, duty: Duty) -> Result<Self, StoreError> {
        let link = Self { store: store.clone(), place, duty, served: Mutex::new(None) };
        link.session("open").await?;
        Ok(link)
    }

    /// The address as people know it.
    pub(super) fn shown(&self) -> String {
        self.place.shown()
    }

    /// True where keys lie on several servers.
    pub(super) fn is_cluster(&self) -> bool {
        matches!(self.place, Place::Cluster(_))
    }

    /// Takes the connections for one operation. Operations queue up.
    pub(super) async fn session(&self, operation: &'static str) -> Result<Session<'_>, StoreError> {
        let mut served = self.served.lock().await;
        if served.is_none() {
            *served = Some(self.connect(operation).await?);
        }
        Ok(Session { link: self, operation, served })
    }

    async fn connect(&self, operation: &'static str) -> Result<Connected, StoreError> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let all = match &self.place {
            Place::Single(node) => vec![self.connect_whole(operation, node).await?],
            Place::Sentinels(sentinels) => {
                let node = self.ask_sentinels(operation, sentinels).await?;
                vec![self.connect_whole(operation, &node).await?]
            }
            Place::Cluster(nodes) => self.connect_cluster(operation, nodes).await?,
        };
        Ok(Connected { number: NUMBER.fetch_add(1, Ordering::Relaxed), all })
    }

    /// A server that holds every key.
    async fn connect_whole(&self, operation: &'static str, node: &Node) -> Result<Served, StoreError> {
        let mut connection = self.dial(operation, node).await?;
        let is_primary = self.is_primary(operation, &mut connection).await?;
        if self.duty == Duty::Erase && !is_primary {
            return Err(error(&self.store, operation, ErrorKind::Identity, Retry::Never, REPLICA));
        }
        Ok(Served { primary: Primary::of_everything(node.shown()), is_primary, connection })
    }

    async fn dial(&self, operation: &'static str, node: &Node) -> Result<MultiplexedConnection, StoreError> {
        node.connect().await.map_err(|failed| of_connection(&self.store, operation, &failed))
    }

    /// `HELLO` is open to every user, unlike `ROLE`, which servers before version 6 have to be asked.
    async fn is_primary(
        &self,
        operation: &'static str,
        connection: &mut MultiplexedConnection,
    ) -> Result<bool, StoreError> {
        let hello = parts(self.ask_first(operation, connection, cmd(&["HELLO"])).await.unwrap_or_default());
        let role = match fact(&hello, "role") {
            Some(role) => role.to_owned(),
            None => {
                let facts = parts(self.ask_first(operation, connection, cmd(&["ROLE"])).await?);
                facts.first().and_then(text).unwrap_or_default().to_owned()
            }
        };
        match role.as_str() {
            "master" => Ok(true),
            "replica" | "slave" => Ok(false),
            _ => {
                let message = "the server does not say whether it is a primary";
                Err(error(&self.store, operation, ErrorKind::Unreachable, Retry::Later, message))
            }
        }
    }

    /// Asks over a connection that is not in use yet.
    async fn ask_first(
        &self,
        operation: &'static str,
        connection: &mut MultiplexedConnection,
        question: Cmd,
    ) -> Result<Reply, StoreError> {
        let mut replies = ask(connection, vec![question])
            .await
            .map_err(|failed| of_connection(&self.store, operation, &failed))?;
        match replies.pop() {
            Some(Reply::ServerError(answer)) => match of_answer(&self.store, operation, &answer) {
                Wrong::Store(error) => Err(error),
                Wrong::Moved => Err(self.moving(operation)),
            },
            Some(reply) => Ok(reply),
            None => Err(self.moving(operation)),
        }
    }

    async fn ask_sentinels(
        &self,
        operation: &'static str,
        sentinels: &[Sentinel],
    ) -> Result<Node, StoreError> {
        let name = sentinels.iter().find_map(|sentinel| sentinel.master.clone());
        let mut last = None;
        for sentinel in sentinels {
            let mut connection = match self.dial(operation, &sentinel.node).await {
                Ok(connection) => connection,
                Err(error) => {
                    last = Some(error);
                    continue;
                }
            };
            let question = cmd(&["SENTINEL", "MASTERS"]);
            let masters = match self.ask_first(operation, &mut connection, question).await {
                Ok(masters) => masters,
                Err(error) => {
                    last = Some(error);
                    continue;
                }
            };
            let known: Vec<(String, String, u16)> =
                parts(masters).into_iter().filter_map(master_of).collect();
            match (name.as_deref(), known.as_slice()) {
                (None, [(_, host, port)]) => return Ok(sentinel.primary_at(host, *port)),
                (None, [_, _, ..]) => {
                    let message = "the sentinels know several primaries: write host:port/name";
                    return Err(error(&self.store, operation, ErrorKind::Schema, Retry::Never, message));
                }
                (Some(name), known) => {
                    if let Some((_, host, port)) = known.iter().find(|(own, _, _)| own == name) {
                        return Ok(sentinel.primary_at(host, *port));
                    }
                }
                (None, []) => {}
            }
            let message = "the sentinels know no such primary";
            last = Some(error(&self.store, operation, ErrorKind::Unreachable, Retry::Later, message));
        }
        Err(last.unwrap_or_else(|| {
            error(&self.store, operation, ErrorKind::Schema, Retry::Never, "no sentinel is named")
        }))
    }

    async fn connect_cluster(
        &self,
        operation: &'static str,
        nodes: &[Node],
    ) -> Result<Vec<Served>, StoreError> {
        let mut last = None;
        for node in nodes {
            let mut connection = match self.dial(operation, node).await {
                Ok(connection) => connection,
                Err(error) => {
                    last = Some(error);
                    continue;
                }
            };
            let lines = match self.cluster_nodes(operation, &mut connection).await {
                Ok(lines) => lines,
                Err(error) => {
                    last = Some(error);
                    continue;
                }
            };
            return self.connect_primaries(operation, node, primaries_of(&lines, &node.host())).await;
        }
        Err(last.unwrap_or_else(|| {
            error(&self.store, operation, ErrorKind::Schema, Retry::Never, "no node is named")
        }))
    }

    async fn cluster_nodes(
        &self,
        operation: &'static str,
        connection: &mut MultiplexedConnection,
    ) -> Result<String, StoreError> {
        let reply = self.ask_first(operation, connection, cmd(&["CLUSTER", "NODES"])).await?;
        text(&reply).map(ToOwned::to_owned).ok_or_else(|| self.moving(operation))
    }

    /// Connects to every primary, and lets each say for itself which slots it serves. Primaries without slots are
    /// looked into as well: keys move there before their slot does.
    async fn connect_primaries(
        &self,
        operation: &'static str,
        known: &Node,
        primaries: Vec<Primary>,
    ) -> Result<Vec<Served>, StoreError> {
        let mut served: Vec<Served> = Vec::new();
        for primary in primaries {
            let node = known.at(&primary.host, primary.port);
            let mut connection = self.dial(operation, &node).await?;
            let lines = self.cluster_nodes(operation, &mut connection).await?;
            match own_line(&lines, &primary.host) {
                Some(own) if own.id == primary.id && own.slots == primary.slots => {}
                _ => return Err(self.moving(operation)),
            }
            served.push(Served { primary, is_primary: true, connection });
        }
        let covered: usize = served.iter().map(|served| served.primary.slots_served()).sum();
        if covered != usize::from(SLOTS) {
            let message = "the cluster is down: slots are without a primary";
            return Err(error(&self.store, operation, ErrorKind::Unreachable, Retry::Later, message));
        }
        served.sort_by(|a, b| a.primary.id.cmp(&b.primary.id));
        Ok(served)
    }

    /// The error for a cluster whose slots are on their way.
    pub(super) fn moving(&self, operation: &'static str) -> StoreError {
        let message = "slots of the cluster are being moved";
        error(&self.store, operation, ErrorKind::Unreachable, Retry::Later, message)
    }
}

/// The connections, for one operation.
#[derive(Debug)]
pub(super) struct Session<'l> {
    pub(super) link: &'l Link,
    pub(super) operation: &'static str,
    served: MutexGuard<'l, Option<Connected>>,
}

impl Session<'_> {
    /// How many primaries there are, in order of their id.
    pub(super) fn primaries(&self) -> usize {
        self.served.as_ref().map_or(0, |connected| connected.all.len())
    }

    /// Which connections these are. A cursor means something to the very process that gave it only: after a restart
    /// or a failover, keys lie in another order.
    pub(super) fn number(&self) -> u64 {
        self.served.as_ref().map_or(u64::MAX, |connected| connected.number)
    }

    fn served(&self, primary: usize) -> Option<&Served> {
        self.served.as_ref()?.all.get(primary)
    }

    /// Fails on a replica: that nothing is found there says nothing about the store.
    pub(super) fn require_primary(&self) -> Result<(), StoreError> {
        match self.served(0) {
            Some(served) if !served.is_primary => Err(self.error(ErrorKind::Identity, Retry::Never, REPLICA)),
            Some(_) | None => Ok(()),
        }
    }

    /// Which primary serves a key.
    pub(super) fn owner(&self, key: &[u8]) -> usize {
        let Some(connected) = self.served.as_ref().filter(|connected| connected.all.len() > 1) else {
            return 0;
        };
        let slot = slot_of(key);
        connected.all.iter().position(|served| served.primary.serves(slot)).unwrap_or(0)
    }

    /// Sends commands in one write; as many answers come back, errors of single commands among them.
    pub(super) async fn ask(&mut self, primary: usize, commands: Vec<Cmd>) -> Result<Vec<Reply>, StoreError> {
        let asked = commands.len();
        if commands.is_empty() {
            return Ok(Vec::new());
        }
        let Some(mut connection) = self.served(primary).map(|served| served.connection.clone()) else {
            return Err(self.link.moving(self.operation));
        };
        match ask(&mut connection, commands).await {
            Ok(replies) if replies.len() == asked => Ok(replies),
            Ok(_) => {
                *self.served = None;
                Err(self.error(ErrorKind::Unreachable, Retry::Later, "the server left a question unanswered"))
            }
            Err(failed) => {
                // Nobody knows what still comes over it: the next operation makes a new one, its role proven again.
                *self.served = None;
                Err(of_connection(&self.link.store, self.operation, &failed))
            }
        }
    }

    /// As [`Session::ask`] for one command to one primary, whose error is ours.
    pub(super) async fn ask_one(&mut self, primary: usize, command: Cmd) -> Result<Reply, StoreError> {
        match self.ask(primary, vec![command]).await?.pop() {
            Some(Reply::ServerError(answer)) => Err(self.refused(&answer)),
            Some(reply) => Ok(reply),
            None => Err(self.link.moving(self.operation)),
        }
    }

    /// What an answer means where there is no going after a key that moved.
    pub(super) fn refused(&mut self, answer: &::redis::ServerError) -> StoreError {
        match of_answer(&self.link.store, self.operation, answer) {
            Wrong::Store(error) => {
                if error.kind == ErrorKind::Identity {
                    *self.served = None;
                }
                error
            }
            Wrong::Moved => {
                *self.served = None;
                self.link.moving(self.operation)
            }
        }
    }

    /// Looks anew who serves what.
    pub(super) async fn refresh(&mut self) -> Result<(), StoreError> {
        *self.served = None;
        *self.served = Some(self.link.connect(self.operation).await?);
        Ok(())
    }

    /// Fails where a slot is on its way, or has gone to another primary since we looked: a key that travels is seen
    /// twice, or not at all.
    pub(super) async fn settled(&mut self) -> Result<(), StoreError> {
        if !self.link.is_cluster() {
            return Ok(());
        }
        for primary in 0..self.primaries() {
            let reply = self.ask_one(primary, cmd(&["CLUSTER", "NODES"])).await?;
            let lines = text(&reply).unwrap_or_default();
            let known = self.served(primary).map(|served| &served.primary);
            let is_settled = known.is_some_and(|known| {
                own_line(lines, &known.host).is_some_and(|own| own.is_settled && own.slots == known.slots)
                    && primaries_of(lines, &known.host).len() == self.primaries()
            });
            if !is_settled {
                *self.served = None;
                return Err(self.link.moving(self.operation));
            }
        }
        Ok(())
    }

    /// An error of this operation.
    pub(super) fn error(&self, kind: ErrorKind, retry: Retry, message: &str) -> StoreError {
        error(&self.link.store, self.operation, kind, retry, message)
    }
}

async fn ask(connection: &mut MultiplexedConnection, commands: Vec<Cmd>) -> Result<Vec<Reply>, RedisError> {
    let asked = commands.len();
    let mut pipeline = Pipeline::with_capacity(asked);
    for command in commands {
        pipeline.add_command(command);
    }
    connection.send_packed_commands(&pipeline, 0, asked).await
}

fn master_of(facts: Reply) -> Option<(String, String, u16)> {
    let facts = parts(facts);
    let fact = |name| fact(&facts, name);
    Some((fact("name")?.to_owned(), fact("ip")?.to_owned(), fact("port")?.parse().ok()?))
}
