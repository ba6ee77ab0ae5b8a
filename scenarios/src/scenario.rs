//! The scenarios by name: what a caller does, over and over, for as long as a load lasts.

/// A scenario, for whoever asks which there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scenario {
    /// What it is called.
    pub name: &'static str,
    /// What each caller does.
    pub does: &'static str,
    /// What it shows of a gateway.
    pub why: &'static str,
}

/// Every scenario, in the order of its name.
pub const ALL: [Scenario; 1] = [Scenario {
    name: "steady-chat",
    does: "Each caller asks for one short completion after the other, and takes turns with all keys.",
    why: "All keys stay in use, so a cache that holds what it is told reads each of them once per \
          lifetime, however many replicas there are; what it reads beyond that is what it costs.",
}];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scenarios_stand_in_the_order_of_their_names() {
        assert!(ALL.is_sorted_by_key(|scenario| scenario.name));
    }
}
