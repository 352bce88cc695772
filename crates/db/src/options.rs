//! How a database is connected to: the options of `[database]` in `nova.conf`, by their names.

use std::time::Duration;

use kilonova_core::config::{Config, ConfigError};

/// Options of `[database]`. SQLite has only one writer and a few readers, and uses none of the pool's options.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DbOptions {
    /// Connections of the pool, with `max_overflow` more when all are busy.
    pub max_pool_size: u32,
    /// How many more; `None` (-1 in the file) is as many as it takes.
    pub max_overflow: Option<u32>,
    /// How long one waits for a connection of the pool before it fails: for a free one, or for a server that is away.
    pub pool_timeout: Duration,
    /// The age at which a connection is closed; `None` (-1 in the file): never.
    pub connection_recycle_time: Option<Duration>,
    /// How often connecting is tried again at the start; `None` (-1 in the file): for ever.
    pub max_retries: Option<u32>,
    /// The wait between those tries.
    pub retry_interval: Duration,
    /// How often a deadlock or a lost connection is tried again; `None` (-1 in the file): for ever.
    pub db_max_retries: Option<u32>,
    /// The wait between those tries; it doubles with each if `db_inc_retry_interval`, up to `db_max_retry_interval`.
    pub db_retry_interval: Duration,
    /// Whether the wait grows.
    pub db_inc_retry_interval: bool,
    /// The longest wait.
    pub db_max_retry_interval: Duration,
}

impl Default for DbOptions {
    fn default() -> Self {
        Self {
            max_pool_size: 5,
            max_overflow: Some(50),
            pool_timeout: Duration::from_secs(30),
            connection_recycle_time: Some(Duration::from_secs(3600)),
            max_retries: Some(10),
            retry_interval: Duration::from_secs(10),
            db_max_retries: Some(20),
            db_retry_interval: Duration::from_secs(1),
            db_inc_retry_interval: true,
            db_max_retry_interval: Duration::from_secs(10),
        }
    }
}

impl DbOptions {
    /// The options of `group` (`database`, `api_database`).
    pub fn from_config(config: &Config, group: &str) -> Result<Self, ConfigError> {
        let default = Self::default();
        let seconds = |name: &str, default: Duration| {
            config.parse(group, name, default.as_secs_f64()).map(|seconds| Duration::from_secs_f64(seconds.max(0.0)))
        };
        let or_none = |name: &str, default: Option<u32>| {
            config.parse(group, name, default.map_or(-1, i64::from)).map(|number| u32::try_from(number).ok())
        };
        let recycle = config.parse(group, "connection_recycle_time", 3600_i64)?;
        Ok(Self {
            max_pool_size: config.parse(group, "max_pool_size", default.max_pool_size)?,
            max_overflow: or_none("max_overflow", default.max_overflow)?,
            pool_timeout: seconds("pool_timeout", default.pool_timeout)?,
            connection_recycle_time: u64::try_from(recycle).ok().map(Duration::from_secs),
            max_retries: or_none("max_retries", default.max_retries)?,
            retry_interval: seconds("retry_interval", default.retry_interval)?,
            db_max_retries: or_none("db_max_retries", default.db_max_retries)?,
            db_retry_interval: seconds("db_retry_interval", default.db_retry_interval)?,
            db_inc_retry_interval: config.flag(group, "db_inc_retry_interval", default.db_inc_retry_interval)?,
            db_max_retry_interval: seconds("db_max_retry_interval", default.db_max_retry_interval)?,
        })
    }

    /// Connections at most. SQLAlchemy takes 0 as no limit.
    pub(crate) fn max_connections(&self) -> u32 {
        match (self.max_pool_size, self.max_overflow) {
            (0, _) | (_, None) => u32::MAX,
            (size, Some(more)) => size.saturating_add(more),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_by_the_names_of_nova() {
        let text = "[database]\nmax_pool_size = 7\nmax_overflow = -1\npool_timeout = 3\nconnection_recycle_time = -1\n\
                    max_retries = -1\nretry_interval = 2\ndb_max_retries = 4\ndb_retry_interval = 5\n\
                    db_inc_retry_interval = false\ndb_max_retry_interval = 6\n";
        let options = DbOptions::from_config(&Config::from_text(text).unwrap(), "database").unwrap();
        let expected = DbOptions {
            max_pool_size: 7,
            max_overflow: None,
            pool_timeout: Duration::from_secs(3),
            connection_recycle_time: None,
            max_retries: None,
            retry_interval: Duration::from_secs(2),
            db_max_retries: Some(4),
            db_retry_interval: Duration::from_secs(5),
            db_inc_retry_interval: false,
            db_max_retry_interval: Duration::from_secs(6),
        };
        assert_eq!(options, expected);
        assert_eq!(options.max_connections(), u32::MAX);
    }

    #[test]
    fn an_empty_group_has_the_defaults() {
        let options = DbOptions::from_config(&Config::empty(), "database").unwrap();
        assert_eq!(options, DbOptions::default());
        assert_eq!(options.max_connections(), 55);
    }
}
