//go:build !linux

package main

// harden is about Linux.
func harden() {}
