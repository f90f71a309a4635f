//! Where the servers of a store are, as the configuration says it: one server, the nodes of a cluster, or sentinels.
//! It owns the addresses and how one connects to them; it sends nothing else.

use std::time::Duration;

use ::redis::aio::MultiplexedConnection;
use ::redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _, RedisResult,
};
use secrecy::ExposeSecret as _;

use crate::config::StoreConfig;

/// How long an answer may take. The library's own half a second is shorter than one slow `UNLINK` or a snapshot's fork.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Where the servers are.
#[derive(Debug, Clone)]
pub(super) enum Place {
    /// One server.
    Single(Box<Node>),
    /// A cluster, of which these nodes are known.
    Cluster(Vec<Node>),
    /// Sentinels that know where the primary is.
    Sentinels(Vec<Sentinel>),
}

/// A server that can be connected to. It shows no password.
#[derive(Debug, Clone)]
pub(super) struct Node {
    info: ConnectionInfo,
}

/// A sentinel, and the primary that it is asked for.
#[derive(Debug, Clone)]
pub(super) struct Sentinel {
    /// The sentinel itself. Sentinels are asked without a password.
    pub(super) node: Node,
    /// The name under which it knows the primary, where the configuration says it.
    pub(super) master: Option<String>,
    /// As which the primary is connected to, its address left to the sentinel.
    data: Node,
}

impl Place {
    /// Reads the addresses of a stanza.
    ///
    /// # Errors
    /// A fragment that repeats no address, for it may hold a password.
    pub(super) fn of(config: &StoreConfig) -> Result<Self, &'static str> {
        let StoreConfig::Redis { url, nodes, sentinel, user, password } = config else {
            return Err("it is not of kind `redis`");
        };
        let login = |node: Node| {
            let mut settings = node.info.redis_settings().clone();
            if let Some(user) = user {
                settings = settings.set_username(user);
            }
            if let Some(password) = password {
                settings = settings.set_password(password.expose_secret());
            }
            Node { info: node.info.set_redis_settings(settings) }
        };
        if let Some(url) = url {
            return Ok(Self::Single(Box::new(Node::parse(url.expose_secret())?)));
        }
        if !nodes.is_empty() {
            let nodes: Result<Vec<Node>, _> = nodes.iter().map(|node| Node::parse(node).map(login)).collect();
            return Ok(Self::Cluster(nodes?));
        }
        let sentinels: Result<Vec<Sentinel>, &'static str> = sentinel
            .iter()
            .map(|text| {
                let (scheme, rest) = text.split_once("://").unwrap_or(("redis", text));
                let (address, master) = match rest.split_once('/') {
                    Some((address, master)) => {
                        (address, Some(master.to_owned()).filter(|name| !name.is_empty()))
                    }
                    None => (rest, None),
                };
                let node = Node::parse(&format!("{scheme}://{address}"))?;
                Ok(Sentinel { data: login(node.clone()), node, master })
            })
            .collect();
        match sentinels? {
            sentinels if sentinels.is_empty() => Err("it has no address"),
            sentinels => Ok(Self::Sentinels(sentinels)),
        }
    }

    /// The user, where one is named.
    pub(super) fn user(&self) -> Option<&str> {
        let node = match self {
            Self::Single(node) => Some(&**node),
            Self::Cluster(nodes) => nodes.first(),
            Self::Sentinels(sentinels) => sentinels.first().map(|sentinel| &sentinel.data),
        };
        node?.info.redis_settings().username().filter(|user| !user.is_empty())
    }

    /// True where another logical database than the first is selected.
    pub(super) fn has_database(&self) -> bool {
        matches!(self, Self::Single(node) if node.info.redis_settings().db() != 0)
    }

    /// The address as people know it, with the logical database where there is one.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Single(node) => format!("{}/{}", node.shown(), node.info.redis_settings().db()),
            Self::Cluster(nodes) => {
                format!("cluster of {}", nodes.iter().map(Node::shown).collect::<Vec<_>>().join(", "))
            }
            Self::Sentinels(sentinels) => {
                let all: Vec<String> = sentinels.iter().map(|sentinel| sentinel.node.shown()).collect();
                let master = sentinels.iter().find_map(|sentinel| sentinel.master.as_deref());
                format!("{} behind sentinels {}", master.unwrap_or("the one primary"), all.join(", "))
            }
        }
    }
}

impl Node {
    fn parse(text: &str) -> Result<Self, &'static str> {
        let text = if text.contains("://") { text.to_owned() } else { format!("redis://{text}") };
        let info = text.into_connection_info().map_err(|_| "an address cannot be read")?;
        let settings = info.redis_settings().clone().set_skip_set_lib_name();
        Ok(Self { info: info.set_redis_settings(settings) })
    }

    /// The same way to connect, at another address.
    pub(super) fn at(&self, host: &str, port: u16) -> Self {
        let host = host.to_owned();
        let address = if let ConnectionAddr::TcpTls { insecure, tls_params, .. } = self.info.addr().clone() {
            ConnectionAddr::TcpTls { host, port, insecure, tls_params }
        } else {
            ConnectionAddr::Tcp(host, port)
        };
        Self { info: self.info.clone().set_addr(address) }
    }

    /// The host, for nodes of a cluster that do not know their own.
    pub(super) fn host(&self) -> String {
        if let ConnectionAddr::Tcp(host, _) | ConnectionAddr::TcpTls { host, .. } = self.info.addr() {
            host.clone()
        } else {
            String::new()
        }
    }

    /// Host and port.
    pub(super) fn shown(&self) -> String {
        self.info.addr().to_string()
    }

    /// Connects, logs in and selects the logical database.
    pub(super) async fn connect(&self) -> RedisResult<MultiplexedConnection> {
        if matches!(self.info.addr(), ConnectionAddr::TcpTls { .. })
            && rustls::crypto::CryptoProvider::get_default().is_none()
        {
            // Somebody else may have been faster; then theirs is as good.
            drop(rustls::crypto::ring::default_provider().install_default());
        }
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(RESPONSE_TIMEOUT));
        Client::open(self.info.clone())?.get_multiplexed_async_connection_with_config(&config).await
    }
}

impl Sentinel {
    /// The primary at the address that the sentinel gave.
    pub(super) fn primary_at(&self, host: &str, port: u16) -> Node {
        self.data.at(host, port)
    }
}
