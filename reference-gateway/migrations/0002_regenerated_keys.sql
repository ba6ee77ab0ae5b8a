-- A key may get a new secret. What it spends and may do stays with its `key_id`, which is the hash of
-- its first secret; `token` is the hash of the secret that it has now. A trigger names the keys of a
-- release that knows nothing of `key_id`, so that it can still issue some.

ALTER TABLE virtual_keys ADD COLUMN key_id TEXT;
UPDATE virtual_keys SET key_id = token;
ALTER TABLE virtual_keys ALTER COLUMN key_id SET NOT NULL;
ALTER TABLE virtual_keys ADD CONSTRAINT virtual_keys_by_key_id UNIQUE (key_id);

CREATE FUNCTION name_key() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  NEW.key_id := coalesce(NEW.key_id, NEW.token);
  RETURN NEW;
END
$$;

CREATE TRIGGER virtual_keys_name_key BEFORE INSERT
  ON virtual_keys FOR EACH ROW EXECUTE FUNCTION name_key();

-- Secrets that were replaced and still work, each until its end.
CREATE TABLE retired_secrets (
    token                 TEXT PRIMARY KEY,
    key_id                TEXT NOT NULL REFERENCES virtual_keys (key_id) ON DELETE CASCADE,
    ends_at_ms            BIGINT NOT NULL
);
CREATE INDEX retired_secrets_by_key_id ON retired_secrets (key_id);
