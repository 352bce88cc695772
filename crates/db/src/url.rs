//! Database URLs as `connection` in `nova.conf` has them: `dialect[+driver]://user:password@host:port/database?options`.
//!
//! They are SQLAlchemy's, so the driver and its options are Python's. What has a meaning here is translated; what only
//! a Python driver needs is passed over; what nobody knows is warned of. No error and no log repeats the password.

use percent_encoding::percent_decode_str;
use sea_orm::sqlx::mysql::{MySqlConnectOptions, MySqlSslMode};
use sea_orm::sqlx::postgres::{PgConnectOptions, PgSslMode};

use crate::DbError;

/// Prepared statements that a connection keeps.
pub(crate) const STATEMENTS: usize = 256;

/// Where a database is, and how to get in.
#[derive(Clone)]
pub(crate) enum Place {
    /// The path of a file, as sqlx takes it.
    Sqlite(String),
    Postgres(Box<PgConnectOptions>),
    MySql(Box<MySqlConnectOptions>),
}

/// The parts of a URL, decoded.
#[derive(Debug, Default, PartialEq, Eq)]
struct Parts {
    user: Option<String>,
    password: Option<String>,
    host: Option<String>,
    port: Option<u16>,
    database: Option<String>,
    options: Vec<(String, String)>,
}

/// A URL without its password, for messages.
pub(crate) fn masked(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return "(no URL)".to_owned() };
    let before = |text: &str, end: char| text.split(end).next().unwrap_or_default().to_owned();
    match rest.rsplit_once('@') {
        Some((user, rest)) => format!("{scheme}://{}:***@{}", before(user, ':'), before(rest, '?')),
        None => format!("{scheme}://{}", before(rest, '?')),
    }
}

/// Reads a URL.
pub(crate) fn parse(url: &str) -> Result<Place, DbError> {
    let invalid = |reason: &str| DbError::InvalidUrl { url: masked(url), reason: reason.to_owned() };
    let (scheme, rest) = url.split_once("://").ok_or_else(|| invalid("it has no scheme"))?;
    let dialect = scheme.split('+').next().unwrap_or_default();
    match dialect {
        "sqlite" if rest.is_empty() || rest == "/" || rest.contains(":memory:") => {
            Err(invalid("a database in memory cannot have several connections"))
        }
        "sqlite" if rest.split('/').next().is_some_and(|server| server.contains('@')) => {
            Err(invalid("a file has no user"))
        }
        "sqlite" => Ok(Place::Sqlite(url.replacen(scheme, "sqlite", 1))),
        "postgresql" | "postgres" => {
            Ok(Place::Postgres(Box::new(postgres(parts(rest).map_err(invalid)?).map_err(invalid)?)))
        }
        "mysql" | "mariadb" => Ok(Place::MySql(Box::new(mysql(parts(rest).map_err(invalid)?).map_err(invalid)?))),
        _ => Err(invalid("only sqlite, postgresql and mysql are known")),
    }
}

fn parts(rest: &str) -> Result<Parts, &'static str> {
    let (address, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (user, place) = address.rsplit_once('@').map_or((None, address), |(user, place)| (Some(user), place));
    let (server, database) = place.split_once('/').unwrap_or((place, ""));
    let (host, port) = host_and_port(server)?;
    let (user, password) = match user.map(|user| user.split_once(':').map_or((user, None), |(u, p)| (u, Some(p)))) {
        Some((user, password)) => (Some(decoded(user)?), password.map(decoded).transpose()?),
        None => (None, None),
    };
    let option = |pair: &str| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        Ok((decoded(name)?, decoded(&value.replace('+', " "))?))
    };
    let options = query.split('&').filter(|pair| !pair.is_empty()).map(option).collect::<Result<_, &'static str>>()?;
    let given = |text: String| Some(text).filter(|text| !text.is_empty());
    Ok(Parts { user: user.and_then(given), password, host, port, database: given(decoded(database)?), options })
}

/// An IPv6 address is in brackets.
fn host_and_port(server: &str) -> Result<(Option<String>, Option<u16>), &'static str> {
    let (host, port) = match server.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, port)) => (host, port.strip_prefix(':')),
        None => server.split_once(':').map_or((server, None), |(host, port)| (host, Some(port))),
    };
    let port = port.filter(|port| !port.is_empty()).map(str::parse).transpose().map_err(|_| "its port is no number")?;
    Ok((Some(decoded(host)?).filter(|host| !host.is_empty()), port))
}

fn decoded(text: &str) -> Result<String, &'static str> {
    let text = percent_decode_str(text).decode_utf8().map_err(|_| "it is not UTF-8 once decoded")?;
    Ok(text.into_owned())
}

fn postgres(parts: Parts) -> Result<PgConnectOptions, &'static str> {
    let mut to = PgConnectOptions::new_without_pgpass().statement_cache_capacity(STATEMENTS);
    to = to.host(parts.host.as_deref().unwrap_or("localhost")).port(parts.port.unwrap_or(5432));
    if let Some(user) = &parts.user {
        to = to.username(user);
    }
    if let Some(password) = &parts.password {
        to = to.password(password);
    }
    if let Some(database) = &parts.database {
        to = to.database(database);
    }
    for (name, value) in &parts.options {
        to = match name.as_str() {
            "host" if value.starts_with('/') => to.socket(value),
            "host" => to.host(value),
            "port" => to.port(value.parse().map_err(|_| "its port is no number")?),
            "application_name" => to.application_name(value),
            "sslmode" => to.ssl_mode(value.parse::<PgSslMode>().map_err(|_| "its sslmode is unknown")?),
            "sslrootcert" => to.ssl_root_cert(value),
            "sslcert" => to.ssl_client_cert(value),
            "sslkey" => to.ssl_client_key(value),
            // Texts are always UTF-8.
            "client_encoding" | "connect_timeout" | "keepalives" | "keepalives_idle" | "target_session_attrs" => to,
            _ => warned(to, name),
        };
    }
    Ok(to)
}

fn mysql(parts: Parts) -> Result<MySqlConnectOptions, &'static str> {
    let mut to = MySqlConnectOptions::new().statement_cache_capacity(STATEMENTS).charset("utf8mb4");
    to = to.host(parts.host.as_deref().unwrap_or("localhost")).port(parts.port.unwrap_or(3306));
    // Where there is no column, texts compare byte by byte, too.
    to = to.collation("utf8mb4_bin");
    if let Some(user) = &parts.user {
        to = to.username(user);
    }
    if let Some(password) = &parts.password {
        to = to.password(password);
    }
    if let Some(database) = &parts.database {
        to = to.database(database);
    }
    let option = |name: &str| parts.options.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
    let is_on = |name: &str| option(name).is_some_and(|value| matches!(value, "true" | "True" | "1"));
    if is_on("ssl_check_hostname") {
        to = to.ssl_mode(MySqlSslMode::VerifyIdentity);
    } else if is_on("ssl_verify_cert") || option("ssl_ca").is_some() {
        to = to.ssl_mode(MySqlSslMode::VerifyCa);
    }
    for (name, value) in &parts.options {
        to = match name.as_str() {
            "ssl_ca" | "ssl-ca" => to.ssl_ca(value),
            "ssl_cert" | "ssl-cert" => to.ssl_client_cert(value),
            "ssl_key" | "ssl-key" => to.ssl_client_key(value),
            "ssl-mode" | "ssl_mode" => to.ssl_mode(value.parse().map_err(|_| "its ssl-mode is unknown")?),
            "unix_socket" | "socket" => to.socket(value),
            // Texts are always utf8mb4.
            "charset" | "use_unicode" | "collation" | "ssl_verify_cert" | "ssl_check_hostname" => to,
            "connect_timeout" | "read_timeout" | "write_timeout" | "plugin" | "autocommit" => to,
            _ => warned(to, name),
        };
    }
    Ok(to)
}

fn warned<T>(to: T, name: &str) -> T {
    tracing::warn!(option = name, "unknown option in the database URL");
    to
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(place: &Place) -> String {
        match place {
            Place::Sqlite(url) => url.clone(),
            Place::Postgres(options) => format!("{options:?}"),
            Place::MySql(options) => format!("{options:?}"),
        }
    }

    #[test]
    fn a_url_is_taken_apart_and_decoded() {
        let expected = Parts {
            user: Some("no va".into()),
            password: Some("p@:/?#%".into()),
            host: Some("db.example".into()),
            port: Some(3307),
            database: Some("nova_cell1".into()),
            options: vec![("charset".into(), "utf8mb4".into()), ("a".into(), "b c".into())],
        };
        let given = "no%20va:p%40%3A%2F%3F%23%25@db.example:3307/nova_cell1?charset=utf8mb4&a=b+c";
        assert_eq!(parts(given), Ok(expected));
        let expected = Parts { host: Some("::1".into()), port: Some(5432), ..Parts::default() };
        assert_eq!(parts("[::1]:5432"), Ok(expected));
        assert_eq!(parts(""), Ok(Parts::default()));
        assert_eq!(parts("h:port/x"), Err("its port is no number"));
    }

    #[test]
    fn dialects_are_known_with_and_without_a_driver() {
        for url in ["postgresql://u@h/d", "postgresql+psycopg2://u@h/d", "postgresql+asyncpg://u@h/d?sslmode=disable"] {
            assert!(matches!(parse(url), Ok(Place::Postgres(_))), "{url}");
        }
        for url in ["mysql://u@h/d", "mysql+pymysql://u:p@h/d?charset=utf8", "mysql+pymysql://u@h/d?plugin=dbcounter"] {
            assert!(matches!(parse(url), Ok(Place::MySql(_))), "{url}");
        }
        for url in ["sqlite:///var/lib/kilonova.sqlite", "sqlite+pysqlite:///var/lib/kilonova.sqlite"] {
            let place = parse(url).unwrap();
            assert_eq!(options(&place), "sqlite:///var/lib/kilonova.sqlite");
        }
    }

    #[test]
    fn an_unknown_option_is_no_error() {
        assert!(parse("mysql+pymysql://u:p@h/d?charset=utf8mb4&colour=blue").is_ok());
        assert!(parse("postgresql://u:p@h/d?colour=blue").is_ok());
    }

    #[test]
    fn options_of_the_drivers_arrive() {
        let place = parse("mysql+pymysql://u@h/d?ssl_ca=/etc/ca.pem&unix_socket=/run/mysqld.sock").unwrap();
        let text = options(&place);
        assert!(
            text.contains("VerifyCa") && text.contains("/etc/ca.pem") && text.contains("/run/mysqld.sock"),
            "{text}"
        );
        let place = parse("postgresql://u@/d?host=/run/postgresql&sslmode=verify-full").unwrap();
        let text = options(&place);
        assert!(text.contains("/run/postgresql") && text.contains("VerifyFull"), "{text}");
    }

    #[test]
    fn messages_never_have_the_password() {
        for url in [
            "mysql://nova:sec@ret@h:port/d",
            "postgresql://nova:sec:ret@h/d?sslmode=odd",
            "oracle://nova:secret@h/d?x=secret",
            "sqlite://nova:secret@/",
            "mysql://nova:sec?ret@h:port/d",
            "nova:secret",
        ] {
            let Err(error) = parse(url) else { panic!("{url} is no good URL") };
            assert!(!error.to_string().contains("sec") && !error.to_string().contains("ret"), "{error}");
        }
    }

    #[test]
    fn a_database_in_memory_is_refused() {
        for url in ["sqlite://", "sqlite:///", "sqlite:///:memory:", "sqlite::memory:"] {
            assert!(parse(url).is_err(), "{url}");
        }
    }
}
