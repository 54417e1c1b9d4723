-- Indexes for what was read whole: the older elements of a document when one is forgotten, the amendments of a post when one comes,
-- and lists in an order that no index had.

CREATE TABLE aggregate_shadows (   -- members that an element has and a newer one of its key as well, from which the document has them
  owner TEXT NOT NULL,
  key TEXT NOT NULL,
  member TEXT NOT NULL,            -- the beginning of the sha256 of its name
  content_time DOUBLE PRECISION NOT NULL, -- of the element
  item_hash TEXT NOT NULL,         -- the element
  PRIMARY KEY (owner, key, member, content_time, item_hash)
){{rowless}};

DROP INDEX posts_amends;
CREATE INDEX posts_amends ON posts (amends, content_time) WHERE amends IS NOT NULL;
CREATE INDEX aggregates_created ON aggregates (created, key, owner);
CREATE INDEX forgotten_ended ON forgotten_messages (forgotten_at, item_hash);
CREATE INDEX removed_ended ON removed_messages (removed_at, item_hash);
