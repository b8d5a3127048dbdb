-- A gallery as schema 1 had it: two people, an ignored group, a correction.
PRAGMA application_id = 0x50454550;
PRAGMA user_version = 1;
CREATE TABLE state (version INTEGER NOT NULL, unscrubbed INTEGER NOT NULL) STRICT;
INSERT INTO state VALUES (41, 0);
CREATE TABLE people (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL,
    folded TEXT NOT NULL UNIQUE,
    ignored INTEGER NOT NULL DEFAULT 0 CHECK (ignored IN (0, 1)),
    created REAL NOT NULL
) STRICT;
INSERT INTO people VALUES (1, 'Anna', 'anna', 0, 100.0), (3, 'Ørjan', 'ørjan', 1, 200.5);
CREATE TABLE groups (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    ignored INTEGER NOT NULL DEFAULT 0 CHECK (ignored IN (0, 1)),
    created REAL NOT NULL
) STRICT;
INSERT INTO groups VALUES (7, 1, 300.0);
CREATE TABLE faces (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    person_id INTEGER REFERENCES people (id) ON DELETE CASCADE,
    group_id INTEGER REFERENCES groups (id) ON DELETE CASCADE,
    rejected_id INTEGER REFERENCES people (id) ON DELETE CASCADE,
    time REAL NOT NULL,
    camera TEXT NOT NULL,
    source TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    landmarks TEXT,
    landmark_kind TEXT NOT NULL,
    box TEXT NOT NULL,
    quality TEXT,
    crop BLOB NOT NULL,
    CHECK ((person_id IS NOT NULL) + (group_id IS NOT NULL) + (rejected_id IS NOT NULL) = 1)
) STRICT;
CREATE INDEX faces_of_person ON faces (person_id) WHERE person_id IS NOT NULL;
CREATE INDEX faces_of_group ON faces (group_id, time) WHERE group_id IS NOT NULL;
CREATE INDEX faces_rejected ON faces (rejected_id) WHERE rejected_id IS NOT NULL;
INSERT INTO faces VALUES
    (1, 1, NULL, NULL, 100.0, '', 'a.jpg', 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa',
     '[[1.0, 2.0], [3.0, 4.0], [5.0, 6.0], [7.0, 8.0], [9.0, 10.5]]', 'arcface', '[0.0, 1.0, 10.5, 12.0]', NULL,
     X'89504E470D0A1A0A01'),
    (2, 3, NULL, NULL, 200.5, '', 'b.jpg', 'bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb',
     NULL, 'none', '[0.0, 1.0, 10.5, 12.0]', '{"written": "by another version"}', X'89504E470D0A1A0A02'),
    (3, NULL, 7, NULL, 300.0, 'door', 'c.jpg', 'cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc',
     NULL, 'none', '[0.0, 1.0, 10.5, 12.0]', NULL, X'89504E470D0A1A0A03'),
    (4, NULL, NULL, 1, 400.0, '', 'd.jpg', 'dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd',
     NULL, 'none', '[0.0, 1.0, 10.5, 12.0]', NULL, X'89504E470D0A1A0A04');
CREATE TABLE embeddings (
    face_id INTEGER NOT NULL REFERENCES faces (id) ON DELETE CASCADE,
    model TEXT NOT NULL,
    vector BLOB NOT NULL,
    PRIMARY KEY (face_id, model)
) STRICT, WITHOUT ROWID;
INSERT INTO embeddings VALUES  -- 1 and 2, -1 and 0.5, and so on as little-endian float32
    (1, 'ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff', X'0000803F00000040'),
    (2, 'ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff', X'000080BF0000003F'),
    (3, 'ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff', X'0000000000000000'),
    (4, 'ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff', X'0000004000000000');
CREATE TABLE rules (model TEXT PRIMARY KEY, rule TEXT NOT NULL, created REAL NOT NULL) STRICT, WITHOUT ROWID;
