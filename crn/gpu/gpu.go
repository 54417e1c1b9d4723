// Package gpu knows the graphics cards of a compute node's host: which can be given to a machine, who has reserved one, and how a card
// is taken from the host and given back (spec/crn.md §4.10). crn/instance calls it; crn/vm/qemu hands cards to machines.
//
// All is read from and written to the kernel's files below /sys. No other tool is needed.
package gpu

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Card is a graphics card that machines may be given (spec/crn.md §2.4.3).
type Card struct {
	Vendor      string `json:"vendor"`
	Model       string `json:"model"`
	DeviceName  string `json:"device_name"`
	DeviceClass string `json:"device_class"` // ClassVGA or Class3D
	PCIHost     string `json:"pci_host"`     // where it is on the bus: "01:00.0", with the domain before it when that is not 0
	DeviceID    string `json:"device_id"`    // "vendor:device", in hex
	Compatible  bool   `json:"compatible"`   // the network's settings know it

	Group    string `json:"-"` // of the IOMMU, which is given to a machine as a whole
	OnDemand bool   `json:"-"` // it is the host's while no machine has it
}

// Classes of graphics cards.
const (
	ClassVGA = "0300" // it may drive a display
	Class3D  = "0302"
)

// driver is that of the kernel for devices that machines have.
const driver = "vfio-pci"

// vendors whose cards are offered.
var vendors = map[string]string{"10de": "NVIDIA", "1002": "AMD", "8086": "Intel"}

// Folder is the card's in the kernel's files, relative to the host's root.
func (c Card) Folder() string { return filepath.Join(devices, Address(c.PCIHost)) }

const devices = "sys/bus/pci/devices"

// Address writes a place on the bus in full, with its domain.
func Address(place string) string {
	if strings.Count(place, ":") == 1 {
		return "0000:" + place
	}
	return place
}

// Host is where the kernel's files are.
type Host struct {
	Root string // below which they are; "/" when empty
	// Write writes to one of them; os.WriteFile without making a file when nil.
	Write func(path, value string) error
}

// device is one function of a device on the bus.
type device struct {
	address, class, id, driver, group string
}

// slot is the address without the function.
func (d device) slot() string { slot, _, _ := strings.Cut(d.address, "."); return slot }

func (d device) bridge() bool { return strings.HasPrefix(d.class, "06") }

// devices lists what is on the bus, by address.
func (h Host) devices() ([]device, error) {
	entries, err := os.ReadDir(h.path(devices))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil // a host without such a bus
	}
	if err != nil {
		return nil, fmt.Errorf("look for devices on the bus: %w", err)
	}
	var list []device
	for _, entry := range entries {
		list = append(list, h.device(entry.Name()))
	}
	return list, nil
}

func (h Host) device(address string) device {
	number := func(name string) string {
		raw, _ := os.ReadFile(h.path(devices, address, name)) // a device that is just taken away has none
		return strings.TrimPrefix(strings.TrimSpace(string(raw)), "0x")
	}
	base := func(name string) string {
		target, err := os.Readlink(h.path(devices, address, name))
		if err != nil {
			return ""
		}
		return filepath.Base(target)
	}
	d := device{address: address, id: number("vendor") + ":" + number("device"), driver: base("driver"), group: base("iommu_group")}
	d.class = number("class")
	d.class = d.class[:min(4, len(d.class))] // without the interface
	return d
}

func (h Host) path(parts ...string) string {
	return filepath.Join(append([]string{cmp.Or(h.Root, "/")}, parts...)...)
}

// Cards are those that machines may be given: cards that the operator has bound to vfio-pci, and those whose places are named, which
// the node takes from the host while a machine has them. Cards that cannot be given, and why, are in refused. The error is that of
// a named place where there is no card.
func (h Host) Cards(named []string) (cards []Card, refused []error, err error) {
	all, err := h.devices()
	if err != nil {
		return nil, nil, err
	}
	places := map[string]bool{}
	for _, place := range named {
		places[Address(place)] = true
	}
	var seen []string
	for _, d := range all {
		vendor, _, _ := strings.Cut(d.id, ":")
		if d.class != ClassVGA && d.class != Class3D || vendors[vendor] == "" {
			continue
		}
		seen = append(seen, d.address)
		onDemand := places[d.address]
		delete(places, d.address)
		if !onDemand && d.driver != driver {
			continue
		}
		if err := givable(d, all, onDemand); err != nil {
			refused = append(refused, fmt.Errorf("graphics card %s: %w", d.address, err))
			continue
		}
		cards = append(cards, Card{
			Vendor: vendors[vendor], Model: d.id, DeviceName: d.id, DeviceClass: d.class, PCIHost: strings.TrimPrefix(d.address, "0000:"), DeviceID: d.id,
			Group: d.group, OnDemand: onDemand,
		})
	}
	for place := range places {
		return nil, nil, fmt.Errorf("there is no graphics card of a known vendor at %s; this host has %v", place, seen)
	}
	return cards, refused, nil
}

// givable refuses a card that no machine can have alone: the IOMMU keeps groups of devices apart, and not devices of a group.
func givable(card device, all []device, onDemand bool) error {
	if card.group == "" {
		return errors.New("the host's IOMMU is off: turn it on in its firmware, and with intel_iommu=on or amd_iommu=on for its kernel")
	}
	for _, d := range all {
		switch {
		case d.group != card.group || d.bridge() || d.driver == "" || d.driver == driver:
		case onDemand && d.slot() == card.slot():
		default:
			return fmt.Errorf("it shares the IOMMU group %s with %s, which the host uses (driver %s): bind that to %s, or plug the card in elsewhere", card.group, d.address, d.driver, driver)
		}
	}
	return nil
}

// Model is a card that the network's settings know.
type Model struct {
	Vendor   string `json:"vendor"`
	Model    string `json:"model"`
	Name     string `json:"name"` // of the device
	DeviceID string `json:"device_id"`
}

// Describe gives cards the names that they are known by. A card that is not known is named by its number.
func Describe(cards []Card, known []Model) []Card {
	list := slices.Clone(cards)
	for n, card := range list {
		for _, m := range known {
			if m.DeviceID != card.DeviceID {
				continue
			}
			card.Vendor, card.Model, card.Compatible = cmp.Or(m.Vendor, card.Vendor), m.Model, true
			card.DeviceName = cmp.Or(m.Name, m.Model)
			break
		}
		list[n] = card
	}
	return list
}
