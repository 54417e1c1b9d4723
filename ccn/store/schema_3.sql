-- What is left of a document when an element is forgotten is looked up, where all older elements of its key were read.

CREATE TABLE aggregate_shadows (   -- members that an element has and a newer one of its key as well, from which the document has them
  owner TEXT NOT NULL,
  key TEXT NOT NULL,
  member TEXT NOT NULL,            -- the beginning of the sha256 of its name
  content_time DOUBLE PRECISION NOT NULL, -- of the element
  item_hash TEXT NOT NULL,         -- the element
  PRIMARY KEY (owner, key, member, content_time, item_hash)
){{rowless}};
