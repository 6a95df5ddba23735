-- Policies are kept for as long as the journal speaks of them.
CREATE TABLE policy_sets (
    id       INTEGER PRIMARY KEY,
    revision INTEGER NOT NULL REFERENCES names,
    interval INTEGER NOT NULL, -- of fleets that say none
    replaced INTEGER,          -- when; NULL: in force
    last     INTEGER           -- the journal's newest entry then
) STRICT;

CREATE TABLE policy_texts (
    id   INTEGER PRIMARY KEY,
    text TEXT NOT NULL
) STRICT;

CREATE TABLE policy_files (
    policy_set INTEGER NOT NULL REFERENCES policy_sets,
    position   INTEGER NOT NULL,
    name       TEXT    NOT NULL,
    text       INTEGER NOT NULL REFERENCES policy_texts,
    PRIMARY KEY (policy_set, position)
) STRICT, WITHOUT ROWID;

INSERT OR IGNORE INTO names (text) SELECT value FROM meta WHERE key = 'policies_revision';
INSERT INTO policy_sets (id, revision, interval)
    SELECT 1, names.id, 15000000 FROM meta JOIN names ON names.text = value WHERE key = 'policies_revision';
INSERT INTO policy_texts (id, text) SELECT position + 1, text FROM policies;
INSERT INTO policy_files (policy_set, position, name, text)
    SELECT 1, position, name, position + 1 FROM policies WHERE EXISTS (SELECT 1 FROM policy_sets);
DELETE FROM meta WHERE key = 'policies_revision';
DROP TABLE policies;
