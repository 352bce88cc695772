//! The traits of `kilonova_clients`, each test twice: on the built-in services themselves, and through the HTTP clients,
//! a server and the REST APIs, as when the services are another process.
#![allow(clippy::unwrap_used, reason = "these are tests, their helpers too")]

mod cloud;
mod identity;
mod image;
mod network;

/// Runs each test of a module directly and over HTTP.
macro_rules! suite {
    ($($test:ident,)*) => {
        mod directly {
            $(#[tokio::test] async fn $test() { super::$test(crate::cloud::Cloud::new().await).await })*
        }
        mod over_http {
            $(#[tokio::test] async fn $test() { super::$test(crate::cloud::Cloud::over_http("").await).await })*
        }
    };
}
pub(crate) use suite;
