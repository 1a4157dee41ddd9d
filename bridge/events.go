package main

// #include <stdlib.h>
// typedef void (*snowmelt_event_callback)(const char *json);
// static void call_event_callback(snowmelt_event_callback callback, const char *json) { callback(json); }
import "C"

import (
	"encoding/json"
	"strconv"
	"sync/atomic"
	"unsafe"
)

// event is what a person has to know while a call is still running.
type event struct {
	Event   string `json:"event"` // "sso_url": open this address to log in; "warning": a message for the log
	LoginID int64  `json:"login_id"`
	URL     string `json:"url"`
	Port    string `json:"-"`       // where the browser comes back to, on localhost
	Browser bool   `json:"browser"` // an opener was found and started
	Message string `json:"message,omitempty"`
}

// The receiver: C++'s callback, or a test's function.
var eventReceiver atomic.Pointer[func(json []byte)]

func sendEvent(e event) {
	receiver := eventReceiver.Load()
	if receiver == nil {
		return
	}
	port, _ := strconv.Atoi(e.Port)
	text, err := json.Marshal(struct {
		event
		Port int `json:"port"`
	}{e, port})
	if err == nil {
		(*receiver)(text)
	}
}

func setEventCallback(callback unsafe.Pointer) {
	if callback == nil {
		eventReceiver.Store(nil)
		return
	}
	receiver := func(text []byte) {
		copied := C.CString(string(text))
		defer C.free(unsafe.Pointer(copied))
		C.call_event_callback(C.snowmelt_event_callback(callback), copied)
	}
	eventReceiver.Store(&receiver)
}
