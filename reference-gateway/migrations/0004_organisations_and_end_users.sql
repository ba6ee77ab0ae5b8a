-- Organisations own teams and keys; end users are whom a caller's requests are for.

CREATE TABLE organisations (
    organization_id       TEXT PRIMARY KEY,
    organization_alias    TEXT NOT NULL,
    models                TEXT[],
    metadata              JSONB,
    max_budget            DOUBLE PRECISION,
    budget_duration       TEXT,
    tpm_limit             BIGINT,
    rpm_limit             BIGINT,
    spend_pico            BIGINT NOT NULL DEFAULT 0,
    created_at_ms         BIGINT NOT NULL,
    updated_at_ms         BIGINT NOT NULL
);

ALTER TABLE virtual_keys ADD COLUMN organization_id TEXT;
ALTER TABLE teams ADD COLUMN organization_id TEXT;
CREATE INDEX virtual_keys_by_organisation ON virtual_keys (organization_id)
    WHERE organization_id IS NOT NULL;
CREATE INDEX teams_by_organisation ON teams (organization_id) WHERE organization_id IS NOT NULL;

CREATE TABLE end_users (
    user_id               TEXT PRIMARY KEY,
    alias                 TEXT,
    blocked               BOOLEAN,
    max_budget            DOUBLE PRECISION,
    budget_duration       TEXT,
    spend_pico            BIGINT NOT NULL DEFAULT 0,
    created_at_ms         BIGINT NOT NULL,
    updated_at_ms         BIGINT NOT NULL
);

ALTER TABLE spend_log ADD COLUMN organization_id TEXT;
ALTER TABLE spend_log ADD COLUMN end_user_id TEXT;
