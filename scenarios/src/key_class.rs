//! What kinds of owner a virtual key has: the classes that cache numbers are told by.
//!
//! A cache that works for keys with a team and a user may do nothing for those with a team alone
//! (litellm#27874), and a mean over all keys would hide it.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// The class of a virtual key, by what it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyClass {
    /// Neither a user nor a team.
    Plain,
    /// A user, and no team.
    User,
    /// A team, and no user.
    Team,
    /// A team, and a user who is a member of it.
    Member,
    /// A team, and a user who is no member of it.
    Both,
    /// A team and a user that have one id.
    EqualIds,
    /// An organisation, whatever else it names.
    Organisation,
}

impl KeyClass {
    /// Every class there is.
    pub const ALL: [KeyClass; 7] = [
        KeyClass::Plain,
        KeyClass::User,
        KeyClass::Team,
        KeyClass::Member,
        KeyClass::Both,
        KeyClass::EqualIds,
        KeyClass::Organisation,
    ];

    /// Its name in thresholds and reports.
    pub const fn name(self) -> &'static str {
        match self {
            KeyClass::Plain => "plain",
            KeyClass::User => "user",
            KeyClass::Team => "team",
            KeyClass::Member => "member",
            KeyClass::Both => "both",
            KeyClass::EqualIds => "equal-ids",
            KeyClass::Organisation => "organisation",
        }
    }
}

impl fmt::Display for KeyClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A text that names no class of keys.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no class of keys")]
pub struct NotAKeyClass(String);

impl FromStr for KeyClass {
    type Err = NotAKeyClass;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        KeyClass::ALL
            .into_iter()
            .find(|class| class.name() == text)
            .ok_or_else(|| NotAKeyClass(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_is_read_and_stored_by_its_name() {
        for class in KeyClass::ALL {
            assert_eq!(class.name().parse(), Ok(class));
            assert_eq!(serde_json::to_value(class).unwrap(), class.name());
        }
        assert!("teams".parse::<KeyClass>().is_err());
    }
}
