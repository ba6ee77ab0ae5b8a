//! A small gateway that honours every check, and breaks on request.
//!
//! The path of one request, module by module: `access` gives it an id, `auth` finds out who
//! calls, from `identity_cache` and below it `store`; `routes` decide what is asked,
//! `admission` whether there is room, `providers` answer, `streaming` relays, `spend` settles.

pub mod cache_schema;
pub mod config;
pub mod defects;
pub mod entries;
pub mod logging;
pub mod serve;
pub mod specimen;
pub mod workers;

mod app;
mod access;
mod error;
mod auth;
mod field;
mod identity_cache;
mod routes;
mod admission;
mod providers;
mod streaming;
mod object_text;
mod spend;
mod outage;
mod store;
mod redis;
mod metrics;

pub use store::StoreError;
