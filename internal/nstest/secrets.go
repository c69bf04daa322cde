//go:build linux

package nstest

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
)

// secrets are the private and preshared keys that this process has made, in the forms in which they must not be
// in the output of any program but those that are there to show keys.
var secrets struct {
	sync.Mutex
	forms []form
}

// form is a part of a key as it may be written somewhere. Parts, because a message may have cut it.
type form struct {
	name  string
	bytes []byte
}

// secret notes a key and returns its base64 form.
func secret(kind string, key []byte) string {
	text, digits := base64.StdEncoding.EncodeToString(key), hex.EncodeToString(key)
	name := func(form string) string { return fmt.Sprintf("%s (%s…), %s", kind, text[:4], form) }
	secrets.Lock()
	defer secrets.Unlock()
	secrets.forms = append(secrets.forms,
		form{name("beginning"), bytes.Clone(key[:8])}, form{name("end"), bytes.Clone(key[24:])},
		form{name("beginning in hexadecimal"), []byte(digits[:16])}, form{name("end in hexadecimal"), []byte(digits[48:])},
		form{name("beginning in base64"), []byte(text[:12])}, form{name("end in base64"), []byte(text[31:43])},
	)
	return text
}

// showsKeys are programs whose output may have keys.
var showsKeys = []string{"wg", "wg-quick"}

// leaks says which keys are in the output of a process. It is to have ended.
func (p *Process) leaks() (found []error) {
	if slices.Contains(showsKeys, p.name) {
		return nil
	}
	secrets.Lock()
	forms := slices.Clone(secrets.forms)
	secrets.Unlock()
	for _, file := range []string{p.stdout, p.stderr} {
		text, err := os.ReadFile(file)
		if err != nil {
			return append(found, err)
		}
		for _, f := range forms {
			if bytes.Contains(text, f.bytes) {
				found = append(found, fmt.Errorf("%s (%d): a key is in its output, %s: %s", p.name, p.PID, filepath.Base(file), f.name))
			}
		}
	}
	return found
}
