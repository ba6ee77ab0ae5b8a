//! Load: a target in several shapes under the same callers, and what its reads say of its cache.
//!
//! A profile says who calls and which shapes are compared. For each shape, [`experiment`] reaches a
//! fresh stack, issues [`keys`], has an [`attacker`] in a process of its own put it under load, and
//! takes what the store proxies counted in each window. [`bound`] and [`slope`] say what the reads of
//! a window and of all shapes may be; [`told`] puts it into the report. The two are pure.
//!
//! Of any other gateway nothing is known but its address and a key. [`preflight`] asks it once, and
//! [`gateway`] has callers put it under load and tells what they saw. [`descriptors`] are what each caller
//! takes one of.

pub mod experiment;
pub mod keys;
pub mod attacker;
pub mod descriptors;
pub mod bound;
pub mod slope;
pub mod told;
pub mod preflight;
pub mod gateway;

pub use experiment::{Experiment, Fate, Measured, Watcher};
