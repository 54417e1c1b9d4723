package guest

import (
	"fmt"
	"net"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"

	"github.com/aleph-im/aleph-go/guest/wire"
)

// configureCard makes the program's port on the loopback reachable at the network card (wire.CardName), and reports whether it is.
// A machine without a card is reached over the serial port.
func configureCard() bool {
	if _, err := os.Stat("/sys/class/net/" + wire.CardName); err != nil {
		return false
	}
	if err := setUpCard(); err != nil {
		fmt.Println("aleph guest:", err) // calls take the longer way
		return false
	}
	return true
}

func setUpCard() error {
	// Nobody at the other end speaks IPv6; the kernel would look for routers and for others of its address.
	_ = os.WriteFile("/proc/sys/net/ipv6/conf/"+wire.CardName+"/disable_ipv6", []byte("1"), 0)
	// Without this the kernel drops packets to 127.0.0.1 that come in at a card.
	if err := os.WriteFile("/proc/sys/net/ipv4/conf/"+wire.CardName+"/route_localnet", []byte("1"), 0); err != nil {
		return fmt.Errorf("let the card reach the loopback: %w", err)
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("set up %s: %w", wire.CardName, err)
	}
	defer unix.Close(fd)
	request, err := unix.NewIfreq(wire.CardName)
	if err != nil {
		return fmt.Errorf("set up %s: %w", wire.CardName, err)
	}
	// There is one neighbour: it need not be asked for its hardware address, and takes any.
	const flags = unix.IFF_UP | unix.IFF_RUNNING | unix.IFF_NOARP
	address := netip.MustParseAddr(wire.CardGuest).As4()
	for _, step := range []struct {
		what    string
		request uint
		set     func() error
	}{
		{"packet size", unix.SIOCSIFMTU, func() error { request.SetUint32(wire.CardMTU); return nil }},
		{"flags", unix.SIOCSIFFLAGS, func() error { request.SetUint16(flags); return nil }},
		{"address", unix.SIOCSIFADDR, func() error { return request.SetInet4Addr(address[:]) }},
		{"network", unix.SIOCSIFNETMASK, func() error { return request.SetInet4Addr(net.CIDRMask(wire.CardBits, 32)) }},
	} {
		if err := step.set(); err != nil {
			return fmt.Errorf("set the %s of %s: %w", step.what, wire.CardName, err)
		}
		if err := unix.IoctlIfreq(fd, step.request, request); err != nil {
			return fmt.Errorf("set the %s of %s: %w", step.what, wire.CardName, err)
		}
	}
	return nil
}
