package main

import (
	"sync"
	_ "unsafe" // for go:linkname
)

// The driver opens a log file of its own where SF_CLIENT_CONFIG_FILE, or an sf_client_config.json beside the program or in
// the home directory, says so; it looks once a process. It is told here that it has looked: nothing else switches that off.
// quiet_test.go shows that the driver still keeps it so.
//
//go:linkname easyLoggingInitTrials github.com/snowflakedb/gosnowflake.easyLoggingInitTrials
var easyLoggingInitTrials struct {
	everTriedToInitialize bool
	clientConfigFileInput string
	configureCounter      int
	mu                    sync.Mutex
}

func init() {
	easyLoggingInitTrials.mu.Lock()
	defer easyLoggingInitTrials.mu.Unlock()
	easyLoggingInitTrials.everTriedToInitialize = true
}
