//! Teams: the owners of keys and budgets.

use serde_json::Value;
use sqlx::FromRow;

use super::{Repeat, Spent, Store, Unavailable, now_ms, virtual_key::delete_keys};
use crate::field::Field;

/// A team, as the request path needs it.
#[derive(Debug, Clone, PartialEq, Default, FromRow)]
pub(crate) struct Team {
    pub(crate) team_id: String,
    pub(crate) team_alias: Option<String>,
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
}

impl Team {
    /// The organisation that it belongs to; an empty id names none.
    pub(crate) fn organisation(&self) -> Option<&str> {
        self.organization_id.as_deref().filter(|id| !id.is_empty())
    }

    /// Is it suspended, with all its keys?
    pub(crate) fn is_blocked(&self) -> bool {
        self.blocked == Some(true) || self.blocked_at_ms.is_some()
    }
}

/// A team about to be created.
pub(crate) type NewTeam = Team;

/// What an update changes.
#[derive(Debug, Clone, Default)]
pub(crate) struct TeamPatch {
    pub(crate) team_alias: Field<String>,
    pub(crate) organization_id: Field<String>,
    pub(crate) models: Field<Vec<String>>,
    pub(crate) metadata: Field<Value>,
    pub(crate) max_budget: Field<f64>,
    pub(crate) budget_duration: Field<String>,
    pub(crate) tpm_limit: Field<i64>,
    pub(crate) rpm_limit: Field<i64>,
    pub(crate) max_parallel_requests: Field<i64>,
    pub(crate) blocked: Field<bool>,
}

/// What went with the teams that were deleted.
#[derive(Debug, Clone, Default)]
pub(crate) struct DeletedTeams {
    pub(crate) teams: Vec<String>,
    pub(crate) tokens: Vec<String>,
    /// Team and user of each membership.
    pub(crate) members: Vec<(String, String)>,
}

macro_rules! columns {
    () => {
        "team_id, team_alias, models, metadata, max_budget, budget_duration, tpm_limit, \
         rpm_limit, max_parallel_requests, blocked, organization_id, blocked_at"
    };
}

macro_rules! spent_columns {
    () => {
        concat!(columns!(), ", spend_pico, created_at_ms, updated_at_ms")
    };
}

impl Store {
    /// The team with this id, as the request path needs it.
    pub(crate) async fn team(&self, team_id: &str) -> Result<Option<Team>, Unavailable> {
        let rows = self.rows("team.select", Repeat::Once, || {
            sqlx::query_as(concat!("SELECT ", columns!(), " FROM teams WHERE team_id = $1"))
                .bind(team_id.to_owned())
        });
        Ok(rows.await?.pop())
    }

    /// The team with this id, with its spend.
    pub(crate) async fn team_info(
        &self,
        team_id: &str,
    ) -> Result<Option<Spent<Team>>, Unavailable> {
        let rows = self.rows("team.info", Repeat::Once, || {
            sqlx::query_as(concat!("SELECT ", spent_columns!(), " FROM teams WHERE team_id = $1"))
                .bind(team_id.to_owned())
        });
        Ok(rows.await?.pop())
    }

    /// Creates a team; `None` when its id is taken, or its organisation does not exist.
    pub(crate) async fn insert_team(
        &self,
        team: &NewTeam,
    ) -> Result<Option<Spent<Team>>, Unavailable> {
        let rows = self.rows("team.insert", Repeat::Never, || {
            sqlx::query_as(concat!(
                "INSERT INTO teams (",
                columns!(),
                ", created_at_ms, updated_at_ms) \
                 SELECT $1::text, $2::text, $3::text[], $4::jsonb, $5::float8, $6::text, $7::int8, \
                 $8::int8, $9::int8, $10::bool, $12::text, NULL::int8, $11::int8, $11::int8 \
                 WHERE coalesce($12, '') = '' \
                 OR EXISTS (SELECT 1 FROM organisations WHERE organization_id = $12 FOR KEY SHARE) \
                 ON CONFLICT (team_id) DO NOTHING RETURNING ",
                spent_columns!()
            ))
            .bind(team.team_id.clone())
            .bind(team.team_alias.clone())
            .bind(team.models.clone())
            .bind(team.metadata.clone())
            .bind(team.max_budget)
            .bind(team.budget_duration.clone())
            .bind(team.tpm_limit)
            .bind(team.rpm_limit)
            .bind(team.max_parallel_requests)
            .bind(team.blocked)
            .bind(now_ms())
            .bind(team.organization_id.clone())
        });
        Ok(rows.await?.pop())
    }

    /// Changes what the patch says and leaves the rest; `None` when there is no such team, or the
    /// organisation it should move to does not exist.
    pub(crate) async fn update_team(
        &self,
        team_id: &str,
        patch: &TeamPatch,
    ) -> Result<Option<Spent<Team>>, Unavailable> {
        let rows = self.rows("team.update", Repeat::Never, || {
            sqlx::query_as(concat!(
                "UPDATE teams SET \
                 team_alias = CASE WHEN $2 THEN $3 ELSE team_alias END, \
                 models = CASE WHEN $4 THEN $5 ELSE models END, \
                 metadata = CASE WHEN $6 THEN $7 ELSE metadata END, \
                 max_budget = CASE WHEN $8 THEN $9 ELSE max_budget END, \
                 budget_duration = CASE WHEN $10 THEN $11 ELSE budget_duration END, \
                 tpm_limit = CASE WHEN $12 THEN $13 ELSE tpm_limit END, \
                 rpm_limit = CASE WHEN $14 THEN $15 ELSE rpm_limit END, \
                 max_parallel_requests = CASE WHEN $16 THEN $17 ELSE max_parallel_requests END, \
                 blocked = CASE WHEN $18 THEN $19 ELSE blocked END, \
                 organization_id = CASE WHEN $21 THEN $22 ELSE organization_id END, \
                 updated_at_ms = $20 WHERE team_id = $1 AND (NOT $21 OR coalesce($22, '') = '' \
                 OR EXISTS (SELECT 1 FROM organisations WHERE organization_id = $22 FOR KEY SHARE)) \
                 RETURNING ",
                spent_columns!()
            ))
            .bind(team_id.to_owned())
            .bind(patch.team_alias.is_said())
            .bind(patch.team_alias.value().cloned())
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
            .bind(now_ms())
            .bind(patch.organization_id.is_said())
            .bind(patch.organization_id.value().cloned())
        });
        Ok(rows.await?.pop())
    }

    /// Deletes teams with their memberships and keys, all or nothing.
    ///
    /// The teams' rows go first: that waits for keys that are being issued, and the statements
    /// after it see them.
    pub(crate) async fn delete_teams(&self, ids: &[String]) -> Result<DeletedTeams, Unavailable> {
        self.bounded("team.delete", async {
            let mut transaction = self.pool.begin().await?;
            let members: Vec<(String, String)> = sqlx::query_as(
                "DELETE FROM team_members WHERE team_id = ANY($1) RETURNING team_id, user_id",
            )
            .bind(ids.to_vec())
            .fetch_all(&mut *transaction)
            .await?;
            let teams: Vec<(String,)> =
                sqlx::query_as("DELETE FROM teams WHERE team_id = ANY($1) RETURNING team_id")
                    .bind(ids.to_vec())
                    .fetch_all(&mut *transaction)
                    .await?;
            let tokens: Vec<(String,)> =
                sqlx::query_as(delete_keys!("team_id = ANY($1) AND team_id <> ''"))
                    .bind(ids.to_vec())
                    .fetch_all(&mut *transaction)
                    .await?;
            transaction.commit().await?;
            Ok(DeletedTeams {
                teams: teams.into_iter().map(|(id,)| id).collect(),
                tokens: tokens.into_iter().map(|(token,)| token).collect(),
                members,
            })
        })
        .await
    }
}
