//! Sessions that end, and servers that are killed and come back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use kilonova_db::instances::{self, CreateError, Deleted, QuotaLimits};
use kilonova_db::{Db, DbError, DbOptions, keypairs, quotas};
use kilonova_objects::KeyPair;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use uuid::Uuid;

use crate::backend::{Server, TestDatabase};
use crate::suite::support::{PROJECT, USER, instance, join_all, open, request};

/// How long anything may take here.
const BOUND: Duration = Duration::from_secs(60);

/// Tries again soon.
fn impatient() -> DbOptions {
    DbOptions {
        retry_interval: Duration::from_millis(50),
        max_retries: None,
        db_retry_interval: Duration::from_millis(100),
        db_max_retry_interval: Duration::from_millis(500),
        ..DbOptions::default()
    }
}

async fn until(is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + BOUND;
    while !is_so() {
        assert!(Instant::now() < deadline, "it takes too long");
        sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_that_an_administrator_ended_are_not_missed() {
    let database = TestDatabase::create().await;
    let db = open(&database).await;
    let read_at_once = async || {
        let reads = (0..8).map(|_| {
            let db = db.clone();
            tokio::spawn(async move { quotas::project(&db, PROJECT).await })
        });
        for read in join_all(reads).await {
            read.unwrap();
        }
    };
    for round in 0..3 {
        read_at_once().await;
        database.end_sessions().await;
        // Not one that may be done twice: the session is found lost before anything is written.
        let name = format!("key{round}");
        let key =
            KeyPair { name: name.clone(), user_id: Some(USER.into()), r#type: "ssh".into(), ..KeyPair::default() };
        keypairs::create(&db, &key).await.unwrap();
        database.end_sessions().await;
        read_at_once().await;
        assert_eq!(keypairs::get(&db, USER, &name).await.unwrap().name, name);
    }
    db.close().await.unwrap();
    database.drop().await;
}

/// Writers until they are told to stop.
struct Load {
    is_over: Arc<AtomicBool>,
    /// How far each has come.
    rounds: Vec<Arc<AtomicI64>>,
}

impl Load {
    fn new() -> Self {
        Self { is_over: Arc::default(), rounds: Vec::new() }
    }

    fn start<T, F>(&mut self, work: impl Fn(Arc<AtomicI64>, Arc<AtomicBool>) -> F) -> JoinHandle<T>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let rounds = Arc::<AtomicI64>::default();
        self.rounds.push(rounds.clone());
        tokio::spawn(work(rounds, self.is_over.clone()))
    }

    /// Waits until every writer has come further than now.
    async fn goes_on(&self) {
        let before: Vec<i64> = self.rounds.iter().map(|rounds| rounds.load(Ordering::Relaxed)).collect();
        until(|| self.rounds.iter().zip(&before).all(|(rounds, before)| rounds.load(Ordering::Relaxed) > before + 5))
            .await;
    }
}

/// Counts a project's quota up and reads it back: work that may be done twice, so that it never fails.
async fn count(db: Db, project: String, rounds: Arc<AtomicI64>, is_over: Arc<AtomicBool>) -> Result<i64, DbError> {
    while !is_over.load(Ordering::Relaxed) {
        let next = rounds.load(Ordering::Relaxed) + 1;
        quotas::set_project(&db, &project, &[("cores".to_owned(), next)].into()).await?;
        assert_eq!(quotas::project(&db, &project).await?["cores"], next);
        rounds.store(next, Ordering::Relaxed);
    }
    Ok(rounds.load(Ordering::Relaxed))
}

/// Creates servers: of those that were not refused, all must be there. Only a commit may end unknown.
async fn create(db: Db, rounds: Arc<AtomicI64>, is_over: Arc<AtomicBool>) -> Result<Vec<Uuid>, CreateError> {
    let mut created = Vec::new();
    while !is_over.load(Ordering::Relaxed) {
        let limits = QuotaLimits { instances: 1_000_000, cores: -1, ram: -1 };
        match instances::create(&db, request(vec![instance("a")], limits)).await {
            Ok(made) => created.extend(made.into_iter().map(|made| made.uuid)),
            Err(CreateError::Db(DbError::CommitUnknown(_))) => {}
            Err(error) => return Err(error),
        }
        rounds.fetch_add(1, Ordering::Relaxed);
    }
    Ok(created)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_that_comes_back_loses_nothing_and_nobody_notices() {
    // Started and started again by this thread: a server dies with the one that starts it.
    let mut server = Server::start().unwrap();
    let database = TestDatabase::create_on(server.url(), None).await;
    let db = database.connect(&impatient()).await;
    db.migrate().await.unwrap();

    let mut load = Load::new();
    let counters: Vec<_> = (0..6)
        .map(|number| load.start(|rounds, is_over| count(db.clone(), format!("p{number}"), rounds, is_over)))
        .collect();
    let creators: Vec<_> = (0..3).map(|_| load.start(|rounds, is_over| create(db.clone(), rounds, is_over))).collect();
    load.goes_on().await;
    for _ in 0..2 {
        server.kill();
        server.start_again().unwrap();
        let again = Instant::now();
        load.goes_on().await;
        assert!(again.elapsed() < Duration::from_secs(20), "{:?}", again.elapsed());
    }
    load.is_over.store(true, Ordering::Relaxed);

    for (number, counted) in join_all(counters.into_iter()).await.into_iter().enumerate() {
        let counted = counted.unwrap();
        assert_eq!(quotas::project(&db, &format!("p{number}")).await.unwrap()["cores"], counted);
    }
    for created in join_all(creators.into_iter()).await {
        for uuid in created.unwrap() {
            instances::get(&db, uuid, Deleted::No).await.unwrap();
        }
    }
    db.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_up_yet_is_waited_for() {
    let mut server = Server::start().unwrap();
    let database = TestDatabase::create_on(server.url(), None).await;
    server.kill();
    let url = database.url();
    let connecting = tokio::spawn(async move { Db::connect(&url, &impatient()).await });
    let once = DbOptions { max_retries: Some(0), ..impatient() };
    assert!(Db::connect(&database.url(), &once).await.is_err(), "it is not there");
    assert!(!connecting.is_finished());
    server.start_again().unwrap();
    let db = timeout(BOUND, connecting).await.unwrap().unwrap().unwrap();
    db.migrate().await.unwrap();
    db.close().await.unwrap();
}

#[tokio::test]
async fn a_database_that_is_not_there_is_not_waited_for() {
    // The server is there as long as it has one.
    let other = TestDatabase::create().await;
    let database = TestDatabase::create().await;
    let url = database.url();
    database.drop().await;
    let refused = timeout(Duration::from_secs(10), Db::connect(&url, &DbOptions::default())).await;
    assert!(matches!(refused, Ok(Err(DbError::Database(_)))), "{refused:?}");
    other.drop().await;
}
