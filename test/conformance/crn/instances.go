package crn

// These rows need a node that runs instances. Checks of one take the place of the reason.
var instanceRows = []row{
	{number: 14, about: "a reboot restarts the machine of an instance", open: noInstances},
	{number: 16, about: "confidential initialize", open: noConfidential},
	{number: 17, about: "a confidential machine awaits its owner", open: noConfidential},
	{number: 18, about: "lists show what awaits its owner", open: noConfidential},
	{number: 28, about: "admission by memory, processors and disk", open: noInstances},
	{number: 29, about: "cards are reserved for a minute", open: noInstances + "; crn/api holds the reservations by themselves"},
	{number: 38, about: "restore from records", open: noInstances + ", and programs do not outlive their node"},
	{number: 39, about: "orphan cleanup spares what is foreign", open: noInstances},
	{number: 40, about: "port mappings are kept apart", open: noInstances},
	{number: 41, about: "port forwards come back on the same ports", open: noInstances},
	{number: 42, about: "packet filter on empty and populated hosts", open: noInstances},
	{number: 43, about: "domain map", open: noInstances},
	{number: 44, about: "proxy regenerate", open: noInstances},
	{number: 46, about: "the latest version of a file is its owner's", open: "no check from outside yet; crn/network holds it"},
	{number: 47, about: "downloads are tried again", open: "no check from outside yet; crn/network holds it"},
	{number: 48, about: "network interface detection", open: noInstances},
	{number: 49, about: "name servers by family", open: noInstances},
	{number: 50, about: "host_ipv4 is the global address", open: noInstances},
	{number: 51, about: "answers of 429 are waited for", open: "the node tries again after pauses of its own and reads no Retry-After"},
	{number: 52, about: "backup and restore", open: noInstances},
	{number: 53, about: "migration", open: noInstances},
	{number: 54, about: "graphics cards on the bus", open: noInstances},
	{number: 57, about: "an instance from its creation to its end", open: noInstances},
}

const (
	noInstances    = "this node runs no instances yet"
	noConfidential = "this node starts no confidential machines"
)
