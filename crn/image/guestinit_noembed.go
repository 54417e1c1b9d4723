//go:build !embedguest

package image

// embedded is empty in plain builds: the guest program is then found on disk.
var embedded []byte
