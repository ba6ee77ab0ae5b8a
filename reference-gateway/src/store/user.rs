//! Users: people or programs that hold keys, in teams or on their own.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::FromRow;

use super::{Repeat, Spent, Store, Unavailable, now_ms, virtual_key::delete_keys};
use crate::field::Field;

/// A user, as the request path needs it.
#[derive(Debug, Clone, PartialEq, Default, FromRow, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct User {
    pub(crate) user_id: String,
    #[serde(deserialize_with = "Option::deserialize")]
    pub(crate) user_email: Option<String>,
    #[serde(deserialize_with = "Option::deserialize")]
    pub(crate) user_alias: Option<String>,
    #[serde(deserialize_with = "Option::deserialize")]
    pub(crate) user_role: Option<String>,
    #[serde(deserialize_with = "Option::deserialize")]
    pub(crate) models: Option<Vec<String>>,
    #[serde(deserialize_with = "Option::deserialize")]
    pub(crate) metadata: Option<Value>,
    #[serde(deserialize_with = "Option::deserialize")]
    pub(crate) max_budget: Option<f64>,
    #[serde(deserialize_with = "Option::deserialize")]
    pub(crate) budget_duration: Option<String>,
    #[serde(deserialize_with = "Option::deserialize")]
    pub(crate) tpm_limit: Option<i64>,
    #[serde(deserialize_with = "Option::deserialize")]
    pub(crate) rpm_limit: Option<i64>,
    #[serde(deserialize_with = "Option::deserialize")]
    pub(crate) max_parallel_requests: Option<i64>,
}

impl User {
    /// May this user's keys manage keys, teams and users?
    pub(crate) fn is_admin(&self) -> bool {
        self.user_role.as_deref() == Some("proxy_admin")
    }
}

/// A user about to be created.
pub(crate) type NewUser = User;

/// What an update changes.
#[derive(Debug, Clone, Default)]
pub(crate) struct UserPatch {
    pub(crate) user_email: Field<String>,
    pub(crate) user_alias: Field<String>,
    pub(crate) user_role: Field<String>,
    pub(crate) models: Field<Vec<String>>,
    pub(crate) metadata: Field<Value>,
    pub(crate) max_budget: Field<f64>,
    pub(crate) budget_duration: Field<String>,
    pub(crate) tpm_limit: Field<i64>,
    pub(crate) rpm_limit: Field<i64>,
    pub(crate) max_parallel_requests: Field<i64>,
}

/// What went with the users that were deleted.
#[derive(Debug, Clone, Default)]
pub(crate) struct DeletedUsers {
    pub(crate) users: Vec<String>,
    pub(crate) tokens: Vec<String>,
    /// Team and user of each membership.
    pub(crate) members: Vec<(String, String)>,
}

macro_rules! columns {
    () => {
        "user_id, user_email, user_alias, user_role, models, metadata, max_budget, \
         budget_duration, tpm_limit, rpm_limit, max_parallel_requests"
    };
}

macro_rules! spent_columns {
    () => {
        concat!(columns!(), ", spend_pico, created_at_ms, updated_at_ms")
    };
}

impl Store {
    /// The user with this id, as the request path needs it.
    pub(crate) async fn user(&self, user_id: &str) -> Result<Option<User>, Unavailable> {
        let rows = self.rows("user.select", Repeat::Once, || {
            sqlx::query_as(concat!("SELECT ", columns!(), " FROM users WHERE user_id = $1"))
                .bind(user_id.to_owned())
        });
        Ok(rows.await?.pop())
    }

    /// The user with this id, with its spend.
    pub(crate) async fn user_info(
        &self,
        user_id: &str,
    ) -> Result<Option<Spent<User>>, Unavailable> {
        let rows = self.rows("user.info", Repeat::Once, || {
            sqlx::query_as(concat!("SELECT ", spent_columns!(), " FROM users WHERE user_id = $1"))
                .bind(user_id.to_owned())
        });
        Ok(rows.await?.pop())
    }

    /// Creates a user; `None` when its id is taken.
    pub(crate) async fn insert_user(
        &self,
        user: &NewUser,
    ) -> Result<Option<Spent<User>>, Unavailable> {
        let rows = self.rows("user.insert", Repeat::Never, || {
            sqlx::query_as(concat!(
                "INSERT INTO users (",
                columns!(),
                ", created_at_ms, updated_at_ms) \
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $12) \
                 ON CONFLICT (user_id) DO NOTHING RETURNING ",
                spent_columns!()
            ))
            .bind(user.user_id.clone())
            .bind(user.user_email.clone())
            .bind(user.user_alias.clone())
            .bind(user.user_role.clone())
            .bind(user.models.clone())
            .bind(user.metadata.clone())
            .bind(user.max_budget)
            .bind(user.budget_duration.clone())
            .bind(user.tpm_limit)
            .bind(user.rpm_limit)
            .bind(user.max_parallel_requests)
            .bind(now_ms())
        });
        Ok(rows.await?.pop())
    }

    /// Changes what the patch says and leaves the rest; `None` when there is no such user.
    pub(crate) async fn update_user(
        &self,
        user_id: &str,
        patch: &UserPatch,
    ) -> Result<Option<Spent<User>>, Unavailable> {
        let rows = self.rows("user.update", Repeat::Never, || {
            sqlx::query_as(concat!(
                "UPDATE users SET \
                 user_email = CASE WHEN $2 THEN $3 ELSE user_email END, \
                 user_alias = CASE WHEN $4 THEN $5 ELSE user_alias END, \
                 user_role = CASE WHEN $6 THEN $7 ELSE user_role END, \
                 models = CASE WHEN $8 THEN $9 ELSE models END, \
                 metadata = CASE WHEN $10 THEN $11 ELSE metadata END, \
                 max_budget = CASE WHEN $12 THEN $13 ELSE max_budget END, \
                 budget_duration = CASE WHEN $14 THEN $15 ELSE budget_duration END, \
                 tpm_limit = CASE WHEN $16 THEN $17 ELSE tpm_limit END, \
                 rpm_limit = CASE WHEN $18 THEN $19 ELSE rpm_limit END, \
                 max_parallel_requests = CASE WHEN $20 THEN $21 ELSE max_parallel_requests END, \
                 updated_at_ms = $22 WHERE user_id = $1 RETURNING ",
                spent_columns!()
            ))
            .bind(user_id.to_owned())
            .bind(patch.user_email.is_said())
            .bind(patch.user_email.value().cloned())
            .bind(patch.user_alias.is_said())
            .bind(patch.user_alias.value().cloned())
            .bind(patch.user_role.is_said())
            .bind(patch.user_role.value().cloned())
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
            .bind(now_ms())
        });
        Ok(rows.await?.pop())
    }

    /// Deletes users with their memberships and keys, all or nothing.
    pub(crate) async fn delete_users(&self, ids: &[String]) -> Result<DeletedUsers, Unavailable> {
        self.bounded("user.delete", async {
            let mut transaction = self.pool.begin().await?;
            let users: Vec<(String,)> =
                sqlx::query_as("DELETE FROM users WHERE user_id = ANY($1) RETURNING user_id")
                    .bind(ids.to_vec())
                    .fetch_all(&mut *transaction)
                    .await?;
            let users: Vec<String> = users.into_iter().map(|(id,)| id).collect();
            let members: Vec<(String, String)> = sqlx::query_as(
                "DELETE FROM team_members WHERE user_id = ANY($1) RETURNING team_id, user_id",
            )
            .bind(users.clone())
            .fetch_all(&mut *transaction)
            .await?;
            let tokens: Vec<(String,)> = sqlx::query_as(delete_keys!("user_id = ANY($1)"))
                .bind(users.clone())
                .fetch_all(&mut *transaction)
                .await?;
            transaction.commit().await?;
            Ok(DeletedUsers {
                users,
                tokens: tokens.into_iter().map(|(token,)| token).collect(),
                members,
            })
        })
        .await
    }
}
