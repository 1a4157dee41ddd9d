package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"strings"

	"github.com/snowflakedb/gosnowflake"
)

// The kinds are snowmelt's (src/snowmelt/error.h); the reason is the second half of the C++ side's error code.
const (
	kindAuthentication = "authentication"
	kindConnection     = "connection"
	kindQuery          = "query"
	kindConfiguration  = "configuration"
	kindVerification   = "verification"
	kindInterrupted    = "interrupted"
	kindBug            = "bug"
)

// failure is every error that leaves the bridge.
type failure struct {
	Kind           string `json:"kind"`
	Reason         string `json:"reason"`
	Key            string `json:"key,omitempty"` // the configuration key to change
	Code           int    `json:"code"`          // Snowflake's number
	SQLState       string `json:"sqlstate"`
	Message        string `json:"message"`
	QueryID        string `json:"query_id"`
	ConnectionLost bool   `json:"connection_lost"`
	NothingSent    bool   `json:"nothing_sent"`
}

func (f *failure) Error() string { return f.Message }

func configurationError(key, format string, args ...any) *failure {
	return &failure{Kind: kindConfiguration, Reason: "configuration", Key: key, Message: fmt.Sprintf(format, args...),
		NothingSent: true}
}

func interrupted(what string) *failure {
	return &failure{Kind: kindInterrupted, Reason: "interrupted", Message: what + " was cancelled"}
}

func sessionLost(message string) *failure {
	return &failure{Kind: kindConnection, Reason: "connection_lost", Message: message, ConnectionLost: true}
}

// Numbers after which the session cannot be used any more, whatever the statement.
var sessionGone = map[int]bool{
	390103: true, // no token
	390104: true, // must log in again
	390110: true, // id token expired, seen at renewal
	390111: true, // session closed
	390113: true, // master token missing
	390114: true, // master token expired
	390115: true, // master token invalid
	390400: true, // renewal refused as malformed: the master token is gone
}

const (
	codeIDTokenInvalid = 390195
	codeNoBrowserToken = gosnowflake.ErrFailedToParseResponse // its text repeats the browser's request, cookies included
)

// loginFailure says why no session came to be.
func loginFailure(err error, state *loginState) *failure {
	var known *failure
	if errors.As(err, &known) {
		return known
	}
	if state.asksNobody && (state.isPersonNeeded() || strings.Contains(err.Error(), errNobodyAsked.Error())) {
		return &failure{Kind: kindAuthentication, Reason: "person_needed", NothingSent: true,
			Message: "no kept login serves: a person has to log in"}
	}
	f := &failure{Kind: kindAuthentication, Reason: "login_refused", Message: err.Error()}
	var refused *gosnowflake.SnowflakeError
	if errors.As(err, &refused) {
		f.Code, f.SQLState, f.QueryID = refused.Number, refused.SQLState, refused.QueryID
		f.Message = plainMessage(refused)
		switch {
		case refused.Number == codeNoBrowserToken:
			f.Reason, f.Message = "browser_failed", "the browser's answer held no login token"
		case refused.Number == gosnowflake.ErrCodeServiceUnavailable:
			f.Kind, f.Reason = kindConnection, "unreachable"
		case refused.Number == gosnowflake.ErrCodeFailedToConnect || refused.Number == gosnowflake.ErrFailedToAuth:
			f.Message = fmt.Sprintf("the server answered the login with HTTP %d", state.lastStatus())
			f.Reason = "login_refused"
		case isConfigurationNumber(refused.Number):
			f.Kind, f.Reason, f.NothingSent = kindConfiguration, "configuration", true
		}
		return f
	}
	text := err.Error()
	switch {
	case strings.Contains(text, "authentication timed out"):
		f.Reason, f.Key = "login_timeout", "external_browser_timeout"
		f.Message = "nobody finished the login in the browser in time"
	case strings.Contains(text, "executable file not found") || strings.Contains(text, "exit status"):
		f.Reason, f.Message = "browser_failed", "no browser could be started: "+text
	case isNetwork(err) || strings.Contains(text, "Hanging?") || state.lastStatus() >= 500:
		f.Kind, f.Reason, f.Message = kindConnection, "unreachable", networkMessage(err, state.lastStatus())
	case state.lastStatus() == 200:
		f.Kind, f.Reason = kindConnection, "unreachable"
		f.Message = "the answer to the login is not Snowflake's: " + text
	}
	return f
}

// statementFailure says why a statement has no result. `status` is the last HTTP status seen for it, 0 for none.
func statementFailure(err error, st *statement) *failure {
	var known *failure
	if errors.As(err, &known) {
		return known
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return interrupted("the statement")
	}
	status := st.lastStatus()
	f := &failure{Kind: kindQuery, Reason: "query_refused", Message: err.Error(), QueryID: st.queryID()}
	var refused *gosnowflake.SnowflakeError
	switch {
	case status == 401:
		return sessionLost("the server does not know this session (HTTP 401)")
	case errors.As(err, &refused):
		f.Code, f.SQLState = refused.Number, refused.SQLState
		f.Message = plainMessage(refused)
		if refused.QueryID != "" {
			f.QueryID = refused.QueryID
		}
		if sessionGone[refused.Number] {
			f.Kind, f.Reason, f.ConnectionLost = kindConnection, "connection_lost", true
		} else if refused.Number == gosnowflake.ErrFailedToPostQuery || refused.Number == gosnowflake.ErrFailedToRenewSession {
			f.Kind, f.Reason = kindConnection, "unreachable"
			f.Message = fmt.Sprintf("the server answered HTTP %d", status)
		}
	case isNetwork(err) || strings.Contains(err.Error(), "Hanging?"):
		f.Kind, f.Reason, f.Message = kindConnection, "unreachable", networkMessage(err, status)
	default: // an answer that is not JSON, a number that is none
		f.Kind, f.Reason = kindConnection, "unreachable"
		f.Message = "the answer is not Snowflake's: " + err.Error()
	}
	return f
}

// 260000 to 260006 and 260009 to 260016 are the driver's own checks of its settings; nothing was sent.
func isConfigurationNumber(number int) bool {
	return number >= 260000 && number <= 260004 || number >= 260009 && number <= 260020
}

func isNetwork(err error) bool {
	var network net.Error
	var operation *net.OpError
	return errors.As(err, &network) || errors.As(err, &operation) || errors.Is(err, context.DeadlineExceeded) ||
		strings.Contains(err.Error(), "EOF")
}

func networkMessage(err error, status int) string {
	if strings.Contains(err.Error(), "Hanging?") && status != 0 {
		return fmt.Sprintf("the server keeps answering HTTP %d", status)
	}
	return err.Error()
}

func plainMessage(err *gosnowflake.SnowflakeError) string {
	if len(err.MessageArgs) > 0 {
		return fmt.Sprintf(err.Message, err.MessageArgs...)
	}
	return err.Message
}

// Presigned URLs are as secret as passwords, and a login's query string names account and role for no reader's use.
var (
	urlQuery   = regexp.MustCompile(`(https?://[^\s?"'\\]+)\?[^\s"'\\]*`)
	tokenInURL = regexp.MustCompile(`(?i)((?:token|password|passcode|proof_key)["']?\s*[=:]\s*["']?)[^\s"'&,}]+`)
)

// scrub removes what must not be printed: URL query strings, tokens, and the secrets of this session's options.
func scrub(text string, secrets []string) string {
	text = urlQuery.ReplaceAllString(text, "$1")
	for _, secret := range secrets {
		if len(secret) < 3 { // shorter ones would cut ordinary words to pieces
			continue
		}
		for _, form := range formsOf(secret) {
			text = strings.ReplaceAll(text, form, "***")
		}
	}
	return tokenInURL.ReplaceAllString(text, "$1***")
}

// formsOf are the ways in which a server may repeat a secret.
func formsOf(secret string) []string {
	quoted, _ := json.Marshal(secret)
	return []string{secret, url.QueryEscape(secret), url.PathEscape(secret), strings.Trim(string(quoted), `"`),
		base64.StdEncoding.EncodeToString([]byte(secret)), base64.URLEncoding.EncodeToString([]byte(secret))}
}

// answerFailure is the JSON text of an error.
func answerFailure(f *failure, secrets []string) []byte {
	scrubbed := *f
	scrubbed.Message = scrub(f.Message, secrets)
	text, err := json.Marshal(map[string]*failure{"error": &scrubbed})
	if err != nil { // strings and numbers only: cannot happen
		return []byte(`{"error":{"kind":"bug","reason":"bug","message":"unprintable error"}}`)
	}
	return text
}
