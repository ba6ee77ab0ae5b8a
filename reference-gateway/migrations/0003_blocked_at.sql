-- Since when a key or team is blocked, in milliseconds since the Unix epoch; null when it is not.
-- `blocked` stays what callers set. A trigger keeps the two in step, so that a release which knows
-- nothing of the moment cannot leave a wrong one behind.

ALTER TABLE virtual_keys ADD COLUMN blocked_at BIGINT;
ALTER TABLE teams ADD COLUMN blocked_at BIGINT;

CREATE FUNCTION date_block() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF NEW.blocked IS NOT TRUE THEN
    NEW.blocked_at := NULL;
  ELSIF NEW.blocked_at IS NULL THEN
    NEW.blocked_at := (extract(epoch FROM clock_timestamp()) * 1000)::int8;
  END IF;
  RETURN NEW;
END
$$;

CREATE TRIGGER virtual_keys_date_block BEFORE INSERT OR UPDATE OF blocked, blocked_at
  ON virtual_keys FOR EACH ROW EXECUTE FUNCTION date_block();
CREATE TRIGGER teams_date_block BEFORE INSERT OR UPDATE OF blocked, blocked_at
  ON teams FOR EACH ROW EXECUTE FUNCTION date_block();

-- Those that are blocked already: the last change is the best guess.
UPDATE virtual_keys SET blocked_at = updated_at_ms WHERE blocked;
UPDATE teams SET blocked_at = updated_at_ms WHERE blocked;
