//! The stacks that the arms of a check are driven against: the shared one, and those of its own.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    sync::Arc,
};

use futures::future::join_all;

use super::{
    drive::Driver,
    reach::{ReachError, Reached},
};
use crate::check::{Arm, Shape, Stack};

/// What was driven on stacks of a check's own.
#[derive(Debug)]
pub struct Driven<T> {
    /// What came of it.
    pub value: T,
    /// Why it is not to be believed, if it is not.
    pub doubt: Option<String>,
}

/// The shapes of the stacks of their own that these arms ask for, each once.
pub fn own_shapes(arms: &[Arm]) -> Vec<Shape> {
    let own = arms.iter().filter_map(|arm| match arm.stack {
        Stack::Shared => None,
        Stack::Own(shape) => Some(shape),
    });
    own.collect::<BTreeSet<_>>().into_iter().collect()
}

/// The shared stack, and the stacks that a check asked for.
pub struct Stacks {
    shared: Arc<Driver>,
    own: BTreeMap<Shape, Reached>,
}

impl Stacks {
    /// The shared stack alone.
    pub fn shared(reached: &Reached) -> Stacks {
        Stacks { shared: Arc::clone(&reached.driver), own: BTreeMap::new() }
    }

    /// Starts every stack that these arms ask for and that is not there yet, beside the shared one.
    ///
    /// # Errors
    ///
    /// When one cannot be set up. Those that were are still there, to be stopped.
    async fn start_for(&mut self, arms: &[Arm], reached: &Reached) -> Result<(), ReachError> {
        for shape in own_shapes(arms) {
            if let Entry::Vacant(missing) = self.own.entry(shape) {
                missing.insert(Reached::reach(reached.request_for(shape)).await?);
            }
        }
        Ok(())
    }

    /// The driver of the shared stack.
    pub fn of_all(&self) -> &Arc<Driver> {
        &self.shared
    }

    /// The driver of a stack, if it was started.
    pub fn driver(&self, stack: Stack) -> Option<&Arc<Driver>> {
        match stack {
            Stack::Shared => Some(&self.shared),
            Stack::Own(shape) => self.own.get(&shape).map(|own| &own.driver),
        }
    }

    /// Drives on the stacks that `arms` ask for, and stops the check's own afterwards. Where this is
    /// dropped half-way, they are left to whoever holds the stacks.
    ///
    /// # Errors
    ///
    /// When one cannot be set up.
    pub async fn driven<T>(
        &mut self,
        arms: &[Arm],
        reached: &Reached,
        drive: impl AsyncFnOnce(&Stacks) -> T,
    ) -> Result<Driven<T>, ReachError> {
        let started = self.start_for(arms, reached).await;
        let driven = match started {
            Ok(()) => {
                let value = drive(self).await;
                Ok(Driven { value, doubt: self.doubt() })
            }
            Err(error) => Err(error),
        };
        self.stop_own().await;
        driven
    }

    /// Why what was seen of the check's own stacks is not to be believed, if it is not.
    fn doubt(&mut self) -> Option<String> {
        let lost: u64 = self.own.values().map(Reached::lost).sum();
        if lost > 0 {
            return Some(format!("{lost} observations of its own stacks were lost on the way"));
        }
        self.own.values_mut().find_map(|own| {
            let (replica, how) = own.ended()?;
            Some(format!("{replica} of a stack of its own ended: {how}"))
        })
    }

    /// Stops the check's own stacks. The shared one goes on.
    pub async fn stop_own(&mut self) {
        join_all(std::mem::take(&mut self.own).into_values().map(Reached::stop)).await;
    }
}
