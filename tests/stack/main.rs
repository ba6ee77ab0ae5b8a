//! Tests that start servers and binaries of their own: Redis, Postgres, the mock provider, gateways.

#[cfg(test)]
mod stores;
#[cfg(test)]
mod launch;
