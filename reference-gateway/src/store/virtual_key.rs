//! Virtual keys: who holds them, and what each may do.

use std::{collections::BTreeSet, time::Duration};

use serde_json::Value;
use sqlx::{FromRow, Postgres, postgres::PgArguments, query::QueryAs};

use super::{Repeat, Spent, Store, Unavailable, now_ms};
use crate::field::Field;

/// A key that the gateway issued. Its text is never stored, only the SHA-256 of it, in hex.
#[derive(Debug, Clone, PartialEq, Default, FromRow)]
pub(crate) struct VirtualKey {
    pub(crate) token: String,
    pub(crate) key_name: String,
    pub(crate) key_alias: Option<String>,
    pub(crate) user_id: Option<String>,
    pub(crate) team_id: Option<String>,
    pub(crate) organization_id: Option<String>,
    pub(crate) models: Option<Vec<String>>,
    pub(crate) metadata: Option<Value>,
    pub(crate) max_budget: Option<f64>,
    pub(crate) budget_duration: Option<String>,
    pub(crate) tpm_limit: Option<i64>,
    pub(crate) rpm_limit: Option<i64>,
    pub(crate) max_parallel_requests: Option<i64>,
    pub(crate) blocked: Option<bool>,
    /// Since when it is blocked; Postgres keeps it in step with `blocked`.
    #[sqlx(rename = "blocked_at")]
    pub(crate) blocked_at_ms: Option<i64>,
    pub(crate) expires_at_ms: Option<i64>,
    /// What stays when the secret is replaced: spend and limits are counted under it.
    pub(crate) key_id: String,
}

impl VirtualKey {
    /// The team it belongs to; an empty id names none.
    pub(crate) fn team(&self) -> Option<&str> {
        self.team_id.as_deref().filter(|id| !id.is_empty())
    }

    /// The user it belongs to; an empty id names none.
    pub(crate) fn user(&self) -> Option<&str> {
        self.user_id.as_deref().filter(|id| !id.is_empty())
    }

    /// The organisation that it names itself; an empty id names none.
    pub(crate) fn organisation(&self) -> Option<&str> {
        self.organization_id.as_deref().filter(|id| !id.is_empty())
    }

    /// Is it suspended?
    pub(crate) fn is_blocked(&self) -> bool {
        self.blocked == Some(true) || self.blocked_at_ms.is_some()
    }
}

/// A key about to be issued.
pub(crate) type NewKey = VirtualKey;

/// A key, by one of its secrets.
#[derive(Debug, Clone, FromRow)]
pub(crate) struct HeldKey {
    #[sqlx(flatten)]
    pub(crate) key: VirtualKey,
    /// Until when the secret works, if it was replaced.
    pub(crate) ends_at_ms: Option<i64>,
}

impl HeldKey {
    /// How long the secret works still, if it was replaced.
    pub(crate) fn time_left(&self) -> Option<Duration> {
        let left = self.ends_at_ms?.saturating_sub(now_ms());
        Some(Duration::from_millis(u64::try_from(left).unwrap_or_default()))
    }
}

/// A key that was just changed.
#[derive(Debug, Clone, FromRow)]
pub(crate) struct ChangedKey {
    #[sqlx(flatten)]
    pub(crate) key: Spent<VirtualKey>,
    /// The hashes of its earlier secrets that may work still.
    retired: Vec<String>,
}

impl ChangedKey {
    /// The hash of every secret by which it may be known.
    pub(crate) fn tokens(&self) -> Vec<String> {
        let mut tokens = self.retired.clone();
        tokens.push(self.key.row.token.clone());
        tokens
    }
}

/// What an update changes.
#[derive(Debug, Clone, Default)]
pub(crate) struct KeyPatch {
    pub(crate) key_alias: Field<String>,
    pub(crate) user_id: Field<String>,
    pub(crate) team_id: Field<String>,
    pub(crate) organization_id: Field<String>,
    pub(crate) models: Field<Vec<String>>,
    pub(crate) metadata: Field<Value>,
    pub(crate) max_budget: Field<f64>,
    pub(crate) budget_duration: Field<String>,
    pub(crate) tpm_limit: Field<i64>,
    pub(crate) rpm_limit: Field<i64>,
    pub(crate) max_parallel_requests: Field<i64>,
    pub(crate) blocked: Field<bool>,
    pub(crate) expires_at_ms: Field<i64>,
}

/// Which keys a listing shows.
#[derive(Debug, Clone, Default)]
pub(crate) struct KeyFilter {
    pub(crate) user_id: Option<String>,
    pub(crate) team_id: Option<String>,
    pub(crate) key_alias: Option<String>,
    pub(crate) token: Option<String>,
}

/// Why a key was not issued.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NotInserted {
    NoSuchTeam,
    NoSuchOrganisation,
    KeyExists,
}

macro_rules! columns {
    () => {
        concat!("token, ", columns_but_token!())
    };
}

macro_rules! columns_but_token {
    () => {
        "key_name, key_alias, user_id, team_id, models, metadata, max_budget, budget_duration, \
         tpm_limit, rpm_limit, max_parallel_requests, blocked, expires_at_ms, \
         key_id, organization_id, blocked_at"
    };
}

macro_rules! spent_columns {
    () => {
        concat!(columns!(), ", spend_pico, created_at_ms, updated_at_ms")
    };
}

/// Deletes the keys that match, and selects the hashes of all their secrets and their ids: whatever
/// was remembered under one of them must be forgotten.
macro_rules! delete_keys {
    ($matching:literal) => {
        concat!(
            "WITH gone AS (DELETE FROM virtual_keys WHERE ",
            $matching,
            " RETURNING token, key_id) \
             SELECT token FROM gone UNION SELECT key_id FROM gone \
             UNION SELECT r.token FROM retired_secrets r JOIN gone USING (key_id)"
        )
    };
}
pub(super) use delete_keys;

/// Changes a key by its hash, as the patch says. It touches no key whose team or organisation would
/// not exist.
pub(super) fn patching(
    token: &str,
    patch: &KeyPatch,
) -> QueryAs<'static, Postgres, ChangedKey, PgArguments> {
    sqlx::query_as(concat!(
                "UPDATE virtual_keys SET \
                 key_alias = CASE WHEN $2 THEN $3 ELSE key_alias END, \
                 user_id = CASE WHEN $4 THEN $5 ELSE user_id END, \
                 team_id = CASE WHEN $6 THEN $7 ELSE team_id END, \
                 models = CASE WHEN $8 THEN $9 ELSE models END, \
                 metadata = CASE WHEN $10 THEN $11 ELSE metadata END, \
                 max_budget = CASE WHEN $12 THEN $13 ELSE max_budget END, \
                 budget_duration = CASE WHEN $14 THEN $15 ELSE budget_duration END, \
                 tpm_limit = CASE WHEN $16 THEN $17 ELSE tpm_limit END, \
                 rpm_limit = CASE WHEN $18 THEN $19 ELSE rpm_limit END, \
                 max_parallel_requests = CASE WHEN $20 THEN $21 ELSE max_parallel_requests END, \
                 blocked = CASE WHEN $22 THEN $23 ELSE blocked END, \
                 expires_at_ms = CASE WHEN $24 THEN $25 ELSE expires_at_ms END, \
                 organization_id = CASE WHEN $27 THEN $28 ELSE organization_id END, \
                 updated_at_ms = $26 \
                 WHERE token = $1 AND (NOT $6 OR coalesce($7, '') = '' \
                 OR EXISTS (SELECT 1 FROM teams WHERE team_id = $7 FOR KEY SHARE)) \
                 AND (NOT $27 OR coalesce($28, '') = '' \
                 OR EXISTS (SELECT 1 FROM organisations WHERE organization_id = $28 FOR KEY SHARE)) \
                 RETURNING ",
                spent_columns!(),
                ", ARRAY(SELECT r.token FROM retired_secrets r \
                 WHERE r.key_id = virtual_keys.key_id) AS retired"
            ))
            .bind(token.to_owned())
            .bind(patch.key_alias.is_said())
            .bind(patch.key_alias.value().cloned())
            .bind(patch.user_id.is_said())
            .bind(patch.user_id.value().cloned())
            .bind(patch.team_id.is_said())
            .bind(patch.team_id.value().cloned())
            .bind(patch.models.is_said())
            .bind(patch.models.value().cloned())
            .bind(patch.metadata.is_said())
            .bind(patch.metadata.value().cloned())
            .bind(patch.max_budget.is_said())
            .bind(patch.max_budget.value().copied())
            .bind(patch.budget_duration.is_said())
            .bind(patch.budget_duration.value().cloned())
            .bind(patch.tpm_limit.is_said())
            .bind(patch.tpm_limit.value().copied())
            .bind(patch.rpm_limit.is_said())
            .bind(patch.rpm_limit.value().copied())
            .bind(patch.max_parallel_requests.is_said())
            .bind(patch.max_parallel_requests.value().copied())
            .bind(patch.blocked.is_said())
            .bind(patch.blocked.value().copied())
            .bind(patch.expires_at_ms.is_said())
            .bind(patch.expires_at_ms.value().copied())
            .bind(now_ms())
            .bind(patch.organization_id.is_said())
            .bind(patch.organization_id.value().cloned())
}

impl Store {
    /// The key that this hash is a secret of, as the request path needs it. It bears the hash that
    /// was asked for, and is none once a secret that was replaced has ended.
    pub(crate) async fn key(&self, token: &str) -> Result<Option<HeldKey>, Unavailable> {
        let rows = self.rows("key.select", Repeat::Once, || {
            sqlx::query_as(concat!(
                "SELECT ",
                columns!(),
                ", NULL::int8 AS ends_at_ms FROM virtual_keys WHERE token = $1 \
                 UNION ALL SELECT $1, ",
                columns_but_token!(),
                ", (SELECT ends_at_ms FROM retired_secrets WHERE token = $1) \
                 FROM virtual_keys \
                 WHERE key_id = (SELECT key_id FROM retired_secrets WHERE token = $1)"
            ))
            .bind(token.to_owned())
        });
        let now_ms = now_ms();
        let held = rows.await?.into_iter();
        let mut held = held.filter(|held: &HeldKey| held.ends_at_ms.is_none_or(|end| end > now_ms));
        Ok(held.next())
    }

    /// The key with this hash, with its spend.
    pub(crate) async fn key_info(
        &self,
        token: &str,
    ) -> Result<Option<Spent<VirtualKey>>, Unavailable> {
        let rows = self.rows("key.info", Repeat::Once, || {
            sqlx::query_as(concat!(
                "SELECT ",
                spent_columns!(),
                " FROM virtual_keys WHERE token = $1"
            ))
            .bind(token.to_owned())
        });
        Ok(rows.await?.pop())
    }

    /// Issues a key, unless its hash is taken or its team or organisation does not exist. Their rows
    /// are share-locked, so that neither can be deleted around a key that is being issued.
    pub(crate) async fn insert_key(
        &self,
        key: &NewKey,
    ) -> Result<Result<Spent<VirtualKey>, NotInserted>, Unavailable> {
        let rows = self.rows("key.insert", Repeat::Never, || {
            sqlx::query_as(concat!(
                "INSERT INTO virtual_keys (",
                columns!(),
                ", created_at_ms, updated_at_ms) \
                 SELECT $1::text, $2::text, $3::text, $4::text, $5::text, $6::text[], $7::jsonb, \
                 $8::float8, $9::text, $10::int8, $11::int8, $12::int8, $13::bool, $14::int8, \
                 $1::text, $16::text, NULL::int8, $15::int8, $15::int8 \
                 WHERE (coalesce($5, '') = '' \
                 OR EXISTS (SELECT 1 FROM teams WHERE team_id = $5 FOR KEY SHARE)) \
                 AND (coalesce($16, '') = '' \
                 OR EXISTS (SELECT 1 FROM organisations WHERE organization_id = $16 FOR KEY SHARE)) \
                 AND NOT EXISTS (SELECT 1 FROM retired_secrets \
                 WHERE token = $1 AND ends_at_ms > $15) \
                 ON CONFLICT DO NOTHING RETURNING ",
                spent_columns!()
            ))
            .bind(key.token.clone())
            .bind(key.key_name.clone())
            .bind(key.key_alias.clone())
            .bind(key.user_id.clone())
            .bind(key.team_id.clone())
            .bind(key.models.clone())
            .bind(key.metadata.clone())
            .bind(key.max_budget)
            .bind(key.budget_duration.clone())
            .bind(key.tpm_limit)
            .bind(key.rpm_limit)
            .bind(key.max_parallel_requests)
            .bind(key.blocked)
            .bind(key.expires_at_ms)
            .bind(now_ms())
            .bind(key.organization_id.clone())
        });
        match rows.await?.pop() {
            Some(row) => Ok(Ok(row)),
            None => self.why_not_inserted(key).await.map(Err),
        }
    }

    async fn why_not_inserted(&self, key: &NewKey) -> Result<NotInserted, Unavailable> {
        if let Some(team) = key.team()
            && self.team(team).await?.is_none()
        {
            return Ok(NotInserted::NoSuchTeam);
        }
        match key.organisation() {
            Some(id) if self.organisation(id).await?.is_none() => {
                Ok(NotInserted::NoSuchOrganisation)
            }
            _ => Ok(NotInserted::KeyExists),
        }
    }

    /// Changes what the patch says and leaves the rest. `None` when there is no such key, or the
    /// team or organisation it should move to does not exist.
    pub(crate) async fn update_key(
        &self,
        token: &str,
        patch: &KeyPatch,
    ) -> Result<Option<ChangedKey>, Unavailable> {
        let rows = self.rows("key.update", Repeat::Never, || patching(token, patch));
        Ok(rows.await?.pop())
    }

    /// Deletes keys by hash; returns all hashes by which they were known.
    pub(crate) async fn delete_keys(&self, tokens: &[String]) -> Result<Vec<String>, Unavailable> {
        let rows = self.rows::<(String,)>("key.delete", Repeat::Never, || {
            sqlx::query_as(delete_keys!("token = ANY($1)")).bind(tokens.to_vec())
        });
        Ok(rows.await?.into_iter().map(|(token,)| token).collect())
    }

    /// Deletes every key with one of these aliases; returns all hashes by which they were known, and
    /// the aliases that there were.
    pub(crate) async fn delete_keys_by_alias(
        &self,
        aliases: &[String],
    ) -> Result<(Vec<String>, BTreeSet<String>), Unavailable> {
        let rows = self.rows::<(String, String)>("key.delete", Repeat::Never, || {
            sqlx::query_as(
                "WITH gone AS (DELETE FROM virtual_keys WHERE key_alias = ANY($1) \
                 RETURNING token, key_id, key_alias) \
                 SELECT token, key_alias FROM gone UNION SELECT key_id, key_alias FROM gone \
                 UNION SELECT r.token, key_alias FROM retired_secrets r JOIN gone USING (key_id)",
            )
            .bind(aliases.to_vec())
        });
        Ok(rows.await?.into_iter().unzip())
    }

    /// Keys that match every given field, newest first, and how many there are in all.
    pub(crate) async fn list_keys(
        &self,
        filter: &KeyFilter,
        offset: i64,
        count: i64,
    ) -> Result<(Vec<Spent<VirtualKey>>, i64), Unavailable> {
        macro_rules! matching {
            () => {
                " FROM virtual_keys WHERE ($1::text IS NULL OR user_id = $1) \
                 AND ($2::text IS NULL OR team_id = $2) \
                 AND ($3::text IS NULL OR key_alias = $3) \
                 AND ($4::text IS NULL OR token = $4)"
            };
        }
        let total = self.rows::<(i64,)>("key.count", Repeat::Once, || {
            sqlx::query_as(concat!("SELECT count(*)", matching!()))
                .bind(filter.user_id.clone())
                .bind(filter.team_id.clone())
                .bind(filter.key_alias.clone())
                .bind(filter.token.clone())
        });
        let total = total.await?.pop().map_or(0, |(total,)| total);
        let rows = self.rows("key.list", Repeat::Once, || {
            sqlx::query_as(concat!(
                "SELECT ",
                spent_columns!(),
                matching!(),
                " ORDER BY created_at_ms DESC, token LIMIT $5 OFFSET $6"
            ))
            .bind(filter.user_id.clone())
            .bind(filter.team_id.clone())
            .bind(filter.key_alias.clone())
            .bind(filter.token.clone())
            .bind(count)
            .bind(offset)
        });
        Ok((rows.await?, total))
    }
}
