package main

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/snowflakedb/gosnowflake"
)

// loginState watches one login: what was really sent, and whether the server can be reached at all.
type loginState struct {
	id     int64
	cancel context.CancelCauseFunc
	method gosnowflake.AuthType
	// Where a person would have to act the login ends instead; see needsPerson.
	asksNobody bool

	mutex            sync.Mutex
	kind             string
	status           int
	unreachable      int // attempts in a row without any answer
	browserPort      string
	personNeeded     bool
	idTokenValidityS int64
	masterValidityS  int64
	serverSession    int64
}

type loginKey struct{}

func loginOf(ctx context.Context) *loginState {
	login, _ := ctx.Value(loginKey{}).(*loginState)
	return login
}

// A person who mistyped a host name wants to know now; one repetition covers a server that is just restarting. (The
// driver alone would try for login_timeout, with pauses of up to a minute.)
const unreachableMax = 2

func (l *loginState) lastStatus() int {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	return l.status
}

func (l *loginState) isPersonNeeded() bool {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	return l.personNeeded
}

func (l *loginState) roundTrip(base http.RoundTripper, request *http.Request) (*http.Response, error) {
	isLogin, isAuthenticator := request.URL.Path == pathLogin, request.URL.Path == pathAuthenticator
	if !isLogin && !isAuthenticator { // Okta, OAuth: other servers, other answers
		answer, err := base.RoundTrip(request)
		if errors.As(err, new(*failure)) {
			l.failed(err)
		}
		return answer, err
	}
	sent := sentBy(request)
	if l.asksNobody && l.needsPerson(isAuthenticator, &sent) {
		l.mutex.Lock()
		defer l.mutex.Unlock()
		l.personNeeded = true
		return madeUp(request, http.StatusOK, personNeededAnswer), nil
	}
	answer, err := base.RoundTrip(request)
	if err != nil {
		l.failed(err)
		return nil, err
	}
	body, err := io.ReadAll(answer.Body)
	_ = answer.Body.Close()
	if bodyFailure(err) != nil {
		l.cancel(&failure{Kind: kindConnection, Reason: "unreachable",
			Message: "the answer to the login is not Snowflake's: it does not end"})
	}
	if err != nil {
		return nil, err
	}
	l.mutex.Lock()
	defer l.mutex.Unlock()
	l.status, l.unreachable = answer.StatusCode, 0
	if isLogin {
		l.kind = sent.kind()
		l.noteLogin(body)
	} else {
		l.browserPort = sent.Data.Port
		if !l.announce(body) {
			return madeUp(request, http.StatusOK, refusedAnswer), nil
		}
	}
	return withBody(answer, body), nil
}

// The answer of a server that refuses: the driver gives up at once, and nothing left this machine.
var personNeededAnswer = []byte(`{"success":false,"code":"390000","message":"a person is needed","data":{}}`)

// needsPerson tells the requests that make somebody act: the one that opens a browser, and a password login that makes a
// phone ask (with a kept token it does not).
func (l *loginState) needsPerson(isAuthenticator bool, sent *sentLogin) bool {
	return isAuthenticator || l.method == gosnowflake.AuthTypeUsernamePasswordMFA && sent.Data.Token == ""
}

// failed ends a login that has no chance, by cancelling it with the reason as its cause.
func (l *loginState) failed(err error) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	l.unreachable++
	var known *failure
	if errors.As(err, &known) {
		l.cancel(known)
		return
	}
	var certificate x509.UnknownAuthorityError
	var hostname x509.HostnameError
	var invalid x509.CertificateInvalidError
	untrusted := errors.As(err, &certificate) || errors.As(err, &hostname) || errors.As(err, &invalid)
	if untrusted || l.unreachable >= unreachableMax {
		failure := &failure{Kind: kindConnection, Reason: "unreachable", Message: err.Error(), NothingSent: true}
		var operation *net.OpError
		if errors.As(err, &operation) && operation.Op == "proxyconnect" {
			failure.Key = "proxy_host"
		}
		l.cancel(failure)
	}
}

// sentLogin is what identifies the method in a login-request and an authenticator-request.
type sentLogin struct {
	Data struct {
		Authenticator string `json:"AUTHENTICATOR"`
		Password      string `json:"PASSWORD"`
		Token         string `json:"TOKEN"`
		SAML          string `json:"RAW_SAML_RESPONSE"`
		Passcode      string `json:"PASSCODE"`
		Port          string `json:"BROWSER_MODE_REDIRECT_PORT"`
		Environment   struct {
			OAuthType string `json:"OAUTH_TYPE"`
		} `json:"CLIENT_ENVIRONMENT"`
	} `json:"data"`
}

func sentBy(request *http.Request) (sent sentLogin) {
	if request.GetBody != nil {
		if content, err := request.GetBody(); err == nil {
			_ = json.NewDecoder(content).Decode(&sent)
		}
	}
	return sent
}

var kindsByAuthenticator = map[string]string{
	"EXTERNALBROWSER":           "externalbrowser",
	"ID_TOKEN":                  "id_token",
	"SNOWFLAKE_JWT":             "keypair",
	"OAUTH":                     "oauth",
	"PROGRAMMATIC_ACCESS_TOKEN": "programmatic_access_token",
	"WORKLOAD_IDENTITY":         "workload_identity",
}

// kind names the login that happened, which may be another than the configured one: a cached token replaces a person.
func (s *sentLogin) kind() string {
	d := &s.Data
	switch {
	case d.Environment.OAuthType == "OAUTH_AUTHORIZATION_CODE":
		return "oauth_authorization_code"
	case d.Environment.OAuthType == "OAUTH_CLIENT_CREDENTIALS":
		return "oauth_client_credentials"
	case kindsByAuthenticator[d.Authenticator] != "":
		return kindsByAuthenticator[d.Authenticator]
	case d.SAML != "":
		return "okta"
	case d.Password != "" && d.Token != "":
		return "mfa_token"
	case d.Password != "" && d.Passcode != "":
		return "password_passcode"
	case d.Password != "":
		return "password"
	}
	return "unknown"
}

func (l *loginState) noteLogin(body []byte) {
	var granted struct {
		Data struct {
			IDToken          string `json:"idToken"`
			IDTokenValidityS int64  `json:"idTokenValidityInSeconds"`
			MasterValidityS  int64  `json:"masterValidityInSeconds"`
			SessionID        int64  `json:"sessionId"`
		} `json:"data"`
	}
	if json.Unmarshal(body, &granted) != nil {
		return
	}
	if granted.Data.IDToken != "" {
		l.idTokenValidityS = granted.Data.IDTokenValidityS
	}
	l.masterValidityS, l.serverSession = granted.Data.MasterValidityS, granted.Data.SessionID
}

// announce tells the address the person has to open; the driver itself never prints it. False for an address that no
// browser is sent to: the login is then over.
func (l *loginState) announce(body []byte) bool {
	var offer struct {
		Data struct {
			SSOURL string `json:"ssoUrl"`
		} `json:"data"`
	}
	if json.Unmarshal(body, &offer) != nil || offer.Data.SSOURL == "" {
		return true // the driver says what is wrong
	}
	if address, err := url.Parse(offer.Data.SSOURL); err != nil || !isSafeAddress(address) {
		l.cancel(&failure{Kind: kindAuthentication, Reason: "bad_sso_url",
			Message: "the server's address for the sign-in is refused: it is not an https address"})
		return false
	}
	announced.Store(offer.Data.SSOURL, true)
	sendEvent(event{Event: "sso_url", LoginID: l.id, URL: offer.Data.SSOURL, Port: l.browserPort, Browser: realOpener() != ""})
	return true
}

// release ends the driver's wait for a browser after the login was given up: it does not watch the context, and would
// keep its port until the process ends.
func (l *loginState) release() {
	l.mutex.Lock()
	port := l.browserPort
	l.mutex.Unlock()
	if port == "" {
		return
	}
	connection, err := net.DialTimeout("tcp", net.JoinHostPort("localhost", port), time.Second)
	if err != nil {
		return
	}
	_, _ = fmt.Fprint(connection, "GET /cancelled HTTP/1.0\r\n\r\n")
	_ = connection.Close()
}
