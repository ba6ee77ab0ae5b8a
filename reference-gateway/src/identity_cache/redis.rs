//! The Redis tier: shared by all replicas.
//!
//! Three names belong to an identity: its entry, a generation that every change replaces, and a
//! lock. A replica that misses takes the lock and the generation in one step, reads Postgres, and
//! fills the entry only while the generation is still the one it saw. A row that was read before
//! a change can therefore never be cached after the change was announced.

use std::time::Duration;

use redis::{Script, Value, pipe};

use super::keys::{IdentityId, Names};
use crate::{
    defects::Defects,
    redis::{Failure, Link, Urgency},
};

/// How long a replica may hold the lock of an identity that it is reading.
const LOCK_LIFETIME: Duration = Duration::from_secs(3);

/// How long a generation is remembered: far longer than any read may take.
const GENERATION_LIFETIME: Duration = Duration::from_secs(120);

/// Replaces an entry unless its generation moved, and gives the lock back if it is ours.
/// Without a payload it only gives the lock back.
const FILL: &str = r"
local kept = 0
if ARGV[2] ~= '' and (redis.call('GET', KEYS[2]) or '') == ARGV[1] then
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
  kept = 1
end
if redis.call('GET', KEYS[3]) == ARGV[4] then
  redis.call('DEL', KEYS[3])
end
return kept
";

/// An entry as it was found, with the life it has left.
pub(super) struct Found {
    pub(super) payload: Vec<u8>,
    pub(super) left: Duration,
}

/// The answer to an attempt to become the one who reads an identity.
pub(super) struct Claim {
    /// Is the lock ours?
    pub(super) won: bool,
    pub(super) generation: Vec<u8>,
    /// Another replica was faster.
    pub(super) found: Option<Found>,
}

/// The lock's answer, the generation, the entry, and the life it has left.
type Claimed = (Value, Option<Vec<u8>>, Option<Vec<u8>>, i64);

/// What is needed to fill an entry.
pub(super) struct Fill<'a> {
    pub(super) names: &'a Names,
    pub(super) generation: &'a [u8],
    pub(super) payload: &'a [u8],
    pub(super) lifetime: Duration,
    pub(super) token: &'a str,
}

/// The entries of all replicas.
pub(super) struct RedisTier {
    link: Link,
    fill: Script,
}

impl RedisTier {
    pub(super) fn new(link: Link) -> Self {
        Self { link, fill: Script::new(FILL) }
    }

    pub(super) fn link(&self) -> &Link {
        &self.link
    }

    /// Reads an entry and the life it has left, in one round trip.
    pub(super) async fn read(&self, names: &Names) -> Result<Option<Found>, Failure> {
        let mut commands = pipe();
        commands.cmd("GET").arg(&names.entry).cmd("PTTL").arg(&names.entry);
        match self.link.pipeline(&commands, Urgency::CanSkip).await {
            Ok((payload, left)) => Ok(found(payload, left)),
            Err(Failure::WrongType) => {
                self.clear(names).await?;
                Ok(None)
            }
            Err(Failure::Down) => Err(Failure::Down),
        }
    }

    /// Tries to become the one who reads this identity, in one round trip. The entry is read
    /// after the lock was asked for, so whoever wins knows that nobody has just filled it.
    pub(super) async fn claim(&self, names: &Names, token: &str) -> Result<Claim, Failure> {
        let mut commands = pipe();
        commands
            .cmd("SET")
            .arg(&names.lock)
            .arg(token)
            .arg("NX")
            .arg("PX")
            .arg(millis(LOCK_LIFETIME))
            .cmd("GET")
            .arg(&names.generation)
            .cmd("GET")
            .arg(&names.entry)
            .cmd("PTTL")
            .arg(&names.entry);
        let answers = self.link.pipeline(&commands, Urgency::CanSkip).await;
        if answers == Err(Failure::WrongType) {
            self.clear(names).await?;
        }
        let (locked, generation, payload, left): Claimed = answers?;
        Ok(Claim {
            won: locked == Value::Okay,
            generation: generation.unwrap_or_default(),
            found: found(payload, left),
        })
    }

    /// Removes values that are not ours from names that are.
    async fn clear(&self, names: &Names) -> Result<(), Failure> {
        let mut commands = pipe();
        commands.cmd("DEL").arg(&names.entry).arg(&names.generation).arg(&names.lock).ignore();
        self.link.pipeline(&commands, Urgency::CanSkip).await
    }

    /// Fills an entry and gives the lock back; `false` when the identity changed meanwhile.
    pub(super) async fn fill(&self, fill: &Fill<'_>) -> Result<bool, Failure> {
        let mut script = self.fill.prepare_invoke();
        script
            .key(&fill.names.entry)
            .key(&fill.names.generation)
            .key(&fill.names.lock)
            .arg(fill.generation)
            .arg(fill.payload)
            .arg(millis(fill.lifetime))
            .arg(fill.token);
        self.link.script(&script).await
    }

    /// Gives the lock back without filling anything.
    pub(super) async fn release(&self, names: &Names, token: &str) {
        let nothing =
            Fill { names, generation: &[], payload: &[], lifetime: Duration::ZERO, token };
        // A lock that cannot be given back ends by itself.
        let _ = self.fill(&nothing).await;
    }

    /// Makes every replica forget these identities: new generations, no entries, and a message.
    pub(super) async fn announce(
        &self,
        ids: &[IdentityId],
        channel: &str,
        message: &str,
        generation: &str,
        defects: Defects,
    ) -> Result<(), Failure> {
        let mut commands = pipe();
        commands.atomic();
        for id in ids {
            let names = id.names(defects);
            commands
                .cmd("SET")
                .arg(&names.generation)
                .arg(generation)
                .arg("PX")
                .arg(millis(GENERATION_LIFETIME))
                .ignore()
                .cmd("DEL")
                .arg(&names.entry)
                .ignore();
        }
        commands.cmd("PUBLISH").arg(channel).arg(message).ignore();
        self.link.pipeline(&commands, Urgency::MustTry).await
    }

    /// Writes an entry without asking; only a planted defect does that.
    pub(super) async fn overwrite(&self, names: &Names, payload: &[u8], lifetime: Duration) {
        let mut commands = pipe();
        commands.cmd("SET").arg(&names.entry).arg(payload).arg("PX").arg(millis(lifetime)).ignore();
        let _ = self.link.pipeline::<()>(&commands, Urgency::CanSkip).await;
    }
}

/// An entry without an expiry is not one that we wrote, and would never go away: it is none.
fn found(payload: Option<Vec<u8>>, left: i64) -> Option<Found> {
    let left = u64::try_from(left).ok().filter(|left| *left > 0)?;
    Some(Found { payload: payload?, left: Duration::from_millis(left) })
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
