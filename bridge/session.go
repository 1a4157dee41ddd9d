package main

import (
	"context"
	"database/sql/driver"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"runtime/debug"
	"sync"
	"time"

	"github.com/snowflakedb/gosnowflake"
	"snowmelt/bridge/environ"
)

// arrowConnection is what the driver's connection offers besides database/sql's interfaces.
type arrowConnection interface {
	driver.Conn
	QueryArrowStream(ctx context.Context, query string, bindings ...driver.NamedValue) (gosnowflake.ArrowStreamLoader, error)
}

type session struct {
	connection arrowConnection
	secrets    []string
	closing    context.Context
	close      context.CancelFunc
}

var (
	sessionsMutex sync.Mutex
	sessions      = map[int64]*session{}
	sessionLast   int64

	logins     = newCalls()
	statements = newCalls()
)

func init() {
	// The library is silent: every error is in an answer already.
	gosnowflake.GetLogger().SetOutput(io.Discard)
	_ = gosnowflake.GetLogger().SetLogLevel("off")
}

func findSession(id int64) (*session, error) {
	sessionsMutex.Lock()
	defer sessionsMutex.Unlock()
	if s := sessions[id]; s != nil {
		return s, nil
	}
	return nil, sessionLost("the session is closed")
}

type opened struct {
	connection arrowConnection
	err        error
}

// open logs in. login_timeout bounds it, plus the person's time where a browser is needed.
func open(o *options, loginID int64) ([]byte, error) {
	hook, err := newTransport(o)
	if err != nil {
		return nil, err
	}
	config, err := o.driverConfig(hook)
	if err != nil {
		return nil, err
	}
	limit := time.Duration(max(1, o.LoginTimeout)) * time.Second
	defer o.installOpener(config.Authenticator)()
	if needsBrowser(config.Authenticator) && o.AskPerson {
		limit += time.Duration(o.ExternalBrowserTimeout) * time.Second
	}
	// Not cancelled after success: the driver keeps this context with the connection.
	ctx, cancel := context.WithCancelCause(context.Background())
	logins.start(loginID, cancel)
	defer logins.finish(loginID)
	timer := time.AfterFunc(limit, func() {
		cancel(&failure{Kind: kindConnection, Reason: "login_timeout", Key: "login_timeout",
			Message: fmt.Sprintf("no login within %v", limit)})
	})
	defer timer.Stop()
	login := &loginState{id: loginID, cancel: cancel, method: config.Authenticator, asksNobody: !o.AskPerson}
	connection, err := connect(context.WithValue(ctx, loginKey{}, login), config, login)
	if isRefusedIDToken(err) { // the driver has removed it from its cache: this time a person is asked
		connection, err = connect(context.WithValue(ctx, loginKey{}, login), config, login)
	}
	if err != nil {
		cancel(nil)
		return nil, loginFailure(err, login)
	}
	return register(connection, o, login)
}

// connect gives up at once when cancelled; the driver does not while it waits for a browser.
func connect(ctx context.Context, config *gosnowflake.Config, login *loginState) (arrowConnection, error) {
	done := make(chan opened, 1)
	go func() {
		defer func() {
			if cause := recover(); cause != nil {
				done <- opened{nil, panicFailure(cause)}
			}
		}()
		connection, err := gosnowflake.NewConnector(gosnowflake.SnowflakeDriver{}, *config).Connect(ctx)
		if err != nil {
			done <- opened{nil, err}
			return
		}
		done <- opened{connection.(arrowConnection), nil}
	}()
	select {
	case result := <-done:
		if result.err != nil && ctx.Err() != nil {
			return nil, loginEnded(ctx)
		}
		return result.connection, result.err
	case <-ctx.Done():
		go func() { // a login that succeeds after all must not leave a session on the server
			login.release()
			if result := <-done; result.err == nil {
				_ = result.connection.Close()
			}
		}()
		return nil, loginEnded(ctx)
	}
}

func loginEnded(ctx context.Context) error {
	var known *failure
	if errors.As(context.Cause(ctx), &known) {
		return known
	}
	return interrupted("the login")
}

func isRefusedIDToken(err error) bool {
	var refused *gosnowflake.SnowflakeError
	return errors.As(err, &refused) && refused.Number == codeIDTokenInvalid
}

func register(connection arrowConnection, o *options, login *loginState) ([]byte, error) {
	s := &session{connection: connection, secrets: o.secrets()}
	s.closing, s.close = context.WithCancel(context.Background())
	sessionsMutex.Lock()
	sessionLast++
	id := sessionLast
	sessions[id] = s
	sessionsMutex.Unlock()
	login.mutex.Lock()
	defer login.mutex.Unlock()
	return json.Marshal(map[string]any{
		"session": id, "login_kind": login.kind, "id_token_validity_s": login.idTokenValidityS,
		"master_validity_s": login.masterValidityS, "server_session_id": login.serverSession,
		"credential_cache": environ.CredentialCache,
	})
}

type request struct {
	SQL      string    `json:"sql"`
	Bindings []*string `json:"bindings"`
	QueryTag string    `json:"query_tag"`
	Async    bool      `json:"async"`
	// Asks for the row type and the kind of statement only: the server runs nothing.
	DescribeOnly bool `json:"describe_only"`
}

// PUT and GET move files between this machine and a stage, which is no business of a table's transfer; the driver
// would do so by itself.
var fileTransfer = regexp.MustCompile(`(?is)^\s*(?:/\*.*?\*/\s*|--[^\n]*\n\s*)*(?:put|get)\s`)

func (s *session) execute(statementID int64, r *request) ([]byte, error) {
	if fileTransfer.MatchString(r.SQL) {
		return nil, &failure{Kind: kindQuery, Reason: "query_refused", NothingSent: true,
			Message: "PUT and GET statements are not supported"}
	}
	bindings := make([]driver.NamedValue, len(r.Bindings))
	for i, value := range r.Bindings {
		bindings[i].Ordinal = i + 1
		if value != nil {
			bindings[i].Value = *value
		}
	}
	return s.run(statementID, &statement{async: r.Async, describeOnly: r.DescribeOnly}, r.SQL, r.QueryTag, bindings)
}

func (s *session) result(statementID int64, queryID string) ([]byte, error) {
	if !regexp.MustCompile(`^\w[\w.-]*$`).MatchString(queryID) { // it becomes part of a path
		return nil, &failure{Kind: kindBug, Reason: "bug", Message: fmt.Sprintf("%q is not a query id", queryID)}
	}
	return s.run(statementID, &statement{fetchID: queryID}, "", "", nil)
}

// A ping is answered in milliseconds, or the connection is not worth keeping.
const pingTimeout = 30 * time.Second

// ping is a statement of number `id`: 0 cannot be cancelled.
func (s *session) ping(id int64) ([]byte, error) {
	st := &statement{}
	ctx, finish := s.start(id, st)
	defer finish()
	timer := time.AfterFunc(pingTimeout, func() {
		st.cancel(&failure{Kind: kindConnection, Reason: "unreachable", Message: fmt.Sprintf("no answer within %v", pingTimeout)})
	})
	defer timer.Stop()
	err := awaited(ctx, func() error { return s.connection.(driver.Pinger).Ping(ctx) })
	if err != nil && ctx.Err() != nil {
		return nil, statementEnded(ctx, st)
	}
	if err != nil {
		return nil, statementFailure(err, st)
	}
	return []byte(`{}`), nil
}

// start makes the context of a statement that cancel(id) and the session's end stop.
func (s *session) start(id int64, st *statement) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(s.closing)
	st.cancel = cancel
	statements.start(id, cancel)
	return withStatement(ctx, st), func() {
		statements.finish(id)
		st.reached() // its timer ends
		cancel(nil)
	}
}

// A cancelled call is told to the server by the driver, which waits for the answer; nobody else waits for it longer than this.
const cancelGrace = 500 * time.Millisecond

// awaited runs a call of the driver, which does not always watch its context.
func awaited(ctx context.Context, call func() error) error {
	done := make(chan error, 1)
	go func() {
		defer func() {
			if cause := recover(); cause != nil {
				done <- panicFailure(cause)
			}
		}()
		done <- call()
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	select {
	case err := <-done:
		return err
	case <-time.After(cancelGrace):
		return ctx.Err()
	}
}

func (s *session) run(id int64, st *statement, sql, tag string, bindings []driver.NamedValue) ([]byte, error) {
	ctx, finish := s.start(id, st)
	defer finish()
	if ctx.Err() != nil {
		return nil, statementEnded(ctx, st)
	}
	if st.describeOnly {
		ctx = gosnowflake.WithDescribeOnly(ctx)
	}
	if tag != "" {
		ctx = gosnowflake.WithQueryTag(ctx, tag)
	}
	err := awaited(ctx, func() error {
		_, err := s.connection.QueryArrowStream(ctx, sql, bindings...)
		return err
	})
	if err != nil && ctx.Err() != nil {
		return nil, statementEnded(ctx, st)
	}
	if f := st.refusal(); f != nil {
		return nil, f
	}
	result := st.captured()
	if err != nil {
		f := statementFailure(err, st)
		if f.Code == codeCancelledByServer && s.isLost() {
			f = sessionLost("the session ended while the statement ran")
		}
		return nil, f
	}
	if result == nil {
		return nil, &failure{Kind: kindBug, Reason: "bug", Message: "the driver returned without a response"}
	}
	return result.facts()
}

// statementEnded says who ended it: what is known to be wrong, the caller, or the end of the session, which another thread may
// have found lost.
func statementEnded(ctx context.Context, st *statement) *failure {
	var known *failure
	if errors.As(context.Cause(ctx), &known) {
		f := *known
		f.QueryID = st.queryID()
		return &f
	}
	if context.Cause(ctx) != errCancelled {
		return sessionLost("the session was closed while the statement ran")
	}
	f := interrupted("the statement")
	f.QueryID = st.queryID()
	return f
}

// A session that ends on the server takes its running statements with it, which then look cancelled by somebody.
const codeCancelledByServer = 604

func (s *session) isLost() bool {
	_, err := s.ping(0)
	var f *failure
	return errors.As(err, &f) && f.ConnectionLost || s.closing.Err() != nil
}

// The driver waits for its heartbeat to end and gives the server 5 s. A server that is gone or silent does not hold up an exit:
// the request is on its way by then, and a session that nobody closes ends by itself.
const closeTimeout = time.Second

func closeSession(id int64) ([]byte, error) {
	sessionsMutex.Lock()
	s := sessions[id]
	delete(sessions, id)
	sessionsMutex.Unlock()
	if s == nil {
		return []byte(`{}`), nil
	}
	s.close()
	done := make(chan error, 1)
	go func() {
		defer func() {
			if cause := recover(); cause != nil {
				done <- panicFailure(cause)
			}
		}()
		done <- s.connection.Close()
	}()
	select {
	case err := <-done:
		return []byte(`{}`), err
	case <-time.After(closeTimeout):
		return nil, sessionLost("the server did not confirm the end of the session in time")
	}
}

func panicFailure(cause any) *failure {
	return &failure{Kind: kindBug, Reason: "bug", Message: fmt.Sprintf("panic: %v\n%s", cause, debug.Stack())}
}
