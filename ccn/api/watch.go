package api

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"slices"
	"sync"

	"github.com/coder/websocket"

	"github.com/aleph-im/aleph-go/ccn/intake"
	"github.com/aleph-im/aleph-go/ccn/store"
	"github.com/aleph-im/aleph-go/message"
)

const (
	defaultHistory = 10
	maxHistory     = 199
	watcherBuffer  = 2048     // messages that wait for a subscriber; one that has more to read is dropped
	feedBuffer     = 8192     // messages that wait for the feed
	maxTaken       = 64       // messages after which it is looked whether a subscriber is lost
	maxBatch       = 32 << 10 // bytes that are enough to be written at once
)

func (a *API) watchRoutes() routes {
	return routes{
		"GET /api/ws0/messages": long{query(a.watchMessages)},
		"GET /api/ws0/status":   long{plain(a.watchStatus)},
	}
}

// frame is a processed message on its way to subscribers. It is written once for each form, whoever reads it.
type frame struct {
	event intake.Event
	tags  func() []string // of its content
	forms [4]struct {     // with content or bare, as it is or packed
		once sync.Once
		raw  []byte
	}
}

func newFrame(e intake.Event) *frame {
	return &frame{event: e, tags: sync.OnceValue(func() []string { return tagsOf(e.Message.Type, e.Raw) })}
}

// form returns the bytes for subscribers that want no content when bare is true, and unpack when packed is.
func (f *frame) form(bare, packed bool) []byte {
	i := 0
	if bare {
		i++
	}
	if packed {
		i += 2
	}
	form := &f.forms[i]
	form.once.Do(func() {
		var content []byte
		if !bare {
			var err error
			if content, err = message.Normalise(f.event.Content); err != nil {
				content = f.event.Raw
			}
		}
		form.raw = textFrame(appendModel(nil, f.event.Message, content, nil), packed)
	})
	return form.raw
}

// feed hands processed messages to subscribers. Its goroutine runs while there are some; the last one that leaves waits
// for its end.
type feed struct {
	intake *intake.Pipeline

	mu       sync.Mutex
	watchers map[*watcher]struct{} // guarded by mu
	cancel   func()                // guarded by mu; ends what intake tells; nil while no goroutine runs
	done     chan struct{}         // guarded by mu; closed when the goroutine has ended
}

// watcher is one subscriber.
type watcher struct {
	filter *liveFilter
	ready  chan struct{} // holds a token when frames wait
	lost   chan struct{} // closed when a frame did not fit

	mu      sync.Mutex
	waiting []*frame // guarded by mu
}

// push adds a frame to those that wait. It reports whether it fits.
func (w *watcher) push(f *frame) bool {
	w.mu.Lock()
	fits := len(w.waiting) < watcherBuffer
	if fits {
		w.waiting = append(w.waiting, f)
	}
	w.mu.Unlock()
	w.wake()
	return fits
}

// wake says that frames wait.
func (w *watcher) wake() {
	select {
	case w.ready <- struct{}{}:
	default:
	}
}

// take moves the first of the frames that wait into a list that is reused.
func (w *watcher) take(list []*frame) []*frame {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := min(len(w.waiting), maxTaken)
	list = append(list[:0], w.waiting[:n]...)
	clear(w.waiting[:n])
	if w.waiting = w.waiting[n:]; len(w.waiting) == 0 {
		w.waiting = nil // most subscribers wait most of the time
	} else {
		w.wake()
	}
	return list
}

func (f *feed) join(filter *liveFilter) *watcher {
	w := &watcher{filter: filter, ready: make(chan struct{}, 1), lost: make(chan struct{})}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.watchers == nil {
		f.watchers = map[*watcher]struct{}{}
	}
	f.watchers[w] = struct{}{}
	if f.cancel == nil {
		events, cancel := f.intake.Subscribe(feedBuffer, nil)
		done := make(chan struct{})
		go func() {
			defer close(done)
			f.run(events)
		}()
		f.cancel, f.done = cancel, done
	}
	return w
}

func (f *feed) leave(w *watcher) {
	f.mu.Lock()
	delete(f.watchers, w)
	var done chan struct{}
	if len(f.watchers) == 0 && f.cancel != nil {
		// With mu: who joins next must not hear from two goroutines what is told only now.
		f.cancel()
		done, f.cancel = f.done, nil
	}
	f.mu.Unlock()
	if done != nil {
		<-done
	}
}

// run hands out what intake tells until it tells no more.
func (f *feed) run(events <-chan intake.Event) {
	for e := range events {
		if e.Missed > 0 {
			f.each(func(w *watcher) { f.drop(w) })
		}
		if e.Status != message.StatusProcessed || e.Message == nil || e.Content == nil {
			continue
		}
		shared := newFrame(e)
		f.each(func(w *watcher) {
			if w.filter.passes(shared) && !w.push(shared) {
				f.drop(w)
			}
		})
	}
}

func (f *feed) each(do func(*watcher)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for w := range f.watchers {
		do(w)
	}
}

// drop gives up a subscriber that lost a message. The caller holds mu.
func (f *feed) drop(w *watcher) {
	delete(f.watchers, w)
	close(w.lost)
}

// liveFilter are the filters of live messages (ccn-api §14.1). Dates and statuses choose history only.
// Every message is held against the filters of all subscribers: lists are sorted, and the tags of a message read once.
type liveFilter struct{ store.MessageFilter }

func newLiveFilter(f store.MessageFilter) *liveFilter {
	for _, list := range []*[]string{
		&f.Types, &f.Senders, &f.Hashes, &f.Chains, &f.Owners, &f.Channels, &f.PaymentTypes, &f.Tags, &f.Refs, &f.ContentTypes, &f.ContentHashes, &f.ContentKeys,
	} {
		*list = slices.Sorted(slices.Values(*list))
	}
	return &liveFilter{f}
}

func (f *liveFilter) passes(shared *frame) bool {
	has := func(list []string, value string) bool { _, ok := slices.BinarySearch(list, value); return ok }
	pass := func(list []string, value string) bool { return len(list) == 0 || has(list, value) }
	e := shared.event
	m := e.Message
	if !pass(f.Types, string(m.Type)) || !pass(f.Senders, m.Sender) || !pass(f.Hashes, string(e.Hash)) || !pass(f.Chains, string(m.Chain)) ||
		!pass(f.Owners, e.Content.Base().Address) || len(f.Channels) > 0 && (m.Channel == nil || !has(f.Channels, *m.Channel)) {
		return false
	}
	if len(f.PaymentTypes) > 0 && !slices.Contains(f.PaymentTypes, paidBy(e.Content)) {
		return false
	}
	if len(f.Tags) > 0 && !slices.ContainsFunc(shared.tags(), func(tag string) bool { return has(f.Tags, tag) }) {
		return false
	}
	if len(f.Refs)+len(f.ContentTypes)+len(f.ContentHashes)+len(f.ContentKeys) == 0 {
		return true
	}
	var ref, contentType, contentHash, key string
	switch c := e.Content.(type) {
	case *message.Post:
		ref, contentType = c.Ref, c.PostType
	case *message.Store:
		ref, contentHash = c.Ref, string(c.FileHash)
	case *message.Aggregate:
		key = c.Key
	case *message.Program:
		contentType = c.ProgramType
	}
	return pass(f.Refs, ref) && pass(f.ContentTypes, contentType) && pass(f.ContentHashes, contentHash) && pass(f.ContentKeys, key)
}

// paidBy returns how a content says that it is paid for; "" when it does not say.
func paidBy(content message.Content) string {
	p := message.PaymentOf(content)
	if p == nil {
		return ""
	}
	return string(p.Type)
}

// tagsOf returns the tags of a content; where they are depends on the type.
func tagsOf(t message.Type, content []byte) []string {
	var c struct {
		Tags     json.RawMessage `json:"tags"`
		Content  json.RawMessage `json:"content"`
		Metadata json.RawMessage `json:"metadata"`
	}
	if json.Unmarshal(content, &c) != nil {
		return nil
	}
	var inside struct {
		Tags json.RawMessage `json:"tags"`
	}
	switch t {
	case message.TypePost, message.TypeAggregate:
		_ = json.Unmarshal(c.Content, &inside) // what is no object has no tags
		c.Tags = inside.Tags
	case message.TypeProgram, message.TypeInstance, message.TypeVProgram:
		_ = json.Unmarshal(c.Metadata, &inside)
		c.Tags = inside.Tags
	}
	var values []any
	_ = json.Unmarshal(c.Tags, &values)
	var tags []string
	for _, v := range values {
		if tag, ok := v.(string); ok {
			tags = append(tags, tag)
		}
	}
	return tags
}

// watchMessages sends the newest messages and then each that is processed (ccn-api §14.1).
func (a *API) watchMessages(w http.ResponseWriter, r *http.Request, q *arguments) error {
	f := q.messageFilter()
	f.Statuses = live(q.choices(messageStatuses, "msgStatuses", "message_statuses"))
	format := q.contentFormat()
	f.Limit = int(q.integer(defaultHistory, 0, maxHistory, "history"))
	if q.err != nil {
		return q.err
	}
	if err := notSocket(r); err != nil {
		return err
	}
	// Joining before reading the history loses nothing in between; what is in both is sent once. What was processed before
	// the client is connected is history only, however late the feed tells of it.
	me := a.feed.join(newLiveFilter(f))
	defer a.feed.leave(me)
	before, err := a.cfg.Intake.Position(r.Context())
	if err != nil {
		return err
	}
	s := a.accept(w, r, &a.sockets.messages, &a.sockets.messagesRejected, a.cfg.MaxSockets)
	if s == nil {
		return nil
	}
	defer s.end()
	ctx := s.attend(r.Context())
	sent, err := a.sendHistory(ctx, s, f, format)
	if err != nil {
		s.Close(websocket.StatusInternalError, "history not read")
		return nil
	}
	var list []*frame
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-a.cfg.Stopping:
			s.Close(websocket.StatusGoingAway, "the node stops")
			return nil
		case <-me.lost:
			s.Close(websocket.StatusTryAgainLater, "too slow: messages were lost")
			return nil
		case <-me.ready:
			list = me.take(list)
			list = slices.DeleteFunc(list, func(f *frame) bool { return f.event.Position <= before || sent[f.event.Hash] })
			if s.sendAll(list, format != contentFull) != nil {
				return nil
			}
			a.sockets.broadcast.Add(int64(len(list)))
			clear(list)
		}
	}
}

// sendAll sends frames, as many at once as a slow client can take in time.
func (s *socket) sendAll(list []*frame, bare bool) error {
	var batch net.Buffers
	size := 0
	for i, f := range list {
		raw := f.form(bare, s.unpacks)
		batch, size = append(batch, raw), size+len(raw)
		if size < maxBatch && i+1 < len(list) {
			continue
		}
		if err := s.out.writeAll(batch); err != nil {
			return err
		}
		batch, size = nil, 0
	}
	return nil
}

// sendHistory sends the newest messages, the oldest of them first, and returns their hashes. It sends fewer when all are too large
// together.
func (a *API) sendHistory(ctx context.Context, s *socket, f store.MessageFilter, format contentFormat) (map[message.Hash]bool, error) {
	if f.Limit == 0 {
		return nil, nil
	}
	if format != contentFull {
		format, f.WithoutContent = contentNone, true
	}
	var rows []store.MessageRow
	charging, held := a.charging(ctx)
	defer held.release()
	for {
		err := a.cfg.Store.Read(charging, func(rd *store.Reader) (err error) { rows, err = rd.ListMessages(f); return err })
		if err == nil {
			break
		}
		if f.Limit /= 2; !errors.Is(err, errTooLong) || f.Limit == 0 {
			return nil, err
		}
		held.release() // what did not fit
	}
	sent := make(map[message.Hash]bool, len(rows))
	for _, row := range slices.Backward(rows) {
		sent[row.Message.ItemHash] = true
		if err := s.send(appendListed(nil, &row, format)); err != nil {
			return nil, err
		}
	}
	return sent, nil
}
