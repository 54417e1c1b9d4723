package chaos

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aleph-im/aleph-go/ccn/check"
	"github.com/aleph-im/aleph-go/ccn/files"
	"github.com/aleph-im/aleph-go/ccn/replay"
	"github.com/aleph-im/aleph-go/message"
	"github.com/aleph-im/aleph-go/signature"
	"github.com/aleph-im/aleph-go/signature/ethereum"
)

// program is the one under test, in a folder of its own.
var program struct {
	once sync.Once
	dir  string
	err  error
}

// built builds the program for the first test that needs it.
func built(t *testing.T) string {
	t.Helper()
	program.once.Do(func() {
		if program.dir, program.err = os.MkdirTemp("", "aleph-chaos-"); program.err != nil {
			return
		}
		out, err := exec.Command("go", "build", "-o", filepath.Join(program.dir, "alephd"), "../../cmd/alephd").CombinedOutput()
		if err != nil {
			program.err = fmt.Errorf("%w\n%s", err, out)
		}
	})
	if program.err != nil {
		t.Fatal(program.err)
	}
	return filepath.Join(program.dir, "alephd")
}

// commands runs the program's commands and kills some of them.
type commands struct {
	*testing.T
	path   string
	random *rand.Rand
	dump   string   // messages, one a line
	stored [][]byte // files that they store
}

const (
	dumped = 2000 // messages
	kept   = 100  // of them store a file
)

func newCommands(t *testing.T) *commands {
	c := &commands{T: t, path: built(t), random: rand.New(rand.NewPCG(3, 4))}
	c.write()
	return c
}

// write makes the dump.
func (c *commands) write() {
	account, err := ethereum.Generate()
	if err != nil {
		c.Fatal(err)
	}
	var lines bytes.Buffer
	var first message.Hash
	for i := range dumped {
		post := &message.Post{PostType: "note", Content: json.RawMessage(fmt.Sprintf(`{"n":%d}`, i))}
		kind, content := message.TypePost, message.Content(post)
		switch {
		case i%(dumped/kept) == 1:
			file := bytes.Repeat(fmt.Appendf(nil, "file %d\n", i), 1+c.random.IntN(5000))
			c.stored = append(c.stored, file)
			kind, content = message.TypeStore, &message.Store{FileType: message.ItemStorage, FileHash: message.HashBytes(file)}
		case i%4 == 2:
			kind = message.TypeAggregate
			content = &message.Aggregate{Key: fmt.Sprint("key", i%5), Content: json.RawMessage(fmt.Sprintf(`{"k%d":%d}`, i%7, i))}
		case i%4 == 3:
			post.PostType, post.Ref = message.PostTypeAmend, string(first)
		}
		m, _, err := message.Build(account.Address(), account.Chain(), kind, content, nil, time.Unix(1_700_000_000+int64(i), 0))
		if err == nil {
			err = signature.Sign(c.Context(), account, m)
		}
		if err != nil {
			c.Fatal(err)
		}
		if i == 0 {
			first = m.ItemHash
		}
		raw, err := m.MarshalJSON()
		if err != nil {
			c.Fatal(err)
		}
		lines.Write(append(raw, '\n'))
	}
	c.dump = filepath.Join(c.TempDir(), "dump.jsonl")
	if err := os.WriteFile(c.dump, lines.Bytes(), 0o600); err != nil {
		c.Fatal(err)
	}
}

// folder fills a data folder with the files that the messages store, and nothing else.
func (c *commands) folder(dir string) string {
	c.Helper()
	disk, err := files.OpenDisk(filepath.Join(dir, "files"))
	if err != nil {
		c.Fatal(err)
	}
	for _, file := range c.stored {
		if _, _, err := disk.Put(c.Context(), bytes.NewReader(file), 0); err != nil {
			c.Fatal(err)
		}
	}
	if err := disk.Close(); err != nil {
		c.Fatal(err)
	}
	return dir
}

func (c *commands) fresh() string { return filepath.Join(c.TempDir(), "data") }

// Arguments of the commands.
func (c *commands) imports(dir string) []string {
	return []string{"ccn", "import", "--network", "devnet", "--data-dir", dir, "--from", c.dump, "-o", "json"}
}

func backsUp(dir, to string) []string    { return []string{"ccn", "backup", to, "--data-dir", dir} }
func restores(from, dir string) []string { return []string{"ccn", "restore", from, "--data-dir", dir} }
func checks(dir string) []string {
	return []string{"ccn", "check", "--network", "devnet", "--data-dir", dir, "--hash-files", "--skip-signatures", "-o", "json"}
}
func runs(dir string) []string {
	return []string{"ccn", "--network", "devnet", "--data-dir", dir, "--http-listen", "127.0.0.1:0", "--p2p-listen", "/ip4/127.0.0.1/tcp/0"}
}

// run runs a command to its end. The error has what it said.
func (c *commands) run(args []string) (string, error) {
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(c.Context(), c.path, args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("alephd %s: %w: %s", strings.Join(args[:2], " "), err, stderr.String())
	}
	return stdout.String(), nil
}

// timed runs a command to its end, which must be a good one, and returns how long it took.
func (c *commands) timed(args []string) time.Duration {
	c.Helper()
	began := time.Now()
	if _, err := c.run(args); err != nil {
		c.Fatal(err)
	}
	return time.Since(began)
}

// killed runs a command and kills it at any moment of the time that a whole one takes. It reports whether the command ended
// before, which must be a good end.
func (c *commands) killed(whole time.Duration, args []string) (ended bool) {
	c.Helper()
	var stderr bytes.Buffer
	cmd := exec.Command(c.path, args...)
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		c.Fatal(err)
	}
	kill := time.AfterFunc(time.Duration(c.random.Int64N(int64(whole))), func() { _ = cmd.Process.Kill() }) // it may have ended
	err := cmd.Wait()
	kill.Stop()
	var exit *exec.ExitError
	if err != nil && !(errors.As(err, &exit) && exit.ExitCode() == -1) {
		c.Fatalf("alephd %s: %v\n%s", strings.Join(args[:2], " "), err, stderr.String())
	}
	return err == nil
}

// start runs a node until it says that it runs, and returns it and how long that took.
func (c *commands) start(dir string) (*exec.Cmd, time.Duration) {
	c.Helper()
	began := time.Now()
	cmd := exec.Command(c.path, runs(dir)...)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		c.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		c.Fatal(err)
	}
	var said strings.Builder
	lines := bufio.NewScanner(stderr)
	for lines.Scan() {
		if said.WriteString(lines.Text() + "\n"); strings.Contains(lines.Text(), "core node runs") {
			took := time.Since(began)
			go func() {
				for lines.Scan() { // until the node ends
				}
			}()
			return cmd, took
		}
	}
	c.Fatalf("the node did not start: %v\n%s", cmd.Wait(), said.String())
	return nil, 0
}

func (c *commands) kill(cmd *exec.Cmd) {
	c.Helper()
	if err := cmd.Process.Kill(); err != nil {
		c.Fatal(err)
	}
	_ = cmd.Wait() // killed
}

// clean checks a data folder and returns how many messages it has.
func (c *commands) clean(dir string) int64 {
	c.Helper()
	out, err := c.run(checks(dir))
	var report check.Report
	if wrong := json.Unmarshal([]byte(out), &report); err != nil || wrong != nil {
		c.Fatalf("%v, %v\n%s", err, wrong, out)
	}
	return report.Messages
}

// whole fails when a data folder is not clean or lacks something.
func (c *commands) whole(dir string) {
	c.Helper()
	if n := c.clean(dir); n != dumped {
		c.Fatalf("%s has %d of %d messages", dir, n, dumped)
	}
}

// filled returns a data folder with all that the dump holds.
func (c *commands) filled() string {
	c.Helper()
	dir := c.folder(c.fresh())
	c.imported(dir)
	return dir
}

// imported imports what a data folder lacks of the dump.
func (c *commands) imported(dir string) {
	c.Helper()
	out, err := c.run(c.imports(dir))
	if err != nil {
		c.Fatal(err)
	}
	var counts replay.Counts
	if err := json.Unmarshal([]byte(out), &counts); err != nil {
		c.Fatal(err)
	}
	if counts.Rejected != 0 || counts.Waiting != 0 {
		c.Fatalf("imported %+v", counts)
	}
	c.whole(dir)
}

// commandKills is how often each command is killed.
func commandKills() int {
	if testing.Short() {
		return 5
	}
	return 20
}

func TestKilledImportGoesOn(t *testing.T) {
	c := newCommands(t)
	dir := c.folder(c.fresh())
	whole := c.timed(c.imports(dir))
	node, starts := c.start(dir)
	c.kill(node)
	c.whole(dir)

	dir = c.folder(c.fresh())
	for round := range commandKills() {
		ended := c.killed(whole, c.imports(dir))
		if round%2 == 0 { // and so is the start of a node on what is there
			c.killed(starts, runs(dir))
		}
		switch {
		case ended:
			c.whole(dir)
			dir = c.folder(c.fresh())
		case round%4 == 0:
			if _, err := os.Stat(filepath.Join(dir, "aleph.db")); err == nil {
				c.clean(dir)
			}
		}
	}
	c.imported(dir)
}

// A backup that was killed is a whole one of before, or none, and says so.
func TestKilledBackupIsNone(t *testing.T) {
	c := newCommands(t)
	dir, to := c.filled(), filepath.Join(t.TempDir(), "backup")
	node, _ := c.start(dir)
	whole := c.timed(backsUp(dir, filepath.Join(t.TempDir(), "first")))
	good := 0
	for range commandKills() {
		c.killed(whole, backsUp(dir, to))
		again := c.fresh()
		if _, err := c.run(restores(to, again)); err == nil {
			good++
			c.whole(again)
		} else if !strings.Contains(err.Error(), "run the backup again") {
			t.Fatal(err)
		}
	}
	c.timed(backsUp(dir, to))
	c.kill(node)
	c.whole(dir)
	again := c.fresh()
	c.timed(restores(to, again))
	c.whole(again)
	t.Logf("%d of %d backups were whole", good, commandKills())
}

// A restore that was killed is told from a whole one by every command, and so is the start of a node.
func TestKilledRestoreIsNotTakenForAWholeOne(t *testing.T) {
	c := newCommands(t)
	dir, to := c.filled(), filepath.Join(t.TempDir(), "backup")
	c.timed(backsUp(dir, to))
	whole := c.timed(restores(to, c.fresh()))
	node, starts := c.start(dir)
	c.kill(node)
	halves := 0
	for range commandKills() {
		again := c.fresh()
		c.killed(whole, restores(to, again))
		if entries, _ := os.ReadDir(again); len(entries) == 0 { // it had not begun
			c.timed(restores(to, again))
		}
		if _, err := c.run(checks(again)); err != nil {
			halves++
			for _, command := range [][]string{checks(again), runs(again), c.imports(again), restores(to, again), backsUp(again, filepath.Join(t.TempDir(), "half"))} {
				if _, err := c.run(command); err == nil || !strings.Contains(err.Error(), "empty the folder and restore again") {
					t.Fatalf("half a restore: %v", err)
				}
			}
			if err := os.RemoveAll(again); err != nil {
				t.Fatal(err)
			}
			c.timed(restores(to, again))
		}
		c.killed(starts, runs(again))
		c.whole(again)
	}
	t.Logf("%d of %d restores were cut short", halves, commandKills())
}
