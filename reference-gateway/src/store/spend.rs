//! Spend: one row per request, and the totals of whoever is charged.

use super::{Repeat, Store, Unavailable};
use crate::identity_cache::IdentityId;

/// What one request cost, and whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SpendRow {
    pub(crate) call_id: String,
    /// The key's id, which outlives its secrets.
    pub(crate) token: String,
    pub(crate) team_id: Option<String>,
    pub(crate) user_id: Option<String>,
    pub(crate) organization_id: Option<String>,
    pub(crate) end_user_id: Option<String>,
    pub(crate) model: String,
    pub(crate) status: i32,
    pub(crate) prompt_tokens: i64,
    pub(crate) completion_tokens: i64,
    /// The provider declared no usage, so it was counted from what was relayed.
    pub(crate) estimated: bool,
    pub(crate) spend_pico: i64,
    pub(crate) at_ms: i64,
}

impl Store {
    /// What an identity has spent; nothing, if there is no such identity.
    pub(crate) async fn spend_of(&self, owner: &IdentityId) -> Result<i64, Unavailable> {
        let rows = self.rows::<(i64,)>("spend.select", Repeat::Once, || match owner {
            IdentityId::Key(token) => {
                sqlx::query_as("SELECT spend_pico FROM virtual_keys WHERE key_id = $1")
                    .bind(token.clone())
            }
            IdentityId::Team(team) => {
                sqlx::query_as("SELECT spend_pico FROM teams WHERE team_id = $1").bind(team.clone())
            }
            IdentityId::User(user) => {
                sqlx::query_as("SELECT spend_pico FROM users WHERE user_id = $1").bind(user.clone())
            }
            IdentityId::Member { team, user } => sqlx::query_as(
                "SELECT spend_pico FROM team_members WHERE team_id = $1 AND user_id = $2",
            )
            .bind(team.clone())
            .bind(user.clone()),
            IdentityId::Organisation(organisation) => {
                sqlx::query_as("SELECT spend_pico FROM organisations WHERE organization_id = $1")
                    .bind(organisation.clone())
            }
            IdentityId::EndUser(end_user) => {
                sqlx::query_as("SELECT spend_pico FROM end_users WHERE user_id = $1")
                    .bind(end_user.clone())
            }
        });
        Ok(rows.await?.pop().map_or(0, |(spend_pico,)| spend_pico))
    }

    /// Records requests and adds their cost to every total, in one statement, so that either all
    /// of it is recorded or nothing. A call id that was recorded before is not charged again.
    pub(crate) async fn record_spend(&self, rows: &[SpendRow]) -> Result<(), Unavailable> {
        let column = |take: fn(&SpendRow) -> String| rows.iter().map(take).collect::<Vec<_>>();
        let optional =
            |take: fn(&SpendRow) -> Option<String>| rows.iter().map(take).collect::<Vec<_>>();
        let number = |take: fn(&SpendRow) -> i64| rows.iter().map(take).collect::<Vec<_>>();
        let recorded = self.rows::<(i64,)>("spend.insert", Repeat::Once, || {
            sqlx::query_as(
                "WITH fresh AS (\
                   INSERT INTO spend_log (call_id, token, team_id, user_id, model, status, \
                     prompt_tokens, completion_tokens, estimated, spend_pico, at_ms, \
                     organization_id, end_user_id) \
                   SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], \
                     $5::text[], $6::int4[], $7::int8[], $8::int8[], $9::bool[], $10::int8[], \
                     $11::int8[], $12::text[], $13::text[]) \
                   ON CONFLICT (call_id) DO NOTHING \
                   RETURNING token, team_id, user_id, organization_id, end_user_id, spend_pico), \
                 keys AS (\
                   UPDATE virtual_keys k SET spend_pico = k.spend_pico + s.total FROM (\
                     SELECT token, sum(spend_pico)::int8 AS total FROM fresh GROUP BY token) s \
                   WHERE k.key_id = s.token), \
                 owners AS (\
                   UPDATE teams t SET spend_pico = t.spend_pico + s.total FROM (\
                     SELECT team_id, sum(spend_pico)::int8 AS total FROM fresh GROUP BY team_id) s \
                   WHERE t.team_id = s.team_id), \
                 holders AS (\
                   UPDATE users u SET spend_pico = u.spend_pico + s.total FROM (\
                     SELECT user_id, sum(spend_pico)::int8 AS total FROM fresh GROUP BY user_id) s \
                   WHERE u.user_id = s.user_id), \
                 memberships AS (\
                   UPDATE team_members m SET spend_pico = m.spend_pico + s.total FROM (\
                     SELECT team_id, user_id, sum(spend_pico)::int8 AS total FROM fresh \
                     GROUP BY team_id, user_id) s \
                   WHERE m.team_id = s.team_id AND m.user_id = s.user_id), \
                 employers AS (\
                   UPDATE organisations o SET spend_pico = o.spend_pico + s.total FROM (\
                     SELECT organization_id, sum(spend_pico)::int8 AS total FROM fresh \
                     GROUP BY organization_id) s \
                   WHERE o.organization_id = s.organization_id), \
                 beneficiaries AS (\
                   UPDATE end_users e SET spend_pico = e.spend_pico + s.total FROM (\
                     SELECT end_user_id, sum(spend_pico)::int8 AS total FROM fresh \
                     GROUP BY end_user_id) s \
                   WHERE e.user_id = s.end_user_id) \
                 SELECT count(*) FROM fresh",
            )
            .bind(column(|row| row.call_id.clone()))
            .bind(column(|row| row.token.clone()))
            .bind(optional(|row| row.team_id.clone()))
            .bind(optional(|row| row.user_id.clone()))
            .bind(column(|row| row.model.clone()))
            .bind(rows.iter().map(|row| row.status).collect::<Vec<_>>())
            .bind(number(|row| row.prompt_tokens))
            .bind(number(|row| row.completion_tokens))
            .bind(rows.iter().map(|row| row.estimated).collect::<Vec<_>>())
            .bind(number(|row| row.spend_pico))
            .bind(number(|row| row.at_ms))
            .bind(optional(|row| row.organization_id.clone()))
            .bind(optional(|row| row.end_user_id.clone()))
        });
        recorded.await.map(drop)
    }
}
