package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pkg/browser"
	"github.com/snowflakedb/gosnowflake"
)

// The driver runs the first of these that it finds and waits for it to end; only then does it accept the browser's
// answer. A browser that stays in the foreground therefore blocks its own login, a failing opener ends it, and where
// none exists the login cannot even be finished by hand. So the driver always gets an opener of ours, first on Go's
// PATH: it starts the real one in the background, notes the address, and succeeds.
var openers = []string{"xdg-open", "x-www-browser", "www-browser"}

const openerScript = `#!/bin/sh
printf '%s' "$1" > "${0%/*}/url.part" && mv "${0%/*}/url.part" "${0%/*}/url"
REAL </dev/null >/dev/null 2>&1 &
exit 0
`

// What a desktop's browser needs of the environment. Everything else stays here: passwords and tokens are in it.
var browserVariables = []string{
	"HOME", "USER", "LOGNAME", "SHELL", "PATH", "TMPDIR", "LANG", "LANGUAGE", "TZ", "DISPLAY", "XAUTHORITY",
	"WAYLAND_DISPLAY", "DESKTOP_SESSION", "DBUS_SESSION_BUS_ADDRESS", "SESSION_MANAGER", "BROWSER", "KDE_FULL_SESSION",
	"KDE_SESSION_VERSION", "GNOME_DESKTOP_SESSION_ID", "MOZ_ENABLE_WAYLAND", "WSL_DISTRO_NAME", "WSL_INTEROP", "WSLENV",
	"http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY",
}

var variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// startOf is the shell's command for the real opener, with the browser's variables alone.
func startOf(opener string, environment []string) string {
	words := []string{"env", "-i"}
	for _, entry := range environment {
		name, _, _ := strings.Cut(entry, "=")
		family := strings.HasPrefix(name, "XDG_") || strings.HasPrefix(name, "LC_")
		if (family || slices.Contains(browserVariables, name)) && variableName.MatchString(name) {
			words = append(words, name+`="$`+name+`"`)
		}
	}
	quoted := "'" + strings.ReplaceAll(opener, "'", `'\''`) + "'"
	return strings.Join(append(words, quoted, `"$1"`), " ")
}

func realOpener() string {
	for _, name := range openers {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	return ""
}

func hasBrowser() bool {
	opener.mutex.Lock()
	defer opener.mutex.Unlock()
	return opener.real != ""
}

// One opener serves all logins that run at the same time; the last one to end removes it.
var opener struct {
	mutex     sync.Mutex
	users     int
	directory string
	real      string
	path      string // PATH as it was
}

// Go's PATH is one for all: many logins that may ask a person, or one that may not and goes straight to the browser.
var openerKinds sync.RWMutex

// installOpener puts the stand-in first on PATH until `remove` is called.
func installOpener() (remove func(), err error) {
	openerKinds.RLock()
	if err := addOpenerUser(openerScript); err != nil {
		openerKinds.RUnlock()
		return nil, err
	}
	return func() { removeOpenerUser(); openerKinds.RUnlock() }, nil
}

const (
	refusingScript     = "#!/bin/sh\nexit 97\n"
	refusingScriptText = "exit status 97" // what the driver says then
)

// installRefusingOpener puts one there that opens nothing and fails.
func installRefusingOpener() (remove func(), err error) {
	openerKinds.Lock()
	if err := addOpenerUser(refusingScript); err != nil {
		openerKinds.Unlock()
		return nil, err
	}
	return func() { removeOpenerUser(); openerKinds.Unlock() }, nil
}

// The browser login through Snowflake is stopped before its first request when it may ask nobody (login.go).
func (o *options) installOpener(method gosnowflake.AuthType) (remove func(), err error) {
	switch {
	case needsBrowser(method) && o.AskPerson:
		return installOpener()
	case method == gosnowflake.AuthTypeOAuthAuthorizationCode:
		return installRefusingOpener()
	}
	return nil, nil
}

func addOpenerUser(script string) (err error) {
	opener.mutex.Lock()
	defer opener.mutex.Unlock()
	if opener.users++; opener.users > 1 {
		return nil
	}
	defer func() {
		if err != nil {
			opener.users--
		}
	}()
	if quiet, err := os.OpenFile(os.DevNull, os.O_RDWR, 0); err == nil && browser.Stdout == os.Stdout {
		browser.Stdout, browser.Stderr = quiet, quiet // stdout may carry a report
	}
	opener.real, opener.path = realOpener(), os.Getenv("PATH")
	directory, err := os.MkdirTemp("", "snowmelt-opener-")
	if err != nil {
		return err
	}
	start := ":"
	if opener.real != "" {
		start = startOf(opener.real, os.Environ())
	}
	script = strings.Replace(script, "REAL", start, 1)
	if err := os.WriteFile(filepath.Join(directory, openers[0]), []byte(script), 0o700); err != nil {
		_ = os.RemoveAll(directory)
		return err
	}
	opener.directory = directory
	return os.Setenv("PATH", directory+string(os.PathListSeparator)+opener.path)
}

func removeOpenerUser() {
	opener.mutex.Lock()
	defer opener.mutex.Unlock()
	if opener.users--; opener.users == 0 {
		_ = os.Setenv("PATH", opener.path)
		_ = os.RemoveAll(opener.directory)
	}
}

// announceOpened tells the address of an OAuth login, which no response of Snowflake holds: only the opener sees it.
func announceOpened(ctx context.Context, loginID int64) {
	opener.mutex.Lock()
	file := filepath.Join(opener.directory, "url")
	opener.mutex.Unlock()
	for wait(ctx, 100*time.Millisecond) == nil {
		if address, err := os.ReadFile(file); err == nil {
			sendEvent(event{Event: "sso_url", LoginID: loginID, URL: string(address), Browser: hasBrowser()})
			return
		}
	}
}
