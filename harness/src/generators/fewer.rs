//! A count that is always drawn at its most, and shrinks.
//!
//! A plan that puts a property to the test needs enough repetitions; the smallest plan that breaks it
//! may need fewer.

use proptest::{
    num::u32::BinarySearch,
    strategy::{NewTree, Strategy},
    test_runner::TestRunner,
};

/// Draws `most`, and shrinks towards one.
pub fn at_most(most: u32) -> impl Strategy<Value = u32> + use<> {
    FromMost { beyond_one: most.saturating_sub(1) }.prop_map(|beyond_one| beyond_one + 1)
}

#[derive(Clone, Copy, Debug)]
struct FromMost {
    beyond_one: u32,
}

impl Strategy for FromMost {
    type Tree = BinarySearch;
    type Value = u32;

    fn new_tree(&self, _: &mut TestRunner) -> NewTree<Self> {
        Ok(BinarySearch::new(self.beyond_one))
    }
}

#[cfg(test)]
mod tests {
    use proptest::strategy::ValueTree;

    use super::*;

    #[test]
    fn it_begins_at_its_most_and_ends_at_one() {
        let mut tree = at_most(10).new_tree(&mut TestRunner::deterministic()).unwrap();
        assert_eq!(tree.current(), 10);
        while tree.simplify() {}
        assert_eq!(tree.current(), 1);
    }
}
