package arch

import (
	"fmt"
	"go/ast"
	"go/token"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Secrets are compared in constant time, and never passed by value: a copy would stay on the stack, and the arguments of
// functions are printed when a process crashes, arrays byte by byte.
//
// Types are not known here, only names, so both checks go by these. What is compared and is no secret is in a table, with the
// reason.

// keepers are the packages that have secrets.
var keepers = []string{"noise", "device", "device/session", "device/config", "ipc", "internal/aead", "internal/chachapoly", "internal/x25519", "cmd/culvert"}

// secretTypes are those of which a value is a secret, or has one inside, by the name that they have in any package.
var secretTypes = []string{
	"PrivateKey", "PresharedKey", // device/config
	"Update", "PeerUpdate", "Interface", "Peer", // values with keys in them
	"Identity", "Remote", "Handshake", "OpenedInitiation", "InitiationOpener", "InitiationBuilder", "ResponseOpener", "ResponseBuilder",
	"Keypair", "keyPair", "symmetric", "keyed", "Hasher", "CookieChecker", "jarState", // noise
	"Key", "Product", "work", "vectors", // aead, chachapoly, x25519
	"identity", "remote", "pending", "keypair", "shake", "shaker", // device
}

// keyArray is an array of the size of a key.
var keyArray = regexp.MustCompile(`^(32|keySize|KeySize|Size|config\.KeySize)$`)

// byValue are parameters that are one of those all the same, and why.
var byValue = map[string]string{
	"device/config/keys.go:PrivateKey.Format":        "formatting calls it on values; it prints a constant",
	"device/config/keys.go:PrivateKey.MarshalText":   "encoding calls it on values; it prints a constant",
	"device/config/keys.go:PresharedKey.Format":      "formatting calls it on values; it prints a constant",
	"device/config/keys.go:PresharedKey.MarshalText": "encoding calls it on values; it prints a constant",
}

// secretName is what a secret, a MAC or a tag is called where it is compared.
var secretName = regexp.MustCompile(`(?i)^(.*(private|preshared|psk|secret|shared|chain|ephemeral|cookie|mac1|mac2|^mac$|tag|^sum$|sums$|^key$|^keys$|hash|digest|^es$|^ee$|^se$|tags).*)$`)

// compared are comparisons of what has such a name and needs no constant time, by file and function.
var compared = map[string]string{
	"device/inbatch.go:inBatch.group":   "which keypair it is: addresses",
	"device/outbound.go:outbound.batch": "which keypair it is: addresses",
	"device/peer.go:peer.dropSecrets":   "whether there are any: addresses",
	"noise/cookie.go:HasCookie":         "whether there is a mac2, which everybody on the way can see",
}

// typeName is the last part of a type's name; "" for pointers, slices and functions, whose value is an address.
func typeName(t ast.Expr) string {
	switch t := t.(type) {
	case *ast.Ident:
		return t.Name
	case *ast.SelectorExpr:
		return t.Sel.Name
	case *ast.Ellipsis:
		return ""
	case *ast.ArrayType:
		if t.Len != nil && keyArray.MatchString(text(t.Len)) && text(t.Elt) == "byte" {
			return "[32]byte"
		}
	}
	return ""
}

// text is an expression of names, selectors and numbers.
func text(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.BasicLit:
		return e.Value
	case *ast.SelectorExpr:
		return text(e.X) + "." + e.Sel.Name
	}
	return ""
}

// checkValues finds secrets that are passed by value.
func checkValues(s *source, allowed map[string]string, used map[string]bool) (wrong []string) {
	check := func(where string, n ast.Node, fields *ast.FieldList) {
		if fields == nil {
			return
		}
		for _, f := range fields.List {
			name := typeName(f.Type)
			if name != "[32]byte" && !slices.Contains(secretTypes, name) {
				continue
			}
			if used[where] = true; allowed[where] == "" {
				wrong = append(wrong, fmt.Sprintf("%s: %s takes a %s by value", s.at(n), where, name))
			}
		}
	}
	for _, d := range s.ast.Decls {
		where := s.path + ":var"
		if f, ok := d.(*ast.FuncDecl); ok {
			where = s.path + ":" + funcName(f)
			check(where, f, f.Recv)
		}
		ast.Inspect(d, func(n ast.Node) bool {
			if t, ok := n.(*ast.FuncType); ok {
				check(where, n, t.Params)
			}
			return true
		})
	}
	return wrong
}

// funcName is a function's name, with the type it is a method of.
func funcName(f *ast.FuncDecl) string {
	if f.Recv != nil {
		return receiver(f.Recv.List[0].Type) + "." + f.Name.Name
	}
	return f.Name.Name
}

// lastName is the name by which an operand is known: of x.y[1:] it is y, of f(x) f.
func lastName(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return e.Sel.Name
	case *ast.IndexExpr:
		return lastName(e.X)
	case *ast.SliceExpr:
		return lastName(e.X)
	case *ast.StarExpr:
		return lastName(e.X)
	case *ast.ParenExpr:
		return lastName(e.X)
	case *ast.UnaryExpr:
		return lastName(e.X)
	case *ast.CallExpr:
		if len(e.Args) == 1 { // a conversion, or something of x
			if name := lastName(e.Args[0]); name != "" {
				return name
			}
		}
		return lastName(e.Fun)
	}
	return ""
}

// quick are functions that compare, and stop at the first difference.
var quick = []string{"bytes.Equal", "bytes.Compare", "slices.Equal", "reflect.DeepEqual", "bytes.Contains", "bytes.Index", "bytes.HasPrefix", "slices.Compare", "slices.Contains", "slices.Index"}

// checkCompares finds secrets that are compared in a time that depends on them, and maps with secrets as keys.
func checkCompares(s *source, allowed map[string]string, used map[string]bool) (wrong []string) {
	for _, d := range s.ast.Decls {
		where := s.path + ":var"
		if f, ok := d.(*ast.FuncDecl); ok {
			where = s.path + ":" + funcName(f)
		}
		report := func(n ast.Node, format string, args ...any) {
			if used[where] = true; allowed[where] == "" {
				wrong = append(wrong, fmt.Sprintf("%s: %s: %s", s.at(n), where, fmt.Sprintf(format, args...)))
			}
		}
		ast.Inspect(d, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.BinaryExpr:
				if n.Op != token.EQL && n.Op != token.NEQ || plain(n.X) || plain(n.Y) {
					return true
				}
				for _, side := range []ast.Expr{n.X, n.Y} {
					if name := lastName(side); secretName.MatchString(name) && !strings.HasPrefix(name, "Type") {
						report(n, "%s with %s", n.Op, name)
						break
					}
				}
			case *ast.CallExpr:
				if !slices.Contains(quick, text(n.Fun)) {
					return true
				}
				for _, a := range n.Args {
					if name := lastName(a); secretName.MatchString(name) {
						report(n, "%s of %s", text(n.Fun), name)
						break
					}
				}
			case *ast.MapType:
				if name := typeName(n.Key); slices.Contains(secretTypes, name) || name == "[32]byte" {
					report(n, "a map with a %s as its key", name)
				}
			}
			return true
		})
	}
	return wrong
}

// plain reports that an operand is nil, a number, a string, or a length: what is compared with it is no array.
func plain(e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.BasicLit:
		return true
	case *ast.Ident:
		return e.Name == "nil" || e.Name == "true" || e.Name == "false"
	case *ast.CallExpr:
		name := text(e.Fun)
		return name == "len" || name == "cap" || strings.HasSuffix(name, "ConstantTimeCompare")
	case *ast.UnaryExpr:
		return e.Op == token.SUB && plain(e.X)
	}
	return false
}

// checkSecrets runs a check over the packages that have secrets, and wants nothing more in its table than there is.
func checkSecrets(files []*source, table map[string]string, check func(*source, map[string]string, map[string]bool) []string) (wrong []string) {
	used := map[string]bool{}
	for _, s := range files {
		if slices.Contains(keepers, s.pkg) {
			wrong = append(wrong, check(s, table, used)...)
		}
	}
	for where := range table {
		if !used[where] {
			wrong = append(wrong, where+": is in the table, and has nothing to be allowed")
		}
	}
	slices.Sort(wrong)
	return wrong
}

func TestSecretsAreNotPassedByValue(t *testing.T) {
	for _, w := range checkSecrets(load(t), byValue, checkValues) {
		t.Error(w)
	}
}

func TestSecretsAreComparedInConstantTime(t *testing.T) {
	for _, w := range checkSecrets(load(t), compared, checkCompares) {
		t.Error(w)
	}
}

func TestSecretsChecksFail(t *testing.T) {
	for _, c := range []struct {
		text  string
		wrong int
	}{
		{"func f(k *config.PrivateKey, p config.PublicKey, b []byte, r *noise.Remote) {}", 0},
		{"func f(k config.PrivateKey) {}", 1},
		{"func f(a int, k config.PresharedKey, b bool) {}", 1},
		{"func f(k [32]byte) {}", 1},
		{"func f(k [keySize]byte) {}", 1},
		{"func f(k *[32]byte, m [16]byte) {}", 0},
		{"func (r remote) f() {}", 1},
		{"func (r *remote) f() {}", 0},
		{"var f = func(u config.Update) {}", 1},
		{"func f() { func(k noise.Keypair) {}(x) }", 1},
		{"var f func(config.PrivateKey)", 1},
	} {
		s := parse(t, "noise/x.go", "package noise\n"+c.text)
		if got := checkSecrets([]*source{s}, nil, checkValues); len(got) != c.wrong {
			t.Errorf("%s: %q, want %d", c.text, got, c.wrong)
		}
	}
	for _, c := range []struct {
		text  string
		wrong int
	}{
		{"var x = a.mac1 == b", 1},
		{"var x = psk != config.PresharedKey{}", 1},
		{"var x = [16]byte(mac2) == want", 1},
		{"var x = r.Shared == s.Shared", 1},
		{"var x = bytes.Equal(tag, want[:])", 1},
		{"var x = bytes.Equal(want, k.secret[:])", 1},
		{"var x = slices.Equal(cookie[:], c)", 1},
		{"var x = reflect.DeepEqual(p.PrivateKey, q)", 1},
		{"var x = subtle.ConstantTimeCompare(mac1, want) == 1", 0},
		{"var x = k.secret == nil || len(psk) == 32 || 0 == chain", 0},
		{"var x map[config.PrivateKey]int", 1},
		{"var x map[[32]byte]int", 1},
		{"var x map[config.PublicKey]int", 0},
		{"var x = public == other", 0},
	} {
		s := parse(t, "noise/x.go", "package noise\n"+c.text)
		if got := checkSecrets([]*source{s}, nil, checkCompares); len(got) != c.wrong {
			t.Errorf("%s: %q, want %d", c.text, got, c.wrong)
		}
	}
	if got := checkSecrets(nil, map[string]string{"noise/x.go:f": "gone"}, checkValues); len(got) != 1 {
		t.Errorf("an entry too many: %q", got)
	}
}
