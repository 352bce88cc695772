//! What is tried again: deadlocks, serialization failures, lost connections.
//!
//! ```text
//! Db::retry ─▶ work: begin … commit ──ok──▶ done
//!    ▲            │ deadlock: the database has rolled back   │ lost before the commit: rolled back, too
//!    └── wait ◀───┴───────────────────────────────────────────┘
//!                 │ lost during the commit: nobody knows; again only if the work is idempotent
//! ```

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use sea_orm::sqlx;
use sea_orm::sqlx::mysql::MySqlDatabaseError;
use sea_orm::{DbErr, RuntimeErr};

use crate::{DbError, DbOptions};

/// The wait after the first deadlock; it doubles with each.
const DEADLOCK_WAIT: Duration = Duration::from_millis(10);
/// A connection that was idle for longer is asked whether it still lives.
const IDLE_CHECK: Duration = Duration::from_secs(30);

/// Why something may go well a second time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transient {
    /// Others were in the way: the database rolled back for them.
    Deadlock,
    /// The connection broke, or the server ended it.
    Lost,
}

/// The error of work that [`crate::Db::retry`] does.
pub trait Failure {
    /// What the database said, if it is at the root of it.
    fn database(&self) -> Option<&DbError>;
}

impl Failure for DbError {
    fn database(&self) -> Option<&DbError> {
        Some(self)
    }
}

/// Whether and when to try again.
#[derive(Clone, Debug)]
pub(crate) struct Policy {
    max_retries: Option<u32>,
    interval: Duration,
    grows: bool,
    max_interval: Duration,
}

impl Policy {
    pub(crate) fn new(options: &DbOptions) -> Self {
        Self {
            max_retries: options.db_max_retries,
            interval: options.db_retry_interval,
            grows: options.db_inc_retry_interval,
            max_interval: options.db_max_retry_interval,
        }
    }

    /// How long to wait before the try after `retries` others; `None`: there is none.
    ///
    /// After a lost connection the first one is at once: mostly the server is there and only the pool is old.
    pub(crate) fn wait(&self, why: Transient, retries: u32) -> Option<Duration> {
        if self.max_retries.is_some_and(|most| retries >= most) {
            return None;
        }
        let doubled = |wait: Duration, times: u32| wait.saturating_mul(1_u32.checked_shl(times).unwrap_or(u32::MAX));
        Some(match (why, retries) {
            (Transient::Deadlock, _) => jittered(doubled(DEADLOCK_WAIT, retries).min(self.interval)),
            (Transient::Lost, 0) => Duration::ZERO,
            (Transient::Lost, _) if self.grows => doubled(self.interval, retries - 1).min(self.max_interval),
            (Transient::Lost, _) => self.interval,
        })
    }
}

/// Between a half and the whole of it: those who met do not meet again.
fn jittered(wait: Duration) -> Duration {
    let random = RandomState::new().build_hasher().finish() % 1_000;
    wait.mul_f64(0.5 + random as f64 / 2_000.0)
}

/// Which pooled connections are still to be trusted.
#[derive(Clone, Debug)]
pub(crate) struct Health {
    since: Instant,
    /// When a connection was last found lost, in nanoseconds after `since`.
    lost_at: Arc<AtomicU64>,
}

impl Health {
    pub(crate) fn new() -> Self {
        Self { since: Instant::now(), lost_at: Arc::new(AtomicU64::new(0)) }
    }

    /// Connections older than this are asked before they are used.
    pub(crate) fn connection_lost(&self) {
        self.lost_at.fetch_max(self.now(), Ordering::Relaxed);
    }

    /// Whether a connection of this age, idle for this long, has to be asked.
    pub(crate) fn is_doubtful(&self, age: Duration, idle_for: Duration) -> bool {
        let made_at = self.now().saturating_sub(nanoseconds(age));
        idle_for > IDLE_CHECK || made_at < self.lost_at.load(Ordering::Relaxed)
    }

    fn now(&self) -> u64 {
        nanoseconds(self.since.elapsed())
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Why the same again may go well; `None`: it will not.
pub(crate) fn transient(error: &DbErr) -> Option<Transient> {
    match error {
        DbErr::Conn(RuntimeErr::SqlxError(error))
        | DbErr::Exec(RuntimeErr::SqlxError(error))
        | DbErr::Query(RuntimeErr::SqlxError(error)) => transient_sqlx(error),
        _ => None,
    }
}

/// The same of the driver's error.
pub(crate) fn transient_sqlx(error: &sqlx::Error) -> Option<Transient> {
    match error {
        sqlx::Error::Io(_) => Some(Transient::Lost),
        sqlx::Error::Database(error) => match error.try_downcast_ref::<MySqlDatabaseError>() {
            Some(error) => transient_mysql(error.number()),
            None => transient_sqlstate(error.code()?.as_ref()),
        },
        _ => None,
    }
}

/// Numbers of MySQL, MariaDB and Galera, those that oslo.db knows among them.
fn transient_mysql(number: u16) -> Option<Transient> {
    match number {
        // lock wait timeout, deadlock, record changed (snapshot isolation), rolled back by group replication
        1205 | 1213 | 1020 | 3101 => Some(Transient::Deadlock),
        // too many connections, node not ready (Galera), shutting down, killed, gone away, lost, aborted, read only
        1040 | 1047 | 1053 | 1927 | 2006 | 2013 | 3169 | 1290 | 1836 => Some(Transient::Lost),
        _ => None,
    }
}

/// SQLSTATE of PostgreSQL; SQLite's are its numbers.
fn transient_sqlstate(code: &str) -> Option<Transient> {
    match code {
        // serialization failure, deadlock, lock not available; SQLite: busy, and busy with an old snapshot
        "40001" | "40P01" | "55P03" | "5" | "261" | "517" => Some(Transient::Deadlock),
        // shutdown, crash, cannot connect now, too many connections, read only after a failover
        "57P01" | "57P02" | "57P03" | "53300" | "25006" => Some(Transient::Lost),
        code if code.len() == 5 && code.starts_with("08") => Some(Transient::Lost),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(options: DbOptions) -> Policy {
        Policy::new(&options)
    }

    #[test]
    fn waits_grow_to_the_longest_and_end() {
        let policy = policy(DbOptions { db_max_retries: Some(6), ..DbOptions::default() });
        let waits: Vec<_> = (0..8).map(|n| policy.wait(Transient::Lost, n).map(|wait| wait.as_secs())).collect();
        assert_eq!(waits, [Some(0), Some(1), Some(2), Some(4), Some(8), Some(10), None, None]);
    }

    #[test]
    fn waits_stay_the_same_where_they_shall() {
        let options = DbOptions { db_inc_retry_interval: false, db_max_retries: None, ..DbOptions::default() };
        let policy = policy(options);
        assert_eq!(policy.wait(Transient::Lost, 1_000), Some(Duration::from_secs(1)));
    }

    #[test]
    fn deadlocks_are_tried_again_soon() {
        let policy = policy(DbOptions::default());
        for (retries, most) in [(0, 10), (1, 20), (6, 640), (7, 1_000), (19, 1_000)] {
            let wait = policy.wait(Transient::Deadlock, retries).unwrap().as_millis();
            assert!(wait <= most && wait >= most / 2, "{retries}: {wait}");
        }
    }

    #[test]
    fn connections_from_before_a_loss_are_asked() {
        let health = Health::new();
        let (old, young) = (Duration::from_secs(60), Duration::ZERO);
        assert!(!health.is_doubtful(old, Duration::ZERO));
        assert!(health.is_doubtful(old, IDLE_CHECK * 2));
        health.connection_lost();
        assert!(health.is_doubtful(old, Duration::ZERO));
        assert!(!health.is_doubtful(young, Duration::ZERO));
    }
}
