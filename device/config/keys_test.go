package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

// However a secret is printed or encoded, by itself, by address or inside of something: it does not show. (But with %p, which fmt knows before any method, and vet refuses for an array.)
func TestSecretsDoNotPrint(t *testing.T) {
	var private PrivateKey
	var preshared PresharedKey
	for i := range KeySize {
		private[i], preshared[i] = 171, 171 // 0xab
	}
	u := Update{PrivateKey: private, Peers: []PeerUpdate{{PresharedKey: preshared}}}
	shown := func(how, text string) {
		t.Helper()
		for _, form := range []string{"171", "ab", "AB", "253", "\xab", "q6ur", "10101011"} {
			if strings.Contains(text, form) {
				t.Errorf("%s shows %q: %s", how, form, text)
			}
		}
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "% x", "%#x", "%d", "%o", "%b", "%c", "%U", "%t", "%e"} {
		for _, x := range []any{private, preshared, u, []any{private}, u.Peers, map[string]PrivateKey{"k": private}} {
			shown(verb, strings.ReplaceAll(fmt.Sprintf(verb, x), fmt.Sprintf(verb, PublicKey{}), ""))
		}
	}
	for _, x := range []any{&private, &preshared, private, preshared, u, &u} {
		text, err := json.Marshal(x)
		if err != nil {
			t.Fatal(err)
		}
		shown("json", string(text))
		var log bytes.Buffer
		options := &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		}}
		slog.New(slog.NewTextHandler(&log, options)).Info("x", "key", x)
		slog.New(slog.NewJSONHandler(&log, options)).Info("x", "key", x)
		shown("slog", log.String())
	}
}

func TestCompare(t *testing.T) {
	a, b := PrivateKey{1}, PrivateKey{31: 1}
	if a.Equal(&b) || !a.Equal(&PrivateKey{1}) || a.IsZero() || !new(PrivateKey).IsZero() {
		t.Error("private keys")
	}
	p, q := PresharedKey{1}, PresharedKey{31: 1}
	if p.Equal(&q) || !p.Equal(&PresharedKey{1}) || q.IsZero() || !new(PresharedKey).IsZero() {
		t.Error("preshared keys")
	}
}
