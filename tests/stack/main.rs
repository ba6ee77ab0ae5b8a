//! Tests that start servers and binaries of their own: Redis, Postgres, the mock provider, gateways.

#[cfg(test)]
mod stores;
#[cfg(test)]
#[cfg(feature = "containers")]
mod containers;
#[cfg(test)]
mod launch;
#[cfg(test)]
mod gauntlet;
#[cfg(test)]
mod reference_conforms;
#[cfg(test)]
mod defects_are_caught;
#[cfg(test)]
mod same_seed;
#[cfg(test)]
mod bad_input;
#[cfg(test)]
mod attached;
#[cfg(test)]
mod fleet;
#[cfg(test)]
mod workers;
#[cfg(test)]
mod regeneration;
#[cfg(test)]
mod cold_keys;
#[cfg(test)]
mod cache_entries;
#[cfg(test)]
mod organisations;
#[cfg(test)]
mod cache_numbers;
#[cfg(test)]
mod load;
#[cfg(test)]
mod demo;
#[cfg(test)]
mod killed;
#[cfg(test)]
mod any_gateway;
#[cfg(test)]
mod curl_script;
#[cfg(test)]
mod no_secrets;
