package instance_test

import (
	"fmt"
	"net"
	"strings"
	"testing"
)

// Two nodes of one host forward no port twice, and the programs of the host are told which ports are forwarded.
func TestAPortOfTheHostIsForwardedByOneNode(t *testing.T) {
	here, there := newRig(t), newRig(t)
	hash := here.publish("a", nil)
	there.publish("a", nil)
	aggregate := fmt.Sprintf(`{"%s":{"ports":{"53":{"udp":true},"80":{"tcp":true}}}}`, hash)
	forwarded := map[uint16]int{}
	for _, r := range []*rig{here, there} {
		r.net.aggregate = aggregate
		r.begin()
		if err := r.Start(t.Context(), hash); err != nil {
			t.Fatal(err)
		}
		for _, p := range r.info(hash).Ports {
			forwarded[p.HostPort]++
		}
	}
	if len(forwarded) != 6 {
		t.Errorf("the ports of two instances are %v", forwarded)
	}
	ports := here.info(hash).Ports
	for _, p := range ports {
		if !inUse(p.HostPort) {
			t.Errorf("a program can take port %d", p.HostPort)
		}
	}

	// What takes a port while its node is not there keeps it. The ports of the others stay.
	here.stop()
	if inUse(ports[0].HostPort) {
		t.Errorf("port %d is held without a node", ports[0].HostPort)
	}
	l, err := net.Listen("tcp", fmt.Sprintf(":%d", ports[0].HostPort))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	here.begin()
	now := here.info(hash).Ports
	if now[0].HostPort == ports[0].HostPort || forwarded[now[0].HostPort] > 0 || now[1] != ports[1] || now[2] != ports[2] {
		t.Errorf("the ports were %+v and are %+v", ports, now)
	}

	// They are given back.
	here.net.aggregate = "{}"
	if err := here.Update(t.Context(), hash); err != nil || inUse(ports[1].HostPort) || !inUse(now[0].HostPort) {
		t.Errorf("after one is not wanted any more: %v", err)
	}
	if err := here.Erase(t.Context(), hash); err != nil || inUse(now[0].HostPort) {
		t.Errorf("after it is erased: %v", err)
	}
	here.stop()
	there.stop()
}

// inUse reports whether a program of the host that wants a port is told that it is in use.
func inUse(port uint16) bool {
	address := fmt.Sprintf(":%d", port)
	l, err := net.Listen("tcp4", address)
	if err == nil {
		l.Close()
	}
	c, udpErr := net.ListenPacket("udp4", address)
	if udpErr == nil {
		c.Close()
	}
	is := func(err error) bool { return err != nil && strings.Contains(err.Error(), "in use") }
	return is(err) && is(udpErr)
}
