//go:build embedguest

package image

import _ "embed"

// embedded is the guest program. The Makefile builds it before anything with this tag.
//
//go:embed guest-init
var embedded []byte
