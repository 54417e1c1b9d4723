// Package build tells which version of the code a program is.
package build

import "runtime/debug"

// release is set by the linker, for programs that are published.
var release string

// Version is the number of a release; without one the version of the module, or the commit that the program was built from.
func Version() string {
	if release != "" {
		return release
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return s.Value
		}
	}
	return "devel"
}
