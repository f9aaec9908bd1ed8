package link

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Namespace is a network of its own: its interfaces and addresses are seen by nobody
// outside. It lasts until Close and the end of the processes in it.
type Namespace struct{ file *os.File }

// NewNamespace makes an empty one, with its loopback interface up. It needs
// CAP_SYS_ADMIN.
func NewNamespace() (*Namespace, error) {
	n := &Namespace{}
	err := onThread(func() (err error) {
		if err = unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("make a network namespace: %w", err)
		}
		n.file, err = os.Open(threadNamespace())
		return err
	})
	if err != nil {
		return nil, err
	}
	if err := n.IP("link set lo up"); err != nil {
		_ = n.Close()
		return nil, err
	}
	return n, nil
}

// HereNamespace is that of the calling process.
func HereNamespace() (*Namespace, error) {
	f, err := os.Open("/proc/self/ns/net")
	if err != nil {
		return nil, fmt.Errorf("open the network namespace: %w", err)
	}
	return &Namespace{f}, nil
}

// Do runs fn on a thread in the namespace: sockets that it opens and processes that it
// starts itself, and not on other goroutines, are in it.
func (n *Namespace) Do(fn func() error) error {
	return onThread(func() error {
		if err := unix.Setns(int(n.file.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter a network namespace: %w", err)
		}
		return fn()
	})
}

// IP runs the program ip in the namespace with these words.
func (n *Namespace) IP(words string) error {
	return n.Do(func() error {
		if out, err := exec.Command("ip", strings.Fields(words)...).CombinedOutput(); err != nil {
			return fmt.Errorf("ip %s: %w: %s", words, err, out)
		}
		return nil
	})
}

// Path is what ip takes for the namespace of a device: link set NAME netns PATH.
func (n *Namespace) Path() string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), n.file.Fd()) }

// Forward has it pass packets between its devices.
func (n *Namespace) Forward() error {
	return n.Do(func() error { return os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0) })
}

// Close lets go of it.
func (n *Namespace) Close() error { return n.file.Close() }

// onThread runs fn on a thread of its own, which ends with it: it may have any namespace.
func onThread(fn func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		done <- fn()
	}()
	return <-done
}

func threadNamespace() string { return fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid()) }

// Cable is a Link between two namespaces: a TUN device in each, whose packets cross it.
type Cable struct {
	*Link
	server, client *os.File
	rebind         atomic.Pointer[rebinding]
	wait           sync.WaitGroup
	once           sync.Once
}

// Addresses are those of a Cable: the server's namespace reaches Client by it, and the
// client's has a default route by it.
type Addresses struct{ Server, Client netip.Addr }

// Connect makes the devices, named tun-NAME at the server and tun0 at the client, gives
// the client its address, routes both ways, and starts the Link. The server's address
// is there already, in that namespace or behind it.
func Connect(name string, seed uint64, c Both, server, client *Namespace, at Addresses) (cable *Cable, err error) {
	cable = &Cable{}
	defer func() {
		if err != nil {
			closeAll(cable.server, cable.client)
		}
	}()
	if cable.server, err = openTun(server, "tun-"+name); err != nil {
		return nil, err
	}
	if cable.client, err = openTun(client, "tun0"); err != nil {
		return nil, err
	}
	subnet, err := at.Client.Prefix(24)
	if err != nil {
		return nil, err
	}
	for _, step := range []struct {
		in    *Namespace
		words string
	}{
		{server, "link set tun-" + name + " up"},
		{server, fmt.Sprintf("route add %v dev tun-%s", subnet, name)},
		{client, fmt.Sprintf("address add %v/24 dev tun0", at.Client)},
		{client, "link set tun0 up"},
		{client, fmt.Sprintf("route add default dev tun0 src %v", at.Client)},
	} {
		if err := step.in.IP(step.words); err != nil {
			return nil, err
		}
	}
	cable.Link = Start(seed, c, func(p []byte) { _, _ = cable.server.Write(p) }, func(p []byte) { _, _ = cable.client.Write(p) })
	cable.wait.Go(func() { cable.pump(cable.client, Up) })
	cable.wait.Go(func() { cable.pump(cable.server, Down) })
	return cable, nil
}

func openTun(n *Namespace, name string) (file *os.File, err error) {
	err = n.Do(func() error {
		fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
		if err != nil {
			return fmt.Errorf("open /dev/net/tun: %w", err)
		}
		request, err := unix.NewIfreq(name)
		if err == nil {
			request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
			err = unix.IoctlIfreq(fd, unix.TUNSETIFF, request)
		}
		if err != nil {
			_ = unix.Close(fd)
			return fmt.Errorf("make the device %s: %w", name, err)
		}
		file = os.NewFile(uintptr(fd), "/dev/net/tun")
		return nil
	})
	return file, err
}

// pump reads what a device sends into the Link.
func (c *Cable) pump(from *os.File, way Way) {
	buf := make([]byte, 1<<16)
	for {
		n, err := from.Read(buf)
		if errors.Is(err, fs.ErrClosed) {
			return
		}
		if err != nil || n == 0 || buf[0]>>4 != 4 { // a device that is down; IPv6 neighbours
			if err != nil {
				return
			}
			continue
		}
		packet := append([]byte(nil), buf[:n]...)
		if r := c.rebind.Load(); r != nil {
			r.rewrite(packet, way)
		}
		c.Send(way, packet)
	}
}

// Rebind has the server see UDP from another port from now on, what a NAT does that
// forgets.
func (c *Cable) Rebind(by uint16) { c.rebind.Store(&rebinding{by}) }

// Close ends the Link and takes the devices away.
func (c *Cable) Close() {
	c.once.Do(func() {
		closeAll(c.server, c.client)
		c.wait.Wait()
		c.Link.Close()
	})
}

func closeAll(files ...*os.File) {
	for _, f := range files {
		if f != nil {
			_ = f.Close()
		}
	}
}
