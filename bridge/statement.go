package main

import (
	"context"
	"errors"
	"sync"
	"time"
)

// statement is one call of the driver in progress; the transport finds it by the request's context.
type statement struct {
	async        bool   // asks the server to detach at once
	describeOnly bool   // nothing is run
	fetchID      string // not empty: no new statement, the result of this query id
	cancel       context.CancelCauseFunc

	mutex   sync.Mutex
	status  int // last HTTP status, 0 before the first answer
	query   string
	result  *responseData // the last response that holds a result: renewals and polls give several
	refused *failure      // an answer that is not taken
	polls   int           // answers "in progress" so far
	lost    *time.Timer   // runs while the server cannot be reached
}

// How long a server that cannot be reached is tried; the driver alone would for half a minute, at each statement. A server that
// restarts, or a network that comes back, is met within this.
var unreachablePatience = 12 * time.Second

// unreached notes an attempt without any answer; when they go on for too long the statement ends with the first one's reason.
func (st *statement) unreached(err error) {
	st.mutex.Lock()
	defer st.mutex.Unlock()
	if st.lost == nil && st.cancel != nil {
		cause := &failure{Kind: kindConnection, Reason: "unreachable", Message: err.Error()}
		st.lost = time.AfterFunc(unreachablePatience, func() { st.cancel(cause) })
	}
}

func (st *statement) reached() {
	st.mutex.Lock()
	defer st.mutex.Unlock()
	if st.lost != nil {
		st.lost.Stop()
		st.lost = nil
	}
}

type statementKey struct{}

func withStatement(ctx context.Context, st *statement) context.Context {
	return context.WithValue(ctx, statementKey{}, st)
}

func statementOf(ctx context.Context) *statement {
	st, _ := ctx.Value(statementKey{}).(*statement)
	return st
}

func (st *statement) saw(status int) {
	st.mutex.Lock()
	defer st.mutex.Unlock()
	st.status = status
}

func (st *statement) lastStatus() int {
	st.mutex.Lock()
	defer st.mutex.Unlock()
	return st.status
}

func (st *statement) queryID() string {
	st.mutex.Lock()
	defer st.mutex.Unlock()
	return st.query
}

func (st *statement) keep(query string, result *responseData) {
	st.mutex.Lock()
	defer st.mutex.Unlock()
	if query != "" {
		st.query = query
	}
	if result != nil {
		st.result = result
	}
}

func (st *statement) refuse(f *failure) {
	st.mutex.Lock()
	defer st.mutex.Unlock()
	f.QueryID, st.refused = st.query, f
}

func (st *statement) refusal() *failure {
	st.mutex.Lock()
	defer st.mutex.Unlock()
	return st.refused
}

func (st *statement) captured() *responseData {
	st.mutex.Lock()
	defer st.mutex.Unlock()
	return st.result
}

// The driver polls without a pause when the server answers "in progress" at once; the real one holds a poll for up to
// 45 s. 50 ms at first, so that short statements stay short, 2 s at most.
const (
	pollPauseFirst = 50 * time.Millisecond
	pollPauseMax   = 2 * time.Second
)

// pollPause is how long to hold the next "in progress" answer back, given how long the server held it itself.
func (st *statement) pollPause(held time.Duration) time.Duration {
	st.mutex.Lock()
	defer st.mutex.Unlock()
	pause := pollPauseMax
	if st.polls < 16 {
		pause = min(pollPauseMax, pollPauseFirst<<(st.polls/2))
	}
	st.polls++
	return max(0, pause-held)
}

// errCancelled is the cause of a context whose call the caller cancelled; a session that was closed has another one.
var errCancelled = errors.New("cancelled by the caller")

// calls keeps what can be cancelled from another thread, by the caller's number. A cancel may arrive before the call
// it means: such numbers are remembered (callers never use one twice).
type calls struct {
	mutex  sync.Mutex
	active map[int64]context.CancelCauseFunc
	early  map[int64]bool
}

func newCalls() *calls {
	return &calls{active: map[int64]context.CancelCauseFunc{}, early: map[int64]bool{}}
}

func (c *calls) start(id int64, cancel context.CancelCauseFunc) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if c.early[id] {
		delete(c.early, id)
		cancel(errCancelled)
	}
	c.active[id] = cancel
}

func (c *calls) finish(id int64) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	delete(c.active, id)
}

func (c *calls) cancel(id int64) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if cancel, found := c.active[id]; found {
		cancel(errCancelled)
	} else {
		c.early[id] = true
	}
}
