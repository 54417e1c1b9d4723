package schema

import (
	"slices"
	"strings"
)

// lineWidth is how many bytes of text a line of a generated file has at most, besides what surrounds it.
const lineWidth = 115

// declaration says what becomes of a definition in an SDK.
type declaration struct {
	name   string
	of     []string // definitions; what may have one of several shapes has the members of all. That of the same name when none
	says   string   // instead of the description of the definition
	open   bool     // a list of words that may grow
	free   []string // members whose type the schema does not tell
	sent   []string // members that are there although the schema does not ask for them: the SDK does
	absent []string // members that nodes of others leave out
}

func (d declaration) definitions() []string {
	if d.of == nil {
		return []string{d.name}
	}
	return d.of
}

func (d declaration) description(s *shape) string {
	if d.says != "" {
		return d.says
	}
	return s.Description
}

// adjust makes members what the declaration says of them.
func (d declaration) adjust(members []member) []member {
	members = slices.Clone(members)
	for i := range members {
		m := &members[i]
		m.optional = (m.optional || slices.Contains(d.absent, m.name)) && !slices.Contains(d.sent, m.name)
	}
	return members
}

// networking are the members that compute nodes of others leave out of how a machine is reached.
var networking = []string{"ipv4_network", "ipv4_ip", "host_ipv4", "ipv6_network", "ipv6_ip", "mapped_ports"}

// sentence makes a description a sentence.
func sentence(description string) string {
	return strings.TrimSuffix(description, ".") + "."
}

// wrap breaks a text into lines of at most so many bytes, where it has spaces.
func wrap(text string, width int) []string {
	var lines []string
	line := ""
	for _, word := range strings.Fields(text) {
		if line != "" && len(line)+1+len(word) > width {
			lines = append(lines, line)
			line = ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return append(lines, line)
}
