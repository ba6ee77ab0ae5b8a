//! New secrets for keys, and the old ones until their grace ends.

use super::{ChangedKey, KeyPatch, Store, Unavailable, now_ms, virtual_key::patching};

/// The secret that a key is to have.
#[derive(Debug, Clone)]
pub(crate) struct NewSecret {
    pub(crate) token: String,
    pub(crate) key_name: String,
    /// Until when the old secret works as well; no longer at all, if not said.
    pub(crate) old_ends_at_ms: Option<i64>,
}

/// Why a key got no new secret.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NotRegenerated {
    NoSuchKey,
    /// The team or organisation that it should move to does not exist.
    NoSuchOwner,
    SecretTaken,
}

impl Store {
    /// Gives the key with this hash a new secret, and changes what the patch says, all or nothing.
    pub(crate) async fn regenerate_key(
        &self,
        old: &str,
        new: &NewSecret,
        patch: &KeyPatch,
    ) -> Result<Result<ChangedKey, NotRegenerated>, Unavailable> {
        self.bounded("key.regenerate", async {
            let mut transaction = self.pool.begin().await?;
            let replaced: Result<Option<(String,)>, _> = sqlx::query_as(
                "UPDATE virtual_keys SET token = $2, key_name = $3 WHERE token = $1 RETURNING key_id",
            )
            .bind(old.to_owned())
            .bind(new.token.clone())
            .bind(new.key_name.clone())
            .fetch_optional(&mut *transaction)
            .await;
            let key_id = match replaced {
                Ok(Some((key_id,))) => key_id,
                Ok(None) => return Ok(Err(NotRegenerated::NoSuchKey)),
                Err(error) if is_taken(&error) => return Ok(Err(NotRegenerated::SecretTaken)),
                Err(error) => return Err(error),
            };
            // A key may have an earlier secret of its own again.
            sqlx::query(
                "DELETE FROM retired_secrets \
                 WHERE ends_at_ms <= $1 OR (token = $2 AND key_id = $3)",
            )
            .bind(now_ms())
            .bind(new.token.clone())
            .bind(key_id.clone())
            .execute(&mut *transaction)
            .await?;
            let held: Option<(i64,)> =
                sqlx::query_as("SELECT ends_at_ms FROM retired_secrets WHERE token = $1")
                    .bind(new.token.clone())
                    .fetch_optional(&mut *transaction)
                    .await?;
            if held.is_some() {
                return Ok(Err(NotRegenerated::SecretTaken));
            }
            if let Some(ends_at_ms) = new.old_ends_at_ms {
                sqlx::query(
                    "INSERT INTO retired_secrets (token, key_id, ends_at_ms) VALUES ($1, $2, $3)",
                )
                .bind(old.to_owned())
                .bind(key_id)
                .bind(ends_at_ms)
                .execute(&mut *transaction)
                .await?;
            }
            let changed = patching(&new.token, patch).fetch_optional(&mut *transaction).await?;
            let Some(changed) = changed else { return Ok(Err(NotRegenerated::NoSuchOwner)) };
            transaction.commit().await?;
            Ok(Ok(changed))
        })
        .await
    }
}

/// Does another key have this secret?
fn is_taken(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(|error| error.is_unique_violation())
}
