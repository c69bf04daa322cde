package main

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"syscall"
	"time"

	"culvert/conn"
	"culvert/device"
	"culvert/internal/aead"
	"culvert/internal/statefile"
	"culvert/ipc"
	"culvert/tun"
)

// createTUN is a variable for tests.
var createTUN = tun.Create

// defaultMTU is 1500 less the most that WireGuard adds (IPv6, UDP, 32 bytes),
// as of the kernel's.
const defaultMTU = 1420

// serve makes the interface, answers on its socket, and returns when it is told
// to end. parent, which may be nil, hears of success.
func serve(o *options, parent *parent) error {
	end, cycle, counters := notifySignals()
	log := newLogger(o.level)
	manager := dialManager()
	t, err := openTUN(o)
	if err != nil {
		return err
	}
	log.Logger = log.With("interface", t.Name())
	settings, err := deviceOptions(o, t.Name(), log.Logger)
	if err != nil {
		t.Close()
		return err
	}
	d, err := device.New(t, conn.System(networkOptions(o, log.Logger)), settings)
	if err != nil {
		return err
	}
	defer d.Close()
	l, err := listen(o, t.Name())
	if err != nil {
		return err
	}
	state, err := confineNow(o, parent, l.Path(), log.Logger)
	if err != nil {
		l.Close()
		return err
	}
	told := &reporter{Device: d, name: t.Name, start: time.Now(), confined: state}
	server := ipc.Serve(l, told, log.Logger)
	defer func() {
		if err := server.Close(); err != nil {
			log.Info("the socket's file stays, for the next one or wg(8) to remove", "err", err)
		}
	}()
	told.server.Store(server)
	manager.tell(log.Logger, serving)
	if parent != nil {
		if err := parent.tell(readyWord); err != nil {
			return err
		}
	}
	go func() { // ends with the process
		for {
			select {
			case <-cycle:
				log.cycle()
			case <-counters:
				log.Info("status", "device", d.Stats())
			}
		}
	}()
	select {
	case s := <-end:
		log.Info("ending", "why", s.String())
	case <-d.Done():
		log.Info("ending", "why", "the interface is gone")
	case <-l.Removed():
		log.Info("ending", "why", "the socket's file is gone")
	}
	manager.tell(log.Logger, stopping)
	// Before the server, which waits for what clients have asked for: that may
	// wait for a network that takes nothing, and Close ends such waiting.
	d.Close()
	return nil
}

// networkOptions are the sockets' settings that the command line has.
func networkOptions(o *options, log *slog.Logger) conn.Options {
	return conn.Options{Logger: log, NoGSO: o.NoGSO, ForceGSO: o.ForceGSO, NoGRO: o.NoGRO, Queues: o.Queues}
}

// deviceOptions are the device's settings that the command line has.
func deviceOptions(o *options, name string, log *slog.Logger) (device.Options, error) {
	if failed := aead.Failed(); len(failed) > 0 {
		log.Warn("a kernel for this processor computes wrongly and is not used; please report it", "failed", failed, "using", aead.Kernel())
	}
	settings := device.Options{Logger: log, Budget: int64(o.Memory) << 20, Workers: o.Workers}
	if o.StateDir != "" {
		f, err := statefile.New(o.StateDir, name)
		if err != nil {
			return settings, fmt.Errorf("--state-dir (CULVERT_STATE_DIR): %w", err)
		}
		if err := tryDir(o.StateDir); err != nil {
			return settings, err
		}
		settings.Stamps = f
	}
	return settings, nil
}

// openTUN makes the interface, or takes the one handed down, and tells its
// name where that was asked for.
func openTUN(o *options) (t tun.Device, err error) {
	opts := tun.Options{NoTSO: o.NoTSO, NoUSO: o.NoUSO, NoGRO: o.NoGRO, Queues: o.Queues}
	if o.TunFD >= 0 {
		t, err = tun.FromFile(os.NewFile(uintptr(o.TunFD), "tun"), o.MTU, opts)
		if err != nil {
			err = fmt.Errorf("%s: %w", tunFDName, err)
		}
	} else {
		mtu := o.MTU
		if mtu == 0 {
			mtu = defaultMTU
		}
		t, err = createTUN(o.Interface, mtu, opts)
	}
	if errors.Is(err, fs.ErrPermission) {
		err = fmt.Errorf("%w; %s", err, howToBeAllowed(os.Geteuid()))
	}
	if err != nil || o.NameFile == "" {
		return t, err
	}
	if err := os.WriteFile(o.NameFile, []byte(t.Name()+"\n"), 0o600); err != nil {
		t.Close()
		return nil, fmt.Errorf("--tun-name-file (WG_TUN_NAME_FILE): %w", err)
	}
	return t, nil
}

// howToBeAllowed is what a user without the right to make an interface can do.
func howToBeAllowed(uid int) string {
	if uid == 0 {
		return "root may not do that here: give the container or service CAP_NET_ADMIN and the device /dev/net/tun"
	}
	return "run culvert as root, or give it the capability: setcap cap_net_admin=ep CULVERT"
}

// listen makes the UAPI socket, or takes the one handed down.
func listen(o *options, name string) (*ipc.Listener, error) {
	if o.UAPIFD >= 0 {
		return ipc.FromFile(os.NewFile(uintptr(o.UAPIFD), uapiFDName))
	}
	l, err := ipc.Listen(name)
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS) {
		err = fmt.Errorf("%w; wg(8) looks for it there: run culvert as root, or let who runs it write to %s", err, ipc.SocketDir)
	}
	return l, err
}
