package environ_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	_ "github.com/snowflakedb/gosnowflake" // its initialisers read the environment
	"snowmelt/bridge/environ"
)

// TestMain is the program of the tests below when they start it again, with an environment of their own.
func TestMain(m *testing.M) {
	if os.Getenv("ENVIRON_CHILD") != "" {
		_, _ = os.Stdout.WriteString(environ.CredentialCache.Directory + "|" + environ.CredentialCache.Problem + "|" +
			os.Getenv("SNOWFLAKE_DISABLE_PLATFORM_DETECTION"))
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func child(t *testing.T, home string, more ...string) string {
	t.Helper()
	command := exec.Command(os.Args[0])
	command.Env = append([]string{"ENVIRON_CHILD=1", "HOME=" + home}, more...)
	output, err := command.Output()
	if err != nil {
		t.Fatal(err)
	}
	return string(output)
}

func modeOf(t *testing.T, directory string) os.FileMode {
	t.Helper()
	info, err := os.Stat(directory)
	if err != nil {
		t.Fatal(err)
	}
	return info.Mode().Perm()
}

func TestTheDefaultDirectoryIsMade(t *testing.T) {
	home := t.TempDir()
	directory := filepath.Join(home, ".cache", "snowflake")
	if got := child(t, home); got != directory+"||true" || modeOf(t, directory) != 0o700 {
		t.Fatalf("%s, mode %o", got, modeOf(t, directory))
	}
}

func TestTheDefaultDirectoryIsNarrowed(t *testing.T) {
	home := t.TempDir()
	directory := filepath.Join(home, ".cache", "snowflake")
	_ = os.MkdirAll(directory, 0o755)
	if got := child(t, home); got != directory+"||true" || modeOf(t, directory) != 0o700 {
		t.Fatalf("%s, mode %o", got, modeOf(t, directory))
	}
}

func TestANamedDirectoryIsMadeButNeverChanged(t *testing.T) {
	home := t.TempDir()
	missing, shared := filepath.Join(home, "a", "b"), filepath.Join(home, "shared")
	if got := child(t, home, "SF_TEMPORARY_CREDENTIAL_CACHE_DIR="+missing); got != missing+"||true" {
		t.Fatal(got)
	}
	_ = os.Mkdir(shared, 0o755)
	got := child(t, home, "SF_TEMPORARY_CREDENTIAL_CACHE_DIR="+shared)
	if got != shared+"|its mode is 0755, the driver wants 0700|true" || modeOf(t, shared) != 0o755 {
		t.Fatalf("%s, mode %o", got, modeOf(t, shared))
	}
}
