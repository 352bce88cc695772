//! The built-in identity, image and network services of `kilonova up`: small and real, each behind the same trait as
//! the OpenStack service that it stands in for, and each with the part of that service's REST API that clients need.

pub mod auth;
pub mod identity;
pub mod image;
pub mod network;
mod web;
