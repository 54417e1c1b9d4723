package store

import (
	"database/sql"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aleph-im/aleph-go/message"
)

// SQLite looks at the values that a query is given, and has been seen to sort a million rows for a page of one.
func TestPagesOfAnySizeAreReadInTheOrderOfAnIndex(t *testing.T) {
	s, err := Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "node.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	err = s.Read(t.Context(), func(r *Reader) error {
		for _, limit := range []int{1, 2, 20, 200} {
			w := &where{}
			query := "EXPLAIN QUERY PLAN SELECT " + messageColumns + " FROM messages m ORDER BY m.time DESC, m.item_hash" + w.limit(limit, 0)
			rows, err := r.rows(query, w.args...)
			steps, err := collect(rows, err, func(rows *sql.Rows, step *string) error {
				var id, parent, unused int
				return rows.Scan(&id, &parent, &unused, step)
			})
			if err != nil {
				return err
			}
			if plan := strings.Join(steps, "; "); !strings.Contains(plan, "messages_time") {
				t.Errorf("a page of %d: %s", limit, plan)
			}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// What asks for messages by their hash must look in both tables of ends along their keys.
func TestMessagesAreFoundByTheEndsOfTheirHashes(t *testing.T) {
	s, c := opened(t, "sqlite:"+filepath.Join(t.TempDir(), "node.db"))
	s.writer <- c
	defer func() { <-s.writer }()
	hashes := []string{"a", "b", "c"}
	err := s.Write(t.Context(), func(tx *Tx) error {
		_, message1 := tx.Message("a")
		_, _, signature := tx.Signature("a")
		_, _, status := tx.Status("a")
		_, post := tx.Post("a")
		_, confirmations := tx.Confirmations("a")
		_, claim := tx.Claim("a")
		_, charged := tx.Charged("a")
		_, all := tx.Charged("")
		_, workloads := tx.Workloads()
		errs := []error{message1, signature, status, post, confirmations, claim, charged, all, workloads,
			tx.Foresee([]message.Hash{"a", "b"}), tx.SetMessageStatus("a", message.StatusRemoving), tx.RefreshPost("a"), tx.DeletePost("a"),
			tx.InsertConfirmation("a", Confirmation{}), tx.DeleteMessage("a")}
		for n := 1; n <= len(hashes); n++ {
			messages, err := tx.messageBranches(MessageFilter{Hashes: hashes[:n]})
			posts, again := tx.postBranches(PostFilter{Hashes: hashes[:n]})
			errs = append(errs, err, again)
			for _, b := range append(messages, posts...) {
				_, err := found(tx.row("SELECT 1 FROM "+b.from+b.String(), b.args...), new(int))
				errs = append(errs, err)
			}
		}
		_, credits := tx.ListCredits(CreditFilter{ResourceTypes: []string{"PROGRAM"}})
		return errors.Join(append(errs, credits)...)
	})
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for query := range c.statements {
		rows, err := c.QueryContext(t.Context(), "EXPLAIN QUERY PLAN "+query, make([]any, strings.Count(query, "?"))...)
		steps, err := collect(rows, err, func(rows *sql.Rows, step *string) error {
			var id, parent, unused int
			return rows.Scan(&id, &parent, &unused, step)
		})
		if err != nil {
			t.Fatalf("%s: %v", query, err)
		}
		plan := strings.Join(steps, "; ")
		if strings.Contains(plan, "SEARCH hash_ends_settled") {
			n++
		}
		for _, name := range []string{"messages", "m", "e", "hash_ends_new", "hash_ends_settled"} {
			if strings.Contains(plan, "SCAN "+name) && !strings.Contains(query, "COUNT(*) FROM hash_ends_new") {
				t.Errorf("%s: %s", query, plan)
			}
		}
	}
	if n < 15 {
		t.Errorf("only %d queries by hashes were looked at", n)
	}
}
