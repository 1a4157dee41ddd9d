package main

import (
	"os"
	"path/filepath"
	"testing"
)

func TestTheDriversOwnLogFileIsNotOpened(t *testing.T) {
	home, named := t.TempDir(), t.TempDir()
	for _, directory := range []string{home, named} {
		text := `{"common":{"log_level":"TRACE","log_path":"` + directory + `"}}`
		if err := os.WriteFile(filepath.Join(directory, "sf_client_config.json"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("HOME", home)
	for _, file := range []string{"", filepath.Join(named, "sf_client_config.json")} {
		t.Setenv("SF_CLIENT_CONFIG_FILE", file)
		f := newFakeServer(t)
		mustOpen(t, f)
		for _, directory := range []string{home, named} {
			if _, err := os.Stat(filepath.Join(directory, "go")); err == nil {
				t.Fatalf("the driver made a folder for its log in %s", directory)
			}
		}
	}
}
