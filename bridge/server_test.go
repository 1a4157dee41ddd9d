package main

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// fakeServer answers the driver's protocol; a test sets the hooks it is about.
type fakeServer struct {
	*httptest.Server
	mutex   sync.Mutex
	counts  map[string]int
	bodies  map[string][]string
	running int
	peak    int // statements at the same time

	login func(data map[string]any) string
	query func(sql, requestID, token string) string
	get   func(path, token string) string
	token string
	sso   string // the sign-in address; empty: one on this server
}

func newFakeServer(t *testing.T) *fakeServer {
	f := &fakeServer{counts: map[string]int{}, bodies: map[string][]string{}, token: "T1"}
	f.Server = httptest.NewServer(http.HandlerFunc(f.serve))
	t.Cleanup(f.Close)
	return f
}

func (f *fakeServer) serve(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	path := r.URL.Path
	f.mutex.Lock()
	f.counts[path]++
	f.bodies[path] = append(f.bodies[path], string(body))
	f.mutex.Unlock()
	token := strings.TrimSuffix(strings.TrimPrefix(r.Header.Get("Authorization"), `Snowflake Token="`), `"`)
	var sent struct {
		SQL  string         `json:"sqlText"`
		Data map[string]any `json:"data"`
	}
	_ = json.Unmarshal(body, &sent)
	text := `{"success":true,"code":null,"message":null,"data":{}}`
	switch {
	case path == pathLogin && f.login != nil:
		text = f.login(sent.Data)
	case path == pathLogin:
		text = granted(`"idTokenValidityInSeconds":0`)
	case path == pathAuthenticator && f.sso != "":
		text = fmt.Sprintf(`{"success":true,"data":{"ssoUrl":"%s","proofKey":"proof"}}`, f.sso)
	case path == pathAuthenticator:
		text = fmt.Sprintf(`{"success":true,"data":{"ssoUrl":"%s/sso?port=%v","proofKey":"proof"}}`, f.URL,
			sent.Data["BROWSER_MODE_REDIRECT_PORT"])
	case path == "/session/token-request":
		f.mutex.Lock()
		f.token = "T2"
		f.mutex.Unlock()
		text = `{"success":true,"data":{"sessionToken":"T2","validityInSecondsST":3600,"masterToken":"M2","validityInSecondsMT":14400,"sessionId":101}}`
	case path == pathQuery && f.query != nil:
		f.enter(1)
		text = f.query(sent.SQL, r.URL.Query().Get("requestId"), token)
		f.enter(-1)
	case path == pathQuery:
		text = oneRow("q1")
	case strings.HasSuffix(path, "/result") && f.get != nil:
		text = f.get(path, token)
	}
	if address, found := strings.CutPrefix(text, "REDIRECT "); found {
		http.Redirect(w, r, address, http.StatusTemporaryRedirect)
		return
	}
	if status, found := strings.CutPrefix(text, "HTTP "); found {
		number, _ := strconv.Atoi(status)
		w.WriteHeader(number)
		return
	}
	_, _ = io.WriteString(w, text)
}

func (f *fakeServer) enter(change int) {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	f.running += change
	f.peak = max(f.peak, f.running)
}

func (f *fakeServer) count(path string) int {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	return f.counts[path]
}

func (f *fakeServer) lastBody(path string) string {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	if list := f.bodies[path]; len(list) > 0 {
		return list[len(list)-1]
	}
	return ""
}

func granted(more string) string {
	return `{"success":true,"code":null,"message":null,"data":{"token":"T1","masterToken":"M1","sessionId":101,
	"masterValidityInSeconds":14400,"parameters":[{"name":"TIMEZONE","value":"UTC"}],` + more + `}}`
}

func refused(code, message string) string {
	return fmt.Sprintf(`{"success":false,"code":%q,"message":%q,"data":{"sqlState":"42S02","queryId":"qf"}}`, code, message)
}

func oneRow(id string) string {
	return fmt.Sprintf(`{"success":true,"code":null,"data":{"queryId":%q,"sqlState":"00000","queryResultFormat":"json",
	"finalDatabaseName":"D%s","total":1,"statementTypeId":4096,"rowtype":[{"name":"A","type":"fixed","scale":0}],"rowset":[["1"]]}}`, id, id)
}

func inProgress(id, code string) string {
	return fmt.Sprintf(`{"success":true,"code":%q,"data":{"queryId":%q,"getResultUrl":"/queries/%s/result"}}`, code, id, id)
}

func manyChunks(id string, count int) string {
	chunks := make([]string, count)
	for i := range chunks {
		chunks[i] = fmt.Sprintf(`{"url":"http://127.0.0.1:1/chunk/%d?sig=s","rowCount":%d,"uncompressedSize":9000,"compressedSize":3000}`, i, 10+i)
	}
	return fmt.Sprintf(`{"success":true,"code":null,"data":{"queryId":%q,"queryResultFormat":"arrow","total":5000,
	"rowtype":[],"rowsetBase64":%q,"qrmk":"key","chunks":[%s]}}`, id,
		base64.StdEncoding.EncodeToString([]byte("not arrow: the driver must not look")), strings.Join(chunks, ","))
}

func optionsFor(f *fakeServer, change map[string]any) []byte {
	host, port, _ := net.SplitHostPort(f.Listener.Addr().String())
	number, _ := strconv.Atoi(port)
	o := map[string]any{"account": "acct", "user": "u1", "password": "pw-secret", "host": host, "port": number,
		"protocol": "http", "login_timeout": 60, "client_session_keep_alive": true}
	for key, value := range change {
		o[key] = value
	}
	text, _ := json.Marshal(o)
	return text
}

type anyAnswer struct {
	Session       int64    `json:"session"`
	LoginKind     string   `json:"login_kind"`
	IDTokenS      int64    `json:"id_token_validity_s"`
	Error         *failure `json:"error"`
	QueryID       string   `json:"query_id"`
	Total         int64    `json:"total"`
	Format        string   `json:"format"`
	RowsetBase64  string   `json:"rowset_base64"`
	Rowset        [][]any  `json:"rowset"`
	Chunks        []chunkFacts
	ChunkHeaders  map[string]string `json:"chunk_headers"`
	StatementType int64             `json:"statement_type_id"`
}

func parsed(t *testing.T, text []byte) (a anyAnswer) {
	t.Helper()
	if err := json.Unmarshal(text, &a); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return a
}

var numbers struct {
	sync.Mutex
	last int64
}

func nextNumber() int64 {
	numbers.Lock()
	defer numbers.Unlock()
	numbers.last++
	return numbers.last
}

func openSession(t *testing.T, f *fakeServer, change map[string]any) anyAnswer {
	t.Helper()
	a := parsed(t, openAnswer(optionsFor(f, change), nextNumber()))
	if a.Error == nil {
		t.Cleanup(func() { _, _ = closeSession(a.Session) })
	}
	return a
}

func mustOpen(t *testing.T, f *fakeServer) int64 {
	t.Helper()
	a := openSession(t, f, nil)
	if a.Error != nil {
		t.Fatalf("open: %+v", a.Error)
	}
	return a.Session
}

func run(t *testing.T, session int64, sql string) anyAnswer {
	t.Helper()
	text, _ := json.Marshal(request{SQL: sql})
	return parsed(t, executeAnswer(session, nextNumber(), text))
}

func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if condition() {
			return
		}
	}
	t.Fatalf("never happened: %s", what)
}

// The cache of the machine's user is nobody's test data.
func TestMain(m *testing.M) {
	if os.Getenv("SNOWMELT_TEST_HOME") == "" {
		home, err := os.MkdirTemp("", "snowmelt-bridge-test-")
		if err != nil {
			panic(err)
		}
		code := runAgain(home)
		_ = os.RemoveAll(home)
		os.Exit(code)
	}
	os.Exit(m.Run())
}
