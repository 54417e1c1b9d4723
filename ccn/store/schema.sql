-- The node's state. One schema for every engine: no JSON operators, no triggers; what is filtered on is a column or a side table.
-- Times named *_time or *_at are microseconds since the epoch unless the type is DOUBLE PRECISION (content times, Unix seconds as signed).
-- JSON texts are kept exactly as received. {{id}}, {{key}} and {{rowless}} are filled in per engine. What changed since is in
-- schema_2.sql and those that follow.

CREATE TABLE messages (            -- valid and applied: status processed or removing
  id {{id}},
  item_hash TEXT NOT NULL UNIQUE,
  type TEXT NOT NULL,
  chain TEXT NOT NULL,
  sender TEXT NOT NULL,
  signature TEXT,                  -- NULL only when a smart contract event made the message
  item_type TEXT NOT NULL,
  item_content TEXT,               -- inline messages
  content TEXT,                    -- other messages: the fetched JSON, with address and time filled in
  time BIGINT NOT NULL,
  channel TEXT,
  size BIGINT NOT NULL,            -- inline: code points of item_content; otherwise bytes of the content file
  status TEXT NOT NULL,
  reception_time BIGINT NOT NULL,
  owner TEXT NOT NULL,             -- content.address
  content_time DOUBLE PRECISION NOT NULL,
  content_type TEXT,               -- content.type (POST, PROGRAM)
  content_ref TEXT,                -- content.ref (POST, STORE)
  content_key TEXT,                -- content.key (AGGREGATE)
  content_item_hash TEXT,          -- content.item_hash (STORE)
  payment_type TEXT,               -- NULL when the content has no payment object
  tags TEXT,                       -- JSON list of its message_tags, NULL when it has none
  first_confirmed_at BIGINT,
  first_confirmed_height BIGINT
);
-- A list is read along one index, in its order; the columns after the time decide on rows that are then not fetched. What
-- nearly all messages have in common (owner and sender, POST, ETH, processed) has no index of its own: see list_branches.go.
-- COALESCE keeps PostgreSQL from making two conditions of the equality and a value, which would not fit the index any more.
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

CREATE TABLE address_stats (       -- how many processed messages each sender has, in all and by type
  address TEXT PRIMARY KEY,
  total BIGINT NOT NULL DEFAULT 0, -- V-PROGRAM counts here only
  aggregate BIGINT NOT NULL DEFAULT 0,
  forget BIGINT NOT NULL DEFAULT 0,
  instance BIGINT NOT NULL DEFAULT 0,
  post BIGINT NOT NULL DEFAULT 0,
  program BIGINT NOT NULL DEFAULT 0,
  store BIGINT NOT NULL DEFAULT 0
){{rowless}};
CREATE INDEX address_stats_total ON address_stats (total DESC, address);
CREATE INDEX address_stats_aggregate ON address_stats (aggregate DESC, address);
CREATE INDEX address_stats_forget ON address_stats (forget DESC, address);
CREATE INDEX address_stats_instance ON address_stats (instance DESC, address);
CREATE INDEX address_stats_post ON address_stats (post DESC, address);
CREATE INDEX address_stats_program ON address_stats (program DESC, address);
CREATE INDEX address_stats_store ON address_stats (store DESC, address);

CREATE TABLE address_terms (       -- how many applied messages of a sender carry a post type or a channel
  address TEXT NOT NULL,           -- '' for all senders together
  kind TEXT NOT NULL,              -- post_type, channel; for all together also type, a message type and a chain
  term TEXT NOT NULL,
  messages BIGINT NOT NULL,
  PRIMARY KEY (address, kind, term)
){{rowless}};

CREATE TABLE node_metrics (        -- what the network's scoring measured; goes with its POST
  node_id TEXT NOT NULL,
  kind TEXT NOT NULL,              -- ccn, crn
  measured_at BIGINT NOT NULL,
  item_hash TEXT NOT NULL REFERENCES messages(item_hash) ON DELETE CASCADE,
  entry BIGINT NOT NULL,           -- position in the POST
  measured TEXT NOT NULL,          -- JSON list: the values by their order in the API, null where there is none
  PRIMARY KEY (node_id, kind, measured_at, item_hash, entry)
){{rowless}};
CREATE INDEX node_metrics_message ON node_metrics (item_hash);

CREATE TABLE message_tags (        -- goes with its message, which lists its tags
  tag TEXT NOT NULL,
  time BIGINT NOT NULL,            -- of the message
  message_id BIGINT NOT NULL,
  type TEXT NOT NULL,              -- of the message
  PRIMARY KEY (tag, time, message_id)
){{rowless}};

CREATE TABLE pending_messages (    -- durable, not applied: waits for its content or for another message
  id {{id}},
  item_hash TEXT NOT NULL,
  sender TEXT NOT NULL,
  signature TEXT NOT NULL,         -- copies with another signature are queued beside each other: a bad copy cannot squat the hash
  message TEXT NOT NULL,           -- the envelope as JSON
  origin TEXT NOT NULL,            -- api, p2p, chain
  reception_time BIGINT NOT NULL,
  next_attempt BIGINT NOT NULL,
  retries BIGINT NOT NULL,
  error_code BIGINT NOT NULL,      -- of the last attempt
  details TEXT,                    -- of the last attempt
  UNIQUE (item_hash, sender, signature)
);
CREATE INDEX pending_next ON pending_messages (next_attempt);

CREATE TABLE pending_waits (       -- what would let a pending message go on
  wait_key TEXT NOT NULL,
  pending_id BIGINT NOT NULL REFERENCES pending_messages(id) ON DELETE CASCADE,
  PRIMARY KEY (wait_key, pending_id)
){{rowless}};
CREATE INDEX pending_waits_pending ON pending_waits (pending_id);

CREATE TABLE rejected_messages (
  item_hash TEXT NOT NULL,
  sender TEXT NOT NULL,            -- '' while signature or content are not seen to be right: who signs a hash after others displaces none
  message TEXT NOT NULL,           -- the envelope as received
  error_code BIGINT NOT NULL,
  details TEXT,
  reception_time BIGINT NOT NULL,
  judged_at BIGINT NOT NULL,       -- by this node's clock
  verified BIGINT NOT NULL,        -- 1: signature and content are right, only the state of the node spoke against it
  own BIGINT NOT NULL,             -- 1: verified, and its sender is the owner of its content
  content TEXT,                    -- of a verified message that is not inline: the fetched JSON
  PRIMARY KEY (item_hash, sender)
){{rowless}};

CREATE TABLE rejected_waits (      -- what would let a rejected message come back
  wait_key TEXT NOT NULL,
  judged_at BIGINT NOT NULL,       -- of the message: who was judged the longest ago comes back first
  item_hash TEXT NOT NULL,
  sender TEXT NOT NULL,
  PRIMARY KEY (wait_key, judged_at, item_hash, sender),
  FOREIGN KEY (item_hash, sender) REFERENCES rejected_messages(item_hash, sender) ON DELETE CASCADE
){{rowless}};
CREATE INDEX rejected_waits_message ON rejected_waits (item_hash, sender);

CREATE TABLE revivals (            -- keys for which more rejected messages come back than one commit takes
  wait_key TEXT PRIMARY KEY,
  remaining BIGINT NOT NULL        -- how many are still to have their turn
){{rowless}};

CREATE TABLE forgotten_messages (
  item_hash TEXT PRIMARY KEY,
  type TEXT NOT NULL,
  chain TEXT NOT NULL,
  sender TEXT NOT NULL,
  signature TEXT,
  item_type TEXT NOT NULL,
  time BIGINT NOT NULL,
  channel TEXT,
  owner TEXT,
  payment_type TEXT,
  size BIGINT,                     -- of the stored file
  forgotten_by TEXT NOT NULL,      -- JSON list of FORGET hashes
  forgotten_at BIGINT,
  reception_time BIGINT NOT NULL,
  content_time DOUBLE PRECISION NOT NULL,
  content_type TEXT,               -- what decides who may act on it, and what may still refer to it: content.type,
  content_key TEXT,                -- content.key,
  content_ref TEXT,                -- content.ref, of a PROGRAM content.replaces
  grants TEXT,                     -- content.content.authorizations, when an owner granted rights with it
  allow_amend BIGINT NOT NULL      -- content.allow_amend
);
CREATE INDEX forgotten_key ON forgotten_messages (owner, content_key, content_time) WHERE content_key IS NOT NULL;
CREATE INDEX forgotten_ref ON forgotten_messages (content_ref) WHERE content_ref IS NOT NULL;

CREATE TABLE forgets (             -- who forgot what; also elements of an aggregate that come later
  target TEXT NOT NULL,            -- a message
  item_hash TEXT NOT NULL,         -- the FORGET
  content_time DOUBLE PRECISION NOT NULL,
  time BIGINT NOT NULL,            -- envelope time of the FORGET
  PRIMARY KEY (target, content_time, item_hash)
){{rowless}};

CREATE TABLE aggregate_forgets (   -- keys whose elements before a FORGET are forgotten, whenever they arrive
  owner TEXT NOT NULL,
  key TEXT NOT NULL,
  content_time DOUBLE PRECISION NOT NULL,
  item_hash TEXT NOT NULL,         -- the FORGET
  sender TEXT NOT NULL,            -- who asked
  time BIGINT NOT NULL,            -- envelope time of the FORGET
  PRIMARY KEY (owner, key, content_time, item_hash)
){{rowless}};

CREATE TABLE removed_messages (
  item_hash TEXT PRIMARY KEY,
  type TEXT, chain TEXT, sender TEXT, signature TEXT, item_type TEXT, time BIGINT, channel TEXT,
  owner TEXT, payment_type TEXT, size BIGINT, removed_at BIGINT, reception_time BIGINT NOT NULL,
  content_time DOUBLE PRECISION NOT NULL, content_ref TEXT, allow_amend BIGINT NOT NULL,
  message TEXT NOT NULL            -- the envelope, should it turn out that there were funds
);

CREATE TABLE confirmations (       -- kept whatever the state of the message, so none is ever lost
  item_hash TEXT NOT NULL,
  tx_hash TEXT NOT NULL,
  chain TEXT NOT NULL,
  height BIGINT NOT NULL,
  time BIGINT NOT NULL,
  publisher TEXT NOT NULL,
  signature TEXT NOT NULL,         -- of the copy that was anchored, '' when a contract event made it; others are not confirmed by it
  PRIMARY KEY (item_hash, tx_hash)
){{rowless}};

CREATE TABLE posts (
  id {{key}},                      -- of its message
  item_hash TEXT NOT NULL,
  owner TEXT NOT NULL,
  type TEXT NOT NULL,
  ref TEXT,
  amends TEXT,                     -- the original, when this is an amendment
  channel TEXT,
  content_time DOUBLE PRECISION NOT NULL,
  latest_amend TEXT,               -- of an original: the amendment with the greatest (content_time, item_hash)
  latest_id BIGINT,                -- of that amendment
  last_updated DOUBLE PRECISION NOT NULL, -- of an original: content time of what is shown
  tags TEXT                        -- of an original: JSON list of its post_tags, NULL when it has none
);
CREATE INDEX posts_amends ON posts (amends) WHERE amends IS NOT NULL;
CREATE INDEX posts_amended ON posts (content_time) WHERE latest_id IS NOT NULL;
CREATE INDEX posts_updated ON posts (last_updated, channel) WHERE amends IS NULL;
CREATE INDEX posts_owner ON posts (owner, last_updated, type) WHERE amends IS NULL;
CREATE INDEX posts_type ON posts (type, last_updated, channel) WHERE amends IS NULL;
CREATE INDEX posts_ref ON posts (ref, last_updated) WHERE ref IS NOT NULL AND amends IS NULL;

CREATE TABLE post_tags (           -- what originals are found by: the tags of what is shown, or their own when that has none
  tag TEXT NOT NULL,
  last_updated DOUBLE PRECISION NOT NULL,
  post_id BIGINT NOT NULL,
  PRIMARY KEY (tag, last_updated, post_id)
){{rowless}};

CREATE TABLE aggregate_elements (
  item_hash TEXT PRIMARY KEY,
  owner TEXT NOT NULL,
  key TEXT NOT NULL,
  content_time DOUBLE PRECISION NOT NULL,
  content TEXT NOT NULL
){{rowless}};
CREATE INDEX aggregate_elements_key ON aggregate_elements (owner, key, content_time, item_hash);

CREATE TABLE aggregates (          -- what the elements of a key add up to
  owner TEXT NOT NULL,
  key TEXT NOT NULL,
  created DOUBLE PRECISION NOT NULL,      -- content time of the oldest element
  last_updated DOUBLE PRECISION NOT NULL, -- content time of the newest element
  last_revision_hash TEXT NOT NULL,
  PRIMARY KEY (owner, key)
){{rowless}};
CREATE INDEX aggregates_updated ON aggregates (last_updated, key, owner);
CREATE INDEX aggregates_key ON aggregates (key, owner);

CREATE TABLE aggregate_pieces (    -- the documents, cut in the order of their members: an element rewrites only where its own are
  owner TEXT NOT NULL,
  key TEXT NOT NULL,
  begins TEXT NOT NULL,            -- place of the first member that belongs here, '' for the first piece
  members TEXT NOT NULL,           -- JSON, with commas between them
  sources TEXT NOT NULL,           -- a line a member: content time and hash of its element; empty when they are those of the line before
  PRIMARY KEY (owner, key, begins)
);                                 -- pieces are long: the tree of keys is searched without them

CREATE TABLE files (
  hash TEXT PRIMARY KEY,
  size BIGINT NOT NULL,            -- bytes
  type TEXT NOT NULL               -- file, dir
){{rowless}};

CREATE TABLE file_pins (
  id {{id}},
  file_hash TEXT NOT NULL,
  type TEXT NOT NULL,              -- message, content, tx, grace_period
  owner TEXT,
  item_hash TEXT,                  -- message that pins
  ref TEXT,
  tag TEXT,                        -- file tag that the pin competes for
  created DOUBLE PRECISION NOT NULL,
  delete_by BIGINT                 -- grace_period only
);
CREATE UNIQUE INDEX file_pins_message ON file_pins (item_hash, type) WHERE item_hash IS NOT NULL;
CREATE INDEX file_pins_file ON file_pins (file_hash);
CREATE INDEX file_pins_grace ON file_pins (file_hash) WHERE type = 'grace_period';
CREATE INDEX file_pins_owner ON file_pins (owner, created) WHERE owner IS NOT NULL;
CREATE INDEX file_pins_tag ON file_pins (tag, created) WHERE tag IS NOT NULL;
CREATE INDEX file_pins_delete ON file_pins (delete_by) WHERE delete_by IS NOT NULL;

CREATE TABLE file_tags (           -- newest version of a file by (content_time, item_hash)
  tag TEXT PRIMARY KEY,
  owner TEXT NOT NULL,
  file_hash TEXT NOT NULL,
  item_hash TEXT NOT NULL,
  content_time DOUBLE PRECISION NOT NULL
){{rowless}};

CREATE TABLE vms (
  item_hash TEXT PRIMARY KEY,
  type TEXT NOT NULL,              -- program, instance, v-program
  owner TEXT NOT NULL,
  allow_amend BIGINT NOT NULL,
  replaces TEXT,
  persistent BIGINT NOT NULL,
  payment_type TEXT NOT NULL,
  node_hash TEXT,                  -- compute node that the owner asked for
  content_time DOUBLE PRECISION NOT NULL
){{rowless}};

CREATE TABLE vm_refs (             -- files that a VM uses
  ref TEXT NOT NULL,
  vm_hash TEXT NOT NULL,
  guards BIGINT NOT NULL,          -- 0: the parent of a persistent volume, which may be forgotten
  PRIMARY KEY (ref, vm_hash)
){{rowless}};
CREATE INDEX vm_refs_vm ON vm_refs (vm_hash);
CREATE INDEX vms_replaces ON vms (replaces) WHERE replaces IS NOT NULL;

CREATE TABLE account_costs (
  owner TEXT NOT NULL,
  item_hash TEXT NOT NULL,
  type TEXT NOT NULL,
  name TEXT NOT NULL,
  ref TEXT,
  payment_type TEXT NOT NULL,
  cost_hold TEXT NOT NULL,         -- decimal texts with 18 places
  cost_stream TEXT NOT NULL,
  cost_credit TEXT NOT NULL,
  PRIMARY KEY (item_hash, type, name)
){{rowless}};
CREATE INDEX account_costs_owner ON account_costs (owner, payment_type);

CREATE TABLE claims (              -- what resources ask of their owner's funds
  item_hash TEXT PRIMARY KEY,
  owner TEXT NOT NULL,
  payment_type TEXT NOT NULL,      -- hold or credit; streams are watched by the compute node
  content_time DOUBLE PRECISION NOT NULL, -- of its message, or just after that of a newer one that it needs
  need TEXT NOT NULL,              -- decimal text: ALEPH to hold, or credits for the least time that they must last
  must_pay BIGINT NOT NULL,        -- 0: accepted without funds, although it counts
  exempt BIGINT NOT NULL,          -- 1: kept when funds are short
  status TEXT NOT NULL,            -- processed, removing, removed, forgotten
  ended DOUBLE PRECISION,          -- content time of the FORGET that ended it
  ended_by TEXT
){{rowless}};
CREATE INDEX claims_owner ON claims (owner, payment_type, content_time, item_hash);
CREATE INDEX claims_time ON claims (content_time);

CREATE TABLE accounts (            -- one row an owner of claims and way to pay
  owner TEXT NOT NULL,
  payment_type TEXT NOT NULL,
  used TEXT NOT NULL,              -- decimal text: sum of the claims in force
  last_time DOUBLE PRECISION NOT NULL, -- place of the newest event: a claim, its end, or a change of funds
  last_hash TEXT NOT NULL,
  check_at BIGINT,                 -- when funds must be looked at again; NULL: when something happens
  PRIMARY KEY (owner, payment_type)
){{rowless}};
CREATE INDEX accounts_check ON accounts (check_at) WHERE check_at IS NOT NULL;

CREATE TABLE balance_history (     -- what was published of the tokens that an address itself holds
  address TEXT NOT NULL,
  chain TEXT NOT NULL,
  content_time DOUBLE PRECISION NOT NULL,
  item_hash TEXT NOT NULL,
  eth_height BIGINT NOT NULL,
  balance TEXT NOT NULL,           -- decimal text in ALEPH
  PRIMARY KEY (address, content_time, item_hash, chain)
){{rowless}};

CREATE TABLE balances (
  address TEXT NOT NULL,
  chain TEXT NOT NULL,
  dapp TEXT NOT NULL,              -- '' when absent
  balance TEXT NOT NULL,           -- decimal text in ALEPH
  eth_height BIGINT NOT NULL,
  item_hash TEXT NOT NULL,         -- post that set it; breaks ties of height
  last_update BIGINT NOT NULL,
  PRIMARY KEY (address, chain, dapp)
){{rowless}};

CREATE TABLE credit_history (      -- one movement of credits of one address; distributions and expenses as published, transfers as folded
  credit_ref TEXT NOT NULL,        -- the POST that moved them
  credit_index BIGINT NOT NULL,
  address TEXT NOT NULL,
  amount BIGINT NOT NULL,          -- credits; negative when they left the address
  price TEXT, bonus_amount BIGINT, tx_hash TEXT, token TEXT, chain TEXT, provider TEXT, origin TEXT, origin_ref TEXT,
  payment_method TEXT, expense_count BIGINT, expense_size_mib TEXT,
  effective_origin TEXT,           -- origin unless empty, else origin_ref
  expiration_date BIGINT,
  content_time DOUBLE PRECISION NOT NULL, -- message_timestamp of the API
  last_update BIGINT NOT NULL,     -- when this node stored it
  PRIMARY KEY (credit_ref, credit_index)
){{rowless}};
CREATE INDEX credit_history_address ON credit_history (address, content_time, credit_ref, credit_index);
CREATE INDEX credit_history_origin ON credit_history (effective_origin) WHERE payment_method = 'credit_expense';

CREATE TABLE credit_lots (         -- what is left of each grant: credit_history folded first in, first out
  address TEXT NOT NULL,
  credit_ref TEXT NOT NULL,
  credit_index BIGINT NOT NULL,
  amount_remaining BIGINT NOT NULL,
  expiration_date BIGINT,          -- the lot counts before it
  content_time DOUBLE PRECISION NOT NULL,
  PRIMARY KEY (address, content_time, credit_ref, credit_index)
){{rowless}};

CREATE TABLE credit_transfers (    -- transfers as they were asked for; what they moved is in credit_history
  credit_ref TEXT NOT NULL,
  entry BIGINT NOT NULL,           -- position in the message
  sender TEXT NOT NULL,
  recipient TEXT NOT NULL,
  amount BIGINT NOT NULL,
  expiration_date BIGINT,          -- asked for
  content_time DOUBLE PRECISION NOT NULL,
  PRIMARY KEY (credit_ref, entry)
){{rowless}};
CREATE INDEX credit_transfers_sender ON credit_transfers (sender, content_time, credit_ref, entry);

CREATE TABLE node_state (          -- cursors and identities of this node: a few rows
  key TEXT PRIMARY KEY,
  value TEXT NOT NULL
){{rowless}};
