package ipc

import (
	"errors"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// MaxClients is how many clients are served at once. Others wait in the
// socket's backlog until one goes; one that has been quiet for a second is
// made to go.
const MaxClients = 64

// evictAfter is how long a client must have been quiet to be sent away for
// another.
const evictAfter = time.Second

// acceptRetry is the pause after a failed accept (out of descriptors, say), and
// acceptLogEvery bounds the log lines about them.
const (
	acceptRetry    = 100 * time.Millisecond
	acceptLogEvery = 10 * time.Second
)

// Server answers the clients of one listener. All methods may be called from
// any goroutine.
type Server struct {
	listener net.Listener
	device   Device
	log      *slog.Logger
	memory   quota
	slots    chan struct{} // one element per client
	closing  chan struct{} // closed by Close
	ended    sync.WaitGroup
	evicted  atomic.Uint64
	refused  atomic.Uint64

	mu      sync.Mutex
	clients map[*client]struct{} // nil once closed
}

// Serve starts to answer the clients of l on behalf of d and returns at once.
// It owns l from then on. log (which may be nil) hears of every refused
// request, at level error; nothing it is told has keys in it.
func Serve(l net.Listener, d Device, log *slog.Logger) *Server {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	s := &Server{
		listener: l,
		device:   d,
		log:      log,
		memory:   quota{max: 2 * MaxRequest},
		slots:    make(chan struct{}, MaxClients),
		closing:  make(chan struct{}),
		clients:  make(map[*client]struct{}),
	}
	s.ended.Go(s.accept)
	return s
}

// Evicted is how many quiet clients had to go because there were too many.
func (s *Server) Evicted() uint64 { return s.evicted.Load() }

// AcceptErrors is how often a client could not be accepted, as there were no
// descriptors, say; it waits, and is tried again after 100 ms.
func (s *Server) AcceptErrors() uint64 { return s.refused.Load() }

// Close ends the listener and every conversation. A Configure under way is
// waited for; afterwards no goroutine is left and the device is not called
// again. It may be called more than once.
func (s *Server) Close() error {
	s.mu.Lock()
	if s.clients == nil {
		s.mu.Unlock()
		s.ended.Wait()
		return nil
	}
	for c := range s.clients {
		c.Close()
	}
	s.clients = nil
	close(s.closing)
	s.mu.Unlock()
	err := s.listener.Close()
	s.ended.Wait()
	return err
}

// accept serves clients until the listener is closed.
func (s *Server) accept() {
	var logged time.Time
	for s.slot() {
		conn, err := s.listener.Accept()
		if err == nil {
			s.start(&client{Conn: conn})
			continue
		}
		<-s.slots
		if errors.Is(err, net.ErrClosed) {
			return
		}
		s.refused.Add(1)
		if now := time.Now(); now.Sub(logged) >= acceptLogEvery {
			logged = now
			s.log.Error("uapi: cannot accept a client", "err", err)
		}
		select {
		case <-time.After(acceptRetry):
		case <-s.closing:
		}
	}
}

// slot waits until one more client may be served, and makes room if quiet
// ones fill every place. It is false when the server is closed.
func (s *Server) slot() bool {
	for {
		select {
		case s.slots <- struct{}{}:
			return true
		default:
		}
		s.evict(time.Now())
		select {
		case s.slots <- struct{}{}:
			return true
		case <-time.After(evictAfter / 4):
		case <-s.closing:
			return false
		}
	}
}

// evict sends away the client that has been quiet for longest.
func (s *Server) evict(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var quietest *client
	oldest := now.Add(-evictAfter).UnixNano()
	for c := range s.clients {
		if since := c.quietSince.Load(); since != 0 && since <= oldest {
			quietest, oldest = c, since
		}
	}
	if quietest == nil {
		return
	}
	delete(s.clients, quietest)
	quietest.Close()
	s.evicted.Add(1)
}

// start gives c a goroutine, which ends when the client goes, or when Close
// or evict closes its connection.
func (s *Server) start(c *client) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.clients == nil {
		c.Close()
		<-s.slots
		return
	}
	s.clients[c] = struct{}{}
	s.ended.Go(func() {
		defer func() { <-s.slots }()
		newSession(s, c).run()
		s.mu.Lock()
		delete(s.clients, c)
		s.mu.Unlock()
		c.Close()
	})
}
