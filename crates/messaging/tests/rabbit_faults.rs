//! What can go wrong between a service and RabbitMQ, and what becomes of it.
//!
//! Tests that end, pause or fill a broker start one of their own; the others do their damage, to queues of their own, on
//! the shared one.

#![allow(missing_docs, clippy::unwrap_used)]

#[allow(dead_code, reason = "the suite uses the rest")]
mod broker;
mod faults;
#[allow(dead_code, unused_macros, unused_imports, reason = "the suite itself runs elsewhere")]
mod suite;
