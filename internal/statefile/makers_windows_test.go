package statefile

import "os"

// makers make what is at the place of a file and is none.
var makers = map[string]func(path string) error{
	"a directory": func(path string) error { return os.Mkdir(path, 0o700) },
}
