//! What a working cache still reads from the database.
//!
//! A cached object is read when its entry is cold and again each time its entry has ended, and not in
//! between. A gateway may end an entry up to a fifth early, so that entries made together do not end
//! together for ever.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use crate::{
    history::{History, Manifest},
    op::{Admin, Kind, Op},
};

/// How often an entry may have ended in `time`, at most.
pub fn endings(manifest: &Manifest, time: Duration) -> usize {
    let shortest_life = manifest.auth_cache_ttl().max(Duration::from_millis(1)) * 4 / 5;
    usize::try_from(time.as_nanos() / shortest_life.as_nanos()).unwrap_or(usize::MAX)
}

/// How many objects of each kind the keys of a case need to be judged by: the keys themselves, and
/// every user, team, membership and organisation that one of them names.
pub fn objects(history: &History) -> BTreeMap<Kind, usize> {
    let (mut keys, mut users, mut teams, mut members, mut organisations) =
        (BTreeSet::new(), BTreeSet::new(), BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for seen in history.calls() {
        let Op::Admin(Admin::GenerateKey { key, fields }) = &seen.call.op else { continue };
        keys.insert(*key);
        users.extend(fields.user.set().copied());
        teams.extend(fields.team.set().copied());
        members.extend(fields.team.set().copied().zip(fields.user.set().copied()));
        organisations.extend(fields.organisation.set().copied());
    }
    BTreeMap::from([
        (Kind::Key, keys.len()),
        (Kind::User, users.len()),
        (Kind::Team, teams.len()),
        (Kind::Member, members.len()),
        (Kind::Organisation, organisations.len()),
    ])
}

/// How many reads entries that were cold or ended explain while prompts were sent: every object once
/// per replica and lifetime.
pub fn explained_reads(history: &History) -> usize {
    let calls = history.calls();
    let mut prompts = calls.iter().filter(|seen| seen.chat().is_some());
    let Some(first) = prompts.next() else { return 0 };
    let last = prompts.next_back().unwrap_or(first);
    let took = last.completed.unwrap_or(last.invoked).since(first.invoked);
    let objects: usize = objects(history).values().sum();
    objects * usize::from(history.manifest.replicas) * (1 + endings(&history.manifest, took))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        history::hand::Hand,
        op::{Field, Id, Key, KeyFields},
    };

    fn generate(key: u16, team: u8) -> Admin {
        let fields =
            KeyFields { team: Field::Set(Id(team)), user: Field::Set(Id(0)), ..KeyFields::UNSAID };
        Admin::GenerateKey { key: Key(key), fields }
    }

    #[test]
    fn owners_that_keys_share_are_one_object() {
        let history = Hand::new().admin(0, generate(0, 0)).admin(1, generate(1, 1)).done();
        let expected = [
            (Kind::Key, 2),
            (Kind::User, 1),
            (Kind::Team, 2),
            (Kind::Member, 2),
            (Kind::Organisation, 0),
        ];
        assert_eq!(objects(&history), BTreeMap::from(expected));
    }

    #[test]
    fn an_entry_may_end_a_fifth_early() {
        let manifest = Hand::new().done().manifest;
        let endings = |ms| endings(&manifest, Duration::from_millis(ms));
        assert_eq!([endings(799), endings(800), endings(1_600)], [0, 1, 2]);
    }

    #[test]
    fn every_object_is_read_once_per_replica_and_lifetime() {
        let short = Hand::new().admin(0, generate(0, 0)).answered(10, 0).answered(20, 1);
        assert_eq!(explained_reads(&short.done()), 4 * 2);
        let long = Hand::new().admin(0, generate(0, 0)).answered(10, 0).answered(900, 1);
        assert_eq!(explained_reads(&long.done()), 4 * 2 * 2);
    }
}
