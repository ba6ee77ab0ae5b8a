//! Strategies, pure: what a plan contains, and what it shrinks to.
//!
//! Every strategy is a function of the target's declared bounds and of the random stream that
//! `proptest` derives from the run's seed: the same seed gives the same plans, byte for byte.

pub mod admin;
pub mod fewer;
pub mod identities;
pub mod requests;

use proptest::{
    strategy::{BoxedStrategy, Strategy, ValueTree},
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};
use sha2::{Digest, Sha256};

use crate::plan::Plan;

/// The value tree of case `case` of a check: the plan, and all that it may shrink to.
///
/// The random stream depends on the seed, the check and the case, and on nothing else: neither on the
/// other checks of the run nor on the order in which cases are driven.
///
/// # Errors
///
/// When the strategy rejects too many values, which is a defect of the strategy.
pub fn plan_tree(
    strategy: &BoxedStrategy<Plan>,
    seed: u64,
    check: &str,
    case: u32,
) -> Result<Box<dyn ValueTree<Value = Plan>>, String> {
    let digest = Sha256::new()
        .chain_update(seed.to_be_bytes())
        .chain_update(check.as_bytes())
        .chain_update(case.to_be_bytes())
        .finalize();
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &digest);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let tree = strategy.new_tree(&mut runner).map_err(|reason| reason.to_string())?;
    Ok(Box::new(tree))
}
