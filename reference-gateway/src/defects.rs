//! Planted defects: bugs put into this gateway to prove that a check sees them.
//!
//! They exist only with the `defects` feature. The rest of the gateway asks a [`Defects`] value
//! questions about what it does; without the feature every answer is `false` and costs nothing.

/// Which planted defects are active. Empty in every released build.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Defects {
    #[cfg(feature = "defects")]
    planted: u32,
}

/// A bug put into the gateway on purpose.
#[cfg(feature = "defects")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlantedDefect {
    /// What `--defect` takes.
    pub name: &'static str,
    /// The check that must fail while this is planted.
    pub caught_by: &'static str,
    /// What goes wrong, in one sentence.
    pub summary: &'static str,
}

/// Every planted defect. The place in this list is its bit in [`Defects`].
#[cfg(feature = "defects")]
pub const ALL: &[PlantedDefect] = &[
    PlantedDefect {
        name: "codec-exclude-none",
        caught_by: "codec.null-round-trip",
        summary: "Cached entries leave out what is null, and a reader demands the user that a key \
                  may not have.",
    },
    PlantedDefect {
        name: "codec-shared-key-space",
        caught_by: "codec.key-spaces-disjoint",
        summary: "Users and teams are cached under their bare ids, so equal ids overwrite each \
                  other on every request.",
    },
    PlantedDefect {
        name: "codec-untyped-payload",
        caught_by: "codec.key-spaces-disjoint",
        summary: "Cached entries carry no kind and share bare ids, so a user's entry is read as \
                  a team without restrictions.",
    },
    PlantedDefect {
        name: "codec-none-key",
        caught_by: "codec.no-null-key",
        summary: "The team or user that a key does not have is looked up in Redis all the same, \
                  under a name made from nothing.",
    },
    PlantedDefect {
        name: "codec-key-mismatch",
        caught_by: "codec.key-canonical",
        summary: "Teams are written to Redis under their bare id, and looked for and deleted under \
                  another name.",
    },
    PlantedDefect {
        name: "codec-v2-drops-block",
        caught_by: "codec.mixed-version",
        summary: "The decoder of schema version 1 accepts entries of version 2 and ignores their \
                  blocked_at, so a blocked key works on replicas of the older release.",
    },
    PlantedDefect {
        name: "codec-dict-leak",
        caught_by: "codec.representation-independence",
        summary: "What comes from Redis is treated as a raw map whose budget nobody checks, so an \
                  over-budget key is served when its identity came from Redis.",
    },
    PlantedDefect {
        name: "codec-trust-any",
        caught_by: "codec.poison-entry-contained",
        summary: "A Redis entry that cannot be decoded yields the last good object of any key \
                  instead of a reload.",
    },
    PlantedDefect {
        name: "cache-bypass-team",
        caught_by: "auth-cache.db-call-bound",
        summary: "Teams are never found in a cache, so every request of a team's key reads its \
                  team from Postgres.",
    },
    PlantedDefect {
        name: "cache-sliding-ttl",
        caught_by: "auth-cache.db-call-bound",
        summary: "Each hit gives a cached identity a whole new lifetime, so a busy one is never \
                  read again.",
    },
    PlantedDefect {
        name: "cache-ttl-overridden",
        caught_by: "auth-cache.ttl-honoured",
        summary: "Teams are given a minute in Redis, whatever lifetime is configured.",
    },
    PlantedDefect {
        name: "cache-local-only",
        caught_by: "auth-cache.replica-scaling",
        summary: "Identities are never looked for in Redis, so each process reads them from Postgres \
                  for itself although a shared cache is declared.",
    },
    PlantedDefect {
        name: "cache-no-coalesce",
        caught_by: "auth-cache.single-flight",
        summary: "Each caller who misses an entry reads Postgres, whoever else is reading it.",
    },
    PlantedDefect {
        name: "cache-negative-forever",
        caught_by: "auth-cache.negative-lookup",
        summary: "A process that found a key unknown never looks for it again, not even when it was \
                  created meanwhile.",
    },
    PlantedDefect {
        name: "cache-no-negative",
        caught_by: "auth-cache.negative-lookup",
        summary: "That a key is unknown is not remembered, so each request of an unknown key reads \
                  Postgres.",
    },
    PlantedDefect {
        name: "list-ignores-user",
        caught_by: "authz.list-equals-use",
        summary: "The list of models ignores the user's own list, and shows models that the key is \
                  refused.",
    },
    PlantedDefect {
        name: "log-miss-as-error",
        caught_by: "obs.healthy-silence",
        summary: "Every cache miss is logged at ERROR.",
    },
    PlantedDefect {
        name: "revoke-local-only",
        caught_by: "propagation.revoke-bound",
        summary: "A block or delete reaches Postgres and this process only, and each request \
                  writes its cached key back with a fresh lifetime.",
    },
    PlantedDefect {
        name: "auth-null-budget-401",
        caught_by: "auth-cache.accepted-state-usable",
        summary: "A membership whose budget was cleared cannot be read, and its requests end in \
                  401.",
    },
];

/// `--defect` named something that is not planted here.
#[cfg(feature = "defects")]
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("no planted defect is called {name:?}; the nearest is {nearest:?}")]
pub struct UnknownDefect {
    /// What was asked for.
    pub name: String,
    /// The known name that is most like it.
    pub nearest: &'static str,
}

#[cfg(feature = "defects")]
impl Defects {
    /// The defects of these names, all at once.
    ///
    /// # Errors
    /// When a name is not in [`ALL`].
    pub fn plant<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Self, UnknownDefect> {
        let mut planted = 0;
        for name in names {
            let place = ALL.iter().position(|defect| defect.name == name);
            match place {
                Some(place) => planted |= 1 << place,
                None => {
                    return Err(UnknownDefect { name: name.to_owned(), nearest: nearest(name) });
                }
            }
        }
        Ok(Self { planted })
    }

    fn has(self, name: &str) -> bool {
        self.planted != 0
            && ALL
                .iter()
                .position(|defect| defect.name == name)
                .is_some_and(|place| self.planted & (1 << place) != 0)
    }
}

#[cfg(feature = "defects")]
fn nearest(name: &str) -> &'static str {
    ALL.iter()
        .map(|defect| defect.name)
        .min_by_key(|known| strsim::damerau_levenshtein(known, name))
        .expect("the list of planted defects is not empty")
}

#[cfg(not(feature = "defects"))]
impl Defects {
    const fn has(self, _name: &str) -> bool {
        false
    }
}

impl Defects {
    /// Are users and teams cached under their bare ids?
    pub(crate) fn shares_key_space(self) -> bool {
        self.has("codec-shared-key-space") || self.drops_kind()
    }

    /// Are cached entries written and read without their kind?
    pub(crate) fn drops_kind(self) -> bool {
        self.has("codec-untyped-payload")
    }

    /// Do cached entries leave out what is null, in front of a reader that demands a field?
    pub(crate) fn excludes_nulls(self) -> bool {
        self.has("codec-exclude-none")
    }

    /// Is an entry of the wrong kind reported at WARN and ERROR?
    pub(crate) fn alarms_on_wrong_kind(self) -> bool {
        self.has("codec-shared-key-space")
    }

    /// Are entries of a newer schema version read, except for the block in them?
    pub(crate) fn reads_newer_without_block(self) -> bool {
        self.has("codec-v2-drops-block")
    }

    /// Is the budget of a key that came from Redis forgotten?
    pub(crate) fn forgets_budgets_from_redis(self) -> bool {
        self.has("codec-dict-leak")
    }

    /// Does the last key that was read stand in for one whose entry cannot be?
    pub(crate) fn trusts_the_last_key(self) -> bool {
        self.has("codec-trust-any")
    }

    /// Is the team or user that a key does not have looked up all the same?
    pub(crate) fn asks_for_missing_owners(self) -> bool {
        self.has("codec-none-key")
    }

    /// Are teams written to Redis under another name than they are looked for?
    pub(crate) fn writes_teams_elsewhere(self) -> bool {
        self.has("codec-key-mismatch")
    }

    /// Is a team read from Postgres by every request?
    pub(crate) fn bypasses_cache_for_teams(self) -> bool {
        self.has("cache-bypass-team")
    }

    /// Does a hit extend the life of what it found?
    pub(crate) fn extends_life_on_hit(self) -> bool {
        self.has("cache-sliding-ttl")
    }

    /// Does each process do without the identities that others have put into Redis?
    pub(crate) fn shares_no_identities(self) -> bool {
        self.has("cache-local-only")
    }

    /// Does every caller who misses read for themselves?
    pub(crate) fn reads_for_each_caller(self) -> bool {
        self.has("cache-no-coalesce")
    }

    /// Is a key that was found unknown unknown for ever?
    pub(crate) fn remembers_unknown_keys(self) -> bool {
        self.has("cache-negative-forever")
    }

    /// Is a key that was found unknown looked for again at once?
    pub(crate) fn forgets_unknown_keys(self) -> bool {
        self.has("cache-no-negative")
    }

    /// Are models listed whatever the user's own list says?
    pub(crate) fn lists_without_user(self) -> bool {
        self.has("list-ignores-user")
    }

    /// Do teams live in Redis for as long as the code says, whatever is configured?
    pub(crate) fn overrides_lifetime_of_teams(self) -> bool {
        self.has("cache-ttl-overridden")
    }

    /// Is a cache miss reported at ERROR?
    pub(crate) fn alarms_on_miss(self) -> bool {
        self.has("log-miss-as-error")
    }

    /// Does a revocation stop at this process, while requests write their key back?
    pub(crate) fn revokes_locally(self) -> bool {
        self.has("revoke-local-only")
    }

    /// Is a membership whose budget was cleared unreadable?
    pub(crate) fn trips_over_cleared_budget(self) -> bool {
        self.has("auth-null-budget-401")
    }
}

#[cfg(all(test, feature = "defects"))]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_defect_is_answered_with_the_nearest_name() {
        insta::assert_snapshot!(
            Defects::plant(["revoke-local"]).unwrap_err(),
            @r#"no planted defect is called "revoke-local"; the nearest is "revoke-local-only""#
        );
    }

    #[test]
    fn each_defect_answers_yes_to_its_own_question_only() {
        let planted = Defects::plant(["log-miss-as-error"]).unwrap();
        assert!(planted.alarms_on_miss());
        assert!(!planted.revokes_locally());
        assert!(!Defects::default().alarms_on_miss());
    }

    #[test]
    fn the_untyped_payload_shares_the_key_space_too() {
        assert!(Defects::plant(["codec-untyped-payload"]).unwrap().shares_key_space());
    }

    #[test]
    fn the_readme_lists_every_defect_with_its_check() {
        let readme = include_str!("../README.md");
        for defect in ALL {
            let row = format!("| `{}` | `{}` |", defect.name, defect.caught_by);
            assert!(readme.contains(&row), "README.md has no row that starts {row}");
        }
    }
}
