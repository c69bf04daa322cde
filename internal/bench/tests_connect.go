//go:build linux

package main

import (
	"errors"
	"io"
	"net"
	"slices"
	"sync"
	"time"
)

// A connection of the connect test: the client says requestSize bytes, the
// server answers with replySize and closes.
const (
	requestSize = 64
	replySize   = 1024
	clients     = 16 // at a time
)

// connections makes short TCP connections, one after the other by each of 16
// clients.
func connections(t *tunnel, s *session) (values, error) {
	// Ports of ended connections stay in TIME_WAIT for a minute.
	for _, err := range []error{
		t.left.Sysctl("net/ipv4/ip_local_port_range", "1024 65535"),
		t.right.Sysctl("net/ipv4/tcp_max_syn_backlog", "4096"),
	} {
		if err != nil {
			return nil, err
		}
	}
	var server net.Listener
	if err := t.right.Do(func() (err error) {
		server, err = net.Listen("tcp4", target+":5400")
		return err
	}); err != nil {
		return nil, err
	}
	served := make(chan struct{})
	go func() { // ends when the listener is closed
		defer close(served)
		serve(server)
	}()
	defer func() {
		server.Close()
		<-served
	}()
	before := t.usage()
	took, err := connectAll(t, server.Addr().String(), time.Duration(s.seconds)*time.Second)
	used := t.usage().minus(before)
	if err != nil {
		return nil, err
	}
	slices.Sort(took)
	n := int64(len(took))
	return values{
		"TCP connections /s":       float64(n) / float64(s.seconds),
		"TCP connection CPU us":    used.micros(n),
		"TCP connection switches":  used.switchesPer(n),
		"TCP connection median us": float64(took[n/2].Microseconds()),
	}, nil
}

// serve answers until the listener is closed.
func serve(l net.Listener) {
	reply := make([]byte, replySize)
	var all sync.WaitGroup
	defer all.Wait()
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		all.Go(func() { // ends with the client, or after the deadline
			defer c.Close()
			c.SetDeadline(time.Now().Add(connectionPatience))
			if _, err := io.ReadFull(c, make([]byte, requestSize)); err == nil {
				c.Write(reply)
			}
		})
	}
}

// connectionPatience is how long one connection may take.
const connectionPatience = 5 * time.Second

// connectAll runs the clients and gives how long each connection took.
func connectAll(t *tunnel, address string, within time.Duration) ([]time.Duration, error) {
	took, errs := make([][]time.Duration, clients), make([]error, clients)
	end := time.Now().Add(within)
	var all sync.WaitGroup
	for i := range clients {
		all.Go(func() { // ends at end
			errs[i] = t.left.Do(func() error {
				for time.Now().Before(end) {
					begin := time.Now()
					if err := connect(address); err != nil {
						return err
					}
					took[i] = append(took[i], time.Since(begin))
				}
				return nil
			})
		})
	}
	all.Wait()
	sum := slices.Concat(took...)
	if len(sum) == 0 {
		errs = append(errs, errors.New("no connection was made"))
	}
	return sum, errors.Join(errs...)
}

// connect makes one connection on this thread, and so in its namespace.
func connect(address string) error {
	c, err := net.DialTimeout("tcp4", address, connectionPatience)
	if err != nil {
		return err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(connectionPatience))
	if _, err := c.Write(make([]byte, requestSize)); err != nil {
		return err
	}
	if n, err := io.Copy(io.Discard, c); err != nil || n != replySize {
		return errors.Join(err, errors.New("connection: the reply is incomplete"))
	}
	return nil
}
