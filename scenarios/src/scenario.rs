//! The scenarios by name: what a caller does, over and over, for as long as a load lasts.
//!
//! This is the one list of them: the command line, its completions and `gauntlet list` are made from
//! it. What the callers of each do stands in a file of its own.

use serde::{Deserialize, Serialize};

/// A scenario, for whoever asks which there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scenario {
    /// What callers do, for an order.
    pub act: Act,
    /// What it is called.
    pub name: &'static str,
    /// What each caller does.
    pub does: &'static str,
    /// What it shows of a gateway.
    pub why: &'static str,
}

/// What callers do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Act {
    /// They ask for one short completion after the other; see [`crate::steady_chat`].
    SteadyChat,
    /// They have one short completion after the other streamed; see [`crate::streamed_chat`].
    StreamedChat,
}

/// Every scenario, in the order of its name.
pub const ALL: [Scenario; 2] = [
    Scenario {
        act: Act::SteadyChat,
        name: "steady-chat",
        does: "Each caller asks for one short completion after the other, and takes turns with all \
               keys.",
        why: "All keys stay in use, so a cache that holds what it is told reads each of them once per \
              lifetime, however many replicas there are; what it reads beyond that is what it costs.",
    },
    Scenario {
        act: Act::StreamedChat,
        name: "streamed-chat",
        does: "Each caller has one short completion after the other streamed, and reads each to its \
               end.",
        why: "People read as tokens arrive: what they notice is the time to the first and the gaps \
              after it, which a gateway that holds chunks back makes long while its latency stays the \
              same. A stream that ends without `[DONE]`, stalls or carries an error has failed, \
              whatever its status was.",
    },
];

/// The scenario of this name.
pub fn named(name: &str) -> Option<Scenario> {
    ALL.into_iter().find(|scenario| scenario.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scenarios_stand_in_the_order_of_their_names() {
        assert!(ALL.is_sorted_by_key(|scenario| scenario.name));
    }

    #[test]
    fn an_order_names_an_act_as_people_name_its_scenario() {
        for scenario in ALL {
            assert_eq!(serde_json::to_value(scenario.act).unwrap(), scenario.name);
            assert_eq!(named(scenario.name), Some(scenario));
        }
    }
}
