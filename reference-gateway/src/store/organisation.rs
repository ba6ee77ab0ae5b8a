//! Organisations: the owners of teams and keys, and what all of them may spend together.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::FromRow;

use super::{Repeat, Spent, Store, Unavailable, now_ms, virtual_key::delete_keys};
use crate::field::Field;

/// An organisation, as the request path needs it.
#[derive(Debug, Clone, PartialEq, Default, FromRow, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Organisation {
    pub(crate) organization_id: String,
    pub(crate) organization_alias: String,
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
}

/// An organisation about to be created.
pub(crate) type NewOrganisation = Organisation;

/// What an update changes.
#[derive(Debug, Clone, Default)]
pub(crate) struct OrganisationPatch {
    pub(crate) organization_alias: Option<String>,
    pub(crate) models: Field<Vec<String>>,
    pub(crate) metadata: Field<Value>,
    pub(crate) max_budget: Field<f64>,
    pub(crate) budget_duration: Field<String>,
    pub(crate) tpm_limit: Field<i64>,
    pub(crate) rpm_limit: Field<i64>,
}

/// What went with the organisations that were deleted.
#[derive(Debug, Clone, Default)]
pub(crate) struct DeletedOrganisations {
    pub(crate) organisations: Vec<Spent<Organisation>>,
    pub(crate) teams: Vec<String>,
    pub(crate) tokens: Vec<String>,
    /// Team and user of each membership.
    pub(crate) members: Vec<(String, String)>,
}

macro_rules! columns {
    () => {
        "organization_id, organization_alias, models, metadata, max_budget, budget_duration, \
         tpm_limit, rpm_limit"
    };
}

macro_rules! spent_columns {
    () => {
        concat!(columns!(), ", spend_pico, created_at_ms, updated_at_ms")
    };
}

impl Store {
    /// The organisation with this id, as the request path needs it.
    pub(crate) async fn organisation(&self, id: &str) -> Result<Option<Organisation>, Unavailable> {
        let rows = self.rows("organisation.select", Repeat::Once, || {
            sqlx::query_as(concat!(
                "SELECT ",
                columns!(),
                " FROM organisations WHERE organization_id = $1"
            ))
            .bind(id.to_owned())
        });
        Ok(rows.await?.pop())
    }

    /// The organisation with this id, with its spend.
    pub(crate) async fn organisation_info(
        &self,
        id: &str,
    ) -> Result<Option<Spent<Organisation>>, Unavailable> {
        let rows = self.rows("organisation.info", Repeat::Once, || {
            sqlx::query_as(concat!(
                "SELECT ",
                spent_columns!(),
                " FROM organisations WHERE organization_id = $1"
            ))
            .bind(id.to_owned())
        });
        Ok(rows.await?.pop())
    }

    /// Creates an organisation; `None` when its id is taken.
    pub(crate) async fn insert_organisation(
        &self,
        organisation: &NewOrganisation,
    ) -> Result<Option<Spent<Organisation>>, Unavailable> {
        let rows = self.rows("organisation.insert", Repeat::Never, || {
            sqlx::query_as(concat!(
                "INSERT INTO organisations (",
                columns!(),
                ", created_at_ms, updated_at_ms) \
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $9) \
                 ON CONFLICT (organization_id) DO NOTHING RETURNING ",
                spent_columns!()
            ))
            .bind(organisation.organization_id.clone())
            .bind(organisation.organization_alias.clone())
            .bind(organisation.models.clone())
            .bind(organisation.metadata.clone())
            .bind(organisation.max_budget)
            .bind(organisation.budget_duration.clone())
            .bind(organisation.tpm_limit)
            .bind(organisation.rpm_limit)
            .bind(now_ms())
        });
        Ok(rows.await?.pop())
    }

    /// Changes what the patch says and leaves the rest; `None` when there is no such organisation.
    pub(crate) async fn update_organisation(
        &self,
        id: &str,
        patch: &OrganisationPatch,
    ) -> Result<Option<Spent<Organisation>>, Unavailable> {
        let rows = self.rows("organisation.update", Repeat::Never, || {
            sqlx::query_as(concat!(
                "UPDATE organisations SET \
                 organization_alias = coalesce($2, organization_alias), \
                 models = CASE WHEN $3 THEN $4 ELSE models END, \
                 metadata = CASE WHEN $5 THEN $6 ELSE metadata END, \
                 max_budget = CASE WHEN $7 THEN $8 ELSE max_budget END, \
                 budget_duration = CASE WHEN $9 THEN $10 ELSE budget_duration END, \
                 tpm_limit = CASE WHEN $11 THEN $12 ELSE tpm_limit END, \
                 rpm_limit = CASE WHEN $13 THEN $14 ELSE rpm_limit END, \
                 updated_at_ms = $15 WHERE organization_id = $1 RETURNING ",
                spent_columns!()
            ))
            .bind(id.to_owned())
            .bind(patch.organization_alias.clone())
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
            .bind(now_ms())
        });
        Ok(rows.await?.pop())
    }

    /// Deletes organisations with their teams, the memberships of those, and the keys of all of them,
    /// all or nothing.
    ///
    /// The rows of organisations and teams go first: that waits for keys that are being issued, and
    /// the statements after it see them.
    pub(crate) async fn delete_organisations(
        &self,
        ids: &[String],
    ) -> Result<DeletedOrganisations, Unavailable> {
        self.bounded("organisation.delete", async {
            let mut transaction = self.pool.begin().await?;
            let organisations: Vec<Spent<Organisation>> = sqlx::query_as(concat!(
                "DELETE FROM organisations WHERE organization_id = ANY($1) RETURNING ",
                spent_columns!()
            ))
            .bind(ids.to_vec())
            .fetch_all(&mut *transaction)
            .await?;
            let gone: Vec<String> =
                organisations.iter().map(|it| it.row.organization_id.clone()).collect();
            let members: Vec<(String, String)> = sqlx::query_as(
                "DELETE FROM team_members m USING teams t WHERE t.team_id = m.team_id \
                 AND t.organization_id = ANY($1) RETURNING m.team_id, m.user_id",
            )
            .bind(gone.clone())
            .fetch_all(&mut *transaction)
            .await?;
            let teams: Vec<(String,)> = sqlx::query_as(
                "DELETE FROM teams WHERE organization_id = ANY($1) RETURNING team_id",
            )
            .bind(gone.clone())
            .fetch_all(&mut *transaction)
            .await?;
            let teams: Vec<String> = teams.into_iter().map(|(id,)| id).collect();
            let tokens: Vec<(String,)> = sqlx::query_as(delete_keys!(
                "organization_id = ANY($1) OR (team_id = ANY($2) AND team_id <> '')"
            ))
            .bind(gone)
            .bind(teams.clone())
            .fetch_all(&mut *transaction)
            .await?;
            transaction.commit().await?;
            Ok(DeletedOrganisations {
                organisations,
                teams,
                tokens: tokens.into_iter().map(|(token,)| token).collect(),
                members,
            })
        })
        .await
    }
}
