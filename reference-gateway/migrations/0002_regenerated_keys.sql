-- A key may get a new secret. What it spends and may do stays with its `key_id`, which is the hash of
-- its first secret; `token` is the hash of the secret that it has now.

ALTER TABLE virtual_keys ADD COLUMN key_id TEXT;
UPDATE virtual_keys SET key_id = token;
ALTER TABLE virtual_keys ALTER COLUMN key_id SET NOT NULL;
ALTER TABLE virtual_keys ADD CONSTRAINT virtual_keys_by_key_id UNIQUE (key_id);

-- Secrets that were replaced and still work, each until its end.
CREATE TABLE retired_secrets (
    token                 TEXT PRIMARY KEY,
    key_id                TEXT NOT NULL REFERENCES virtual_keys (key_id) ON DELETE CASCADE,
    ends_at_ms            BIGINT NOT NULL
);
CREATE INDEX retired_secrets_by_key_id ON retired_secrets (key_id);
