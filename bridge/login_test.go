package main

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/youmark/pkcs8"
	"snowmelt/bridge/environ"
)

func TestPasswordLogin(t *testing.T) {
	f := newFakeServer(t)
	a := openSession(t, f, map[string]any{"session_parameters": map[string]string{"TIMEZONE": "Asia/Tokyo"}})
	body := f.lastBody(pathLogin)
	if a.Error != nil || a.LoginKind != "password" || !strings.Contains(body, `"TIMEZONE":"Asia/Tokyo"`) ||
		!strings.Contains(body, `"APPLICATION":"snowmelt"`) || !strings.Contains(body, `"PLATFORM":["disabled"]`) {
		t.Fatalf("%+v %s", a, body)
	}
	if f.count("/telemetry/send") != 0 {
		t.Fatal("telemetry was sent")
	}
}

func TestRefusedLogins(t *testing.T) {
	cases := []struct {
		answer, kind string
		code         int
	}{
		{refused("390100", "wrong password pw-secret"), kindAuthentication, 390100},
		{refused("390144", "JWT"), kindAuthentication, 390144},
		{refused("390189", "role"), kindAuthentication, 390189},
		{"HTTP 403", kindAuthentication, 260008},
		{"<html>", kindConnection, 0},
	}
	for _, c := range cases {
		f := newFakeServer(t)
		f.login = func(map[string]any) string { return c.answer }
		e := openSession(t, f, nil).Error
		if e == nil || e.Kind != c.kind || e.Code != c.code || strings.Contains(e.Message, "pw-secret") {
			t.Errorf("%s: %+v", c.answer, e)
		}
		if f.count(pathLogin) != 1 {
			t.Errorf("%s: %d attempts", c.answer, f.count(pathLogin))
		}
	}
}

func TestNoServer(t *testing.T) {
	f := newFakeServer(t)
	f.Close()
	// With more patience than the whole test run has: nothing is waited for.
	e := openSession(t, f, map[string]any{"login_timeout": 3600}).Error
	if e == nil || e.Kind != kindConnection || e.Reason != "unreachable" {
		t.Fatalf("%+v", e)
	}
}

func TestAServerThatOnlyFails(t *testing.T) {
	f := newFakeServer(t)
	f.login = func(map[string]any) string { return "HTTP 503" }
	e := openSession(t, f, map[string]any{"login_timeout": 2}).Error
	if e == nil || e.Kind != kindConnection {
		t.Fatalf("%+v", e)
	}
}

func TestABusyServerIsAskedAgain(t *testing.T) {
	f := newFakeServer(t)
	var calls atomic.Int32
	f.login = func(map[string]any) string {
		if calls.Add(1) == 1 {
			return "HTTP 503"
		}
		return granted(`"firstLogin":false`)
	}
	if a := openSession(t, f, map[string]any{"login_timeout": 120}); a.Error != nil {
		t.Fatalf("%+v", a.Error)
	}
}

func TestUnknownAndBadOptions(t *testing.T) {
	f := newFakeServer(t)
	for _, change := range []map[string]any{
		{"tls_skip_verify": true}, {"authenticator": "nonsense"}, {"account": ""}, {"password": ""},
		{"authenticator": "snowflake_jwt", "private_key_file": "/nonexistent"},
	} {
		if e := openSession(t, f, change).Error; e == nil || e.Kind != kindConfiguration {
			t.Errorf("%v: %+v", change, e)
		}
	}
	if f.count(pathLogin) != 0 {
		t.Fatal("something was sent")
	}
}

func TestKeyPairFiles(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	plain, _ := x509.MarshalPKCS8PrivateKey(key)
	locked, err := pkcs8.MarshalPrivateKey(key, []byte("key-secret"), nil)
	if err != nil {
		t.Fatal(err)
	}
	cases := []struct {
		kind, password string
		content        []byte
		badKey         string
	}{
		{"PRIVATE KEY", "", plain, ""},
		{"RSA PRIVATE KEY", "", x509.MarshalPKCS1PrivateKey(key), ""},
		{"ENCRYPTED PRIVATE KEY", "key-secret", locked, ""},
		{"ENCRYPTED PRIVATE KEY", "", locked, "private_key_file_pwd"},
		{"ENCRYPTED PRIVATE KEY", "wrong", locked, "private_key_file_pwd"},
		{"PRIVATE KEY", "", []byte("rubbish"), "private_key_file"},
	}
	for i, c := range cases {
		file := filepath.Join(t.TempDir(), "key.p8")
		_ = os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: c.kind, Bytes: c.content}), 0o600)
		f := newFakeServer(t)
		a := openSession(t, f, map[string]any{"authenticator": "SNOWFLAKE_JWT", "password": "", "private_key_file": file,
			"private_key_file_pwd": c.password})
		if c.badKey == "" && (a.Error != nil || a.LoginKind != "keypair") {
			t.Errorf("case %d: %+v", i, a.Error)
		}
		if c.badKey != "" && (a.Error == nil || a.Error.Key != c.badKey || f.count(pathLogin) != 0) {
			t.Errorf("case %d: %+v", i, a.Error)
		}
	}
}

// withOpener puts a program named xdg-open first on PATH.
func withOpener(t *testing.T, script string) {
	directory := t.TempDir()
	if err := os.WriteFile(filepath.Join(directory, "xdg-open"), []byte("#!/bin/sh\n"+script+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", directory+":/usr/bin:/bin")
}

// onPrompt calls `act` with the port of each login that waits for a person.
func onPrompt(t *testing.T, act func(url string, port int, browser bool)) *atomic.Int32 {
	var count atomic.Int32
	receiver := func(text []byte) {
		var e struct {
			URL     string
			Port    int
			Browser bool
		}
		if err := json.Unmarshal(text, &e); err != nil {
			t.Error(err)
		}
		count.Add(1)
		go act(e.URL, e.Port, e.Browser)
	}
	eventReceiver.Store(&receiver)
	t.Cleanup(func() { eventReceiver.Store(nil) })
	return &count
}

func answerBrowser(_ string, port int, _ bool) {
	answer, err := http.Get(fmt.Sprintf("http://localhost:%d/?token=saml%%2Btoken", port))
	if err == nil {
		_ = answer.Body.Close()
	}
}

var browserOptions = map[string]any{"authenticator": "externalbrowser", "password": "", "external_browser_timeout": 120,
	"client_store_temporary_credential": true}

func TestBrowserLoginThenIDTokenThenARefusedOne(t *testing.T) {
	if environ.CredentialCache.Problem != "" {
		t.Fatal(environ.CredentialCache.Problem)
	}
	marker := filepath.Join(t.TempDir(), "launched")
	withOpener(t, "echo x >> "+marker+"; exit 3") // a failing opener does not end the login: the address was told
	prompts := onPrompt(t, answerBrowser)
	f := newFakeServer(t)
	valid := "ID1"
	f.login = func(data map[string]any) string {
		switch {
		case data["AUTHENTICATOR"] == "EXTERNALBROWSER" && data["TOKEN"] == "saml+token" && data["PROOF_KEY"] == "proof":
			return granted(`"idToken":"` + valid + `","idTokenValidityInSeconds":14400`)
		case data["AUTHENTICATOR"] == "ID_TOKEN" && data["TOKEN"] == valid:
			return granted(`"firstLogin":false`)
		}
		return refused("390195", "id token invalid")
	}
	steps := []struct {
		kind    string
		prompts int32
		change  func()
	}{
		{"externalbrowser", 1, func() {}},
		{"id_token", 1, func() {}},
		{"externalbrowser", 2, func() { valid = "ID2" }}, // 390195: one browser login, no error
	}
	for i, step := range steps {
		step.change()
		a := openSession(t, f, browserOptions)
		if a.Error != nil || a.LoginKind != step.kind || prompts.Load() != step.prompts {
			t.Fatalf("step %d: %+v %+v, %d prompts", i, a, a.Error, prompts.Load())
		}
		if step.kind == "externalbrowser" && a.IDTokenS != 14400 {
			t.Fatalf("step %d: %+v", i, a)
		}
	}
	eventually(t, "two browser launches", func() bool {
		text, _ := os.ReadFile(marker)
		return strings.Count(string(text), "x") == 2
	})
}

func TestALoginThatAsksNobody(t *testing.T) {
	withOpener(t, "exit 0")
	prompts := onPrompt(t, answerBrowser)
	f := newFakeServer(t)
	f.login = func(data map[string]any) string {
		if data["AUTHENTICATOR"] == "ID_TOKEN" && data["TOKEN"] != "ID-quiet" {
			return refused("390195", "id token invalid")
		}
		return granted(`"idToken":"ID-quiet","mfaToken":"MFA-quiet"`)
	}
	for _, method := range []map[string]any{
		{"authenticator": "externalbrowser", "password": ""},
		{"authenticator": "username_password_mfa"},
		{"authenticator": "oauth_authorization_code", "password": ""},
	} {
		method["user"], method["external_browser_timeout"] = "quiet", 120
		method["client_store_temporary_credential"], method["ask_person"] = true, false
		logins := f.count(pathLogin)
		a := openSession(t, f, method)
		if a.Error == nil || a.Error.Kind != kindAuthentication || a.Error.Reason != "person_needed" || !a.Error.NothingSent {
			t.Errorf("%v: %+v", method["authenticator"], a.Error)
		}
		if f.count(pathLogin) != logins || f.count(pathAuthenticator) != 0 || prompts.Load() != 0 {
			t.Errorf("%v: somebody was asked", method["authenticator"])
		}
	}
	for _, name := range []string{"externalbrowser", "username_password_mfa"} { // once a person has logged in it serves
		method := map[string]any{"authenticator": name, "user": "quiet", "external_browser_timeout": 120,
			"client_store_temporary_credential": true}
		if a := openSession(t, f, method); a.Error != nil {
			t.Fatalf("%s: %+v", name, a.Error)
		}
		method["ask_person"] = false
		if a := openSession(t, f, method); a.Error != nil || a.LoginKind != "id_token" && a.LoginKind != "mfa_token" {
			t.Fatalf("%s: %+v %+v", name, a, a.Error)
		}
	}
}

func TestNoBrowserOnThisMachine(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	onPrompt(t, func(url string, port int, browser bool) {
		if browser || !strings.Contains(url, "/sso?") {
			t.Errorf("%s, browser %v", url, browser)
		}
		answerBrowser(url, port, browser)
	})
	f := newFakeServer(t)
	if a := openSession(t, f, map[string]any{"authenticator": "externalbrowser", "user": "nobrowser", "external_browser_timeout": 120}); a.Error != nil {
		t.Fatalf("%+v", a.Error)
	}
}

func TestNobodyAtTheBrowser(t *testing.T) {
	withOpener(t, "exit 0")
	f := newFakeServer(t)
	change := map[string]any{"authenticator": "externalbrowser", "user": "away", "external_browser_timeout": 1}
	if e := openSession(t, f, change).Error; e == nil || e.Reason != "login_timeout" || e.Kind != kindAuthentication {
		t.Fatalf("%+v", e)
	}
	onPrompt(t, func(_ string, port int, _ bool) {
		connection, err := net.Dial("tcp", fmt.Sprintf("localhost:%d", port))
		if err == nil {
			_, _ = fmt.Fprint(connection, "GET /favicon.ico HTTP/1.1\r\nCookie: c=private\r\n\r\n")
			_ = connection.Close()
		}
	})
	change["external_browser_timeout"] = 600
	if e := openSession(t, f, change).Error; e == nil || e.Reason != "browser_failed" || strings.Contains(e.Message, "private") {
		t.Fatalf("%+v", e)
	}
}

func TestACancelledBrowserLoginFreesItsPort(t *testing.T) {
	withOpener(t, "exit 0")
	ports := make(chan int, 1)
	onPrompt(t, func(_ string, port int, _ bool) { ports <- port })
	f := newFakeServer(t)
	id := nextNumber()
	done := make(chan anyAnswer, 1)
	go func() {
		done <- parsed(t, openAnswer(optionsFor(f, map[string]any{"authenticator": "externalbrowser", "user": "gone"}), id))
	}()
	port := <-ports
	logins.cancel(id)
	if a := <-done; a.Error == nil || a.Error.Kind != kindInterrupted {
		t.Fatalf("%+v", a)
	}
	eventually(t, "the port is free", func() bool {
		connection, err := net.Dial("tcp", fmt.Sprintf("localhost:%d", port))
		if err == nil {
			_ = connection.Close()
		}
		return err != nil
	})
	if f.count(pathLogin) != 0 {
		t.Fatal("a cancelled login was sent")
	}
}

func TestOtherMethods(t *testing.T) {
	cases := []struct {
		change map[string]any
		kind   string
	}{
		{map[string]any{"authenticator": "programmatic_access_token", "token": "pat-1", "password": ""}, "programmatic_access_token"},
		{map[string]any{"authenticator": "oauth", "token": "oauth-1", "password": ""}, "oauth"},
		{map[string]any{"authenticator": "username_password_mfa", "passcode": "123456"}, "password_passcode"},
		{map[string]any{"authenticator": "username_password_mfa"}, "password"},
	}
	for _, c := range cases {
		f := newFakeServer(t)
		if a := openSession(t, f, c.change); a.Error != nil || a.LoginKind != c.kind {
			t.Errorf("%v: %+v %+v", c.change, a.LoginKind, a.Error)
		}
	}
}

func TestProxyIsUsed(t *testing.T) {
	var asked atomic.Value
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Store(r.Method + " " + r.Host)
		w.WriteHeader(http.StatusForbidden)
	}))
	defer proxy.Close()
	a := openSession(t, newFakeServer(t), map[string]any{"host": "snowflake.invalid", "port": 443, "protocol": "https",
		"proxy_host": proxy.URL})
	if asked.Load() != "CONNECT snowflake.invalid:443" || a.Error == nil {
		t.Fatalf("%v, %+v", asked.Load(), a.Error)
	}
}

func TestAProxyThatCannotBeReadIsNotPrinted(t *testing.T) {
	f := newFakeServer(t)
	a := openSession(t, f, map[string]any{"proxy_host": "ana:canary-pw%zz@proxy"})
	if a.Error == nil || a.Error.Key != "proxy_host" || strings.Contains(a.Error.Message, "canary") {
		t.Fatalf("%+v", a.Error)
	}
}
