//! One lookup, tier by tier: memory, Redis, Postgres; and back again, filling what missed.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use uuid::Uuid;

use super::{
    Identity, IdentityId, Kind, Record,
    codec::{Codec, LONGEST, Unreadable},
    flights::{Flights, Ticket},
    invalidation::Unannounced,
    keys::Names,
    memory::Memory,
    redis::{Claim, Fill, Found as Entry, RedisTier},
};
use crate::{
    config::GeneralSettings,
    defects::Defects,
    metrics::{Found, Metrics, Tier},
    redis::Link,
    store::{EndUser, Member, Organisation, Store, Team, Unavailable, User, VirtualKey},
};

/// How much of a lifetime may be cut off at random, so that identities which were read together
/// do not expire together for ever.
const JITTER: f64 = 0.2;

/// The lifetime that the defect `cache-ttl-overridden` gives.
const OVERRIDDEN: Duration = Duration::from_secs(60);

/// The first pause of a replica that waits for another's read; it doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(40);

type Outcome = Result<Record, Unavailable>;

/// What Postgres says about an identity.
struct Selected {
    record: Record,
    /// When it ends by itself: a secret that was replaced works only so long.
    ends_at: Option<Instant>,
}

impl Selected {
    /// When what was read at `started` may no longer be served, given the lifetime that it has.
    fn expiry(&self, started: Instant, lifetime: Duration) -> Instant {
        let expires_at = started + lifetime;
        self.ends_at.map_or(expires_at, |ends_at| ends_at.min(expires_at))
    }
}

/// Identities as the request path reads them.
#[derive(Clone)]
pub(crate) struct IdentityCache {
    pub(super) tiers: Arc<Tiers>,
}

pub(super) struct Tiers {
    pub(super) memory: Memory,
    pub(super) flights: Flights<Outcome>,
    pub(super) redis: Option<RedisTier>,
    pub(super) unannounced: Unannounced,
    pub(super) defects: Defects,
    codec: Codec,
    /// The key that was read last, for the planted defect that trusts it.
    last_key: Mutex<Option<Record>>,
    /// Keys that were found unknown, for the planted defect that never forgets them.
    unknown_keys: Mutex<BTreeSet<String>>,
    store: Arc<Store>,
    metrics: Arc<Metrics>,
    ttl: Duration,
    negative_ttl: Duration,
    fleet_wait: Duration,
}

impl IdentityCache {
    pub(crate) fn new(
        settings: &GeneralSettings,
        store: Arc<Store>,
        redis: Option<Link>,
        metrics: Arc<Metrics>,
        defects: Defects,
    ) -> Self {
        let ttl = settings.auth_cache_ttl();
        let negative_ttl = Duration::from_millis(settings.negative_ttl_ms);
        let memory =
            Memory::new(settings.memory_entries, ttl, settings.negative_entries, negative_ttl);
        Self {
            tiers: Arc::new(Tiers {
                memory,
                flights: Flights::new(),
                redis: redis.map(RedisTier::new),
                unannounced: Unannounced::default(),
                defects,
                codec: Codec { schema: settings.cache_schema, defects },
                last_key: Mutex::new(None),
                unknown_keys: Mutex::default(),
                store,
                metrics,
                ttl,
                negative_ttl,
                fleet_wait: Duration::from_millis(settings.fleet_wait_ms),
            }),
        }
    }

    /// The virtual key with this hash.
    pub(crate) async fn key(&self, token: &str) -> Result<Option<Arc<VirtualKey>>, Unavailable> {
        self.lookup(IdentityId::Key(token.to_owned())).await
    }

    /// The team with this id.
    pub(crate) async fn team(&self, id: &str) -> Result<Option<Arc<Team>>, Unavailable> {
        self.lookup(IdentityId::Team(id.to_owned())).await
    }

    /// The user with this id.
    pub(crate) async fn user(&self, id: &str) -> Result<Option<Arc<User>>, Unavailable> {
        self.lookup(IdentityId::User(id.to_owned())).await
    }

    /// The membership of this user in this team.
    pub(crate) async fn member(
        &self,
        team: &str,
        user: &str,
    ) -> Result<Option<Arc<Member>>, Unavailable> {
        self.lookup(IdentityId::Member { team: team.to_owned(), user: user.to_owned() }).await
    }

    /// The organisation with this id.
    pub(crate) async fn organisation(
        &self,
        id: &str,
    ) -> Result<Option<Arc<Organisation>>, Unavailable> {
        self.lookup(IdentityId::Organisation(id.to_owned())).await
    }

    /// The end user with this id.
    pub(crate) async fn end_user(&self, id: &str) -> Result<Option<Arc<EndUser>>, Unavailable> {
        self.lookup(IdentityId::EndUser(id.to_owned())).await
    }

    async fn lookup<T: Identity>(&self, id: IdentityId) -> Result<Option<Arc<T>>, Unavailable> {
        let tiers = &self.tiers;
        if tiers.defects.bypasses_cache_for_teams() && T::KIND == Kind::Team {
            return Ok(T::from_record(&tiers.select(&id).await?.record).flatten());
        }
        let entry = id.entry(tiers.defects);
        if tiers.is_unknown_for_ever(&entry) {
            return Ok(None);
        }
        if let Some(identity) = tiers.remembered::<T>(&entry) {
            return Ok(identity);
        }
        if tiers.defects.reads_for_each_caller() {
            return Ok(T::from_record(&tiers.read_alone::<T>(&id).await?).flatten());
        }
        let outcome = tiers.flights.join(&id, |ticket| {
            let (tiers, id, names) = (Arc::clone(tiers), id.clone(), id.names(tiers.defects));
            async move { tiers.read::<T>(&id, &names, ticket).await }
        });
        // A read that died left no outcome; whoever waited for it reads for themselves.
        let record = match outcome.await {
            Some(outcome) => outcome?,
            None => tiers.select(&id).await?.record,
        };
        Ok(T::from_record(&record).flatten())
    }

    /// Called once a request was authenticated. Nothing happens, unless a defect is planted.
    pub(crate) async fn used(&self, key: &Arc<VirtualKey>) {
        let tiers = &self.tiers;
        if tiers.defects.asks_for_missing_owners() {
            self.ask_for_missing_owners(key).await;
        }
        if !tiers.defects.revokes_locally() {
            return;
        }
        let names = IdentityId::Key(key.token.clone()).names(tiers.defects);
        tiers.memory.keep(&names.entry, Record::Key(Arc::clone(key)), Instant::now() + tiers.ttl);
        if let Some(redis) = &tiers.redis {
            let payload = tiers.codec.encode(&**key);
            redis.overwrite(&names, &payload, tiers.ttl).await;
        }
    }

    /// What the defect `codec-none-key` plants.
    async fn ask_for_missing_owners(&self, key: &VirtualKey) {
        let Some(redis) = &self.tiers.redis else { return };
        for (kind, owner) in [(Kind::Team, key.team()), (Kind::User, key.user())] {
            if owner.is_none() {
                let name = format!("{}:None", kind.tag());
                let names = Names {
                    entry: format!("rg:{name}"),
                    generation: format!("rg-gen:{name}"),
                    lock: format!("rg-lock:{name}"),
                };
                // Whatever it says, nobody is there.
                let _ = redis.read(&names).await;
            }
        }
    }
}

impl Tiers {
    /// What the memory tier knows: an identity, or that there is none.
    fn remembered<T: Identity>(&self, entry: &str) -> Option<Option<Arc<T>>> {
        let kind = T::KIND.tag();
        let Some(record) = self.memory.get(entry) else {
            self.metrics.lookup(kind, Tier::Memory, Found::Miss);
            return None;
        };
        if self.defects.extends_life_on_hit() {
            self.memory.keep(entry, record.clone(), Instant::now() + self.ttl);
        }
        // With this defect both tiers hold what the writer made of an identity.
        let known = T::from_record(&record).filter(|_| !self.defects.excludes_nulls());
        match known {
            Some(identity) => {
                self.metrics.lookup(kind, Tier::Memory, Found::Hit);
                Some(identity)
            }
            None => self.reread(&record, entry),
        }
    }

    /// What is left of a memory entry that is not used as it is: one of another kind. Names are
    /// disjoint, so this takes a planted defect.
    fn reread<T: Identity>(&self, record: &Record, name: &str) -> Option<Option<Arc<T>>> {
        let payload = match record {
            Record::Key(key) => self.codec.encode(&**key),
            Record::Team(team) => self.codec.encode(&**team),
            Record::User(user) => self.codec.encode(&**user),
            Record::Member(member) => self.codec.encode(&**member),
            Record::Organisation(organisation) => self.codec.encode(&**organisation),
            Record::EndUser(end_user) => self.codec.encode(&**end_user),
            Record::Absent(_) => return Some(None),
        };
        match self.codec.decode::<T>(&payload) {
            Ok(identity) => Some(identity.map(Arc::new)),
            Err(error) => {
                self.unreadable(T::KIND, Tier::Memory, name, &error);
                None
            }
        }
    }

    /// Reads below the memory tier, and fills what missed.
    async fn read<T: Identity>(&self, id: &IdentityId, names: &Names, ticket: Ticket) -> Outcome {
        let is_believed = !self.unannounced.contains(id) && !self.defects.shares_no_identities();
        let believed = self.redis.as_ref().filter(|_| is_believed);
        if let Some(redis) = believed {
            return self.read_shared::<T>(redis, id, names, ticket).await;
        }
        let started = Instant::now();
        self.missed(T::KIND, names);
        let selected = self.select(id).await?;
        let expires_at = selected.expiry(started, self.lifetime());
        self.land(id, names, ticket, &selected.record, expires_at);
        Ok(selected.record)
    }

    /// The read that the defect `cache-no-coalesce` plants: it joins no other and takes no lock.
    async fn read_alone<T: Identity>(&self, id: &IdentityId) -> Outcome {
        let names = id.names(self.defects);
        let started = Instant::now();
        if let Some(redis) = &self.redis
            && let Ok(found) = redis.read(&names).await
            && let Some(record) = self.shared_record::<T>(id, &names, found.as_ref())
        {
            self.keep(&names, &record, self.end_of(started, found.as_ref()));
            return Ok(record);
        }
        let selected = self.select(id).await?;
        let expires_at = selected.expiry(started, self.lifetime());
        self.keep(&names, &selected.record, expires_at);
        if let (Some(redis), Some(identity)) =
            (&self.redis, T::from_record(&selected.record).flatten())
        {
            let lifetime = expires_at.saturating_duration_since(Instant::now());
            redis.overwrite(&names, &self.codec.encode(&*identity), lifetime).await;
        }
        Ok(selected.record)
    }

    async fn read_shared<T: Identity>(
        &self,
        redis: &RedisTier,
        id: &IdentityId,
        names: &Names,
        ticket: Ticket,
    ) -> Outcome {
        let asked = Instant::now();
        if let Ok(found) = redis.read(names).await {
            if let Some(record) = self.shared_record::<T>(id, names, found.as_ref()) {
                self.land(id, names, ticket, &record, self.end_of(asked, found.as_ref()));
                return Ok(record);
            }
            self.metrics.lookup(T::KIND.tag(), Tier::Redis, Found::Miss);
        }
        self.missed(T::KIND, names);

        let token = Uuid::new_v4().simple().to_string();
        let asked = Instant::now();
        let claim = self.claim::<T>(redis, id, names, &token).await;
        if let Some(claim) = &claim
            && let Some(record) = self.claimed_record::<T>(id, claim)
        {
            if claim.won {
                redis.release(names, &token).await;
            }
            self.land(id, names, ticket, &record, self.end_of(asked, claim.found.as_ref()));
            return Ok(record);
        }

        let started = Instant::now();
        let selected = self.select(id).await;
        let Some(claim) = claim else {
            // Without Redis nobody can tell whether the identity changed while it was read, except
            // this process, which `land` asks.
            let selected = selected?;
            let expires_at = selected.expiry(started, self.lifetime());
            self.land(id, names, ticket, &selected.record, expires_at);
            return Ok(selected.record);
        };
        let selected = match selected {
            Ok(selected) => selected,
            Err(error) => {
                redis.release(names, &token).await;
                return Err(error);
            }
        };
        let expires_at = selected.expiry(started, self.lifetime());
        let record = &selected.record;
        let unchanged = self.fill::<T>(redis, id, &claim, &token, record, expires_at).await;
        if unchanged {
            self.land(id, names, ticket, record, expires_at);
        }
        Ok(selected.record)
    }

    /// Becomes the one who reads, or waits for the one who does. `None` when Redis is down.
    async fn claim<T: Identity>(
        &self,
        redis: &RedisTier,
        id: &IdentityId,
        names: &Names,
        token: &str,
    ) -> Option<Claim> {
        let deadline = Instant::now() + self.fleet_wait;
        let mut pause = FIRST_PAUSE;
        loop {
            let claim = redis.claim(names, token).await.ok()?;
            let readable = claim
                .found
                .as_ref()
                .is_some_and(|found| self.codec.decode_for::<T>(id, &found.payload).is_ok());
            if claim.won || readable || Instant::now() >= deadline {
                return Some(claim);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Fills the shared entry; `false` when the identity changed while it was read.
    async fn fill<T: Identity>(
        &self,
        redis: &RedisTier,
        id: &IdentityId,
        claim: &Claim,
        token: &str,
        record: &Record,
        expires_at: Instant,
    ) -> bool {
        let mut names = id.names(self.defects);
        let lifetime = expires_at.saturating_duration_since(Instant::now());
        let made_up = matches!(record, Record::Absent(kind) if !kind.shares_absence());
        if made_up || lifetime.as_millis() == 0 {
            // What callers make up must not fill Redis; each process remembers a bounded number.
            redis.release(&names, token).await;
            return true;
        }
        let payload = match T::from_record(record).flatten() {
            Some(identity) => self.codec.encode(&*identity),
            None => self.codec.encode_absence(id),
        };
        if payload.len() > LONGEST {
            // Nobody would read it. Each process remembers it for itself.
            redis.release(&names, token).await;
            return true;
        }
        if self.defects.writes_teams_elsewhere() {
            names.entry = names.entry.replace("rg:team:", "rg:");
        }
        let overridden = self.defects.overrides_lifetime_of_teams() && T::KIND == Kind::Team;
        let lifetime = if overridden { OVERRIDDEN } else { lifetime };
        let names = &names;
        let fill =
            Fill { names, generation: &claim.generation, payload: &payload, lifetime, token };
        redis.fill(&fill).await.unwrap_or(true)
    }

    /// The record in a shared entry, if it can be read and is the one that was asked for.
    fn shared_record<T: Identity>(
        &self,
        id: &IdentityId,
        names: &Names,
        entry: Option<&Entry>,
    ) -> Option<Record> {
        match self.codec.decode_for::<T>(id, &entry?.payload) {
            Ok(identity) => Some(self.shared_hit(identity)),
            Err(error) => {
                self.unreadable(T::KIND, Tier::Redis, &names.entry, &error);
                self.trusted(T::KIND)
            }
        }
    }

    /// The record that another replica filled in while this one asked for the lock. What could not be
    /// read before is still there, and was reported.
    fn claimed_record<T: Identity>(&self, id: &IdentityId, claim: &Claim) -> Option<Record> {
        let entry = claim.found.as_ref()?;
        let identity = self.codec.decode_for::<T>(id, &entry.payload).ok()?;
        Some(self.shared_hit(identity))
    }

    fn shared_hit<T: Identity>(&self, identity: Option<T>) -> Record {
        self.metrics.lookup(T::KIND.tag(), Tier::Redis, Found::Hit);
        let forgets = self.defects.forgets_budgets_from_redis();
        let identity = identity.map(|it| if forgets { it.without_budget() } else { it });
        identity.map_or(Record::Absent(T::KIND), |identity| T::record(Arc::new(identity)))
    }

    /// What the defect `codec-trust-any` takes for an entry that cannot be read.
    fn trusted(&self, kind: Kind) -> Option<Record> {
        let trusts = self.defects.trusts_the_last_key() && kind == Kind::Key;
        trusts.then(|| self.last_key.lock().unwrap_or_else(PoisonError::into_inner).clone())?
    }

    /// Reads the truth.
    async fn select(&self, id: &IdentityId) -> Result<Selected, Unavailable> {
        let mut ends_at = None;
        let record = match id {
            IdentityId::Key(token) => self.store.key(token).await?.map(|held| {
                ends_at = held.time_left().map(|left| Instant::now() + left);
                Record::Key(Arc::new(held.key))
            }),
            IdentityId::Team(team) => {
                self.store.team(team).await?.map(|team| Record::Team(Arc::new(team)))
            }
            IdentityId::User(user) => {
                self.store.user(user).await?.map(|user| Record::User(Arc::new(user)))
            }
            IdentityId::Member { team, user } => {
                self.store.member(team, user).await?.map(|member| Record::Member(Arc::new(member)))
            }
            IdentityId::Organisation(id) => self
                .store
                .organisation(id)
                .await?
                .map(|organisation| Record::Organisation(Arc::new(organisation))),
            IdentityId::EndUser(id) => {
                self.store.end_user(id).await?.map(|end_user| Record::EndUser(Arc::new(end_user)))
            }
        };
        Ok(Selected { record: record.unwrap_or(Record::Absent(id.kind())), ends_at })
    }

    /// Keeps a record in memory, unless the identity was invalidated since the read began.
    fn land(
        &self,
        id: &IdentityId,
        names: &Names,
        ticket: Ticket,
        record: &Record,
        expires_at: Instant,
    ) {
        if self.defects.trusts_the_last_key() && matches!(record, Record::Key(_)) {
            *self.last_key.lock().unwrap_or_else(PoisonError::into_inner) = Some(record.clone());
        }
        self.flights.land(id, ticket, || self.keep(names, record, expires_at));
    }

    fn keep(&self, names: &Names, record: &Record, expires_at: Instant) {
        if self.defects.remembers_unknown_keys() && matches!(record, Record::Absent(Kind::Key)) {
            let mut unknown = self.unknown_keys.lock().unwrap_or_else(PoisonError::into_inner);
            unknown.insert(names.entry.clone());
        }
        match record {
            Record::Absent(Kind::Key) if self.defects.forgets_unknown_keys() => {}
            Record::Absent(kind) if !kind.shares_absence() => {
                let expires_at = expires_at.min(Instant::now() + self.negative_ttl);
                self.memory.keep_unknown(&names.entry, *kind, expires_at);
            }
            _ => self.memory.keep(&names.entry, record.clone(), expires_at),
        }
    }

    /// Was this once found unknown, as the defect `cache-negative-forever` remembers it?
    fn is_unknown_for_ever(&self, entry: &str) -> bool {
        self.defects.remembers_unknown_keys()
            && self.unknown_keys.lock().unwrap_or_else(PoisonError::into_inner).contains(entry)
    }

    fn lifetime(&self) -> Duration {
        self.ttl.mul_f64(1.0 - JITTER * rand::random::<f64>())
    }

    /// When a shared entry ends, seen from the moment it was asked for. An entry of another
    /// configuration may have longer to live than ours allows.
    fn end_of(&self, asked: Instant, entry: Option<&Entry>) -> Instant {
        asked + entry.map_or(Duration::ZERO, |entry| entry.left).min(self.ttl)
    }

    fn missed(&self, kind: Kind, names: &Names) {
        if self.defects.alarms_on_miss() {
            tracing::error!(kind = kind.tag(), name = names.entry, "identity cache miss");
        }
    }

    /// An entry that cannot be read is a miss, and is about to be replaced, so this is said once
    /// per entry. During a rolling deploy entries of another version are the rule, and nobody's
    /// concern.
    fn unreadable(&self, kind: Kind, tier: Tier, name: &str, error: &Unreadable) {
        self.metrics.lookup(kind.tag(), tier, Found::Unreadable);
        if self.defects.alarms_on_wrong_kind() {
            tracing::warn!(target: "identity_cache::codec", name, %error, "entry failed validation");
            tracing::error!(target: "identity_cache", name, "failed to read cached identity");
            return;
        }
        match error {
            Unreadable::WrongVersion { .. } => {
                tracing::debug!(kind = kind.tag(), name, %error, "cached entry replaced");
            }
            Unreadable::WrongKind { .. }
            | Unreadable::Foreign { .. }
            | Unreadable::TooLong { .. }
            | Unreadable::Malformed => {
                tracing::info!(kind = kind.tag(), name, %error, "cached entry replaced");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    /// A cache over a database that nobody listens for.
    fn cut_off() -> IdentityCache {
        let text = "general_settings: {master_key: sk-m, \
                    database_url: 'postgres://u@127.0.0.1:1/d', database_timeout_ms: 50}";
        let config = Config::parse("gateway.yaml", text, &Default::default()).unwrap();
        let metrics = Arc::new(Metrics::default());
        let store = Store::new(&config.general_settings, Arc::clone(&metrics)).unwrap();
        let settings = &config.general_settings;
        IdentityCache::new(settings, Arc::new(store), None, metrics, Defects::default())
    }

    #[tokio::test]
    async fn an_unknown_identity_is_undecided_while_the_database_is_down() {
        assert_eq!(cut_off().key("hash").await, Err(Unavailable::Postgres));
    }

    #[tokio::test]
    async fn a_known_identity_is_served_while_the_database_is_down() {
        let cache = cut_off();
        let key = Arc::new(VirtualKey { token: "hash".to_owned(), ..VirtualKey::default() });
        let until = Instant::now() + Duration::from_secs(5);
        cache.tiers.memory.keep("rg:key:hash", Record::Key(Arc::clone(&key)), until);
        assert_eq!(cache.key("hash").await, Ok(Some(key)));
    }

    #[tokio::test]
    async fn an_invalidated_identity_is_read_anew() {
        let cache = cut_off();
        let until = Instant::now() + Duration::from_secs(5);
        cache.tiers.memory.keep("rg:team:t", Record::Absent(Kind::Team), until);
        assert_eq!(cache.team("t").await, Ok(None));
        cache.invalidate(vec![IdentityId::Team("t".to_owned())]).await;
        assert_eq!(cache.team("t").await, Err(Unavailable::Postgres));
    }

    #[tokio::test]
    async fn entries_that_were_filled_together_do_not_end_together() {
        let tiers = cut_off().tiers;
        let lifetimes: Vec<Duration> = (0..100).map(|_| tiers.lifetime()).collect();
        let (shortest, longest) =
            (lifetimes.iter().min().unwrap(), lifetimes.iter().max().unwrap());
        assert!(*shortest >= tiers.ttl.mul_f64(1.0 - JITTER) && *longest <= tiers.ttl);
        assert!(*longest - *shortest > tiers.ttl / 20);
    }
}
