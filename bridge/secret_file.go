package main

import (
	"fmt"
	"io"
	"os"
	"syscall"
)

const secretBytesMax = 1 << 20 // a key has 2 KB, a token 4

// readSecret reads the file that `key` names: opened once, and what was opened is looked at. A file that others may write or
// own could log in as somebody else; one that others may read gets a warning. Links are followed (Kubernetes mounts them).
func readSecret(key, path string) ([]byte, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, configurationError(key, "%s cannot be read: %v", path, err)
	}
	defer func() { _ = file.Close() }()
	status, err := file.Stat()
	if err != nil {
		return nil, configurationError(key, "%s cannot be read: %v", path, err)
	}
	if why := distrust(status, os.Geteuid()); why != "" {
		return nil, configurationError(key, "%s %s", path, why)
	}
	text, err := io.ReadAll(io.LimitReader(file, secretBytesMax+1))
	if err != nil {
		return nil, configurationError(key, "%s cannot be read: %v", path, err)
	}
	if len(text) > secretBytesMax {
		return nil, configurationError(key, "%s is too large for what %s names", path, key)
	}
	if status.Mode().Perm()&0o044 != 0 {
		sendEvent(event{Event: "warning", Message: fmt.Sprintf("%s may be read by other users; chmod 600 it", path)})
	}
	return text, nil
}

func distrust(status os.FileInfo, user int) string {
	if !status.Mode().IsRegular() {
		return "is not a regular file"
	}
	if owner := int(status.Sys().(*syscall.Stat_t).Uid); owner != user && owner != 0 {
		return fmt.Sprintf("belongs to another user (uid %d)", owner)
	}
	if status.Mode().Perm()&0o022 != 0 {
		return "may be written by other users; chmod go-w it"
	}
	return ""
}
