//! Identities as management calls show them: every field, nulls included.

use serde_json::{Map, Value, json};

use crate::{
    spend::dollars,
    store::{EndUser, Member, Organisation, Spent, Team, User, VirtualKey},
};

/// A moment as text; null when there is none.
fn moment(ms: Option<i64>) -> Value {
    let moment = ms.and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    moment.map_or(Value::Null, |moment| moment.to_string().into())
}

fn with_times<T>(mut shown: Value, spent: &Spent<T>) -> Map<String, Value> {
    shown["spend"] = dollars(spent.spend_pico).into();
    shown["created_at"] = moment(Some(spent.created_at_ms));
    shown["updated_at"] = moment(Some(spent.updated_at_ms));
    match shown {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

/// A key, without its text.
pub(super) fn key(spent: &Spent<VirtualKey>) -> Map<String, Value> {
    let key = &spent.row;
    let shown = json!({
        "key_name": key.key_name,
        "key_alias": key.key_alias,
        "user_id": key.user_id,
        "team_id": key.team_id,
        "organization_id": key.organization_id,
        "models": key.models,
        "metadata": key.metadata,
        "max_budget": key.max_budget,
        "budget_duration": key.budget_duration,
        "tpm_limit": key.tpm_limit,
        "rpm_limit": key.rpm_limit,
        "max_parallel_requests": key.max_parallel_requests,
        "blocked": key.blocked,
        "expires": moment(key.expires_at_ms),
    });
    with_times(shown, spent)
}

/// A team, without its members.
pub(super) fn team(spent: &Spent<Team>) -> Map<String, Value> {
    let team = &spent.row;
    let shown = json!({
        "team_id": team.team_id,
        "team_alias": team.team_alias,
        "organization_id": team.organization_id,
        "models": team.models,
        "metadata": team.metadata,
        "max_budget": team.max_budget,
        "budget_duration": team.budget_duration,
        "tpm_limit": team.tpm_limit,
        "rpm_limit": team.rpm_limit,
        "max_parallel_requests": team.max_parallel_requests,
        "blocked": team.blocked.unwrap_or(false),
    });
    with_times(shown, spent)
}

/// A user, without teams.
pub(super) fn user(spent: &Spent<User>) -> Map<String, Value> {
    let user = &spent.row;
    let shown = json!({
        "user_id": user.user_id,
        "user_email": user.user_email,
        "user_alias": user.user_alias,
        "user_role": user.user_role,
        "models": user.models,
        "metadata": user.metadata,
        "max_budget": user.max_budget,
        "budget_duration": user.budget_duration,
        "tpm_limit": user.tpm_limit,
        "rpm_limit": user.rpm_limit,
        "max_parallel_requests": user.max_parallel_requests,
    });
    with_times(shown, spent)
}

/// A membership with its budget.
pub(super) fn member(spent: &Spent<Member>) -> Map<String, Value> {
    let member = &spent.row;
    let shown = json!({
        "team_id": member.team_id,
        "user_id": member.user_id,
        "role": member.role,
        "litellm_budget_table": member.budget.as_ref().map(|budget| json!({
            "max_budget": budget.max_budget,
            "budget_duration": budget.budget_duration,
        })),
        "tpm_limit": member.tpm_limit,
        "rpm_limit": member.rpm_limit,
        "allowed_models": member.allowed_models,
    });
    with_times(shown, spent)
}

/// An organisation, without its teams.
pub(super) fn organisation(spent: &Spent<Organisation>) -> Map<String, Value> {
    let organisation = &spent.row;
    let shown = json!({
        "organization_id": organisation.organization_id,
        "organization_alias": organisation.organization_alias,
        "models": organisation.models,
        "metadata": organisation.metadata,
        "litellm_budget_table": {
            "max_budget": organisation.max_budget,
            "budget_duration": organisation.budget_duration,
            "tpm_limit": organisation.tpm_limit,
            "rpm_limit": organisation.rpm_limit,
        },
    });
    with_times(shown, spent)
}

/// An end user.
pub(super) fn end_user(spent: &Spent<EndUser>) -> Map<String, Value> {
    let end_user = &spent.row;
    let shown = json!({
        "user_id": end_user.user_id,
        "alias": end_user.alias,
        "blocked": end_user.blocked.unwrap_or(false),
        "litellm_budget_table": {
            "max_budget": end_user.max_budget,
            "budget_duration": end_user.budget_duration,
        },
    });
    with_times(shown, spent)
}

/// A team with its members, as most team calls answer.
pub(super) fn team_with_members(
    team_row: &Spent<Team>,
    members: &[Spent<Member>],
) -> Map<String, Value> {
    let mut shown = team(team_row);
    let roles = members
        .iter()
        .map(|spent| json!({"role": spent.row.role, "user_id": spent.row.user_id}))
        .collect();
    shown.insert("members_with_roles".to_owned(), Value::Array(roles));
    shown
}
