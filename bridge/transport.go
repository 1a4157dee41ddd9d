package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/snowflakedb/gosnowflake"
	"golang.org/x/net/http/httpproxy"
)

const (
	pathLogin         = "/session/v1/login-request"
	pathAuthenticator = "/session/authenticator-request"
	pathQuery         = "/queries/v1/query-request"
	pathAbort         = "/queries/v1/abort-request"
)

// transport sits between the driver and the network: it reads the responses, the driver does everything else.
type transport struct {
	base http.RoundTripper
	// Request ids answered here (fetchID): the server never heard of them, so nothing is there to abort.
	local sync.Map
}

// A peer that vanished is noticed within a minute instead of the kernel's 15: probes when idle, a limit when sending.
var (
	keepAlive          = net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 10 * time.Second, Count: 4}
	tcpUserTimeout     = 18 // TCP_USER_TIMEOUT of linux/tcp.h, which package syscall lacks
	tcpUserTimeoutMS   = 55_000
	idleConnectionsMax = 16 // the driver's own 3 make every further parallel statement a new TLS handshake
	abortTimeout       = 10 * time.Second
	answerStartMax     = 5 * time.Minute // Snowflake holds a request for 45 s and then answers "in progress"
)

func newTransport(o *options) (*transport, error) {
	base := gosnowflake.SnowflakeTransport.Clone() // keeps its TLS verification with OCSP, fail-open
	dialer := &net.Dialer{Timeout: 30 * time.Second, KeepAliveConfig: keepAlive,
		Control: func(_, _ string, raw syscall.RawConn) error {
			return raw.Control(func(fd uintptr) {
				_ = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpUserTimeout, tcpUserTimeoutMS)
			})
		}}
	base.DialContext = dialer.DialContext
	base.MaxIdleConns, base.MaxIdleConnsPerHost = idleConnectionsMax, idleConnectionsMax
	base.ResponseHeaderTimeout = answerStartMax
	if o.ProxyHost != "" {
		proxy, err := proxyFunction(o)
		if err != nil {
			return nil, err
		}
		base.Proxy = proxy
	}
	return &transport{base: guard{base}}, nil
}

// What the driver does not try again; the caller learns the reason from the statement or the login.
var refusedAnswer = []byte(`{"success":false,"code":"390000","message":"refused by the client","data":{}}`)

func proxyFunction(o *options) (func(*http.Request) (*url.URL, error), error) {
	text := o.ProxyHost
	if !strings.Contains(text, "://") {
		text = "http://" + text
	}
	address, err := url.Parse(text)
	if err != nil || address.Hostname() == "" { // not printed: it may hold a password
		return nil, configurationError("proxy_host", "proxy_host is not a host name or an http address")
	}
	if o.ProxyPort != 0 {
		address.Host = net.JoinHostPort(address.Hostname(), strconv.Itoa(o.ProxyPort))
	}
	if o.ProxyUser != "" {
		address.User = url.UserPassword(o.ProxyUser, o.ProxyPassword)
	}
	choose := (&httpproxy.Config{HTTPProxy: address.String(), HTTPSProxy: address.String(), NoProxy: o.NoProxy}).ProxyFunc()
	return func(r *http.Request) (*url.URL, error) { return choose(r.URL) }, nil
}

func (t *transport) RoundTrip(request *http.Request) (answer *http.Response, err error) {
	defer func() { // heartbeats and logins run on the driver's goroutines, where a panic would end the process
		if cause := recover(); cause != nil {
			answer, err = nil, fmt.Errorf("bug in the bridge's transport: %v", cause)
		}
	}()
	if request.URL.Path == pathAbort {
		return t.abort(request)
	}
	if st := statementOf(request.Context()); st != nil && carriesStatement(request.URL.Path) {
		return t.statement(request, st)
	}
	if login := loginOf(request.Context()); login != nil {
		return login.roundTrip(t.base, request)
	}
	return t.base.RoundTrip(request)
}

func carriesStatement(path string) bool {
	return path == pathQuery || strings.HasPrefix(path, "/queries/") && strings.HasSuffix(path, "/result")
}

func (t *transport) statement(request *http.Request, st *statement) (*http.Response, error) {
	if request.URL.Path == pathQuery && st.fetchID != "" {
		// The driver is told that its statement is already running under the earlier id, and polls for the result:
		// authorisation, renewal and retries are its own. (Its WithFetchResultByID takes "in progress" for a result.)
		t.local.Store(request.URL.Query().Get("requestId"), true)
		text := fmt.Sprintf(`{"success":true,"code":%q,"message":null,"data":{"queryId":%q,"getResultUrl":"/queries/%s/result"}}`,
			codeInProgressAsync, st.fetchID, st.fetchID)
		return madeUp(request, http.StatusOK, []byte(text)), nil
	}
	if request.URL.Path == pathQuery && st.async {
		var err error
		if request, err = detached(request); err != nil {
			return nil, err
		}
	}
	sent := time.Now()
	answer, err := t.base.RoundTrip(request)
	if err != nil {
		if request.Context().Err() == nil {
			st.unreached(err)
		}
		return nil, err
	}
	st.reached()
	st.saw(answer.StatusCode)
	if answer.StatusCode != http.StatusOK {
		return answer, nil
	}
	body, err := io.ReadAll(answer.Body)
	_ = answer.Body.Close()
	if err != nil {
		if f := bodyFailure(err); f != nil { // the driver would ask again and again
			st.refuse(f)
			return madeUp(request, http.StatusOK, refusedAnswer), nil
		}
		return nil, err // a body cut short: the driver asks again with the same request id
	}
	var seen response
	if json.Unmarshal(body, &seen) == nil {
		st.keep(seen.Data.QueryID, nil)
		switch {
		case seen.inProgress():
			if err := wait(request.Context(), st.pollPause(time.Since(sent))); err != nil {
				return nil, err
			}
		case seen.holdsResult():
			st.keep(seen.Data.QueryID, &seen.Data)
			body = seen.slim()
		}
	}
	return withBody(answer, body), nil
}

// detached asks the server to answer at once and run on by itself. The driver's own asynchronous mode would do so too,
// but neither sends an abort when cancelled nor tells when the result is there.
func detached(request *http.Request) (*http.Request, error) {
	content, err := request.GetBody()
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(content)
	if err != nil {
		return nil, err
	}
	body = bytes.Replace(body, []byte(`"asyncExec":false`), []byte(`"asyncExec":true`), 1)
	changed := request.Clone(request.Context())
	changed.Body = io.NopCloser(bytes.NewReader(body))
	changed.ContentLength = int64(len(body))
	changed.GetBody = nil
	return changed, nil
}

// abort passes a cancel on; the person who pressed Ctrl-C does not wait for a server that does not answer. The driver
// retries network errors for about 50 s, so those become an answer it does not retry.
func (t *transport) abort(request *http.Request) (*http.Response, error) {
	if content, err := request.GetBody(); err == nil {
		var target struct {
			RequestID string `json:"requestId"`
		}
		_ = json.NewDecoder(content).Decode(&target)
		if _, ours := t.local.LoadAndDelete(target.RequestID); ours {
			return madeUp(request, http.StatusOK, []byte(`{"success":true,"code":null,"message":null,"data":null}`)), nil
		}
	}
	ctx, cancel := context.WithTimeout(request.Context(), abortTimeout)
	defer cancel()
	answer, err := t.base.RoundTrip(request.WithContext(ctx))
	if err != nil {
		return madeUp(request, http.StatusBadRequest, []byte(`{}`)), nil
	}
	body, err := io.ReadAll(answer.Body)
	_ = answer.Body.Close()
	if err != nil || answer.StatusCode >= 500 {
		return madeUp(request, http.StatusBadRequest, []byte(`{}`)), nil
	}
	return withBody(answer, body), nil
}

func wait(ctx context.Context, pause time.Duration) error {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

func withBody(answer *http.Response, body []byte) *http.Response {
	answer.Body = io.NopCloser(bytes.NewReader(body))
	answer.ContentLength = int64(len(body))
	return answer
}

func madeUp(request *http.Request, status int, body []byte) *http.Response {
	return withBody(&http.Response{Status: strconv.Itoa(status) + " " + http.StatusText(status), StatusCode: status,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{}, Request: request}, body)
}
