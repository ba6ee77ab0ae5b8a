//! Which case an observation belongs to.
//!
//! Never by time: cases run side by side. Every id of a case begins with a prefix that no other case
//! has, so whatever names an id of the case is found by it. Keys are stored by their hash, and access
//! lines name a call id; both become known only when the gateway has answered, so what names an
//! unknown one is parked until somebody claims it.

use std::collections::{BTreeMap, BTreeSet};

use crate::clock::number_of_this_run;

/// The number of a run that begins now, or of a part of one whose ids are to be its own.
pub fn new_run() -> u32 {
    u32::try_from(number_of_this_run() % u64::from(RUNS)).unwrap_or_default()
}

/// What every text that a run makes up begins with.
pub fn mark(number: u32) -> String {
    format!("g{:06x}", number % RUNS)
}

/// How many runs can be told apart by their ids.
const RUNS: u32 = 1 << 24;

/// A drive of a plan, counted from zero in its run. The arms of a case are drives of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Drive(pub u32);

/// The beginnings of ids in one run.
#[derive(Clone, Debug)]
pub struct Prefixes {
    /// The run's own beginning: `g1f2e3dc`.
    run: String,
}

impl Prefixes {
    /// The prefixes of the run with this number.
    ///
    /// There are 2^24 of them, and numbers go round.
    pub fn of_run(number: u32) -> Prefixes {
        Prefixes { run: format!("{}c", mark(number)) }
    }

    /// What every id of the run begins with.
    pub fn run(&self) -> &str {
        &self.run
    }

    /// What every id of this drive begins with.
    pub fn of(&self, drive: Drive) -> String {
        format!("{}{}x", self.run, drive.0)
    }

    /// The drives whose ids occur in `text`.
    pub fn found_in(&self, text: &str) -> BTreeSet<Drive> {
        let after_each = text.match_indices(&self.run).map(|(at, run)| &text[at + run.len()..]);
        after_each
            .filter_map(|rest| {
                let (number, _) = rest.split_once('x')?;
                number.parse().ok().map(Drive)
            })
            .collect()
    }
}

/// What can be claimed in `text`: keys, hashes of keys, and ids of calls.
pub fn claimable(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
    let keys = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '_');
    words
        .filter(|word| is_hash(word) || is_call_id(word))
        .chain(keys.filter(|word| is_key(word)))
        .collect()
}

/// Some gateways name Redis keys after the secret itself (LiteLLM 1.84).
fn is_key(word: &str) -> bool {
    word.len() > 8 && word.starts_with("sk-")
}

fn is_hash(word: &str) -> bool {
    word.len() == 64 && word.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn is_call_id(word: &str) -> bool {
    word.len() == 36
        && word.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

/// Observations that name something nobody has claimed yet.
#[derive(Debug)]
pub struct Parked<T> {
    owners: BTreeMap<String, Drive>,
    waiting: BTreeMap<u64, (BTreeSet<String>, T)>,
    by_token: BTreeMap<String, Vec<u64>>,
    next: u64,
    most: usize,
    dropped: Vec<T>,
}

impl<T> Parked<T> {
    /// Keeps at most `most` observations; the oldest falls out.
    pub fn at_most(most: usize) -> Parked<T> {
        Parked {
            owners: BTreeMap::new(),
            waiting: BTreeMap::new(),
            by_token: BTreeMap::new(),
            next: 0,
            most,
            dropped: Vec::new(),
        }
    }

    /// The drive that claimed one of these tokens.
    pub fn owner<'a>(&self, tokens: impl IntoIterator<Item = &'a str>) -> Option<Drive> {
        tokens.into_iter().find_map(|token| self.owners.get(token)).copied()
    }

    /// Keeps an observation until one of its tokens is claimed.
    pub fn park(&mut self, tokens: BTreeSet<String>, observation: T) {
        for token in &tokens {
            self.by_token.entry(token.clone()).or_default().push(self.next);
        }
        self.waiting.insert(self.next, (tokens, observation));
        self.next += 1;
        if self.waiting.len() > self.most
            && let Some((oldest, (tokens, observation))) = self.waiting.pop_first()
        {
            self.forget(oldest, &tokens);
            self.dropped.push(observation);
        }
    }

    /// Claims a token for a drive, and hands over what waited for it.
    pub fn claim(&mut self, token: &str, drive: Drive) -> Vec<T> {
        self.owners.insert(token.to_owned(), drive);
        let places = self.by_token.remove(token).unwrap_or_default();
        let mut claimed = Vec::new();
        for place in places {
            if let Some((tokens, observation)) = self.waiting.remove(&place) {
                self.forget(place, &tokens);
                claimed.push(observation);
            }
        }
        claimed
    }

    fn forget(&mut self, place: u64, tokens: &BTreeSet<String>) {
        for token in tokens {
            if let Some(places) = self.by_token.get_mut(token) {
                places.retain(|other| *other != place);
            }
        }
    }

    /// What nobody ever claimed.
    pub fn unclaimed(&self) -> impl Iterator<Item = &T> {
        self.dropped.iter().chain(self.waiting.values().map(|(_, observation)| observation))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_found_wherever_it_stands() {
        let prefixes = Prefixes::of_run(0x1f_2e3d);
        let text = format!("team_id:{}i0:a_{}u1", prefixes.of(Drive(7)), prefixes.of(Drive(71)));
        assert_eq!(prefixes.found_in(&text), BTreeSet::from([Drive(7), Drive(71)]));
        assert_eq!(prefixes.found_in("gffffffc7x"), BTreeSet::new());
    }

    #[test]
    fn hashes_and_call_ids_can_be_claimed() {
        let hash = "ab".repeat(32);
        let text = format!("rg:key:{hash} 0f8fad5b-d9cb-469f-a165-70867728950e 42");
        assert_eq!(claimable(&text).len(), 2);
    }

    #[test]
    fn what_was_parked_goes_to_who_claims_it() {
        let mut parked = Parked::at_most(10);
        parked.park(BTreeSet::from(["a".to_owned(), "b".to_owned()]), "first");
        parked.park(BTreeSet::from(["c".to_owned()]), "second");
        assert_eq!(parked.claim("b", Drive(1)), ["first"]);
        assert_eq!(parked.claim("a", Drive(1)), Vec::<&str>::new());
        assert_eq!(parked.unclaimed().copied().collect::<Vec<_>>(), ["second"]);
        assert_eq!(parked.owner(["a"]), Some(Drive(1)));
    }

    #[test]
    fn what_falls_out_stays_counted() {
        let mut parked = Parked::at_most(1);
        parked.park(BTreeSet::from(["a".to_owned()]), 1);
        parked.park(BTreeSet::from(["b".to_owned()]), 2);
        assert_eq!(parked.unclaimed().count(), 2);
        assert_eq!(parked.claim("a", Drive(0)), Vec::<i32>::new());
    }
}
