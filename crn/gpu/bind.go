package gpu

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// Bind takes a card from the host for a machine, with all functions that share its IOMMU group. For one that the operator has bound
// it makes sure that it still is.
func (h Host) Bind(card Card) error {
	list, err := h.functions(card)
	if err != nil {
		return err
	}
	for _, d := range list {
		if d.driver == driver || d.driver == "" && d.address != Address(card.PCIHost) {
			continue
		}
		if !card.OnDemand {
			return fmt.Errorf("graphics card %s: %s is bound to %q, no more to %s", card.PCIHost, d.address, d.driver, driver)
		}
		if err := h.hand(d, driver); err != nil {
			return fmt.Errorf("take graphics card %s from the host: %w", card.PCIHost, err)
		}
		if now := h.device(d.address).driver; now != driver {
			return fmt.Errorf("take graphics card %s from the host: %s did not go to %s (driver %q): load that module", card.PCIHost, d.address, driver, now)
		}
	}
	return nil
}

// GiveBack lets the host have a card again that Bind took from it. The kernel resets it when the last machine has closed it.
func (h Host) GiveBack(card Card) error {
	if !card.OnDemand {
		return nil
	}
	list, err := h.functions(card)
	if err != nil {
		return err
	}
	var errs []error
	for _, d := range list {
		if d.driver == driver {
			errs = append(errs, h.hand(d, "\n"))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("give graphics card %s back to the host: %w", card.PCIHost, err)
	}
	return nil
}

// functions are the devices that go with a card: those of its group, itself included.
func (h Host) functions(card Card) ([]device, error) {
	all, err := h.devices()
	if err != nil {
		return nil, err
	}
	var list []device
	for _, d := range all {
		if d.group == card.Group && !d.bridge() {
			list = append(list, d)
		}
	}
	return list, nil
}

// hand has the kernel look for a driver anew: the one that is named, or with an empty line the one that the device is made for.
func (h Host) hand(d device, to string) error {
	folder := filepath.Join(devices, d.address)
	if err := h.write(filepath.Join(folder, "driver_override"), to); err != nil {
		return err
	}
	if d.driver != "" {
		if err := h.write(filepath.Join(folder, "driver", "unbind"), d.address); err != nil {
			return err
		}
	}
	return h.write("sys/bus/pci/drivers_probe", d.address)
}

func (h Host) write(path, value string) error {
	if h.Write != nil {
		return h.Write(h.path(path), value)
	}
	f, err := os.OpenFile(h.path(path), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(value)
	return errors.Join(err, f.Close())
}
