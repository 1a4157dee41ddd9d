// Package environ puts the process environment right before the Snowflake driver reads it.
//
// The driver looks up its credential cache once, in a package initialiser. Go initialises packages in the order of
// their import paths as soon as their own imports are ready: this one needs little and "snowmelt/…" sorts before the
// "vendor/…" packages that net/http waits for, so it always runs before the driver. environ_test.go proves it.
package environ

// #include <stdlib.h>
// extern char **environ;
import "C"

import (
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"syscall"
	"unsafe"
)

const cacheDirectoryVariable = "SF_TEMPORARY_CREDENTIAL_CACHE_DIR"

// Cache tells where the driver keeps id tokens, and why it cannot when it cannot.
type Cache struct {
	Directory string `json:"directory"`
	Problem   string `json:"problem"` // empty: usable
}

// CredentialCache is what the driver will find; decided once, when the library is loaded.
var CredentialCache = prepare()

func prepare() Cache {
	adoptVariables()
	// The driver would otherwise ask four clouds' metadata addresses during the first login (200 ms and more).
	_ = os.Setenv("SNOWFLAKE_DISABLE_PLATFORM_DETECTION", "true")
	cache := credentialCache()
	if cache.Problem == "" {
		_ = os.Setenv(cacheDirectoryVariable, cache.Directory)
	}
	return cache
}

// Go's copy of the environment is the one the process was started with; variables set since then (by Python's
// os.environ, for one) are only in C's.
func adoptVariables() {
	for at := C.environ; at != nil && *at != nil; at = (**C.char)(unsafe.Add(unsafe.Pointer(at), unsafe.Sizeof(*at))) {
		name, value, found := strings.Cut(C.GoString(*at), "=")
		if current, known := os.LookupEnv(name); found && name != "" && (!known || current != value) {
			_ = os.Setenv(name, value)
		}
	}
}

// A directory that the user named is made when missing and never changed: it may be shared for a reason. The default
// one is the driver's own, and it alone is narrowed to 0700, since its OCSP cache makes it 0755 when it comes first
// and id tokens are then silently not kept.
func credentialCache() Cache {
	if named := os.Getenv(cacheDirectoryVariable); named != "" {
		if err := os.MkdirAll(named, 0o700); err != nil {
			return Cache{named, err.Error()}
		}
		return checked(named)
	}
	home, err := homeDirectory()
	if err != nil {
		return Cache{Problem: err.Error()}
	}
	directory := filepath.Join(home, ".cache", "snowflake")
	if other := os.Getenv("XDG_CACHE_DIR"); other != "" {
		directory = filepath.Join(other, "snowflake")
	}
	if err := os.MkdirAll(filepath.Dir(directory), 0o755); err != nil {
		return Cache{directory, err.Error()}
	}
	if err := os.Mkdir(directory, 0o700); err != nil && !os.IsExist(err) {
		return Cache{directory, err.Error()}
	}
	if info, err := os.Lstat(directory); err == nil && info.IsDir() && ours(info) && info.Mode().Perm() != 0o700 {
		_ = os.Chmod(directory, 0o700)
	}
	return checked(directory)
}

// A scheduler may start us without HOME; the user's entry in the password file has it too.
func homeDirectory() (string, error) {
	home, err := os.UserHomeDir()
	if err == nil {
		return home, nil
	}
	if known, unknown := user.Current(); unknown == nil && known.HomeDir != "" {
		return known.HomeDir, nil
	}
	return "", err
}

// checked repeats the driver's own conditions, which it applies in silence.
func checked(directory string) Cache {
	info, err := os.Stat(directory)
	switch {
	case err != nil:
		return Cache{directory, err.Error()}
	case !info.IsDir():
		return Cache{directory, "not a directory"}
	case !ours(info):
		return Cache{directory, "owned by another user"}
	case info.Mode().Perm() != 0o700:
		return Cache{directory, fmt.Sprintf("its mode is %04o, the driver wants 0700", info.Mode().Perm())}
	}
	return Cache{directory, ""}
}

func ours(info os.FileInfo) bool {
	status, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(status.Uid) == os.Getuid()
}
