//! How an address of a `MySQL` or `MariaDB` server is read, the same for stores and for the ledger.
//! It owns the rule that a server off this machine must prove its name; it opens nothing.

use std::str::FromStr;

use secrecy::{ExposeSecret, SecretString};
use sqlx::ConnectOptions;
use sqlx::mysql::{MySqlConnectOptions, MySqlSslMode};

/// Reads the address; `None` where it is none. Off this machine the server must prove its name unless the address says
/// otherwise: the driver's own default encrypts where it is offered and verifies nothing.
pub fn server_options(url: &SecretString) -> Option<MySqlConnectOptions> {
    let url = url.expose_secret();
    let options = MySqlConnectOptions::from_str(url).ok()?;
    let is_said = url.split_once('?').is_some_and(|(_, query)| {
        query.split('&').any(|pair| pair.starts_with("ssl-mode=") || pair.starts_with("sslmode="))
    });
    let host = options.get_host().trim_matches(['[', ']']);
    let is_here = options.get_socket().is_some()
        || host == "localhost"
        || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
    let options = if is_said || is_here { options } else { options.ssl_mode(MySqlSslMode::VerifyIdentity) };
    Some(
        options
            .pipes_as_concat(false)
            .no_engine_substitution(false)
            .timezone(None)
            .set_names(false)
            .disable_statement_logging(),
    )
}

/// Where an address leads: host, port, database. `None` where it is none or names no database.
pub fn server_place(url: &SecretString) -> Option<(String, u16, String)> {
    let options = server_options(url)?;
    let database = options.get_database().filter(|database| !database.is_empty())?;
    Some((options.get_host().to_ascii_lowercase(), options.get_port(), database.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(url: &str) -> MySqlSslMode {
        server_options(&SecretString::from(url)).unwrap().get_ssl_mode()
    }

    #[test]
    fn off_this_machine_the_server_must_prove_its_name_unless_the_address_says_otherwise() {
        for url in ["mysql://u@db/calls", "mysql://u@10.0.0.7/calls", "mysql://u@db/calls?charset=utf8mb4"] {
            assert!(matches!(mode(url), MySqlSslMode::VerifyIdentity), "{url}");
        }
        for url in ["mysql://u@localhost/calls", "mysql://u@127.0.0.1:3307/calls", "mysql://u@[::1]/calls"] {
            assert!(matches!(mode(url), MySqlSslMode::Preferred), "{url}");
        }
        assert!(matches!(mode("mysql://u@db/calls?ssl-mode=REQUIRED"), MySqlSslMode::Required));
    }
}
