//! A count that is drawn large, and shrinks to less than was ever drawn.
//!
//! A plan that puts a property to the test needs enough repetitions; the smallest plan that breaks it
//! may need fewer.

use std::ops::RangeInclusive;

use proptest::{
    num::u32::BinarySearch,
    strategy::{NewTree, Strategy, ValueTree},
    test_runner::TestRunner,
};

/// Draws `most`, and shrinks towards one.
pub fn at_most(most: u32) -> impl Strategy<Value = u32> + use<> {
    many(most..=most)
}

/// Draws from `range`, and shrinks towards one.
pub fn many(range: RangeInclusive<u32>) -> impl Strategy<Value = u32> + use<> {
    BeyondTheLeast { range }.prop_map(|beyond_one| beyond_one + 1)
}

#[derive(Clone, Debug)]
struct BeyondTheLeast {
    range: RangeInclusive<u32>,
}

impl Strategy for BeyondTheLeast {
    type Tree = BinarySearch;
    type Value = u32;

    fn new_tree(&self, runner: &mut TestRunner) -> NewTree<Self> {
        let drawn = self.range.new_tree(runner)?.current();
        Ok(BinarySearch::new(drawn.saturating_sub(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_begins_at_its_most_and_ends_at_one() {
        let mut tree = at_most(10).new_tree(&mut TestRunner::deterministic()).unwrap();
        assert_eq!(tree.current(), 10);
        while tree.simplify() {}
        assert_eq!(tree.current(), 1);
    }

    #[test]
    fn it_is_drawn_from_its_range_and_ends_at_one() {
        let mut tree = many(40..=200).new_tree(&mut TestRunner::deterministic()).unwrap();
        assert!((40..=200).contains(&tree.current()));
        while tree.simplify() {}
        assert_eq!(tree.current(), 1);
    }
}
