//! End users: whom a request is for, as its body says.

use serde::{Deserialize, Serialize};
use sqlx::FromRow;

use super::{Repeat, Spent, Store, Unavailable, now_ms};
use crate::field::Field;

/// An end user, as the request path needs it.
#[derive(Debug, Clone, PartialEq, Default, FromRow, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EndUser {
    pub(crate) user_id: String,
    #[serde(deserialize_with = "Option::deserialize")]
    pub(crate) alias: Option<String>,
    #[serde(deserialize_with = "Option::deserialize")]
    pub(crate) blocked: Option<bool>,
    #[serde(deserialize_with = "Option::deserialize")]
    pub(crate) max_budget: Option<f64>,
    #[serde(deserialize_with = "Option::deserialize")]
    pub(crate) budget_duration: Option<String>,
}

/// An end user about to be created.
pub(crate) type NewEndUser = EndUser;

/// What an update changes.
#[derive(Debug, Clone, Default)]
pub(crate) struct EndUserPatch {
    pub(crate) alias: Field<String>,
    pub(crate) blocked: Field<bool>,
    pub(crate) max_budget: Field<f64>,
    pub(crate) budget_duration: Field<String>,
}

macro_rules! columns {
    () => {
        "user_id, alias, blocked, max_budget, budget_duration"
    };
}

macro_rules! spent_columns {
    () => {
        concat!(columns!(), ", spend_pico, created_at_ms, updated_at_ms")
    };
}

impl Store {
    /// The end user with this id, as the request path needs it.
    pub(crate) async fn end_user(&self, id: &str) -> Result<Option<EndUser>, Unavailable> {
        let rows = self.rows("end_user.select", Repeat::Once, || {
            sqlx::query_as(concat!("SELECT ", columns!(), " FROM end_users WHERE user_id = $1"))
                .bind(id.to_owned())
        });
        Ok(rows.await?.pop())
    }

    /// The end user with this id, with what was spent.
    pub(crate) async fn end_user_info(
        &self,
        id: &str,
    ) -> Result<Option<Spent<EndUser>>, Unavailable> {
        let rows = self.rows("end_user.info", Repeat::Once, || {
            sqlx::query_as(concat!(
                "SELECT ",
                spent_columns!(),
                " FROM end_users WHERE user_id = $1"
            ))
            .bind(id.to_owned())
        });
        Ok(rows.await?.pop())
    }

    /// Creates an end user; `None` when the id is taken.
    pub(crate) async fn insert_end_user(
        &self,
        end_user: &NewEndUser,
    ) -> Result<Option<Spent<EndUser>>, Unavailable> {
        let rows = self.rows("end_user.insert", Repeat::Never, || {
            sqlx::query_as(concat!(
                "INSERT INTO end_users (",
                columns!(),
                ", created_at_ms, updated_at_ms) VALUES ($1, $2, $3, $4, $5, $6, $6) \
                 ON CONFLICT (user_id) DO NOTHING RETURNING ",
                spent_columns!()
            ))
            .bind(end_user.user_id.clone())
            .bind(end_user.alias.clone())
            .bind(end_user.blocked)
            .bind(end_user.max_budget)
            .bind(end_user.budget_duration.clone())
            .bind(now_ms())
        });
        Ok(rows.await?.pop())
    }

    /// Changes what the patch says and leaves the rest; `None` when there is no such end user.
    pub(crate) async fn update_end_user(
        &self,
        id: &str,
        patch: &EndUserPatch,
    ) -> Result<Option<Spent<EndUser>>, Unavailable> {
        let rows = self.rows("end_user.update", Repeat::Never, || {
            sqlx::query_as(concat!(
                "UPDATE end_users SET \
                 alias = CASE WHEN $2 THEN $3 ELSE alias END, \
                 blocked = CASE WHEN $4 THEN $5 ELSE blocked END, \
                 max_budget = CASE WHEN $6 THEN $7 ELSE max_budget END, \
                 budget_duration = CASE WHEN $8 THEN $9 ELSE budget_duration END, \
                 updated_at_ms = $10 WHERE user_id = $1 RETURNING ",
                spent_columns!()
            ))
            .bind(id.to_owned())
            .bind(patch.alias.is_said())
            .bind(patch.alias.value().cloned())
            .bind(patch.blocked.is_said())
            .bind(patch.blocked.value().copied())
            .bind(patch.max_budget.is_said())
            .bind(patch.max_budget.value().copied())
            .bind(patch.budget_duration.is_said())
            .bind(patch.budget_duration.value().cloned())
            .bind(now_ms())
        });
        Ok(rows.await?.pop())
    }

    /// Deletes end users; returns the ids that there were.
    pub(crate) async fn delete_end_users(
        &self,
        ids: &[String],
    ) -> Result<Vec<String>, Unavailable> {
        let rows = self.rows::<(String,)>("end_user.delete", Repeat::Never, || {
            sqlx::query_as("DELETE FROM end_users WHERE user_id = ANY($1) RETURNING user_id")
                .bind(ids.to_vec())
        });
        Ok(rows.await?.into_iter().map(|(id,)| id).collect())
    }
}
