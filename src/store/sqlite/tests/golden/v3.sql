-- A store of schema 2, as skala 0.1.0 left it. Never edited: later schemas have files of their own.
PRAGMA auto_vacuum = INCREMENTAL;
-- Times are microseconds since the Unix epoch.
CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Fleets, providers, groups, revisions and engines: their text is kept once.
CREATE TABLE names (
    id   INTEGER PRIMARY KEY,
    text TEXT NOT NULL UNIQUE
) STRICT;

CREATE TABLE memories (
    fleet INTEGER PRIMARY KEY REFERENCES names,
    bytes BLOB NOT NULL
) STRICT;

CREATE TABLE actions (
    seq          INTEGER PRIMARY KEY,
    id           BLOB    NOT NULL UNIQUE,
    fleet        INTEGER NOT NULL REFERENCES names,
    group_index  INTEGER NOT NULL,
    provider     INTEGER NOT NULL REFERENCES names,
    group_name   INTEGER NOT NULL REFERENCES names,
    action       TEXT    NOT NULL,
    change       INTEGER NOT NULL,
    seen_desired INTEGER,
    seen_token   TEXT,
    seen_at      INTEGER NOT NULL,
    at           INTEGER NOT NULL,
    expires      INTEGER NOT NULL,
    epoch        INTEGER NOT NULL,
    outcome      TEXT, -- accepted, refused or unclear; NULL while the call is in the air
    code         TEXT,
    ended        INTEGER
) STRICT;
CREATE INDEX actions_by_time ON actions (at);
CREATE INDEX actions_open ON actions (seq) WHERE outcome IS NULL;

CREATE TABLE overrides (
    fleet         INTEGER PRIMARY KEY REFERENCES names,
    pin           INTEGER, -- NULL: a hold
    until         INTEGER NOT NULL,
    scale_in_only INTEGER NOT NULL,
    pin_now       INTEGER NOT NULL,
    reason        TEXT    NOT NULL,
    asked_by      TEXT    NOT NULL,
    at            INTEGER NOT NULL
) STRICT;
CREATE INDEX overrides_by_end ON overrides (until);

CREATE TABLE lease (
    one   INTEGER PRIMARY KEY CHECK (one = 1),
    owner TEXT    NOT NULL,
    epoch INTEGER NOT NULL,
    until INTEGER NOT NULL
) STRICT;

-- Only ever added to at the end and trimmed at the beginning; a fleet's entries are chained, newest to oldest, from
-- `tails`: an index would cost a page written for each entry. How a run ended stands in the fleet's next entry, so that
-- no page is written twice for it; the newest run's end stands in `tails`.
CREATE TABLE journal (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    at           INTEGER NOT NULL,
    former       INTEGER, -- the fleet's entry before
    former_until INTEGER,
    former_count INTEGER,
    revision     INTEGER NOT NULL REFERENCES names,
    engine       INTEGER NOT NULL REFERENCES names,
    base         INTEGER, -- the entry that this one's body was packed on; NULL: it stands alone
    body         BLOB    NOT NULL
) STRICT;

-- Each fleet's newest entry. Narrow: every fleet's row is rewritten at every checkpoint.
CREATE TABLE tails (
    fleet   INTEGER PRIMARY KEY REFERENCES names,
    entry   INTEGER NOT NULL,
    at      INTEGER NOT NULL,
    until   INTEGER NOT NULL,
    count   INTEGER NOT NULL,
    base    INTEGER NOT NULL, -- the fleet's newest entry that stands alone
    base_at INTEGER NOT NULL
) STRICT;

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

CREATE TABLE learned (
    fleet INTEGER PRIMARY KEY REFERENCES names,
    bytes BLOB NOT NULL
) STRICT;

PRAGMA application_id = 1936417132;
PRAGMA user_version = 3;

INSERT INTO meta VALUES ('store_id', 'golden');
INSERT INTO names VALUES (1, 'checkout'), (2, 'aws-prod'), (3, 'checkout-web'), (4, 'r1'), (5, '0.1.0'), (6, 'search');
INSERT INTO memories VALUES (1, x'010203');
INSERT INTO learned VALUES (1, x'0405');
INSERT INTO actions VALUES
    (1, x'00000000000000000000000000000005', 1, 1, 2, 3, '{"action":"lower","to":2}', -2, 4, NULL, 1700000000000000, 1700000001000000, 1700000031000000, 1, 'accepted', 'accepted', 1700000002000000),
    (2, x'00000000000000000000000000000006', 1, 1, 2, 3, '{"action":"raise","to":9}', 6, 3, NULL, 1700000000000000, 1700000001000000, 1700000031000000, 1, 'refused', 'conflict', 1700000002000000),
    (3, x'00000000000000000000000000000007', 1, 1, 2, 3, '{"action":"raise","to":7}', 4, 3, NULL, 1700000059000000, 1700000060000000, 1700000090000000, 1, NULL, NULL, NULL);
INSERT INTO overrides VALUES
    (1, NULL, 1700003600000000, 1, 0, 'incident', 'uid 0', 1700000000000000),
    (6, 12, 1700003600000000, 0, 1, 'launch', 'uid 0', 1700000000000000);
INSERT INTO lease VALUES (1, 'golden', 3, 1600000000000000);
INSERT INTO policy_sets VALUES (1, 4, 15000000, NULL, NULL);
INSERT INTO policy_texts VALUES (1, '[fleet.checkout]');
INSERT INTO policy_files VALUES (1, 0, 'checkout.toml', 1);
INSERT INTO journal VALUES
    (1, 1700000000000000, NULL, NULL, NULL, 4, 5, NULL, x'0113000000f004097b226e6f77223a307d030100ff04686f6c64'),
    (2, 1700000060000000, 1, 1700000045000000, 4, 4, 5, 1, x'0213000000130a1300b036307d030100ff036f7574');
INSERT INTO tails VALUES (1, 2, 1700000060000000, 1700000090000000, 3, 1, 1700000000000000);
