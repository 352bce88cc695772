//! HTTP-level tests: a request goes through the whole API, over an SQLite file, fakes for the other services, and a
//! recording conductor and compute agent on the memory transport.

mod cloud;
mod framework;
mod routes;
