//! The suite on the fake driver, with its guests in files.

#![allow(clippy::unwrap_used, unreachable_pub, dead_code, reason = "a test, with parts that other tests share")]

mod suite;

use std::sync::Arc;
use std::time::{Duration, Instant};

use kilonova_virt::{DiskImage, Driver, DriverError, FakeDriver, FakeOperation};
use suite::{Harness, Server};

struct Fake {
    dir: tempfile::TempDir,
    driver: Arc<FakeDriver>,
}

impl Fake {
    fn new() -> Self {
        Self::on(tempfile::tempdir().unwrap())
    }

    fn on(dir: tempfile::TempDir) -> Self {
        let driver = FakeDriver::open(Some(dir.path().to_owned())).unwrap();
        Self { dir, driver: Arc::new(driver) }
    }
}

impl Harness for Fake {
    fn driver(&self) -> Arc<dyn Driver> {
        self.driver.clone()
    }

    fn restarted(self) -> Self {
        Self::on(self.dir)
    }

    fn image(&self) -> Option<DiskImage> {
        None
    }
}

driver_suite!(Fake::new());

#[tokio::test]
async fn a_refused_image_leaves_nothing_behind() {
    let harness = Fake::new();
    let server = Server::new(None);
    let refusal =
        DriverError::ImageUnacceptable { image_id: "an image".to_owned(), reason: "as the test wants".to_owned() };
    harness.driver.fail_next(FakeOperation::Spawn, refusal);
    let error = server.spawn(&*harness.driver).await.unwrap_err();
    assert!(matches!(error, DriverError::ImageUnacceptable { .. }));
    assert_eq!(harness.driver.list_guests().await.unwrap(), []);
    assert_eq!(std::fs::read_dir(harness.dir.path()).unwrap().count(), 0);
}

/// Printed for the record; the bound is far off, since other work may be going on.
#[tokio::test]
async fn a_thousand_spawns_kept_in_files_take_no_time() {
    let harness = Fake::new();
    let start = Instant::now();
    for _ in 0..1000 {
        Server::new(None).spawn(&*harness.driver).await.unwrap();
    }
    let each = start.elapsed() / 1000;
    println!("spawn of the fake driver with a file: {each:?}");
    assert!(each < Duration::from_millis(20), "{each:?}");
    assert_eq!(harness.driver.list_guests().await.unwrap().len(), 1000);
}
