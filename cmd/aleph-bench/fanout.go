package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/coder/websocket"

	"github.com/aleph-im/aleph-go/message"
	"github.com/aleph-im/aleph-go/signature/ethereum"
)

// Each message goes to one of the channels; most subscribers follow one channel, some follow all, and a few
// read too slowly.
const (
	fanoutSubscribers = 1000
	fanoutEverything  = 10 // of the subscribers follow all messages
	fanoutSlow        = 5  // beside the subscribers; they follow all messages and read few
	fanoutChannels    = 50
	fanoutRate        = 1000 // messages a second
	fanoutBurst       = 10
	fanoutSettle      = 10 * time.Second      // that the last frames may take
	slowBuffer        = 4096                  // bytes of a slow reader's socket
	slowPause         = 50 * time.Millisecond // between two of its frames
	frameLimit        = 1 << 20
)

// published is one message and when it was sent.
type published struct {
	hash    message.Hash
	channel string
	raw     []byte
	sent    atomic.Int64 // Unix nanoseconds
}

// fanout sends messages at a steady rate to a node that many subscribers listen to and measures how late they hear them.
// Not a frame may be lost; readers that are too slow must be told to try again later (1013) and cost no more memory.
func fanout(ctx context.Context, o options) ([]Result, error) {
	messages, index, err := fanoutMessages(ctx, o.seconds*fanoutRate)
	if err != nil {
		return nil, err
	}
	node, err := startNode(ctx, o, o.dir)
	if err != nil {
		return nil, err
	}
	defer node.Stop()
	url := "ws" + strings.TrimPrefix(node.URL, "http") + "/api/ws0/messages?history=0"
	publishing, endPublishing := context.WithCancel(ctx)
	defer endPublishing()
	dropped := make(chan error, fanoutSlow)
	for range fanoutSlow {
		conn, err := dialSlow(ctx, url)
		if err != nil {
			return nil, err
		}
		defer conn.CloseNow()
		go func() { dropped <- readSlowly(ctx, publishing, conn) }()
	}
	listening, stop := context.WithCancel(ctx)
	defer stop()
	listeners := make([]*listener, fanoutSubscribers)
	var wg sync.WaitGroup
	for i := range listeners {
		l := &listener{index: index, want: len(messages)}
		address := url
		if i >= fanoutEverything {
			channel := i % fanoutChannels
			address += fmt.Sprintf("&channels=FANOUT-%d", channel)
			l.want = (len(messages) - channel + fanoutChannels - 1) / fanoutChannels
		}
		if l.conn, _, err = websocket.Dial(ctx, address, nil); err != nil {
			return nil, fmt.Errorf("subscriber %d: %w", i, err)
		}
		defer l.conn.CloseNow()
		l.conn.SetReadLimit(frameLimit)
		listeners[i] = l
		wg.Go(func() { l.listen(listening) })
	}
	if err := publishSteadily(ctx, node.URL, messages); err != nil {
		return nil, err
	}
	endPublishing()
	settled := time.AfterFunc(fanoutSettle, stop)
	wg.Wait()
	settled.Stop()
	var late []float64
	for i, l := range listeners {
		if len(l.late) != l.want {
			return nil, fmt.Errorf("subscriber %d heard %d of %d messages: %v", i, len(l.late), l.want, l.err)
		}
		late = append(late, l.late...)
	}
	peak, err := peakMiB(node.PID())
	if err != nil {
		return nil, err
	}
	slices.Sort(late)
	fmt.Printf("%d frames to %d subscribers, none lost, median %.1f ms, worst %.1f ms\n",
		len(late), fanoutSubscribers, late[len(late)/2], late[len(late)-1])
	results := []Result{
		{Name: "ws-fanout-p99-ms", Value: late[len(late)*99/100], Unit: "ms"},
		{Name: "ws-fanout-peak-mib", Value: peak, Unit: "MiB"},
	}
	for range fanoutSlow {
		err = errors.Join(err, <-dropped)
	}
	return results, err
}

// fanoutMessages signs n messages, spread over the channels in turn.
func fanoutMessages(ctx context.Context, n int) ([]*published, map[message.Hash]*published, error) {
	account, err := ethereum.Generate()
	if err != nil {
		return nil, nil, err
	}
	messages := make([]*published, n)
	index := make(map[message.Hash]*published, n)
	now := time.Now()
	for i := range messages {
		p := &published{channel: fmt.Sprintf("FANOUT-%d", i%fanoutChannels)}
		content := &message.Post{PostType: "bench", Content: fmt.Appendf(nil, `{"number":%d,"text":"a post of an ordinary length, as applications write them"}`, i)}
		m, _, err := message.Build(account.Address(), account.Chain(), message.TypePost, content, &p.channel, now)
		if err != nil {
			return nil, nil, err
		}
		if m.Signature, err = account.Sign(ctx, m.SigningPayload()); err != nil {
			return nil, nil, fmt.Errorf("sign message %d: %w", i, err)
		}
		p.hash, p.raw = m.ItemHash, m.AppendJSON(nil)
		messages[i], index[p.hash] = p, p
	}
	return messages, index, nil
}

// publishSteadily sends the messages in small bursts, fanoutRate in a second.
func publishSteadily(ctx context.Context, url string, messages []*published) error {
	ticker := time.NewTicker(time.Second * fanoutBurst / fanoutRate)
	defer ticker.Stop()
	next, left := 0, 0
	l := &load{url: url}
	_, err := l.run(ctx, func() ([]byte, error) { // called under a lock
		if next == len(messages) {
			return nil, nil
		}
		if left == 0 {
			select {
			case <-ticker.C:
			case <-ctx.Done():
				return nil, ctx.Err()
			}
			left = fanoutBurst
		}
		p := messages[next]
		next++
		left--
		p.sent.Store(time.Now().UnixNano())
		return p.raw, nil
	})
	if bad := l.failures(); err == nil && bad != "" {
		err = errors.New(bad)
	}
	return err
}

// listener is one subscriber. Its results are complete when listen has returned.
type listener struct {
	conn  *websocket.Conn
	index map[message.Hash]*published
	want  int
	late  []float64 // ms between sending and hearing
	err   error
}

func (l *listener) listen(ctx context.Context) {
	seen := make(map[message.Hash]bool, l.want)
	for len(l.late) < l.want {
		_, frame, err := l.conn.Read(ctx)
		heard := time.Now().UnixNano()
		if err != nil {
			l.err = err
			return
		}
		p := l.index[hashIn(frame)]
		if p == nil || seen[p.hash] {
			l.err = fmt.Errorf("a frame that nobody sent, or for the second time: %.200s", frame)
			return
		}
		seen[p.hash] = true
		l.late = append(l.late, float64(heard-p.sent.Load())/1e6)
	}
}

// hashIn finds the item hash without decoding the frame: a thousand subscribers share the cores with the node.
func hashIn(frame []byte) message.Hash {
	_, rest, _ := bytes.Cut(frame, []byte(`"item_hash":`))
	rest = bytes.TrimLeft(rest, ` "`)
	return message.Hash(rest[:min(64, len(rest))])
}

// dialSlow connects with a receive buffer so small that the node soon finds it full.
func dialSlow(ctx context.Context, url string) (*websocket.Conn, error) {
	dialer := &net.Dialer{Control: func(_, _ string, c syscall.RawConn) error {
		var set error
		err := c.Control(func(fd uintptr) {
			set = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, slowBuffer)
		})
		return errors.Join(err, set)
	}}
	client := &http.Client{Transport: &http.Transport{DialContext: dialer.DialContext}}
	conn, _, err := websocket.Dial(ctx, url, &websocket.DialOptions{HTTPClient: client})
	if err != nil {
		return nil, fmt.Errorf("slow reader: %w", err)
	}
	conn.SetReadLimit(frameLimit)
	return conn, nil
}

// readSlowly reads a frame now and then until publishing ends, then all that is left, and expects the node's word that
// this reader was too slow.
func readSlowly(ctx, publishing context.Context, conn *websocket.Conn) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	late := context.AfterFunc(publishing, func() { time.AfterFunc(fanoutSettle, cancel) })
	defer late()
	pause := time.NewTicker(slowPause)
	defer pause.Stop()
	for {
		select {
		case <-pause.C:
		case <-publishing.Done():
		}
		if _, _, err := conn.Read(ctx); err != nil {
			if websocket.CloseStatus(err) != websocket.StatusTryAgainLater {
				return fmt.Errorf("a slow reader was not dropped with 1013: %w", err)
			}
			return nil
		}
	}
}
