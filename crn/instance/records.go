package instance

import (
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/aleph-im/aleph-go/crn/tap"
	"github.com/aleph-im/aleph-go/message"
)

// wanted is what an instance is to be, whatever it is now.
type wanted string

const (
	wantedRunning  wanted = "running"
	wantedStopped  wanted = "stopped"  // by its owner, or because its guest turned itself off; it stays here
	wantedReleased wanted = "released" // the scheduler sent it elsewhere; its disks are kept for a while
	wantedErased   wanted = "erased"   // nothing of it stays
	wantedLeaving  wanted = "leaving"  // another node fetches its disks, or has; it does not run here
	wantedArriving wanted = "arriving" // its disks are fetched from another node; it does not run before they are here
)

// record is what is known of an instance across restarts of the node.
type record struct {
	Hash      message.Hash
	Slot      int
	Owner     string // address
	VCPUs     int
	MemoryMiB int
	DiskMiB   int64 // root and writable volumes
	Internet  bool  // it has a network card
	Payment   message.PaymentType
	Chain     string       // of payment by stream
	Planned   bool         // the scheduler sent it here, and may send it away
	Parent    message.Hash // bytes of the image under its root disk; empty before there is one
	Wanted    wanted
	Restart   bool   // its machine is to end before it runs again
	Refusal   string // why it can never run as it is; empty for all others. Its owner's next order is a new try
	Defined   time.Time
	Changed   time.Time // when Wanted was last set
	Ports     []tap.Forward
	Move      *move        // of one that leaves or arrives
	Restore   *restoration // of its root disk; nil when none is going on
	Line      string       // names its disks: of an instance that begins anew it is another
	Replica   *Replication // unless there is none on another node
	Kept      *kept        // addresses that its guest brought along, for as long as it runs; nil for most
	Hardware  *hardware    // that it needs beside processors, memory and disk; nil for most
}

// migrations bring a database to the form that this node reads; PRAGMA user_version counts those applied.
var migrations = []string{
	`CREATE TABLE instance (
		hash TEXT PRIMARY KEY,
		slot INTEGER NOT NULL UNIQUE,
		owner TEXT NOT NULL,
		vcpus INTEGER NOT NULL,
		memory_mib INTEGER NOT NULL,
		disk_mib INTEGER NOT NULL,
		internet INTEGER NOT NULL,
		payment TEXT NOT NULL,
		chain TEXT NOT NULL,
		planned INTEGER NOT NULL,
		parent TEXT NOT NULL, -- hash of the bytes of the image under its root disk
		wanted TEXT NOT NULL,
		restart INTEGER NOT NULL,
		defined_at INTEGER NOT NULL, -- microseconds of Unix time
		changed_at INTEGER NOT NULL
	) STRICT;
	CREATE TABLE port (
		hash TEXT NOT NULL REFERENCES instance (hash) ON DELETE CASCADE,
		guest_port INTEGER NOT NULL,
		host_port INTEGER NOT NULL UNIQUE,
		tcp INTEGER NOT NULL,
		udp INTEGER NOT NULL,
		PRIMARY KEY (hash, guest_port)
	) STRICT;`,
	`ALTER TABLE instance ADD COLUMN refusal TEXT NOT NULL DEFAULT '';`,
	`ALTER TABLE instance ADD COLUMN move TEXT; -- JSON`,
	`ALTER TABLE instance ADD COLUMN restore TEXT; -- JSON`,
	`ALTER TABLE instance ADD COLUMN line TEXT NOT NULL DEFAULT '';
	UPDATE instance SET line = lower(hex(randomblob(16)));
	ALTER TABLE instance ADD COLUMN replica TEXT; -- JSON`,
	`ALTER TABLE instance ADD COLUMN hardware TEXT; -- JSON`,
	`ALTER TABLE instance ADD COLUMN kept TEXT; -- JSON`,
}

// records is the database of instances. What was saved is on disk.
type records struct{ db *sql.DB }

func openRecords(path string) (*records, error) {
	db, err := sql.Open(sqliteDriver, "file:"+(&url.URL{Path: path}).EscapedPath())
	if err != nil {
		return nil, fmt.Errorf("open the records of instances: %w", err)
	}
	// One connection: pragmas hold for it, and writers never meet.
	db.SetMaxOpenConns(1)
	r := &records{db}
	if err := r.migrate(); err != nil {
		db.Close()
		return nil, fmt.Errorf("open the records of instances in %s: %w", path, err)
	}
	return r, nil
}

func (r *records) migrate() error {
	for _, pragma := range []string{"busy_timeout = 10000", "foreign_keys = ON", "journal_mode = WAL", "synchronous = FULL"} {
		if _, err := r.db.Exec("PRAGMA " + pragma); err != nil {
			return fmt.Errorf("PRAGMA %s: %w", pragma, err)
		}
	}
	var version int
	if err := r.db.QueryRow("PRAGMA user_version").Scan(&version); err != nil {
		return err
	}
	if version > len(migrations) {
		return fmt.Errorf("a newer node wrote it (form %d, this one reads up to %d)", version, len(migrations))
	}
	for ; version < len(migrations); version++ {
		err := r.transaction(func(tx *sql.Tx) error {
			if _, err := tx.Exec(migrations[version]); err != nil {
				return err
			}
			_, err := tx.Exec(fmt.Sprintf("PRAGMA user_version = %d", version+1))
			return err
		})
		if err != nil {
			return fmt.Errorf("bring it to form %d: %w", version+1, err)
		}
	}
	return nil
}

func (r *records) transaction(do func(*sql.Tx) error) error {
	tx, err := r.db.Begin()
	if err != nil {
		return err
	}
	if err := do(tx); err != nil {
		return errors.Join(err, tx.Rollback())
	}
	return tx.Commit()
}

// save writes a record whole, with its ports.
func (r *records) save(x record) error {
	moved, err := column(x.Move)
	if err != nil {
		return fmt.Errorf("record instance %s: %w", x.Hash, err)
	}
	restored, err := column(x.Restore)
	if err != nil {
		return fmt.Errorf("record instance %s: %w", x.Hash, err)
	}
	replica, err := column(x.Replica)
	if err != nil {
		return fmt.Errorf("record instance %s: %w", x.Hash, err)
	}
	needs, err := column(x.Hardware)
	if err != nil {
		return fmt.Errorf("record instance %s: %w", x.Hash, err)
	}
	addresses, err := column(x.Kept)
	if err != nil {
		return fmt.Errorf("record instance %s: %w", x.Hash, err)
	}
	err = r.transaction(func(tx *sql.Tx) error {
		_, err := tx.Exec(`INSERT INTO instance (hash, slot, owner, vcpus, memory_mib, disk_mib, internet, payment, chain, planned, parent, wanted, restart, refusal, move, restore, line, replica, hardware, kept, defined_at, changed_at)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
			ON CONFLICT (hash) DO UPDATE SET slot = excluded.slot, planned = excluded.planned, parent = excluded.parent,
				wanted = excluded.wanted, restart = excluded.restart, refusal = excluded.refusal, move = excluded.move, restore = excluded.restore, line = excluded.line, replica = excluded.replica, hardware = excluded.hardware, kept = excluded.kept, changed_at = excluded.changed_at`,
			string(x.Hash), x.Slot, x.Owner, x.VCPUs, x.MemoryMiB, x.DiskMiB, x.Internet, string(x.Payment), x.Chain, x.Planned, string(x.Parent), string(x.Wanted), x.Restart, x.Refusal, moved, restored, x.Line, replica, needs, addresses,
			x.Defined.UnixMicro(), x.Changed.UnixMicro())
		if err != nil {
			return err
		}
		if _, err := tx.Exec(`DELETE FROM port WHERE hash = ?`, string(x.Hash)); err != nil {
			return err
		}
		for _, p := range x.Ports {
			_, err := tx.Exec(`INSERT INTO port (hash, guest_port, host_port, tcp, udp) VALUES (?, ?, ?, ?, ?)`,
				string(x.Hash), p.GuestPort, p.HostPort, p.TCP, p.UDP)
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("record instance %s: %w", x.Hash, err)
	}
	return nil
}

// column is a part of a record as its column holds it; NULL when there is none.
func column[T any](part *T) (*string, error) {
	if part == nil {
		return nil, nil
	}
	raw, err := json.Marshal(part)
	text := string(raw)
	return &text, err
}

func (r *records) remove(hash message.Hash) error {
	if _, err := r.db.Exec(`DELETE FROM instance WHERE hash = ?`, string(hash)); err != nil {
		return fmt.Errorf("remove the record of instance %s: %w", hash, err)
	}
	return nil
}

// load returns all records.
func (r *records) load() (list []record, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("read the records of instances: %w", err)
		}
	}()
	ports := map[message.Hash][]tap.Forward{}
	rows, err := r.db.Query(`SELECT hash, guest_port, host_port, tcp, udp FROM port ORDER BY guest_port`)
	if err != nil {
		return nil, err
	}
	for rows.Next() {
		var hash message.Hash
		var p tap.Forward
		if err := rows.Scan(&hash, &p.GuestPort, &p.HostPort, &p.TCP, &p.UDP); err != nil {
			return nil, errors.Join(err, rows.Close())
		}
		ports[hash] = append(ports[hash], p)
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	rows, err = r.db.Query(`SELECT hash, slot, owner, vcpus, memory_mib, disk_mib, internet, payment, chain, planned, parent, wanted, restart, refusal, move, restore, line, replica, hardware, kept, defined_at, changed_at FROM instance`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var x record
		var defined, changed int64
		var moved, restored, replica, needs, addresses []byte
		err := rows.Scan(&x.Hash, &x.Slot, &x.Owner, &x.VCPUs, &x.MemoryMiB, &x.DiskMiB, &x.Internet, &x.Payment, &x.Chain, &x.Planned, &x.Parent, &x.Wanted, &x.Restart, &x.Refusal, &moved, &restored, &x.Line, &replica, &needs, &addresses, &defined, &changed)
		if err != nil {
			return nil, err
		}
		for _, member := range []struct {
			raw []byte
			v   any
		}{{moved, &x.Move}, {restored, &x.Restore}, {needs, &x.Hardware}, {addresses, &x.Kept}} {
			if member.raw == nil {
				continue
			}
			if err := json.Unmarshal(member.raw, member.v); err != nil {
				return nil, err
			}
		}
		if replica != nil {
			if err := json.Unmarshal(replica, &x.Replica); err != nil {
				return nil, err
			}
		}
		x.Defined, x.Changed, x.Ports = time.UnixMicro(defined), time.UnixMicro(changed), ports[x.Hash]
		list = append(list, x)
	}
	return list, rows.Err()
}

func (r *records) close() error { return r.db.Close() }
