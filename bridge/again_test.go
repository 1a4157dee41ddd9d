package main

import (
	"errors"
	"os"
	"os/exec"
)

// runAgain starts this test program once more with a home directory of its own: the driver chooses its credential
// cache when the program starts, so a test cannot change it later.
func runAgain(home string) int {
	command := exec.Command(os.Args[0], os.Args[1:]...)
	command.Env = append(os.Environ(), "SNOWMELT_TEST_HOME="+home, "HOME="+home,
		"SF_TEMPORARY_CREDENTIAL_CACHE_DIR="+home+"/cache")
	command.Stdout, command.Stderr = os.Stdout, os.Stderr
	err := command.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode()
	}
	if err != nil {
		return 1
	}
	return 0
}
