-- Versions of files and claims were sorted by the hash of their message, and each had a page of its own. They come behind each other now
-- and are found by the end of the hash, as messages are (schema_2.sql).

-- The newest version under a tag is the newest of the pins that compete for it, which the index has in order.
DROP TABLE file_tags;
DROP INDEX file_pins_tag;
DROP INDEX file_pins_message;
CREATE INDEX file_pins_tag ON file_pins (tag, created, substr(item_hash, 1, 12)) WHERE tag IS NOT NULL;
CREATE INDEX file_pins_message ON file_pins (substr(item_hash, length(item_hash) - 11));

CREATE TABLE claims_rebuilt (
  id {{id}},
  item_hash TEXT NOT NULL,
  owner TEXT NOT NULL,
  payment_type TEXT NOT NULL,
  content_time DOUBLE PRECISION NOT NULL,
  need TEXT NOT NULL,
  must_pay BIGINT NOT NULL,
  exempt BIGINT NOT NULL,
  status TEXT NOT NULL,
  ended DOUBLE PRECISION,
  ended_by TEXT
);
INSERT INTO claims_rebuilt (item_hash, owner, payment_type, content_time, need, must_pay, exempt, status, ended, ended_by)
  SELECT item_hash, owner, payment_type, content_time, need, must_pay, exempt, status, ended, ended_by FROM claims ORDER BY content_time, item_hash;
DROP TABLE claims;
ALTER TABLE claims_rebuilt RENAME TO claims;
CREATE INDEX claims_message ON claims (substr(item_hash, length(item_hash) - 11));
CREATE INDEX claims_owner ON claims (owner, payment_type, content_time);
CREATE INDEX claims_time ON claims (content_time);
