package guest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"

	"github.com/aleph-im/aleph-go/guest/wire"
)

// configureCard makes the program's port on the loopback reachable at the network card (wire.CardName), and reports whether it is.
// A machine without a card is reached over the serial port.
func configureCard(internet bool) bool {
	if _, err := os.Stat("/sys/class/net/" + wire.CardName); err != nil {
		return false
	}
	if err := setUpCard(); err != nil {
		fmt.Println("aleph guest:", err) // calls take the longer way
		return false
	}
	if internet {
		if err := openWayOut(); err != nil {
			fmt.Println("aleph guest: the program does not reach the internet:", err)
		}
	}
	return true
}

// openWayOut has the kernel send everything by the card, and the program find its name server there.
func openWayOut() error {
	card, err := net.InterfaceByName(wire.CardName)
	if err != nil {
		return fmt.Errorf("set the route: %w", err)
	}
	if err := setDefaultRoute(card.Index); err != nil {
		return fmt.Errorf("set the route: %w", err)
	}
	const path = "/etc/resolv.conf"
	_ = os.Remove(path) // it may be a link to what is not there
	return os.WriteFile(path, []byte("nameserver "+wire.CardHost+"\n"), 0o644)
}

// setDefaultRoute makes an interface that of the route to everywhere, without a gateway (rtnetlink(7)).
func setDefaultRoute(index int) error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	native := binary.NativeEndian
	var b []byte
	b = native.AppendUint32(b, unix.SizeofNlMsghdr+unix.SizeofRtMsg+unix.SizeofRtAttr+4)
	b = native.AppendUint16(b, unix.RTM_NEWROUTE)
	b = native.AppendUint16(b, unix.NLM_F_REQUEST|unix.NLM_F_ACK|unix.NLM_F_CREATE)
	b = append(b, make([]byte, 8)...)    // number, port
	b = append(b, unix.AF_INET, 0, 0, 0) // to everywhere, from anywhere
	b = append(b, unix.RT_TABLE_MAIN, unix.RTPROT_BOOT, unix.RT_SCOPE_LINK, unix.RTN_UNICAST)
	b = append(b, make([]byte, 4)...) // flags
	b = native.AppendUint16(b, unix.SizeofRtAttr+4)
	b = native.AppendUint16(b, unix.RTA_OIF)
	b = native.AppendUint32(b, uint32(index))
	if err := unix.Sendto(fd, b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	answer := make([]byte, 4<<10)
	n, _, err := unix.Recvfrom(fd, answer, 0)
	if err != nil {
		return err
	}
	if n < unix.SizeofNlMsghdr+4 || native.Uint16(answer[4:]) != unix.NLMSG_ERROR {
		return errors.New("the kernel's answer is none")
	}
	if number := int32(native.Uint32(answer[unix.SizeofNlMsghdr:])); number != 0 {
		return unix.Errno(-number)
	}
	return nil
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
