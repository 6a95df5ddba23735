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

CREATE TABLE policies (
    position INTEGER PRIMARY KEY,
    name     TEXT NOT NULL,
    text     TEXT NOT NULL
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
