//! Shrinks a failing plan against the live target.

use std::{fmt, time::Duration};

use proptest::strategy::ValueTree;

use crate::clock::Clock;

/// What shrinking came to.
#[derive(Clone, Debug)]
pub struct Smallest<T, E> {
    /// The smallest value that was seen to fail.
    pub value: T,
    /// What was seen of it.
    pub seen: E,
    /// How many candidates were driven.
    pub candidates: u32,
    /// Whether the budget ended the walk before the tree did.
    pub ran_out: bool,
    /// How long it took.
    pub took: Duration,
}

/// Walks `tree` from the value that was `seen` to fail towards the smallest that still does.
///
/// `still_fails` drives a candidate and says what it saw when the candidate fails. Each candidate uses
/// entities of its own, so the target needs no reset in between. The walk ends when the tree has
/// nothing smaller, or with the budget.
pub async fn minimize<T: Clone + fmt::Debug, E>(
    tree: &mut dyn ValueTree<Value = T>,
    seen: (T, E),
    clock: Clock,
    budget: Duration,
    mut still_fails: impl AsyncFnMut(&T) -> Option<E>,
) -> Smallest<T, E> {
    let began = clock.now();
    let (value, evidence) = seen;
    let mut smallest =
        Smallest { value, seen: evidence, candidates: 0, ran_out: false, took: Duration::ZERO };
    let mut more = tree.simplify();
    while more {
        if clock.now().since(began) >= budget {
            smallest.ran_out = true;
            break;
        }
        let candidate = tree.current();
        smallest.candidates += 1;
        more = match still_fails(&candidate).await {
            Some(evidence) => {
                smallest.value = candidate;
                smallest.seen = evidence;
                tree.simplify()
            }
            None => tree.complicate(),
        };
    }
    smallest.took = clock.now().since(began);
    smallest
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*, strategy::Strategy, test_runner::TestRunner};

    use super::*;

    #[tokio::test]
    async fn the_walk_ends_at_the_smallest_value_that_fails() {
        let strategy = vec(0..100_u8, 0..20);
        let mut runner = TestRunner::deterministic();
        let fails = |value: &[u8]| value.iter().any(|item| *item >= 40);
        let mut tree = loop {
            let tree = strategy.new_tree(&mut runner).unwrap();
            if fails(&tree.current()) {
                break tree;
            }
        };
        let first = tree.current();
        let found = minimize(
            &mut tree,
            (first, ()),
            Clock::start(),
            Duration::from_secs(60),
            async |candidate: &Vec<u8>| fails(candidate).then_some(()),
        )
        .await;
        assert_eq!(found.value, vec![40]);
        assert!(!found.ran_out);
    }

    #[tokio::test]
    async fn a_budget_of_nothing_keeps_what_was_seen() {
        let mut tree = any::<u64>().new_tree(&mut TestRunner::deterministic()).unwrap();
        let first = tree.current();
        let found =
            minimize(&mut tree, (first, ()), Clock::start(), Duration::ZERO, async |_: &u64| {
                Some(())
            })
            .await;
        assert_eq!((found.value, found.candidates, found.ran_out), (first, 0, true));
    }
}
