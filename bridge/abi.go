// The official Snowflake driver behind a small C ABI: JSON in, JSON out, no data and no policy. Every returned text is
// freed by snowmelt_bridge_free; errors are {"error":{…}} (failure.go). All functions may be called from any thread.
package main

// #include <stdint.h>
// #include <stdlib.h>
import "C"

import (
	"encoding/json"
	"errors"
	"unsafe"

	"snowmelt/bridge/environ"
)

func main() {}

// answer runs a call, turns a panic into an error and an error into JSON. `secrets` are cut out of messages.
func answer(secrets func() []string, call func() ([]byte, error)) (text []byte) {
	defer func() {
		if cause := recover(); cause != nil {
			text = answerFailure(panicFailure(cause), secrets())
		}
	}()
	text, err := call()
	if err == nil {
		return text
	}
	var known *failure
	if !errors.As(err, &known) {
		known = &failure{Kind: kindBug, Reason: "bug", Message: err.Error()}
	}
	return answerFailure(known, secrets())
}

func onSession(id int64, call func(*session) ([]byte, error)) []byte {
	var s *session
	return answer(func() []string {
		if s == nil {
			return nil
		}
		return s.secrets
	}, func() (text []byte, err error) {
		if s, err = findSession(id); err != nil {
			return nil, err
		}
		return call(s)
	})
}

func openAnswer(text []byte, loginID int64) []byte {
	var o *options
	return answer(func() []string {
		if o == nil {
			return nil
		}
		return o.secrets()
	}, func() (answer []byte, err error) {
		if o, err = parseOptions(text); err != nil {
			return nil, err
		}
		return open(o, loginID)
	})
}

func executeAnswer(sessionID, statementID int64, text []byte) []byte {
	return onSession(sessionID, func(s *session) ([]byte, error) {
		var r request
		if err := json.Unmarshal(text, &r); err != nil {
			return nil, err
		}
		return s.execute(statementID, &r)
	})
}

// A result may be megabytes: one copy into C's memory, no string in between.
func toC(text []byte) *C.char {
	memory := C.malloc(C.size_t(len(text) + 1))
	bytes := unsafe.Slice((*byte)(memory), len(text)+1)
	copy(bytes, text)
	bytes[len(text)] = 0
	return (*C.char)(memory)
}

//export snowmelt_bridge_open
func snowmelt_bridge_open(options *C.char, loginID C.int64_t) *C.char {
	return toC(openAnswer([]byte(C.GoString(options)), int64(loginID)))
}

//export snowmelt_bridge_cancel_login
func snowmelt_bridge_cancel_login(loginID C.int64_t) { logins.cancel(int64(loginID)) }

//export snowmelt_bridge_execute
func snowmelt_bridge_execute(session, statement C.int64_t, request *C.char) *C.char {
	return toC(executeAnswer(int64(session), int64(statement), []byte(C.GoString(request))))
}

//export snowmelt_bridge_result
func snowmelt_bridge_result(sessionID, statement C.int64_t, queryID *C.char) *C.char {
	id := C.GoString(queryID)
	return toC(onSession(int64(sessionID), func(s *session) ([]byte, error) { return s.result(int64(statement), id) }))
}

//export snowmelt_bridge_cancel
func snowmelt_bridge_cancel(statement C.int64_t) { statements.cancel(int64(statement)) }

//export snowmelt_bridge_ping
func snowmelt_bridge_ping(sessionID, statement C.int64_t) *C.char {
	return toC(onSession(int64(sessionID), func(s *session) ([]byte, error) { return s.ping(int64(statement)) }))
}

//export snowmelt_bridge_close
func snowmelt_bridge_close(sessionID C.int64_t) *C.char {
	return toC(answer(func() []string { return nil }, func() ([]byte, error) { return closeSession(int64(sessionID)) }))
}

// Where id tokens are kept, and why they cannot be when they cannot.
//
//export snowmelt_bridge_credential_cache
func snowmelt_bridge_credential_cache() *C.char {
	return toC(answer(func() []string { return nil }, func() ([]byte, error) { return json.Marshal(environ.CredentialCache) }))
}

//export snowmelt_bridge_free
func snowmelt_bridge_free(text *C.char) { C.free(unsafe.Pointer(text)) }

//export snowmelt_bridge_set_event_callback
func snowmelt_bridge_set_event_callback(callback unsafe.Pointer) { setEventCallback(callback) }
