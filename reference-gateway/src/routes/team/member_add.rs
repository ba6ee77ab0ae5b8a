//! `POST /team/member_add`: makes users members of a team.

use std::sync::Arc;

use axum::{Json, extract::State};
use http::HeaderMap;
use serde::Deserialize;
use serde_json::{Value, json};

use super::not_found;
use crate::{
    app::App,
    auth::require_admin,
    error::GatewayError,
    field::Field,
    identity_cache::IdentityId,
    routes::{
        body::Body,
        bounds::{OneOrMany, check_budget, check_id, check_limit, check_window},
        row,
    },
    store::MemberPatch,
};

/// Who joins, and with what budget.
#[derive(Debug, Deserialize)]
pub(crate) struct Wanted {
    team_id: String,
    member: OneOrMany<NewMember>,
    #[serde(default)]
    max_budget_in_team: Field<f64>,
    #[serde(default)]
    budget_duration: Field<String>,
    #[serde(default)]
    tpm_limit: Field<i64>,
    #[serde(default)]
    rpm_limit: Field<i64>,
    #[serde(default)]
    allowed_models: Field<Vec<String>>,
}

/// One user and the role that the user gets.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct NewMember {
    #[serde(default)]
    user_id: Field<String>,
    #[serde(default)]
    role: Field<String>,
}

impl NewMember {
    /// The user's id and role.
    pub(super) fn named(self) -> Result<(String, Field<String>), GatewayError> {
        let user_id = self.user_id.into_value().filter(|id| !id.is_empty());
        let user_id = user_id.ok_or_else(|| GatewayError::Invalid {
            message: "member.user_id: field required".to_owned(),
        })?;
        check_id(&user_id, "user_id")?;
        Ok((user_id, self.role))
    }
}

/// Serves the call.
pub(crate) async fn serve(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    Body(wanted): Body<Wanted>,
) -> Result<Json<Value>, GatewayError> {
    require_admin(&app, &headers).await?;
    check_budget(&wanted.max_budget_in_team)?;
    check_window(&wanted.budget_duration)?;
    check_limit(&wanted.tpm_limit, "tpm_limit")?;
    check_limit(&wanted.rpm_limit, "rpm_limit")?;
    let team_id = wanted.team_id;
    let members = wanted.member.into_vec().into_iter().map(NewMember::named);
    let members = members.collect::<Result<Vec<_>, _>>()?;
    let mut added = vec![];
    for (user_id, role) in members {
        let patch = MemberPatch {
            role,
            max_budget: wanted.max_budget_in_team.clone(),
            budget_duration: wanted.budget_duration.clone(),
            tpm_limit: wanted.tpm_limit.clone(),
            rpm_limit: wanted.rpm_limit.clone(),
            allowed_models: wanted.allowed_models.clone(),
        };
        let member = app.store.add_member(&team_id, &user_id, &patch).await?;
        added.push(member.ok_or_else(|| not_found(&team_id))?);
        let joined = IdentityId::Member { team: team_id.clone(), user: user_id };
        app.cache.invalidate(vec![joined]).await;
    }
    let team = app.store.team_info(&team_id).await?.ok_or_else(|| not_found(&team_id))?;
    let members = app.store.members_of_team(&team_id).await?;
    let mut shown = row::team_with_members(&team, &members);
    let users = added.iter().map(|member| json!({"user_id": member.row.user_id})).collect();
    shown.insert("updated_users".to_owned(), Value::Array(users));
    let memberships = added.iter().map(|member| Value::Object(row::member(member))).collect();
    shown.insert("updated_team_memberships".to_owned(), Value::Array(memberships));
    Ok(Json(Value::Object(shown)))
}
