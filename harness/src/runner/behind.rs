//! What stands behind a target that we started: its stores, and the faults on the way to them.
//!
//! A plan reaches them without the gateway: it edits what is stored, and it strikes what is said.

use crate::{
    adapters::{Adapter, Names},
    store_step::{Change, Edit, Object, Poison, Strike},
    target::stores::{PostgresAddress, RedisAddress, StoreError},
    wire::fault::{self, Fault, FaultHandle, Requests},
};

/// The SQLSTATE of a Postgres that cannot serve: `cannot_connect_now`.
const CANNOT_SERVE: &str = "57P03";

/// The length of a long text.
const LONG: usize = 10 << 20;

/// The depth of deep nesting.
const DEEP: usize = 5_000;

/// The stores of a target, and the faults of its store proxies.
#[derive(Debug)]
pub struct Behind {
    /// The Redis that the replicas share, where they do.
    pub redis: Option<RedisAddress>,
    /// The database.
    pub postgres: PostgresAddress,
    /// The faults of every replica's way to Postgres.
    pub to_postgres: Vec<FaultHandle>,
}

/// What an edit changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Touched {
    /// How many Redis keys or rows.
    pub number: u64,
    /// The names of those Redis keys.
    pub names: Vec<String>,
}

/// A strike that has not been healed.
#[derive(Debug)]
pub struct Striking {
    strike: Strike,
    at_each: Vec<fault::Strike>,
}

impl Behind {
    /// Carries out an edit and says what it changed. `cached_under` are the Redis
    /// keys under which objects of each kind were seen.
    ///
    /// # Errors
    ///
    /// When a store does not do as told.
    pub async fn edit(
        &self,
        edit: &Edit,
        adapter: &dyn Adapter,
        names: &Names,
        cached_under: &dyn Fn(Object) -> Vec<String>,
    ) -> Result<Touched, StoreError> {
        match edit {
            Edit::Row { object, change } => {
                let number = self.change(*object, change, adapter, names).await?;
                Ok(Touched { number, names: Vec::new() })
            }
            Edit::Poison { object, poison } => {
                let Some(redis) = &self.redis else { return Ok(Touched::default()) };
                let foreign = match poison {
                    Poison::Foreign(other) => match cached_under(*other).first() {
                        Some(name) => redis.get(name).await?,
                        None => None,
                    },
                    _ => None,
                };
                let mut poisoned = Vec::new();
                for name in cached_under(*object) {
                    let Some(entry) = redis.get(&name).await? else { continue };
                    let Some(entry) = poisoned_entry(*poison, entry, foreign.as_deref()) else {
                        continue;
                    };
                    if redis.overwrite(&name, &entry).await? {
                        poisoned.push(name);
                    }
                }
                Ok(Touched { number: poisoned.len() as u64, names: poisoned })
            }
        }
    }

    async fn change(
        &self,
        object: Object,
        change: &Change,
        adapter: &dyn Adapter,
        names: &Names,
    ) -> Result<u64, StoreError> {
        match adapter.row_change(object, change, names) {
            Some(statement) => self.postgres.change(&statement.sql, &statement.params).await,
            None => Ok(0),
        }
    }

    /// Strikes at every replica. It goes on until it is healed or dropped.
    pub fn strike(&self, strike: Strike) -> Striking {
        // Gateways read with SELECT, whatever library asks.
        let on = Requests::Statement { contains: "select".to_owned() };
        let at_each = match strike {
            Strike::SlowReads { by_ms } => {
                let fault = Fault::Delay { on, by_ms: by_ms.into() };
                self.to_postgres.iter().map(|handle| handle.strike(fault.clone())).collect()
            }
            Strike::FailReads { times } => {
                let message = "the database cannot serve just now".to_owned();
                let fault = Fault::Answer { on, code: CANNOT_SERVE.to_owned(), message };
                let each = self.to_postgres.iter();
                each.map(|handle| handle.strike_at_most(fault.clone(), times.into())).collect()
            }
        };
        Striking { strike, at_each }
    }
}

impl Striking {
    /// Heals, and says how many requests were hit.
    pub fn heal(self) -> (Strike, u64) {
        let hits = self.at_each.into_iter().map(fault::Strike::heal).sum();
        (self.strike, hits)
    }
}

/// What is written in place of an entry; nothing where there is no such thing.
fn poisoned_entry(poison: Poison, mut entry: Vec<u8>, foreign: Option<&[u8]>) -> Option<Vec<u8>> {
    let place = |permille: u16| entry.len() * usize::from(permille.min(999)) / 1_000;
    Some(match poison {
        Poison::Flipped { at_permille, mask } => {
            let at = place(at_permille);
            *entry.get_mut(at)? ^= mask;
            entry
        }
        Poison::Cut { at_permille } => {
            entry.truncate(place(at_permille));
            entry
        }
        Poison::Null => b"null".to_vec(),
        Poison::Nothing => Vec::new(),
        Poison::EmptyText => b"\"\"".to_vec(),
        Poison::EmptyList => b"[]".to_vec(),
        Poison::EmptyObject => b"{}".to_vec(),
        Poison::HugeNumber => b"1e999".to_vec(),
        Poison::LongText => format!("\"{}\"", "a".repeat(LONG)).into_bytes(),
        Poison::Deep => ["[".repeat(DEEP), "]".repeat(DEEP)].concat().into_bytes(),
        Poison::Foreign(_) => foreign?.to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::Key;

    #[test]
    fn damage_stays_within_the_entry() {
        let entry = || b"{\"v\":1}".to_vec();
        let damaged = |poison| poisoned_entry(poison, entry(), None);
        assert_eq!(damaged(Poison::Cut { at_permille: 500 }).unwrap(), b"{\"v");
        assert_eq!(damaged(Poison::Flipped { at_permille: 1_000, mask: 1 }).unwrap(), b"{\"v\":1|");
        assert_eq!(damaged(Poison::Cut { at_permille: 0 }).unwrap(), b"");
    }

    #[test]
    fn what_is_not_cached_cannot_be_copied() {
        let foreign = Poison::Foreign(Object::Key(Key(1)));
        assert_eq!(poisoned_entry(foreign, b"{}".to_vec(), None), None);
        assert_eq!(poisoned_entry(foreign, b"{}".to_vec(), Some(b"[]")).unwrap(), b"[]");
    }
}
