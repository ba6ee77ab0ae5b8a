//! A load profile: who the callers are, what is measured, and in which shapes of a target.

use std::{num::NonZeroU8, num::NonZeroU32, path::Path, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, de::Error};

use crate::{KeyClass, duration, nearest, order::Pause, profile::ProfileError, settings};

/// The built-in load profiles, by name.
const BUILT_IN: [(&str, &str); 2] = [
    ("seed_001", include_str!("../profiles/seed_001.toml")),
    ("demo", include_str!("../profiles/demo.toml")),
];

/// A named load, and the shapes of a target that it is put on.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoadProfile {
    /// What the command line and the report call it.
    pub name: String,
    /// What it is for, in a few words.
    pub title: String,
    /// Who sends requests.
    pub callers: Callers,
    /// What is measured of the cache of identities.
    pub cache: Cache,
    /// On which shapes of a target.
    pub shapes: Shapes,
}

/// Who sends requests, and how.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Callers {
    /// How many there are.
    pub count: NonZeroU32,
    /// How long it takes until all of them are there.
    #[serde(with = "duration")]
    pub ramp: Duration,
    /// How long each waits between an answer and its next request. Callers that never wait measure
    /// how fast the machine is, and little else.
    #[serde(deserialize_with = "least_before_most")]
    pub pause: Pause,
    /// To which replica each goes.
    pub balance: Balance,
    /// How many virtual keys they share.
    pub keys: NonZeroU8,
    /// What those keys name.
    pub key_class: KeyClass,
}

/// To which replica a caller goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Balance {
    /// Each to its own, the whole time.
    Pinned,
    /// To the next one with each request.
    EachRequest,
}

/// What is measured of the cache of identities.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cache {
    /// How long an entry is to live, where the target lets us choose.
    #[serde(with = "duration")]
    pub lifetime: Duration,
    /// The same with `--unscaled`.
    #[serde(with = "duration")]
    pub unscaled_lifetime: Duration,
    /// Where windows end, in lifetimes: at least one, each later than the one before. All begin when
    /// the last caller is there.
    #[serde(deserialize_with = "one_after_the_other")]
    pub windows: Vec<NonZeroU8>,
}

/// The shapes of a target that are put under load, one after the other.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shapes {
    /// Replicas, and workers behind each.
    pub replicas_and_workers: Vec<(NonZeroU8, NonZeroU8)>,
    /// With a cache that all share, without it, or both.
    pub shared_cache: Vec<SharedCache>,
}

/// Whether the replicas of a target share a cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SharedCache {
    /// They share one.
    On,
    /// Each process has only its own.
    Off,
}

impl LoadProfile {
    /// The names of the built-in load profiles.
    pub fn names() -> impl Iterator<Item = &'static str> {
        BUILT_IN.iter().map(|(name, _)| *name)
    }

    /// The built-in load profile of this name.
    ///
    /// # Errors
    ///
    /// Where none has the name.
    pub fn built_in(name: &str) -> Result<Self, ProfileError> {
        let Some((_, text)) = BUILT_IN.iter().find(|(known, _)| *known == name) else {
            return Err(ProfileError::Unknown {
                name: name.to_owned(),
                near: nearest::nearest(name, Self::names()),
                known: Self::names().collect(),
            });
        };
        let path = format!("built-in profile {name}");
        Ok(settings::parse(text, Path::new(&path))?)
    }

    /// The load profile in the file at `path`.
    ///
    /// # Errors
    ///
    /// Where the file cannot be read, or is not a load profile.
    pub fn read(path: &Path) -> Result<Self, ProfileError> {
        Ok(settings::read(path)?)
    }
}

/// A pause that is no shorter at most than at least.
fn least_before_most<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Pause, D::Error> {
    let pause = Pause::deserialize(deserializer)?;
    if pause.least > pause.most {
        return Err(D::Error::custom(format!(
            "`pause` is at least {}, which is longer than at most {}",
            duration::text(pause.least),
            duration::text(pause.most)
        )));
    }
    Ok(pause)
}

/// Windows of which each ends later than the one before. Without one, there is nothing to measure.
fn one_after_the_other<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<NonZeroU8>, D::Error> {
    let windows = Vec::<NonZeroU8>::deserialize(deserializer)?;
    if windows.is_empty() {
        return Err(D::Error::custom("`windows` is empty, so nothing would be measured"));
    }
    match windows.iter().zip(&windows[1..]).find(|(before, after)| before >= after) {
        Some((before, after)) => Err(D::Error::custom(format!(
            "`windows` is not in ascending order: {after} stands after {before}"
        ))),
        None => Ok(windows),
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;

    #[test]
    fn every_built_in_profile_reads_and_bears_its_name() {
        for name in LoadProfile::names() {
            assert_eq!(LoadProfile::built_in(name).unwrap().name, name);
        }
    }

    #[test]
    fn the_published_load_is_fifteen_keys_and_two_hundred_callers_on_up_to_eight_processes() {
        let load = LoadProfile::built_in("seed_001").unwrap();
        assert_eq!((load.callers.keys.get(), load.callers.count.get()), (15, 200));
        assert_eq!(load.callers.ramp, Duration::from_secs(10));
        let processes =
            |(replicas, workers): &(NonZeroU8, NonZeroU8)| replicas.get() * workers.get();
        let mut processes: Vec<_> =
            load.shapes.replicas_and_workers.iter().map(processes).collect();
        processes.sort_unstable();
        processes.dedup();
        assert_eq!(processes, [1, 2, 4, 8]);
        // Five and ten minutes of a lifetime of one.
        let minutes = |window: &NonZeroU8| load.cache.unscaled_lifetime * window.get().into();
        let windows: Vec<_> = load.cache.windows.iter().map(minutes).collect();
        assert_eq!(windows, [Duration::from_secs(300), Duration::from_secs(600)]);
    }

    /// What is said to the built-in profile with `part` written another way.
    fn refusal(part: &str, instead: &str) -> String {
        let (_, text) = BUILT_IN[0];
        assert!(text.contains(part), "{text}");
        let text = text.replace(part, instead);
        settings::parse::<LoadProfile>(&text, Path::new("own.toml")).unwrap_err().to_string()
    }

    #[test]
    fn windows_that_measure_nothing_or_are_out_of_order_are_refused_by_name() {
        let windows = |instead| refusal("windows = [5, 10]", instead);
        assert_snapshot!(
            windows("windows = []"),
            @"own.toml:20:11: `windows` is empty, so nothing would be measured"
        );
        assert_snapshot!(
            windows("windows = [10, 5]"),
            @"own.toml:20:11: `windows` is not in ascending order: 5 stands after 10"
        );
        assert_snapshot!(
            windows("windows = [5, 5]"),
            @"own.toml:20:11: `windows` is not in ascending order: 5 stands after 5"
        );
    }

    #[test]
    fn a_pause_that_is_longer_at_least_than_at_most_is_refused_by_name() {
        assert_snapshot!(
            refusal("least = \"500ms\"", "least = \"2s\""),
            @"own.toml:12:9: `pause` is at least 2s, which is longer than at most 1s"
        );
    }

    #[test]
    fn an_unknown_profile_is_answered_with_the_known_ones() {
        assert_snapshot!(
            LoadProfile::built_in("seed001").unwrap_err(),
            @r#"there is no profile "seed001"; did you mean "seed_001"?; built in: seed_001, demo"#
        );
    }
}
