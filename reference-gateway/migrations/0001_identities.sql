-- Who may call, and what each may do. Times are milliseconds since the Unix epoch; money that was
-- spent is in pico-dollars (1e-12 USD), so that additions are exact.

CREATE TABLE virtual_keys (
    token                 TEXT PRIMARY KEY,
    key_name              TEXT NOT NULL,
    key_alias             TEXT,
    user_id               TEXT,
    team_id               TEXT,
    models                TEXT[],
    metadata              JSONB,
    max_budget            DOUBLE PRECISION,
    budget_duration       TEXT,
    tpm_limit             BIGINT,
    rpm_limit             BIGINT,
    max_parallel_requests BIGINT,
    blocked               BOOLEAN,
    expires_at_ms         BIGINT,
    spend_pico            BIGINT NOT NULL DEFAULT 0,
    created_at_ms         BIGINT NOT NULL,
    updated_at_ms         BIGINT NOT NULL
);
CREATE INDEX virtual_keys_by_team ON virtual_keys (team_id) WHERE team_id IS NOT NULL;
CREATE INDEX virtual_keys_by_user ON virtual_keys (user_id) WHERE user_id IS NOT NULL;

CREATE TABLE teams (
    team_id               TEXT PRIMARY KEY,
    team_alias            TEXT,
    models                TEXT[],
    metadata              JSONB,
    max_budget            DOUBLE PRECISION,
    budget_duration       TEXT,
    tpm_limit             BIGINT,
    rpm_limit             BIGINT,
    max_parallel_requests BIGINT,
    blocked               BOOLEAN,
    spend_pico            BIGINT NOT NULL DEFAULT 0,
    created_at_ms         BIGINT NOT NULL,
    updated_at_ms         BIGINT NOT NULL
);

CREATE TABLE users (
    user_id               TEXT PRIMARY KEY,
    user_email            TEXT,
    user_alias            TEXT,
    user_role             TEXT,
    models                TEXT[],
    metadata              JSONB,
    max_budget            DOUBLE PRECISION,
    budget_duration       TEXT,
    tpm_limit             BIGINT,
    rpm_limit             BIGINT,
    max_parallel_requests BIGINT,
    spend_pico            BIGINT NOT NULL DEFAULT 0,
    created_at_ms         BIGINT NOT NULL,
    updated_at_ms         BIGINT NOT NULL
);

-- A membership without a budget (`has_budget` false) and one whose budget was cleared
-- (`has_budget` true, `max_budget` null) are two different states.
CREATE TABLE team_members (
    team_id               TEXT NOT NULL REFERENCES teams (team_id) ON DELETE CASCADE,
    user_id               TEXT NOT NULL,
    role                  TEXT NOT NULL,
    has_budget            BOOLEAN NOT NULL DEFAULT FALSE,
    max_budget            DOUBLE PRECISION,
    budget_duration       TEXT,
    tpm_limit             BIGINT,
    rpm_limit             BIGINT,
    allowed_models        TEXT[],
    spend_pico            BIGINT NOT NULL DEFAULT 0,
    created_at_ms         BIGINT NOT NULL,
    updated_at_ms         BIGINT NOT NULL,
    PRIMARY KEY (team_id, user_id)
);
CREATE INDEX team_members_by_user ON team_members (user_id);

CREATE TABLE spend_log (
    call_id               TEXT PRIMARY KEY,
    token                 TEXT NOT NULL,
    team_id               TEXT,
    user_id               TEXT,
    model                 TEXT NOT NULL,
    status                INTEGER NOT NULL,
    prompt_tokens         BIGINT NOT NULL,
    completion_tokens     BIGINT NOT NULL,
    estimated             BOOLEAN NOT NULL,
    spend_pico            BIGINT NOT NULL,
    at_ms                 BIGINT NOT NULL
);
CREATE INDEX spend_log_by_token ON spend_log (token, at_ms);
