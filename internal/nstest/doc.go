// Package nstest is a kit for running WireGuard daemons against each other on
// one machine: network namespaces joined by veth, processes inside them, and a
// promise that nothing is left behind.
//
// A [Lab] owns everything: its namespaces ([NS]), its processes ([Process])
// and its files. [Lab.Close] ends and removes them. The kit is used by the
// end-to-end tests, the demonstration and the benchmark, so it knows no
// testing.T: functions return errors.
//
// # Why nothing is left behind
//
//  1. Namespaces have no name on disk. They live as long as an open file of
//     this process or a process inside them, so they go when those go.
//  2. A process started here gets SIGTERM when this process dies
//     (PR_SET_PDEATHSIG).
//  3. A process that daemonized itself is found again by a mark in its
//     environment, unique to the lab, and ended by its process id.
//  4. A guard, a small shell script at the other end of a pipe, does the same
//     when this process died without calling [Lab.Close] (panic, SIGKILL, a
//     test that ran out of time), and removes files and UAPI sockets.
//
// Only processes that carry this run's mark or were started here are ever
// signalled.
//
// # Names
//
// Namespaces do not separate /var/run/wireguard, so WireGuard interface names
// must be unique on the machine: [Lab.Name] makes them from the process id and
// a counter, in at most 15 bytes (IFNAMSIZ-1).
//
// Interfaces, addresses and routes are made with ip(8) batches: they read as a
// transcript of what a user would type, the tests need ip(8) anyway, and a
// netlink library would be one more dependency for the same effect.
package nstest
