-- Elements of aggregates have the numbers of their messages, and so come behind each other: by hash each had a page of its own.
CREATE TABLE aggregate_elements_rebuilt (
  id {{key}},                      -- of its message
  item_hash TEXT NOT NULL,
  owner TEXT NOT NULL,
  key TEXT NOT NULL,
  content_time DOUBLE PRECISION NOT NULL,
  content TEXT NOT NULL
);
INSERT INTO aggregate_elements_rebuilt SELECT m.id, e.item_hash, e.owner, e.key, e.content_time, e.content
  FROM aggregate_elements e JOIN messages m ON substr(m.item_hash, length(m.item_hash) - 11) = substr(e.item_hash, length(e.item_hash) - 11)
  AND COALESCE(m.item_hash, '') = e.item_hash;
DROP TABLE aggregate_elements;
ALTER TABLE aggregate_elements_rebuilt RENAME TO aggregate_elements;
CREATE INDEX aggregate_elements_key ON aggregate_elements (owner, key, content_time, item_hash);
