//! Transport URLs: `rabbit://user:password@host1:5672,user:password@host2/vhost?option=value`, read by
//! oslo.messaging's rules.

use std::fmt;
use std::str::FromStr;

use percent_encoding::percent_decode_str;

/// Also with TLS, as in oslo.messaging.
const DEFAULT_PORT: u16 = 5672;
const DEFAULT_USER: &str = "guest";

/// One broker of a URL. Its `Debug` leaves the password out.
#[derive(Clone, PartialEq, Eq)]
pub struct Host {
    /// Name or address, the latter without brackets.
    pub hostname: String,
    /// The port.
    pub port: u16,
    /// The user.
    pub username: String,
    /// The password.
    pub password: String,
}

impl Host {
    fn local() -> Self {
        let (username, password) = (DEFAULT_USER.to_owned(), DEFAULT_USER.to_owned());
        Self { hostname: "localhost".to_owned(), port: DEFAULT_PORT, username, password }
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{self}", self.username)
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.hostname.contains(':') {
            true => write!(f, "[{}]:{}", self.hostname, self.port),
            false => write!(f, "{}:{}", self.hostname, self.port),
        }
    }
}

/// Where the brokers are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransportUrl {
    /// The brokers of one cluster, at least one.
    pub hosts: Vec<Host>,
    /// The virtual host.
    pub virtual_host: String,
    /// Options that override those of the configuration, by name.
    pub query: Vec<(String, String)>,
}

/// What is wrong with a URL. Never shows the URL, which has a password in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// It has no `://`.
    #[error("a transport URL begins with rabbit://")]
    NoScheme,
    /// It is for another driver.
    #[error("the transport {scheme:?} is not supported, only rabbit is")]
    Scheme {
        /// The scheme found.
        scheme: String,
    },
    /// The port is no number.
    #[error("{port:?} is no port of {hostname:?}")]
    Port {
        /// The host that it belongs to.
        hostname: String,
        /// The text found.
        port: String,
    },
    /// A bracket is not closed.
    #[error("an IPv6 address has no closing bracket")]
    Bracket,
    /// The percent-encoded bytes of a part are no UTF-8.
    #[error("the {part} is not UTF-8 when it is decoded")]
    Encoding {
        /// Which part.
        part: &'static str,
    },
}

impl FromStr for TransportUrl {
    type Err = UrlError;

    fn from_str(url: &str) -> Result<Self, UrlError> {
        let (scheme, rest) = url.trim().split_once("://").ok_or(UrlError::NoScheme)?;
        if !matches!(scheme, "rabbit" | "kombu") {
            return Err(UrlError::Scheme { scheme: scheme.to_owned() });
        }
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (hosts, path) = rest.split_once('/').unwrap_or((rest, ""));
        let hosts = hosts.split(',').filter(|host| !host.is_empty());
        let mut hosts: Vec<Host> = hosts.map(parse_host).collect::<Result<_, _>>()?;
        if hosts.is_empty() {
            hosts.push(Host::local());
        }
        let virtual_host = match decode(path, "virtual host")? {
            path if path.is_empty() => "/".to_owned(),
            path => path,
        };
        Ok(Self { hosts, virtual_host, query: parse_query(query)? })
    }
}

/// `user:password@host:port`, each part of which may be missing.
fn parse_host(text: &str) -> Result<Host, UrlError> {
    let (user, address) = match text.rsplit_once('@') {
        Some((user, address)) => (user, address),
        None => ("", text),
    };
    let (username, password) = user.split_once(':').unwrap_or((user, ""));
    let (hostname, port) = split_address(address)?;
    let port = match port {
        "" => DEFAULT_PORT,
        port => port.parse().map_err(|_| UrlError::Port { hostname: hostname.to_owned(), port: port.to_owned() })?,
    };
    Ok(Host {
        hostname: or_default(hostname.to_owned(), "localhost"),
        port,
        username: or_default(decode(username, "user name")?, DEFAULT_USER),
        password: or_default(decode(password, "password")?, DEFAULT_USER),
    })
}

fn or_default(text: String, default: &str) -> String {
    if text.is_empty() { default.to_owned() } else { text }
}

fn split_address(address: &str) -> Result<(&str, &str), UrlError> {
    match address.strip_prefix('[') {
        None => Ok(address.split_once(':').unwrap_or((address, ""))),
        Some(bracketed) => {
            let (hostname, rest) = bracketed.split_once(']').ok_or(UrlError::Bracket)?;
            Ok((hostname, rest.strip_prefix(':').unwrap_or(rest)))
        }
    }
}

/// Values of a name that comes several times are joined with commas.
fn parse_query(query: &str) -> Result<Vec<(String, String)>, UrlError> {
    let mut pairs: Vec<(String, String)> = Vec::new();
    for pair in query.split('&') {
        let Some((name, value)) = pair.split_once('=') else { continue };
        let name = decode(&name.replace('+', " "), "query")?;
        let value = decode(&value.replace('+', " "), "query")?;
        match pairs.iter_mut().find(|(known, _)| *known == name) {
            Some((_, values)) => *values = format!("{values},{value}"),
            None => pairs.push((name, value)),
        }
    }
    Ok(pairs)
}

fn decode(text: &str, part: &'static str) -> Result<String, UrlError> {
    let decoded = percent_decode_str(text).decode_utf8().map_err(|_| UrlError::Encoding { part })?;
    Ok(decoded.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> TransportUrl {
        url.parse().unwrap()
    }

    fn host(hostname: &str, port: u16, username: &str, password: &str) -> Host {
        Host { hostname: hostname.to_owned(), port, username: username.to_owned(), password: password.to_owned() }
    }

    #[test]
    fn all_parts_of_a_url_are_read() {
        let url = parse("rabbit://nova:p%40ss@h1:5673,nova:other@h2/prod%2Fa?ssl=1&amqp_durable_queues=true");
        let expected = TransportUrl {
            hosts: vec![host("h1", 5673, "nova", "p@ss"), host("h2", 5672, "nova", "other")],
            virtual_host: "prod/a".to_owned(),
            query: vec![("ssl".to_owned(), "1".to_owned()), ("amqp_durable_queues".to_owned(), "true".to_owned())],
        };
        assert_eq!(url, expected);
    }

    #[test]
    fn what_is_missing_has_the_defaults_of_oslo_messaging() {
        for url in ["rabbit://", "rabbit:///", "kombu://localhost"] {
            let expected = TransportUrl { hosts: vec![Host::local()], virtual_host: "/".to_owned(), query: Vec::new() };
            assert_eq!(parse(url), expected, "{url}");
        }
        assert_eq!(parse("rabbit://h//").virtual_host, "/");
        assert_eq!(parse("rabbit://u@h:").hosts, [host("h", 5672, "u", "guest")]);
        assert_eq!(parse("rabbit://a:b:c@h").hosts, [host("h", 5672, "a", "b:c")]);
        assert_eq!(parse("rabbit://h/?ssl=0&ssl=1&x").query, [("ssl".to_owned(), "0,1".to_owned())]);
    }

    #[test]
    fn an_ipv6_address_stands_in_brackets() {
        let url = parse("rabbit://u:p@[fe80::1]:5673,[::1]");
        assert_eq!(url.hosts, [host("fe80::1", 5673, "u", "p"), host("::1", 5672, "guest", "guest")]);
        assert_eq!(url.hosts[0].to_string(), "[fe80::1]:5673");
    }

    #[test]
    fn an_error_names_what_is_wrong_and_no_password() {
        let cases = [
            ("h:5672", UrlError::NoScheme),
            ("amqp://u:secret@h", UrlError::Scheme { scheme: "amqp".to_owned() }),
            ("rabbit://u:secret@h:x", UrlError::Port { hostname: "h".to_owned(), port: "x".to_owned() }),
            ("rabbit://u:secret@h:70000", UrlError::Port { hostname: "h".to_owned(), port: "70000".to_owned() }),
            ("rabbit://u:secret@[::1", UrlError::Bracket),
            ("rabbit://u:secret%ff@h", UrlError::Encoding { part: "password" }),
            ("rabbit://u:secret@h/%ff", UrlError::Encoding { part: "virtual host" }),
        ];
        for (url, expected) in cases {
            let error = url.parse::<TransportUrl>().unwrap_err();
            assert_eq!(error, expected);
            assert!(!format!("{error} {error:?}").contains("secret"));
        }
        assert!(!format!("{:?}", parse("rabbit://u:secret@h")).contains("secret"));
    }
}
