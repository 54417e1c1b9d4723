package store

import (
	"database/sql"

	"github.com/aleph-im/aleph-go/message"
)

// PeerRow is another node that announced itself.
type PeerRow struct {
	ID       string
	Type     string // P2P, HTTP, IPFS
	Address  string
	Source   string
	LastSeen message.Time
}

// Peers lists the peers of a type that were seen since a time, the last seen first.
func (r *Reader) Peers(kind string, since message.Time) ([]PeerRow, error) {
	rows, err := r.rows(`SELECT peer_id, peer_type, address, source, last_seen FROM peers WHERE peer_type = ? AND last_seen >= ?
		ORDER BY last_seen DESC, peer_id`, kind, int64(since))
	list, err := collect(rows, err, func(rows *sql.Rows, p *PeerRow) error {
		return rows.Scan(&p.ID, &p.Type, &p.Address, &p.Source, &p.LastSeen)
	})
	return list, wrap(err, "list %s peers", kind)
}

// PutPeer records that a peer was seen.
func (tx *Tx) PutPeer(p *PeerRow) error {
	return wrap(tx.exec(`INSERT INTO peers (peer_id, peer_type, address, source, last_seen) VALUES (?,?,?,?,?)
		ON CONFLICT (peer_id, peer_type) DO UPDATE SET address = excluded.address, source = excluded.source, last_seen = excluded.last_seen`,
		p.ID, p.Type, p.Address, p.Source, int64(p.LastSeen)), "store peer %s", p.ID)
}
