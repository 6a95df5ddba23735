-- What rules have learned lies apart from the memories: it is large and changes little, and they are written every 30 s.
CREATE TABLE learned (
    fleet INTEGER PRIMARY KEY REFERENCES names,
    bytes BLOB NOT NULL
) STRICT;
