//! Memberships: a user in a team, and what that user may spend there.

use serde::{Deserialize, Serialize};
use sqlx::{FromRow, Row, postgres::PgRow};

use super::{Repeat, Spent, Store, Unavailable, now_ms, virtual_key::delete_keys};
use crate::field::Field;

/// A user in a team, as the request path needs it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Member {
    pub(crate) team_id: String,
    pub(crate) user_id: String,
    pub(crate) role: String,
    /// A membership that never had a budget has none; one whose budget was cleared has one
    /// without a bound.
    #[serde(deserialize_with = "Option::deserialize")]
    pub(crate) budget: Option<MemberBudget>,
    #[serde(deserialize_with = "Option::deserialize")]
    pub(crate) tpm_limit: Option<i64>,
    #[serde(deserialize_with = "Option::deserialize")]
    pub(crate) rpm_limit: Option<i64>,
    #[serde(deserialize_with = "Option::deserialize")]
    pub(crate) allowed_models: Option<Vec<String>>,
}

/// What a member may spend in the team.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MemberBudget {
    #[serde(deserialize_with = "Option::deserialize")]
    pub(crate) max_budget: Option<f64>,
    #[serde(deserialize_with = "Option::deserialize")]
    pub(crate) budget_duration: Option<String>,
}

impl FromRow<'_, PgRow> for Member {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        let has_budget: bool = row.try_get("has_budget")?;
        let budget = MemberBudget {
            max_budget: row.try_get("max_budget")?,
            budget_duration: row.try_get("budget_duration")?,
        };
        Ok(Self {
            team_id: row.try_get("team_id")?,
            user_id: row.try_get("user_id")?,
            role: row.try_get("role")?,
            budget: has_budget.then_some(budget),
            tpm_limit: row.try_get("tpm_limit")?,
            rpm_limit: row.try_get("rpm_limit")?,
            allowed_models: row.try_get("allowed_models")?,
        })
    }
}

/// What adding or updating a member sets.
#[derive(Debug, Clone, Default)]
pub(crate) struct MemberPatch {
    pub(crate) role: Field<String>,
    pub(crate) max_budget: Field<f64>,
    pub(crate) budget_duration: Field<String>,
    pub(crate) tpm_limit: Field<i64>,
    pub(crate) rpm_limit: Field<i64>,
    pub(crate) allowed_models: Field<Vec<String>>,
}

impl MemberPatch {
    fn says_budget(&self) -> bool {
        self.max_budget.is_said() || self.budget_duration.is_said()
    }
}

macro_rules! columns {
    () => {
        "team_id, user_id, role, has_budget, max_budget, budget_duration, tpm_limit, rpm_limit, \
         allowed_models"
    };
}

macro_rules! spent_columns {
    () => {
        concat!(columns!(), ", spend_pico, created_at_ms, updated_at_ms")
    };
}

impl Store {
    /// The membership of this user in this team, as the request path needs it.
    pub(crate) async fn member(
        &self,
        team_id: &str,
        user_id: &str,
    ) -> Result<Option<Member>, Unavailable> {
        let rows = self.rows("member.select", Repeat::Once, || {
            sqlx::query_as(concat!(
                "SELECT ",
                columns!(),
                " FROM team_members WHERE team_id = $1 AND user_id = $2"
            ))
            .bind(team_id.to_owned())
            .bind(user_id.to_owned())
        });
        Ok(rows.await?.pop())
    }

    /// The memberships of a team, with their spend.
    pub(crate) async fn members_of_team(
        &self,
        team_id: &str,
    ) -> Result<Vec<Spent<Member>>, Unavailable> {
        self.rows("member.list", Repeat::Once, || {
            sqlx::query_as(concat!(
                "SELECT ",
                spent_columns!(),
                " FROM team_members WHERE team_id = $1 ORDER BY created_at_ms, user_id"
            ))
            .bind(team_id.to_owned())
        })
        .await
    }

    /// The memberships of a user, with their spend.
    pub(crate) async fn members_of_user(
        &self,
        user_id: &str,
    ) -> Result<Vec<Spent<Member>>, Unavailable> {
        self.rows("member.list", Repeat::Once, || {
            sqlx::query_as(concat!(
                "SELECT ",
                spent_columns!(),
                " FROM team_members WHERE user_id = $1 ORDER BY created_at_ms, team_id"
            ))
            .bind(user_id.to_owned())
        })
        .await
    }

    /// Adds a member, or changes what the patch says of one who is there already. `None` when
    /// there is no such team.
    pub(crate) async fn add_member(
        &self,
        team_id: &str,
        user_id: &str,
        patch: &MemberPatch,
    ) -> Result<Option<Spent<Member>>, Unavailable> {
        let rows = self.rows("member.insert", Repeat::Never, || {
            let statement = sqlx::query_as(concat!(
                "INSERT INTO team_members AS m (",
                columns!(),
                ", created_at_ms, updated_at_ms) \
                 SELECT $1::text, $2::text, coalesce($4::text, 'user'), $5::bool, $7::float8, \
                 $9::text, $11::int8, $13::int8, $15::text[], $16::int8, $16::int8 \
                 WHERE EXISTS (SELECT 1 FROM teams WHERE team_id = $1 FOR KEY SHARE) \
                 ON CONFLICT (team_id, user_id) DO UPDATE SET \
                 role = CASE WHEN $3 THEN coalesce($4, 'user') ELSE m.role END, \
                 has_budget = m.has_budget OR $5, \
                 max_budget = CASE WHEN $6 THEN $7 ELSE m.max_budget END, \
                 budget_duration = CASE WHEN $8 THEN $9 ELSE m.budget_duration END, \
                 tpm_limit = CASE WHEN $10 THEN $11 ELSE m.tpm_limit END, \
                 rpm_limit = CASE WHEN $12 THEN $13 ELSE m.rpm_limit END, \
                 allowed_models = CASE WHEN $14 THEN $15 ELSE m.allowed_models END, \
                 updated_at_ms = $16 RETURNING ",
                spent_columns!()
            ));
            bind_patch(statement, team_id, user_id, patch)
        });
        Ok(rows.await?.pop())
    }

    /// Changes what the patch says and leaves the rest; `None` when there is no such membership.
    pub(crate) async fn update_member(
        &self,
        team_id: &str,
        user_id: &str,
        patch: &MemberPatch,
    ) -> Result<Option<Spent<Member>>, Unavailable> {
        let rows = self.rows("member.update", Repeat::Never, || {
            let statement = sqlx::query_as(concat!(
                "UPDATE team_members SET \
                 role = CASE WHEN $3 THEN coalesce($4, 'user') ELSE role END, \
                 has_budget = has_budget OR $5, \
                 max_budget = CASE WHEN $6 THEN $7 ELSE max_budget END, \
                 budget_duration = CASE WHEN $8 THEN $9 ELSE budget_duration END, \
                 tpm_limit = CASE WHEN $10 THEN $11 ELSE tpm_limit END, \
                 rpm_limit = CASE WHEN $12 THEN $13 ELSE rpm_limit END, \
                 allowed_models = CASE WHEN $14 THEN $15 ELSE allowed_models END, \
                 updated_at_ms = $16 WHERE team_id = $1 AND user_id = $2 RETURNING ",
                spent_columns!()
            ));
            bind_patch(statement, team_id, user_id, patch)
        });
        Ok(rows.await?.pop())
    }

    /// Ends a membership and deletes that user's keys of the team, all or nothing. `None` when
    /// there is no such membership, else the deleted keys' hashes.
    pub(crate) async fn delete_member(
        &self,
        team_id: &str,
        user_id: &str,
    ) -> Result<Option<Vec<String>>, Unavailable> {
        self.bounded("member.delete", async {
            let mut transaction = self.pool.begin().await?;
            let gone: Option<(String,)> = sqlx::query_as(
                "DELETE FROM team_members WHERE team_id = $1 AND user_id = $2 RETURNING user_id",
            )
            .bind(team_id.to_owned())
            .bind(user_id.to_owned())
            .fetch_optional(&mut *transaction)
            .await?;
            let tokens: Vec<(String,)> =
                sqlx::query_as(delete_keys!("team_id = $1 AND user_id = $2 AND $3"))
                    .bind(team_id.to_owned())
                    .bind(user_id.to_owned())
                    .bind(gone.is_some())
                    .fetch_all(&mut *transaction)
                    .await?;
            transaction.commit().await?;
            Ok(gone.map(|_| tokens.into_iter().map(|(token,)| token).collect()))
        })
        .await
    }
}

type MemberStatement =
    sqlx::query::QueryAs<'static, sqlx::Postgres, Spent<Member>, sqlx::postgres::PgArguments>;

/// Binds `$1` to `$16` in the order that both statements above share.
fn bind_patch(
    statement: MemberStatement,
    team_id: &str,
    user_id: &str,
    patch: &MemberPatch,
) -> MemberStatement {
    statement
        .bind(team_id.to_owned())
        .bind(user_id.to_owned())
        .bind(patch.role.is_said())
        .bind(patch.role.value().cloned())
        .bind(patch.says_budget())
        .bind(patch.max_budget.is_said())
        .bind(patch.max_budget.value().copied())
        .bind(patch.budget_duration.is_said())
        .bind(patch.budget_duration.value().cloned())
        .bind(patch.tpm_limit.is_said())
        .bind(patch.tpm_limit.value().copied())
        .bind(patch.rpm_limit.is_said())
        .bind(patch.rpm_limit.value().copied())
        .bind(patch.allowed_models.is_said())
        .bind(patch.allowed_models.value().cloned())
        .bind(now_ms())
}
