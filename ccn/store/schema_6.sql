-- The index of the ends of hashes is two tables: each commit touched nearly each page of one. New ends go into the first, which is small;
-- when it has enough of them, those of a part of its range go into the second together, so that many share a page there (ends.go).

-- only sqlite
CREATE TABLE hash_ends_new (
  hash_end TEXT NOT NULL,          -- of a message
  message_id BIGINT NOT NULL,
  PRIMARY KEY (hash_end, message_id)
){{rowless}};
CREATE TABLE hash_ends_settled (
  hash_end TEXT NOT NULL,
  message_id BIGINT NOT NULL,
  PRIMARY KEY (hash_end, message_id)
){{rowless}};
INSERT INTO hash_ends_settled SELECT substr(item_hash, length(item_hash) - 11), id FROM messages ORDER BY substr(item_hash, length(item_hash) - 11), id;
DROP INDEX messages_hash;
CREATE VIEW hash_ends AS SELECT hash_end, message_id FROM hash_ends_new UNION ALL SELECT hash_end, message_id FROM hash_ends_settled;

-- only postgres: the index stays
CREATE VIEW hash_ends AS SELECT substr(item_hash, length(item_hash) - 11) AS hash_end, id AS message_id FROM messages;
