//! A profile: which checks to drive, and how often.
//!
//! The built-in profiles are the files under `profiles/`, compiled in; a file of the same shape can
//! be given instead.

use std::{
    collections::BTreeMap,
    num::{NonZeroU8, NonZeroU32},
    path::Path,
    time::Duration,
};

use serde::Deserialize;

use crate::{
    duration, nearest,
    settings::{self, SettingsError},
    threshold::Threshold,
};

/// The built-in profiles, by name.
const BUILT_IN: [(&str, &str); 2] = [
    ("smoke", include_str!("../profiles/smoke.toml")),
    ("release", include_str!("../profiles/release.toml")),
];

/// A named selection of checks, with what each may cost.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// What the command line and the report call it.
    pub name: String,
    /// What it is for, in a few words.
    pub title: String,
    /// Cases driven per check, unless `cases_of` says otherwise.
    pub cases: NonZeroU32,
    /// Cases driven for the checks named here, by id.
    #[serde(default)]
    pub cases_of: BTreeMap<String, NonZeroU32>,
    /// How many seeds to drive, one after the other, from the run's seed on.
    pub seeds: NonZeroU32,
    /// Cases that may be under way at once.
    pub side_by_side: NonZeroU8,
    /// How long a failing plan may be shrunk.
    #[serde(with = "duration")]
    pub shrink_budget: Duration,
    /// Which checks are driven.
    #[serde(default)]
    pub checks: Selection,
    /// Bounds on what is measured beside the checks.
    #[serde(default)]
    pub thresholds: Vec<Threshold>,
}

/// A choice among checks, by id or family.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Selection {
    /// Ids or families to take; empty takes all.
    #[serde(default)]
    pub only: Vec<String>,
    /// Ids or families to leave out, even where `only` takes them.
    #[serde(default)]
    pub skip: Vec<String>,
}

impl Selection {
    /// Whether the check with this id is taken.
    pub fn takes(&self, id: &str) -> bool {
        let named = |names: &[String]| names.iter().any(|name| covers(name, id));
        (self.only.is_empty() || named(&self.only)) && !named(&self.skip)
    }

    /// The names that cover none of `ids`, each with the id that was probably meant.
    pub fn strangers<'a>(
        &self,
        ids: impl IntoIterator<Item = &'a str> + Clone,
    ) -> Vec<(String, Option<&'a str>)> {
        self.only
            .iter()
            .chain(&self.skip)
            .filter(|name| !ids.clone().into_iter().any(|id| covers(name, id)))
            .map(|name| (name.clone(), nearest::nearest(name, ids.clone())))
            .collect()
    }
}

/// Whether `name` is this check's id, or its family.
fn covers(name: &str, id: &str) -> bool {
    id.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// Why there is no such profile.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// No built-in profile has this name.
    #[error(
        "there is no profile {name:?}{}; built in: {}",
        near.map(|near| format!("; did you mean {near:?}?")).unwrap_or_default(),
        known.join(", ")
    )]
    Unknown {
        /// What was asked for.
        name: String,
        /// What was probably meant.
        near: Option<&'static str>,
        /// What there is.
        known: Vec<&'static str>,
    },
    /// The file does not hold a profile.
    #[error(transparent)]
    File(#[from] SettingsError),
}

impl Profile {
    /// The names of the built-in profiles.
    pub fn names() -> impl Iterator<Item = &'static str> {
        BUILT_IN.iter().map(|(name, _)| *name)
    }

    /// The built-in profile of this name.
    ///
    /// # Errors
    ///
    /// Where none has the name.
    pub fn built_in(name: &str) -> Result<Self, ProfileError> {
        let Some((_, text)) = BUILT_IN.iter().find(|(known, _)| *known == name) else {
            let near = nearest::nearest(name, Self::names());
            let known = Self::names().collect();
            return Err(ProfileError::Unknown { name: name.to_owned(), near, known });
        };
        let path = format!("built-in profile {name}");
        Ok(settings::parse(text, Path::new(&path))?)
    }

    /// The profile in the file at `path`.
    ///
    /// # Errors
    ///
    /// Where the file cannot be read, or is not a profile.
    pub fn read(path: &Path) -> Result<Self, ProfileError> {
        Ok(settings::read(path)?)
    }

    /// How many cases to drive for the check with this id.
    pub fn cases_for(&self, id: &str) -> u32 {
        self.cases_of.get(id).copied().unwrap_or(self.cases).get()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use insta::assert_snapshot;

    use super::*;
    use crate::LoadProfile;

    #[test]
    fn every_built_in_profile_reads_and_bears_its_name() {
        for name in Profile::names() {
            assert_eq!(Profile::built_in(name).unwrap().name, name);
        }
    }

    #[test]
    fn every_file_under_profiles_is_built_in() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("profiles");
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_str().unwrap();
            let known = Profile::names().chain(LoadProfile::names()).any(|known| known == name);
            assert!(known, "{name} is not in BUILT_IN");
        }
    }

    #[test]
    fn an_unknown_profile_is_answered_with_the_known_ones() {
        assert_snapshot!(
            Profile::built_in("smok").unwrap_err(),
            @r#"there is no profile "smok"; did you mean "smoke"?; built in: smoke, release"#
        );
        assert_snapshot!(
            Profile::built_in("weekly").unwrap_err(),
            @r#"there is no profile "weekly"; built in: smoke, release"#
        );
    }

    #[test]
    fn a_mistyped_key_is_placed_in_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mine.toml");
        let text = include_str!("../profiles/smoke.toml").replace("shrink_budget", "shrink_bugdet");
        fs::write(&path, text).unwrap();
        let said = Profile::read(&path).unwrap_err().to_string();
        let said = said.replace(folder.path().to_str().unwrap(), "");
        assert_snapshot!(
            said,
            @"/mine.toml:7:1: unknown key `shrink_bugdet`; did you mean `shrink_budget`?"
        );
    }

    #[test]
    fn a_mistyped_threshold_is_placed_in_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mine.toml");
        let bounds =
            r#"thresholds = ["hit_ratio >= 0.99", "sql_per_warm_request{clas=team} == 0"]"#;
        let text = format!("{bounds}\n{}", include_str!("../profiles/smoke.toml"));
        fs::write(&path, text).unwrap();
        let said = Profile::read(&path).unwrap_err().to_string();
        let said = said.replace(folder.path().to_str().unwrap(), "");
        assert_snapshot!(
            said,
            @r#"/mine.toml:1:14: "sql_per_warm_request{clas=team} == 0", character 22: `sql_per_warm_request` has no label `clas`; did you mean `class`?"#
        );
    }

    #[test]
    fn a_check_may_have_a_number_of_cases_of_its_own() {
        let mut profile = Profile::built_in("smoke").unwrap();
        profile.cases_of.insert("codec.null-round-trip".to_owned(), NonZeroU32::MIN);
        assert_eq!(profile.cases_for("codec.null-round-trip"), 1);
        assert_eq!(profile.cases_for("codec.key-spaces-disjoint"), profile.cases.get());
    }

    #[test]
    fn a_family_covers_its_checks_and_no_other() {
        let selection = Selection {
            only: vec!["codec".to_owned(), "budget.charge-once".to_owned()],
            skip: vec!["codec.key-canonical".to_owned()],
        };
        assert!(selection.takes("codec.null-round-trip"));
        assert!(selection.takes("budget.charge-once"));
        assert!(!selection.takes("budget.charge-once-more"));
        assert!(!selection.takes("codec.key-canonical"));
        assert!(!selection.takes("codecs.other"));
    }

    #[test]
    fn an_empty_selection_takes_everything() {
        assert!(Selection::default().takes("codec.null-round-trip"));
    }

    #[test]
    fn a_name_that_covers_nothing_is_a_stranger() {
        let selection = Selection {
            only: vec!["codec".to_owned()],
            skip: vec!["codec.nul-round-trip".to_owned(), "weather".to_owned()],
        };
        let ids = ["codec.null-round-trip", "budget.charge-once"];
        assert_eq!(
            selection.strangers(ids),
            [
                ("codec.nul-round-trip".to_owned(), Some("codec.null-round-trip")),
                ("weather".to_owned(), None)
            ]
        );
    }
}
