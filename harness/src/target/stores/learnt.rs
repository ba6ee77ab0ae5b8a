//! Which way to a store has served in this process, and why no earlier one did.
//!
//! A command may want stores a hundred times. What does not serve once is not tried again: to find that
//! out may take half a minute, as it does where a pull makes no progress.

use std::{
    ffi::OsString,
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

use super::{Store, StoreChoice, Way};

/// What has been learnt, by what it depends on.
static LEARNT: Mutex<Vec<(Choice, Learnt)>> = Mutex::new(Vec::new());

/// What decides which way serves.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Choice {
    store: Store,
    image: Option<String>,
    search_path: Option<OsString>,
    caches: Vec<PathBuf>,
}

/// The way that served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Learnt {
    /// Which it is.
    pub(super) way: Way,
    /// Why no earlier one did, in the order of trying.
    pub(super) why: Vec<String>,
}

impl Choice {
    fn of(store: Store, choice: &StoreChoice) -> Choice {
        let image = match store {
            Store::Redis => &choice.redis_image,
            Store::Postgres => &choice.postgres_image,
        };
        Choice {
            store,
            image: image.clone(),
            search_path: choice.search_path.clone(),
            caches: choice.caches.clone(),
        }
    }
}

/// What was learnt of a store where this was chosen, if anything was.
pub(super) fn recalled(store: Store, choice: &StoreChoice) -> Option<Learnt> {
    let choice = Choice::of(store, choice);
    let learnt = LEARNT.lock().unwrap_or_else(PoisonError::into_inner);
    learnt.iter().find(|(of, _)| *of == choice).map(|(_, learnt)| learnt.clone())
}

/// Takes note of the way that served.
pub(super) fn learn(store: Store, choice: &StoreChoice, way: Way, why: &[String]) {
    let choice = Choice::of(store, choice);
    let mut learnt = LEARNT.lock().unwrap_or_else(PoisonError::into_inner);
    learnt.retain(|(of, _)| *of != choice);
    learnt.push((choice, Learnt { way, why: why.to_vec() }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_learnt_holds_for_one_store_and_one_choice() {
        let image = |name: &str| StoreChoice {
            redis_image: Some(name.to_owned()),
            ..StoreChoice::default()
        };
        let (one, other) = (image("learnt:1"), image("learnt:2"));
        assert_eq!(recalled(Store::Redis, &one), None);
        learn(Store::Redis, &one, Way::Local, &["no engine".to_owned()]);
        learn(Store::Redis, &one, Way::Unpacked, &["no engine".to_owned(), "gone".to_owned()]);
        let learnt = recalled(Store::Redis, &one).unwrap();
        assert_eq!((learnt.way, learnt.why.len()), (Way::Unpacked, 2));
        assert_eq!(recalled(Store::Redis, &other), None);
        assert_eq!(recalled(Store::Postgres, &one), None);
    }
}
