package main

// plainWords gives --help for help, followed by what help is wanted with, and --version
// for version: who types them, as with other programs, wants no interface of that name,
// which a daemon in the background would make without a word.
func plainWords(args []string) []string {
	switch {
	case len(args) > 0 && args[0] == "help":
		return append(args[1:len(args):len(args)], "--help")
	case len(args) == 1 && args[0] == "version":
		return []string{"--version"}
	}
	return args
}
