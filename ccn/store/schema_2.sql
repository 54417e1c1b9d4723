-- Messages are found by the end of their hash. Each message has a page of its own in an index of whole hashes, as soon as these
-- are many, and pages are what a commit costs: an index of twelve characters has less than a third of them. Few hashes have the same end,
-- and the row has the whole hash. No index holds hashes to be different any more: only what is not there is inserted.

-- only postgres
ALTER TABLE node_metrics DROP CONSTRAINT node_metrics_item_hash_fkey;
ALTER TABLE messages DROP CONSTRAINT messages_item_hash_key;

-- only sqlite: an index that came with its table does not go without it
CREATE TABLE node_metrics_rebuilt (
  node_id TEXT NOT NULL,
  kind TEXT NOT NULL,
  measured_at BIGINT NOT NULL,
  item_hash TEXT NOT NULL,
  entry BIGINT NOT NULL,
  measured TEXT NOT NULL,
  PRIMARY KEY (node_id, kind, measured_at, item_hash, entry)
){{rowless}};
INSERT INTO node_metrics_rebuilt SELECT node_id, kind, measured_at, item_hash, entry, measured FROM node_metrics;
DROP TABLE node_metrics;
ALTER TABLE node_metrics_rebuilt RENAME TO node_metrics;
CREATE INDEX node_metrics_message ON node_metrics (item_hash);

CREATE TABLE messages_rebuilt (
  id {{id}},
  item_hash TEXT NOT NULL,
  type TEXT NOT NULL,
  chain TEXT NOT NULL,
  sender TEXT NOT NULL,
  signature TEXT,
  item_type TEXT NOT NULL,
  item_content TEXT,
  content TEXT,
  time BIGINT NOT NULL,
  channel TEXT,
  size BIGINT NOT NULL,
  status TEXT NOT NULL,
  reception_time BIGINT NOT NULL,
  owner TEXT NOT NULL,
  content_time DOUBLE PRECISION NOT NULL,
  content_type TEXT,
  content_ref TEXT,
  content_key TEXT,
  content_item_hash TEXT,
  payment_type TEXT,
  tags TEXT,
  first_confirmed_at BIGINT,
  first_confirmed_height BIGINT
);
INSERT INTO messages_rebuilt SELECT id, item_hash, type, chain, sender, signature, item_type, item_content, content, time, channel, size, status,
  reception_time, owner, content_time, content_type, content_ref, content_key, content_item_hash, payment_type, tags,
  first_confirmed_at, first_confirmed_height
  FROM messages ORDER BY id;
DROP TABLE messages;
ALTER TABLE messages_rebuilt RENAME TO messages;
CREATE INDEX messages_time ON messages (time, type, chain);
CREATE INDEX messages_own ON messages (sender, time, type, content_type) WHERE COALESCE(sender = owner, FALSE);
CREATE INDEX messages_sent ON messages (sender, time, type, content_type) WHERE sender <> owner;
CREATE INDEX messages_owned ON messages (owner, time, type, content_type) WHERE sender <> owner;
CREATE INDEX messages_delegated ON messages (owner, content_time) WHERE sender <> owner;
CREATE INDEX messages_type ON messages (type, time, chain) WHERE type <> 'POST';
CREATE INDEX messages_chain ON messages (chain, time, type) WHERE chain <> 'ETH';
CREATE INDEX messages_removing ON messages (time, type, sender) WHERE status = 'removing';
CREATE INDEX messages_channel ON messages (channel, time, type, content_type) WHERE channel IS NOT NULL;
CREATE INDEX messages_reception ON messages (reception_time);
CREATE INDEX messages_ref ON messages (content_ref, time) WHERE content_ref IS NOT NULL;
CREATE INDEX messages_content_type ON messages (content_type, time) WHERE content_type IS NOT NULL;
CREATE INDEX messages_key ON messages (content_key, time) WHERE content_key IS NOT NULL;
CREATE INDEX messages_content_hash ON messages (content_item_hash, time) WHERE content_item_hash IS NOT NULL;
CREATE INDEX messages_payment ON messages (payment_type, time) WHERE payment_type IS NOT NULL;
CREATE INDEX messages_unconfirmed ON messages (time) WHERE first_confirmed_at IS NULL;
CREATE INDEX messages_confirmed ON messages (first_confirmed_at, time, first_confirmed_height) WHERE first_confirmed_at IS NOT NULL;

-- on all
CREATE INDEX messages_hash ON messages (substr(item_hash, length(item_hash) - 11));
