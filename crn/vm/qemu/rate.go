package qemu

import "fmt"

// Rate bounds what a machine reads and writes of its disks, all together. 0 is no bound.
type Rate struct {
	Bytes      int64 // a second
	Operations int64 // a second
}

// bound has the disks of a command line share the rate. It is no matter of the guest's: a machine that moves may have another one.
func (r Rate) bound(args []string) []string {
	options := ",throttling.group=disks"
	if r.Bytes > 0 {
		options += fmt.Sprintf(",throttling.bps-total=%d", r.Bytes)
	}
	if r.Operations > 0 {
		options += fmt.Sprintf(",throttling.iops-total=%d", r.Operations)
	}
	if r == (Rate{}) {
		return args
	}
	for i := range len(args) - 1 {
		if args[i] == "-drive" {
			args[i+1] += options
		}
	}
	return args
}
