package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestAnAnswerWithoutEndIsNotReadToTheEnd(t *testing.T) {
	defer func(query, other int64) { queryAnswerBytesMax, otherAnswerBytesMax = query, other }(queryAnswerBytesMax, otherAnswerBytesMax)
	queryAnswerBytesMax, otherAnswerBytesMax = 10_000, 10_000
	f := newFakeServer(t)
	session := mustOpen(t, f)
	long := strings.Repeat(" ", 20_000)
	f.query = func(_, _, _ string) string { return long + oneRow("q1") }
	a := run(t, session, "select 1")
	if a.Error == nil || a.Error.Kind != kindVerification || a.Error.Reason != "answer_too_large" || f.count(pathQuery) != 1 {
		t.Fatalf("%+v after %d requests", a.Error, f.count(pathQuery))
	}
	f.query = func(_, _, _ string) string { return strings.Repeat(" ", 9_000) + oneRow("q1") }
	if a = run(t, session, "select 1"); a.Error != nil {
		t.Fatalf("%+v", a.Error)
	}
	f.login = func(map[string]any) string { return long + granted(`"idTokenValidityInSeconds":0`) }
	if a = openSession(t, f, nil); a.Error == nil || a.Error.Kind != kindConnection || !strings.Contains(a.Error.Message, "does not end") {
		t.Fatalf("%+v", a.Error)
	}
}

func TestAnAnswerThatTricklesEnds(t *testing.T) {
	defer func(limit time.Duration) { answerTimeMax = limit }(answerTimeMax)
	answerTimeMax = 100 * time.Millisecond
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			_, _ = w.Write([]byte(" "))
			w.(http.Flusher).Flush()
			time.Sleep(5 * time.Millisecond)
		}
	}))
	defer server.Close()
	request, _ := http.NewRequest(http.MethodGet, server.URL, nil)
	answer, err := guard{http.DefaultTransport}.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	_, err = io.ReadAll(answer.Body)
	if f := bodyFailure(err); f == nil || f.Kind != kindConnection || f.Reason != "answer_too_slow" {
		t.Fatalf("%v: %+v", err, f)
	}
}

func TestAServerThatIsGoneIsNotTriedForLong(t *testing.T) {
	defer func(limit time.Duration) { unreachablePatience = limit }(unreachablePatience)
	unreachablePatience = 50 * time.Millisecond
	f := newFakeServer(t)
	session := mustOpen(t, f)
	f.Close()
	a := run(t, session, "select 1")
	if a.Error == nil || a.Error.Kind != kindConnection || a.Error.Reason != "unreachable" || a.Error.ConnectionLost {
		t.Fatalf("%+v", a.Error)
	}
}

func TestARedirectToPlainHTTPCarriesNothing(t *testing.T) {
	f := newFakeServer(t)
	f.login = func(map[string]any) string { return "REDIRECT http://snowflake.example:80/session/v1/login-request" }
	a := openSession(t, f, nil)
	if a.Error == nil || a.Error.Reason != "insecure" || !strings.Contains(a.Error.Message, "http://snowflake.example") {
		t.Fatalf("%+v", a.Error)
	}
}

func TestWhichAddressesAreSafe(t *testing.T) {
	for text, wanted := range map[string]bool{
		"https://a.example/x": true, "http://127.0.0.1:8000/x": true, "http://[::1]/x": true, "http://localhost/x": true,
		"http://a.example/x": false, "http://127.example.com/x": false, "http://127.0.0.1.example/x": false, "https:///x": false,
		"javascript:alert(1)": false, "file:///etc/passwd": false, "ftp://127.0.0.1/x": false, "": false,
	} {
		address, err := url.Parse(text)
		if err != nil || isSafeAddress(address) != wanted {
			t.Errorf("%s: %v, %v", text, isSafeAddress(address), err)
		}
	}
	metadata, _ := http.NewRequest(http.MethodGet, "http://169.254.169.254/latest", nil)
	if carriesSecrets(metadata) {
		t.Error("a cloud's metadata service is asked over http")
	}
	metadata.Header.Set("Authorization", "Snowflake Token=x")
	if !carriesSecrets(metadata) {
		t.Error("a token is a secret")
	}
}

func TestASignInAddressThatIsNoneIsNotAnnounced(t *testing.T) {
	for _, address := range []string{"javascript:alert(1)", "file:///etc/passwd", "http://idp.example/sso", "https:sso", "x\\u0007y"} {
		f := newFakeServer(t)
		f.sso = address
		announced := make(chan string, 8)
		receiver := func(text []byte) { announced <- string(text) }
		eventReceiver.Store(&receiver)
		a := openSession(t, f, map[string]any{"authenticator": "externalbrowser"})
		eventReceiver.Store(nil)
		if a.Error == nil || a.Error.Kind != kindAuthentication || a.Error.Reason != "bad_sso_url" || len(announced) != 0 {
			t.Errorf("%s: %+v, %d announced", address, a.Error, len(announced))
		}
	}
}

func TestTheBrowserGetsNoSecrets(t *testing.T) {
	directory := t.TempDir()
	seen := filepath.Join(directory, "seen")
	fake := filepath.Join(directory, "it's a browser")
	if err := os.WriteFile(fake, []byte("#!/bin/sh\n{ echo \"$1\"; env; } > '"+seen+"'\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{
		"SNOWFLAKE_PASSWORD": "canary-1", "PGPASSWORD": "canary-2", "SNOWMELT_PASSWORD": "canary-3", "GITHUB_TOKEN": "canary-4",
		"DISPLAY": ":7", "XDG_RUNTIME_DIR": "/run/user/'7 \"x\" $(id)", "LC_TIME": "C",
	} {
		t.Setenv(name, value)
	}
	command := exec.Command(fake, "https://idp.example/?a=$b&c='d'")
	command.Env = browserEnvironment(os.Environ())
	if output, err := command.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, output)
	}
	text, _ := os.ReadFile(seen)
	got := string(text)
	if strings.Contains(got, "canary") {
		t.Errorf("a secret reached the browser: %s", got)
	}
	for _, wanted := range []string{"https://idp.example/?a=$b&c='d'\n", "DISPLAY=:7\n", "LC_TIME=C\n", "XDG_RUNTIME_DIR=/run/user/'7 \"x\" $(id)\n"} {
		if !strings.Contains(got, wanted) {
			t.Errorf("%q is missing in %s", wanted, got)
		}
	}
}

func TestASecretIsMaskedInEveryFormAServerMayRepeat(t *testing.T) {
	secret := `p@ss/"wörd" %1`
	for _, form := range formsOf(secret) {
		if got := scrub("before "+form+" after", []string{secret}); got != "before *** after" {
			t.Errorf("%s: %s", form, got)
		}
	}
}
