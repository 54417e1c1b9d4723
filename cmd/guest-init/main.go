// Command guest-init is PID 1 in our virtual machines. It is built static, for Linux, and put in the initramfs by crn/image.
package main

import "github.com/aleph-im/aleph-go/guest"

func main() { guest.Main() }
