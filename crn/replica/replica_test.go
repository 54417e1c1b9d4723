package replica_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/aleph-im/aleph-go/crn/replica"
	"github.com/aleph-im/aleph-go/message"
)

var (
	hash  = message.HashBytes([]byte("instance"))
	terms = replica.Terms{Token: "token", Lease: time.Minute, Limit: 1 << 30}
)

func newKey(t testing.TB, text string) *replica.Key {
	k, err := replica.NewKey([]byte(strings.Repeat(text, 32)))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// here is a holder without a network.
type here struct {
	*replica.Store
	token string
	puts  int
}

func (h *here) State(_ context.Context, line string) (replica.State, error) {
	return h.Store.State(hash, h.token, line)
}

func (h *here) Put(_ context.Context, id replica.ID, sealed []byte) error {
	h.puts++
	return h.Store.Put(hash, h.token, id, bytes.NewReader(sealed))
}

func (h *here) Commit(_ context.Context, g replica.Generation) error {
	return h.Store.Commit(hash, h.token, g)
}

func open(t testing.TB, dir string) *replica.Store {
	t.Helper()
	s, err := replica.Open(dir, 2<<30)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// held opens a store that holds the instance.
func held(t testing.TB, dir string) *here {
	t.Helper()
	s := open(t, dir)
	if err := s.Hold(hash, terms); err != nil {
		t.Fatal(err)
	}
	return &here{Store: s, token: terms.Token}
}

// The disks of the tests are one of a few chunks with an odd end, and one that is smaller than a chunk.
var disks = []replica.Disk{{Name: "data.a", Size: 5*replica.ChunkSize + 777}, {Name: "data.b", Size: 4096}}

// at returns the disks as they are in a generation: each writes a little, sometimes zeros, sometimes what is elsewhere as well. The
// chunks that it writes to are listed.
func at(number int64) (content [][]byte, touched []map[int64]bool) {
	for _, d := range disks {
		content = append(content, make([]byte, d.Size))
		touched = append(touched, nil)
	}
	for n := int64(1); n <= number; n++ {
		random := rand.New(rand.NewPCG(7, uint64(n)))
		noise := bytes.Repeat(strconv.AppendUint(nil, random.Uint64(), 10), replica.ChunkSize/16)
		for i, c := range content {
			touched[i] = map[int64]bool{}
			for range random.IntN(3) {
				begin := random.IntN(len(c))
				part := c[begin:min(len(c), begin+random.IntN(replica.ChunkSize))]
				switch random.IntN(3) {
				case 0:
					clear(part)
				case 1:
					copy(part, bytes.Repeat([]byte("same"), replica.ChunkSize/4))
				default:
					copy(part, noise)
				}
				if len(part) > 0 {
					touched[i][int64(begin/replica.ChunkSize)] = true
					touched[i][int64((begin+len(part)-1)/replica.ChunkSize)] = true
				}
			}
		}
	}
	return content, touched
}

// send makes a generation of what at says.
func send(ctx context.Context, s *replica.Sender, number int64, all bool) error {
	content, touched := at(number)
	d := s.Draft(time.Now(), disks, all)
	for i, c := range content {
		for n := range replica.Chunks(int64(len(c))) {
			if all || touched[i][n] {
				if err := d.Set(ctx, i, n, c[n*replica.ChunkSize:min(int64(len(c)), (n+1)*replica.ChunkSize)]); err != nil {
					return err
				}
			}
		}
	}
	_, err := d.Commit(ctx)
	return err
}

// restored checks that what can be taken is a generation whole, and returns its number.
func restored(t testing.TB, s *replica.Store, key *replica.Key) int64 {
	t.Helper()
	g, err := s.Take(hash)
	if errors.Is(err, replica.ErrUnknown) {
		return 0
	}
	if err != nil {
		t.Fatal(err)
	}
	m, err := key.Manifest(hash, g)
	if err != nil {
		t.Fatal(err)
	}
	want, _ := at(m.Number)
	for i, d := range m.Disks {
		f, err := os.Create(filepath.Join(t.TempDir(), "disk"))
		if err != nil {
			t.Fatal(err)
		}
		_, _ = f.WriteString("what an earlier try left")
		if err := replica.Restore(t.Context(), key, d, f, func(id replica.ID) ([]byte, error) { return s.Chunk(hash, id) }); err != nil {
			t.Fatal(err)
		}
		f.Close()
		if got, err := os.ReadFile(f.Name()); err != nil || !bytes.Equal(got, want[i]) {
			t.Fatalf("disk %d of generation %d is not what it was, %v", i, m.Number, err)
		}
	}
	return m.Number
}

func TestEveryGenerationIsRestoredExactly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		key := newKey(t, "k")
		dir := t.TempDir()
		h := held(t, dir)
		s, err := replica.NewSender(t.Context(), key, h, hash, "line")
		if err != nil {
			t.Fatal(err)
		}
		for n := int64(1); n <= 8; n++ {
			if n%5 == 0 { // the node that sends was started again
				if s, err = replica.NewSender(t.Context(), key, h, hash, "line"); err != nil {
					t.Fatal(err)
				}
			}
			before := h.puts
			if err := send(t.Context(), s, n, n == 1 || n%5 == 0); err != nil {
				t.Fatal(err)
			}
			if _, touched := at(n); h.puts-before > len(touched[0])+len(touched[1]) {
				t.Errorf("generation %d sent %d chunks of %d that were touched", n, h.puts-before, len(touched[0])+len(touched[1]))
			}
			copied := filepath.Join(t.TempDir(), "copy")
			if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
				t.Fatal(err)
			}
			taken := open(t, copied)
			time.Sleep(terms.Lease)
			if got := restored(t, taken, key); got != n {
				t.Errorf("generation %d was taken, not %d", got, n)
			}
		}
		g, _ := h.Take(hash)
		if left, _ := filepath.Glob(filepath.Join(dir, "*", "chunks", "*")); len(left) != len(g.Chunks) {
			t.Errorf("%d chunks are kept and %d needed", len(left), len(g.Chunks))
		}
	})
}

// The holder is a process that is killed while it takes generations, and one more time while it drops what is old. It says which it
// has promised to keep.
func TestAKilledHolderHasAWholeGeneration(t *testing.T) {
	if dir := os.Getenv("REPLICA_TEST_DIR"); dir != "" {
		h := held(t, dir)
		s, err := replica.NewSender(t.Context(), newKey(t, "k"), h, hash, "line")
		if err != nil {
			t.Fatal(err)
		}
		state, err := h.State(t.Context(), "line")
		for n, all := state.Number+1, true; err == nil; n, all = n+1, false {
			if err = send(t.Context(), s, n, all); err == nil {
				fmt.Println("kept", n)
			}
		}
		t.Fatal(err)
	}
	dir := t.TempDir()
	random := rand.New(rand.NewPCG(3, 4))
	var promised int64
	for range 6 {
		cmd := exec.Command(os.Args[0], "-test.run", "^TestAKilledHolderHasAWholeGeneration$")
		cmd.Env = append(os.Environ(), "REPLICA_TEST_DIR="+dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		left := random.IntN(4) + 1 // generations
		for lines.Scan() {
			text, ok := strings.CutPrefix(lines.Text(), "kept ")
			if !ok {
				t.Fatal(lines.Text())
			}
			if promised, err = strconv.ParseInt(text, 10, 64); err != nil {
				t.Fatal(err)
			}
			if left--; left == 0 {
				time.AfterFunc(time.Duration(random.IntN(20))*time.Millisecond, func() { _ = cmd.Process.Kill() })
			}
		}
		_ = cmd.Wait()
		copied := filepath.Join(t.TempDir(), "copy")
		if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
			t.Fatal(err)
		}
		synctest.Test(t, func(t *testing.T) {
			s := open(t, copied)
			time.Sleep(terms.Lease)
			if got := restored(t, s, newKey(t, "k")); got < promised {
				t.Fatalf("generation %d is there, and %d was promised", got, promised)
			}
		})
	}
	if promised < 6 {
		t.Errorf("only %d generations were made", promised)
	}
}

func TestOneNodeAloneMayGoOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		h := held(t, dir)
		if _, err := h.Take(hash); !errors.Is(err, replica.ErrUnknown) {
			t.Errorf("taken without a generation: %v", err)
		}
		s, err := replica.NewSender(t.Context(), newKey(t, "k"), h, hash, "line")
		if err != nil {
			t.Fatal(err)
		}
		if err := send(t.Context(), s, 1, true); err != nil {
			t.Fatal(err)
		}
		time.Sleep(terms.Lease - time.Second)
		if err := h.Renew(hash, "token"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(terms.Lease - time.Second)
		if _, err := h.Take(hash); !errors.Is(err, replica.ErrEarly) {
			t.Errorf("taken while the other may go on: %v", err)
		}
		for _, token := range []string{"token", "other", "token"} {
			time.Sleep(terms.Lease)
			again := terms
			again.Token = token
			if err := h.Hold(hash, again); err != nil {
				t.Fatal(err)
			}
			if _, err := h.Take(hash); !errors.Is(err, replica.ErrEarly) {
				t.Errorf("taken right after a scheduler wants it held: %v", err)
			}
		}
		h = &here{Store: open(t, dir), token: "token"} // which does not know what was said before
		time.Sleep(2 * time.Second)
		if _, err := h.Take(hash); !errors.Is(err, replica.ErrEarly) {
			t.Errorf("taken right after a start: %v", err)
		}
		if s, err = replica.NewSender(t.Context(), newKey(t, "k"), h, hash, "line"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(terms.Lease)
		for range 2 {
			if _, err := h.Take(hash); err != nil {
				t.Fatal(err)
			}
			_, state := h.State(t.Context(), "line")
			for what, err := range map[string]error{
				"renew": h.Renew(hash, "token"), "hold": h.Hold(hash, terms), "send": send(t.Context(), s, 2, true), "state": state,
				"commit": h.Commit(t.Context(), replica.Generation{Number: 9, Line: "line"}), "reset": h.Reset(hash, "token"),
			} {
				if !errors.Is(err, replica.ErrTaken) {
					t.Errorf("%s: %v", what, err)
				}
			}
			h = &here{Store: open(t, dir), token: "token"}
		}
		if small, err := replica.Open(dir, 1); err != nil || !errors.Is(small.Hold(hash, terms), replica.ErrTaken) {
			t.Errorf("hold, on a node with less room by now: %v", err)
		}
		if err := h.Drop(hash); !errors.Is(err, replica.ErrTaken) {
			t.Errorf("what the instance comes back from is dropped: %v", err)
		}
		if err := h.Finish(hash); err != nil {
			t.Fatal(err)
		}
		if err := h.Renew(hash, "token"); !errors.Is(err, replica.ErrUnknown) {
			t.Errorf("after all: %v", err)
		}
	})
}

func TestAReplicaStaysAsLongAsSomebodyAsksForItOrItWasTaken(t *testing.T) {
	const day = 24 * time.Hour
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		h := held(t, dir)
		s, err := replica.NewSender(t.Context(), newKey(t, "k"), h, hash, "line")
		if err != nil {
			t.Fatal(err)
		}
		if err := send(t.Context(), s, 1, true); err != nil {
			t.Fatal(err)
		}
		is := func(what string, want bool) {
			t.Helper()
			if err := h.Expire(); err != nil || h.Has(hash) != want {
				t.Errorf("%s: is here %v, %v", what, h.Has(hash), err)
			}
		}
		restart := func() {
			// The clock of the test is not that of files.
			if err := os.Chtimes(filepath.Join(dir, string(hash), "terms"), time.Time{}, time.Now().Add(-20*day)); err != nil {
				t.Fatal(err)
			}
			h = &here{Store: open(t, dir), token: "token"}
		}
		for what, ask := range map[string]func() error{
			"held again": func() error { return h.Hold(hash, terms) }, "renewed": func() error { return h.Renew(hash, "token") },
		} {
			time.Sleep(6 * day)
			if err := ask(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(6 * day)
			is(what, true)
		}
		restart()
		is("after a start, long after", true)
		copied := filepath.Join(t.TempDir(), "copy")
		if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * day)
		is("two days after that", false)

		dir = copied
		restart()
		time.Sleep(terms.Lease)
		if _, err := h.Take(hash); err != nil {
			t.Fatal(err)
		}
		restart()
		time.Sleep(100 * day)
		is("taken", true)
	})
}

// Answers that an instance waits for do not wait for the disk.
func TestAHomeIsAnsweredWhileAGenerationIsWritten(t *testing.T) {
	dir := t.TempDir()
	h := held(t, dir)
	path := filepath.Join(dir, string(hash), "generation.new") // as which it is written first
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	committed := make(chan error)
	go func() {
		committed <- h.Store.Commit(hash, "token", replica.Generation{Number: 1, Line: "line", Manifest: make([]byte, 1<<20)})
	}()
	disk, err := os.Open(path) // when it is being written
	if err != nil {
		t.Fatal(err)
	}
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		other := message.HashBytes([]byte("other"))
		_, allowed := h.Allows(hash, "token")
		err := errors.Join(h.Renew(hash, "token"), allowed, h.Hold(hash, terms), h.Hold(other, terms), h.Drop(other))
		if err != nil || h.Taken(hash) || !h.Has(hash) {
			t.Error(err)
		}
	}()
	select {
	case <-answered:
	case <-time.After(10 * time.Second):
		t.Error("no answer")
	}
	disk.Close() // which fails the commit
	if err := <-committed; err == nil {
		t.Error("a generation that was not written is there")
	}
	<-answered
}

func TestOtherDisksDoNotReplaceAReplica(t *testing.T) {
	h := held(t, t.TempDir())
	s, err := replica.NewSender(t.Context(), newKey(t, "k"), h, hash, "line")
	if err != nil {
		t.Fatal(err)
	}
	if err := send(t.Context(), s, 1, true); err != nil {
		t.Fatal(err)
	}
	if _, err := replica.NewSender(t.Context(), newKey(t, "k"), h, hash, "anew"); !errors.Is(err, replica.ErrLine) {
		t.Errorf("a node that begins anew: %v", err)
	}
	if err := h.Store.Commit(hash, "token", replica.Generation{Number: 9, Line: "anew"}); !errors.Is(err, replica.ErrLine) {
		t.Errorf("a node that begins anew: %v", err)
	}
	for _, token := range []string{"", "another"} {
		if err := h.Renew(hash, token); !errors.Is(err, replica.ErrUnknown) {
			t.Errorf("with token %q: %v", token, err)
		}
	}
	// A scheduler says that it is another node's turn.
	other := terms
	other.Token = "other"
	if err := h.Hold(hash, other); err != nil {
		t.Fatal(err)
	}
	h.token = "other"
	if s, err = replica.NewSender(t.Context(), newKey(t, "k"), h, hash, "anew"); err != nil {
		t.Fatal(err)
	}
	before := h.puts
	if err := send(t.Context(), s, 1, true); err != nil || h.puts != before {
		t.Errorf("%d chunks were sent again, %v", h.puts-before, err)
	}
}

func TestAReplicaKeepsToItsRoom(t *testing.T) {
	h := held(t, t.TempDir())
	if err := h.Hold(message.HashBytes([]byte("second")), replica.Terms{Token: "t", Limit: 1 << 30}); err != nil {
		t.Error(err)
	}
	if err := h.Hold(message.HashBytes([]byte("third")), replica.Terms{Token: "t", Limit: 1}); !errors.Is(err, replica.ErrNoRoom) {
		t.Errorf("beyond the node's room: %v", err)
	}
	small := terms
	small.Limit = replica.ChunkSize + 100
	if err := h.Hold(hash, small); err != nil {
		t.Fatal(err)
	}
	key := newKey(t, "k")
	first, sealed := key.Seal(make([]byte, replica.ChunkSize))
	if err := h.Put(t.Context(), first, sealed); err != nil {
		t.Error(err)
	}
	if id, sealed := key.Seal(make([]byte, 100)); !errors.Is(h.Put(t.Context(), id, sealed), replica.ErrNoRoom) {
		t.Error("beyond its own")
	}
	if err := h.Put(t.Context(), first, sealed[1:]); !errors.Is(err, replica.ErrIncomplete) {
		t.Errorf("bytes that do not hash to their name: %v", err)
	}
	missing, _ := key.Seal([]byte("never sent"))
	if err := h.Commit(t.Context(), replica.Generation{Number: 1, Line: "l", Chunks: []replica.ID{first, missing}}); !errors.Is(err, replica.ErrIncomplete) {
		t.Errorf("a generation that is not whole: %v", err)
	}
}

func TestADraftThatIsCalledOffTakesNothingMore(t *testing.T) {
	h := held(t, t.TempDir())
	s, err := replica.NewSender(t.Context(), newKey(t, "k"), h, hash, "line")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	d := s.Draft(time.Now(), []replica.Disk{{Name: "data/a", Size: replica.ChunkSize}}, true)
	if err := d.Set(ctx, 0, 0, nil); err != nil {
		t.Error(err)
	}
	cancel()
	if err := d.Set(ctx, 0, 0, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// What was sent by nodes that were killed again and again does not keep a replica from its room for good.
func TestChunksThatNoGenerationNeedsMakeRoom(t *testing.T) {
	h := held(t, t.TempDir())
	key := newKey(t, "k")
	begin := func() *replica.Sender {
		s, err := replica.NewSender(t.Context(), key, h, hash, "line")
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	if err := send(t.Context(), begin(), 1, true); err != nil {
		t.Fatal(err)
	}
	small := terms
	small.Limit = 2 * (replica.Sealed(disks[0].Size) + replica.Sealed(disks[1].Size))
	if err := h.Hold(hash, small); err != nil {
		t.Fatal(err)
	}
	var err error
	for n := range 100 {
		id, sealed := key.Seal(bytes.Repeat([]byte{byte(n), 1}, replica.ChunkSize/2))
		if err = h.Put(t.Context(), id, sealed); err != nil {
			break
		}
	}
	if !errors.Is(err, replica.ErrNoRoom) {
		t.Errorf("beyond its limit: %v", err)
	}
	for n := int64(2); n < 6; n++ {
		if err := send(t.Context(), begin(), n, true); err != nil {
			t.Errorf("generation %d after that: %v", n, err)
		}
	}
}

func TestOnlyTheKeyOpensAReplica(t *testing.T) {
	key, other := newKey(t, "k"), newKey(t, "o")
	chunk := bytes.Repeat([]byte("precious"), 100)
	id, sealed := key.Seal(chunk)
	if again, same := key.Seal(chunk); again != id || !bytes.Equal(sealed, same) || bytes.Contains(sealed, chunk[:8]) {
		t.Error("a chunk is not sealed, or not the same twice")
	}
	if differs, _ := other.Seal(chunk); differs == id {
		t.Error("two keys seal the same")
	}
	if got, err := key.Open(id, sealed); err != nil || !bytes.Equal(got, chunk) {
		t.Error(err)
	}
	if _, err := other.Open(id, sealed); err == nil {
		t.Error("another key opens it")
	}
	sealed[20] ^= 1
	if _, err := key.Open(id, sealed); err == nil {
		t.Error("what was changed is opened")
	}
	g, err := key.Generation(replica.Manifest{Instance: hash, Number: 3, Disks: []replica.Disk{{Name: "x", Size: 1, Chunks: []replica.ID{id}}}}, "l")
	if err != nil {
		t.Fatal(err)
	}
	if m, err := key.Manifest(hash, g); err != nil || m.Disks[0].Chunks[0] != id {
		t.Errorf("%+v, %v", m, err)
	}
	if _, err := other.Manifest(hash, g); err == nil {
		t.Error("another key opens a manifest")
	}
	if _, err := key.Manifest(message.HashBytes(nil), g); err == nil {
		t.Error("it is another instance's as well")
	}
	if g.Number++; func() bool { _, err := key.Manifest(hash, g); return err == nil }() {
		t.Error("it is of another generation as well")
	}
	if _, err := replica.NewKey(make([]byte, 31)); err == nil {
		t.Error("a short secret is a key")
	}
}
