-- The zone's own number under the name that its children know it by. A generated column is not in the log.
ALTER TABLE domains ADD COLUMN domain_id integer;
UPDATE domains SET domain_id = id;
ALTER TABLE domains ALTER COLUMN domain_id SET NOT NULL, ADD CONSTRAINT domains_domain_id CHECK (domain_id = id);
CREATE FUNCTION domains_domain_id() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.domain_id := NEW.id; RETURN NEW; END';
CREATE TRIGGER domains_domain_id BEFORE INSERT OR UPDATE OF id ON domains
    FOR EACH ROW EXECUTE FUNCTION domains_domain_id();
