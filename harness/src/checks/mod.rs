//! The checks, one file each, one folder per family.
//!
//! The list is written by `UPDATE_REGISTRY=1 cargo test -p harness tidy`; a check that is not in it
//! does not compile into anything.

pub mod auth_cache;
pub mod authz;
pub mod codec;
pub mod obs;
pub mod propagation;

use crate::check::Check;

/// Every check, in the order of its id.
pub static ALL: &[&Check] = &[
    // registry: begin
    &auth_cache::accepted_state_usable::CHECK,
    &auth_cache::db_call_bound::CHECK,
    &auth_cache::negative_lookup::CHECK,
    &auth_cache::replica_scaling::CHECK,
    &auth_cache::single_flight::CHECK,
    &auth_cache::ttl_honoured::CHECK,
    &authz::list_equals_use::CHECK,
    &codec::key_canonical::CHECK,
    &codec::key_spaces_disjoint::CHECK,
    &codec::mixed_version::CHECK,
    &codec::no_null_key::CHECK,
    &codec::null_round_trip::CHECK,
    &codec::poison_entry_contained::CHECK,
    &codec::representation_independence::CHECK,
    &obs::healthy_silence::CHECK,
    &propagation::revoke_bound::CHECK,
    // registry: end
];
