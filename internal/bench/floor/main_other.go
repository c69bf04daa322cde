//go:build !linux

// Command floor is for the benchmark, which needs Linux.
package main

func main() {}
