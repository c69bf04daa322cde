// Package pages is memory for packets that does not belong to the garbage
// collector. It costs what was asked for, from Get to Free, and only the pages
// that were touched; it is back with the system when Free returns. Memory of the
// collector's would count twice at times, as it lets a heap grow to twice what
// lives in it, and would go back only after a collection that somebody forces.
//
// Under the race detector, which does not see such memory, and where there is no
// mmap, it is ordinary memory.
package pages
