package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestSecretFiles(t *testing.T) {
	var warned []string
	receiver := func(text []byte) { warned = append(warned, string(text)) }
	eventReceiver.Store(&receiver)
	defer eventReceiver.Store(nil)

	folder := t.TempDir()
	write := func(name string, mode os.FileMode) string {
		path := filepath.Join(folder, name)
		if err := os.WriteFile(path, []byte("secret"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	link := filepath.Join(folder, "link")
	if err := os.Symlink(write("own", 0o600), link); err != nil {
		t.Fatal(err)
	}
	fifo := filepath.Join(folder, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	large := write("large", 0o600)
	if err := os.Truncate(large, secretBytesMax+1); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ path, says string }{
		{link, ""},
		{write("read", 0o644), ""},
		{write("group", 0o620), "written by other users"},
		{write("others", 0o602), "written by other users"},
		{fifo, "not a regular file"},
		{folder, "not a regular file"},
		{"/dev/zero", "not a regular file"},
		{large, "too large"},
		{filepath.Join(folder, "none"), "cannot be read"},
	} {
		text, err := readSecret("token_file_path", c.path)
		if c.says == "" && (err != nil || string(text) != "secret") {
			t.Errorf("%s: %v", c.path, err)
		}
		if c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), c.path)) {
			t.Errorf("%s: %v", c.path, err)
		}
	}
	if len(warned) != 1 || !strings.Contains(warned[0], `"event":"warning"`) || !strings.Contains(warned[0], "may be read") {
		t.Errorf("%v", warned)
	}
}

func TestOwnersOfSecretFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	status, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	owner := int(status.Sys().(*syscall.Stat_t).Uid)
	if why := distrust(status, owner); why != "" {
		t.Error(why)
	}
	if why := distrust(status, owner+1); owner != 0 && !strings.Contains(why, "another user") {
		t.Error(why)
	}
}

func TestTokenFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(path, []byte("token-of-the-file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	f := newFakeServer(t)
	keys := map[string]any{"authenticator": "programmatic_access_token", "password": "", "token_file_path": path}
	if a := openSession(t, f, keys); a.Error != nil || !strings.Contains(f.lastBody(pathLogin), `"TOKEN":"token-of-the-file"`) {
		t.Fatalf("%+v %s", a, f.lastBody(pathLogin))
	}
	if err := os.Chmod(path, 0o622); err != nil {
		t.Fatal(err)
	}
	logins := f.count(pathLogin)
	if e := openSession(t, f, keys).Error; e == nil || e.Kind != kindConfiguration || e.Key != "token_file_path" {
		t.Fatalf("%+v", e)
	}
	if f.count(pathLogin) != logins {
		t.Fatal("the token was sent")
	}
}
