package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestRowsOfAJSONResult(t *testing.T) {
	f := newFakeServer(t)
	a := run(t, mustOpen(t, f), "select 1")
	if a.Error != nil || a.QueryID != "q1" || a.Total != 1 || a.Format != "json" || a.Rowset[0][0] != "1" || a.StatementType != 4096 {
		t.Fatalf("%+v", a)
	}
}

func TestAnswerWithoutRows(t *testing.T) {
	f := newFakeServer(t)
	f.query = func(_, _, _ string) string {
		return `{"success":true,"code":null,"data":{"queryId":"q2","total":0,"rowtype":null,"statementTypeId":24576}}`
	}
	a := run(t, mustOpen(t, f), "create table t (a int)")
	if a.Error != nil || a.Format != "json" || len(a.Rowset) != 0 || len(a.Chunks) != 0 {
		t.Fatalf("%+v", a)
	}
}

func TestSixtyOneChunksAreToldAndNoneIsFetched(t *testing.T) {
	f := newFakeServer(t)
	f.query = func(_, _, _ string) string { return manyChunks("q3", 61) }
	a := run(t, mustOpen(t, f), "select * from t")
	if a.Error != nil || len(a.Chunks) != 61 || a.Format != "arrow" || a.RowsetBase64 == "" {
		t.Fatalf("%+v", a)
	}
	if last := a.Chunks[60]; last.RowCount != 70 || last.UncompressedSize != 9000 || last.CompressedSize != 3000 {
		t.Fatalf("%+v", last)
	}
	if a.ChunkHeaders["x-amz-server-side-encryption-customer-key"] != "key" {
		t.Fatalf("%v", a.ChunkHeaders)
	}
	// The URLs lead to a closed port: an attempt to fetch one would have been an error.
}

func TestParallelStatementsOnOneSession(t *testing.T) {
	f := newFakeServer(t)
	var arrived atomic.Int32
	eight := make(chan struct{})
	f.query = func(sql, _, _ string) string {
		if arrived.Add(1) == 8 {
			close(eight)
		}
		<-eight // each of the first eight waits for the others
		return oneRow("id-" + sql)
	}
	session := mustOpen(t, f)
	var group sync.WaitGroup
	for i := range 16 {
		group.Add(1)
		go func() {
			defer group.Done()
			if a := run(t, session, fmt.Sprint(i)); a.QueryID != fmt.Sprintf("id-%d", i) {
				t.Errorf("statement %d got %+v", i, a)
			}
		}()
	}
	group.Wait()
	if f.peak < 8 || f.count(pathLogin) != 1 {
		t.Fatalf("%d at a time, %d logins", f.peak, f.count(pathLogin))
	}
}

func TestPollsAreNotASpin(t *testing.T) {
	for _, code := range []string{codeInProgress, codeInProgressAsync} {
		f := newFakeServer(t)
		var begun time.Time
		var polls atomic.Int32
		f.query = func(_, _, _ string) string {
			begun = time.Now()
			return inProgress("q4", code)
		}
		f.get = func(_, _ string) string {
			if polls.Add(1) < 6 {
				return inProgress("q4", code)
			}
			return oneRow("q4")
		}
		a := run(t, mustOpen(t, f), "select slow")
		if a.Error != nil || a.QueryID != "q4" {
			t.Fatalf("%+v", a)
		}
		// Two pauses each of 50, 100 and 200 ms lie before the sixth; a loaded machine only makes them longer.
		if took := time.Since(begun); polls.Load() != 6 || took < 600*time.Millisecond {
			t.Fatalf("%d polls in %v", polls.Load(), took)
		}
	}
}

func TestAsynchronousStatementsDetachAndCarryTheTag(t *testing.T) {
	f := newFakeServer(t)
	f.query = func(_, _, _ string) string { return inProgress("q5", codeInProgressAsync) }
	f.get = func(_, _ string) string { return oneRow("q5") }
	text, _ := json.Marshal(request{SQL: `select '"asyncExec":false'`, Async: true, QueryTag: "tag"})
	if a := parsed(t, executeAnswer(mustOpen(t, f), nextNumber(), text)); a.Error != nil || a.QueryID != "q5" {
		t.Fatalf("%+v", a)
	}
	body := f.lastBody(pathQuery)
	if !strings.Contains(body, `"asyncExec":true`) || !strings.Contains(body, `"QUERY_TAG":"tag"`) ||
		!strings.Contains(body, `\"asyncExec\":false`) {
		t.Fatal(body)
	}
}

func TestBindingsAreText(t *testing.T) {
	f := newFakeServer(t)
	value := "it's"
	text, _ := json.Marshal(request{SQL: "select ?, ?", Bindings: []*string{&value, nil}})
	if a := parsed(t, executeAnswer(mustOpen(t, f), nextNumber(), text)); a.Error != nil {
		t.Fatalf("%+v", a.Error)
	}
	var sent struct {
		Bindings map[string]struct {
			Type  string
			Value *string
		}
	}
	_ = json.Unmarshal([]byte(f.lastBody(pathQuery)), &sent)
	first, second := sent.Bindings["1"], sent.Bindings["2"]
	if first.Type != "TEXT" || *first.Value != value || second.Type != "TEXT" || second.Value != nil {
		t.Fatal(f.lastBody(pathQuery))
	}
}

func TestRenewalInTheMiddle(t *testing.T) {
	f := newFakeServer(t)
	f.query = func(_, _, token string) string {
		if token != "T2" {
			return refused(codeSessionExpired, "expired")
		}
		return inProgress("q6", codeInProgress)
	}
	var polls atomic.Int32
	f.get = func(_, token string) string {
		if polls.Add(1) == 1 {
			return refused(codeSessionExpired, "expired again")
		}
		return manyChunks("q6", 3)
	}
	a := run(t, mustOpen(t, f), "select 1")
	if a.Error != nil || len(a.Chunks) != 3 || f.count("/session/token-request") != 2 || f.count(pathLogin) != 1 {
		t.Fatalf("%+v", a)
	}
}

func TestResultByQueryID(t *testing.T) {
	f := newFakeServer(t)
	f.get = func(path, _ string) string {
		if path != "/queries/01ab-cd/result" {
			return refused("000709", "no such result")
		}
		return manyChunks("01ab-cd", 4)
	}
	opened := mustOpen(t, f)
	get := func(id string) anyAnswer {
		return parsed(t, onSession(opened, func(s *session) ([]byte, error) { return s.result(nextNumber(), id) }))
	}
	if a := get("01ab-cd"); a.Error != nil || len(a.Chunks) != 4 || f.count(pathQuery) != 0 {
		t.Fatalf("%+v", a)
	}
	if a := get("gone"); a.Error == nil || a.Error.Kind != kindQuery || a.Error.Code != 709 {
		t.Fatalf("%+v", a.Error)
	}
	if a := get("../session"); a.Error == nil || a.Error.Kind != kindBug {
		t.Fatalf("%+v", a.Error)
	}
}

func TestCancelReachesTheServer(t *testing.T) {
	f := newFakeServer(t)
	started, release := make(chan string, 1), make(chan bool)
	f.query = func(_, requestID, _ string) string {
		started <- requestID
		<-release
		return oneRow("late")
	}
	session, id := mustOpen(t, f), nextNumber()
	done := make(chan anyAnswer, 1)
	go func() {
		text, _ := json.Marshal(request{SQL: "select forever"})
		done <- parsed(t, executeAnswer(session, id, text))
	}()
	requestID := <-started
	statements.cancel(id)
	a := <-done
	close(release)
	if a.Error == nil || a.Error.Kind != kindInterrupted || !strings.Contains(f.lastBody(pathAbort), requestID) {
		t.Fatalf("%+v, aborted %s", a.Error, f.lastBody(pathAbort))
	}
	early := nextNumber()
	statements.cancel(early) // before its statement
	text, _ := json.Marshal(request{SQL: "select 1"})
	if a := parsed(t, executeAnswer(session, early, text)); a.Error == nil || a.Error.Kind != kindInterrupted {
		t.Fatalf("%+v", a)
	}
	if f.count(pathQuery) != 1 {
		t.Fatal("a cancelled statement was sent")
	}
}

func TestRefusals(t *testing.T) {
	cases := []struct {
		answer, kind string
		code         int
		lost         bool
	}{
		{refused("002003", "no table; see http://x/y?sig=abc"), kindQuery, 2003, false},
		{refused("000606", "no warehouse"), kindQuery, 606, false},
		{refused("390111", "session gone"), kindConnection, 390111, true},
		{refused("390104", "log in again"), kindConnection, 390104, true},
		{refused("390114", "master expired"), kindConnection, 390114, true},
		{"HTTP 401", kindConnection, 0, true},
		{"HTTP 404", kindConnection, 261000, false},
		{"<html>", kindConnection, 0, false},
	}
	f := newFakeServer(t)
	session := mustOpen(t, f)
	for _, c := range cases {
		f.query = func(_, _, _ string) string { return c.answer }
		e := run(t, session, "select 1").Error
		if e == nil || e.Kind != c.kind || e.Code != c.code || e.ConnectionLost != c.lost {
			t.Errorf("%s: %+v", c.answer, e)
		} else if strings.Contains(e.Message, "sig=") || e.Message == "" {
			t.Errorf("message: %s", e.Message)
		}
		if c.code == 2003 && (e.QueryID != "qf" || e.SQLState != "42S02") {
			t.Errorf("%+v", e)
		}
	}
	if e := run(t, session, "/* x */ put file:///etc/passwd @s").Error; e == nil || !e.NothingSent {
		t.Errorf("PUT: %+v", e)
	}
}

func TestAPanicIsAnError(t *testing.T) {
	text := answer(func() []string { return nil }, func() ([]byte, error) { panic("boom") })
	if a := parsed(t, text); a.Error == nil || a.Error.Kind != kindBug || !strings.Contains(a.Error.Message, "boom") {
		t.Fatalf("%s", text)
	}
}

func TestCloseEndsTheSessionOnce(t *testing.T) {
	f := newFakeServer(t)
	session := mustOpen(t, f)
	for range 2 {
		if _, err := closeSession(session); err != nil {
			t.Fatal(err)
		}
	}
	if f.count("/session") != 1 {
		t.Fatalf("%d deletes", f.count("/session"))
	}
	if e := run(t, session, "select 1").Error; e == nil || !e.ConnectionLost {
		t.Fatalf("%+v", e)
	}
}
