package main

import (
	"errors"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/pkg/browser" // ours: browser/
	"github.com/snowflakedb/gosnowflake"
)

// What shows a person an address on a desktop, in the order of trying.
var openers = []string{"xdg-open", "x-www-browser", "www-browser"}

// What a desktop's browser needs of the environment. Everything else stays here: passwords and tokens are in it.
var browserVariables = []string{
	"HOME", "USER", "LOGNAME", "SHELL", "PATH", "TMPDIR", "LANG", "LANGUAGE", "TZ", "DISPLAY", "XAUTHORITY",
	"WAYLAND_DISPLAY", "DESKTOP_SESSION", "DBUS_SESSION_BUS_ADDRESS", "SESSION_MANAGER", "BROWSER", "KDE_FULL_SESSION",
	"KDE_SESSION_VERSION", "GNOME_DESKTOP_SESSION_ID", "MOZ_ENABLE_WAYLAND", "WSL_DISTRO_NAME", "WSL_INTEROP", "WSLENV",
	"http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY",
}

func browserEnvironment(all []string) []string {
	var kept []string
	for _, entry := range all {
		name, _, _ := strings.Cut(entry, "=")
		family := strings.HasPrefix(name, "XDG_") || strings.HasPrefix(name, "LC_")
		if family || slices.Contains(browserVariables, name) {
			kept = append(kept, entry)
		}
	}
	return kept
}

func realOpener() string {
	for _, name := range openers {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	return ""
}

// Addresses that login.go has told already: those of Snowflake's own sign-in. An OAuth login's is in no answer of Snowflake's.
var announced sync.Map

// openBrowser starts the browser in the background and always succeeds: the person has the address too. It is a process group
// of its own, so that Ctrl-C here does not close it.
func openBrowser(address string) error {
	opener := realOpener()
	if _, told := announced.LoadAndDelete(address); !told {
		sendEvent(event{Event: "sso_url", URL: address, Browser: opener != ""})
	}
	if opener == "" {
		return nil
	}
	command := exec.Command(opener, address)
	command.Env = browserEnvironment(os.Environ())
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if command.Start() == nil {
		go func() { _ = command.Wait() }()
	}
	return nil
}

var errNobodyAsked = errors.New("nobody may be asked to log in")

func openNothing(string) error { return errNobodyAsked }

// The driver's opener is one for all: many logins that may ask a person, or one that may not and goes straight to the browser.
var openerKinds sync.RWMutex

// installOpener decides what the driver's browser login does until `remove` is called. The login through Snowflake is stopped
// before its first request when it may ask nobody (login.go); OAuth's is stopped here.
func (o *options) installOpener(method gosnowflake.AuthType) (remove func()) {
	switch {
	case needsBrowser(method) && o.AskPerson:
		openerKinds.RLock()
		browser.SetOpener(openBrowser)
		return openerKinds.RUnlock
	case method == gosnowflake.AuthTypeOAuthAuthorizationCode:
		openerKinds.Lock()
		browser.SetOpener(openNothing)
		return openerKinds.Unlock
	}
	return func() {}
}
