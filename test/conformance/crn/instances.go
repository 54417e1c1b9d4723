package crn

// These rows are about instances. Checks of one take the place of the reason.
var instanceRows = []row{
	{number: 14, about: "a reboot restarts the machine of an instance", open: noInstances + "; crn holds it with a machine that stays"},
	{number: 16, about: "confidential initialize", open: noConfidential},
	{number: 17, about: "a confidential machine awaits its owner", open: noConfidential},
	{number: 18, about: "lists show what awaits its owner", open: noConfidential},
	{number: 28, about: "admission by memory, processors and disk", open: noInstances + "; crn/instance and crn/execution hold it"},
	{number: 29, about: "cards are reserved for a minute", open: noInstances + "; crn/api holds the reservations by themselves"},
	{number: 38, about: "restore from records", open: noInstances + "; crn/instance holds it, but for two records of one number"},
	{number: 39, about: "orphan cleanup spares what is foreign", open: noInstances + "; crn/tap holds it"},
	{number: 40, about: "port mappings are kept apart", open: noInstances + "; crn/instance holds it"},
	{number: 41, about: "port forwards come back on the same ports", open: noInstances + "; crn/instance holds it, but for a port taken meanwhile"},
	{number: 42, about: "packet filter on empty and populated hosts", open: noInstances + "; crn/tap holds it in namespaces of its own"},
	{number: 43, about: "domain map", open: notBuilt},
	{number: 44, about: "proxy regenerate", open: notBuilt},
	{number: 46, about: "the latest version of a file is its owner's", open: "no check from outside yet; crn/network holds it"},
	{number: 47, about: "downloads are tried again", open: "no check from outside yet; crn/network holds it"},
	{number: 48, about: "network interface detection", open: notBuilt},
	{number: 49, about: "name servers by family", open: noInstances + "; crn holds it"},
	{number: 50, about: "host_ipv4 is the global address", open: notBuilt},
	{number: 51, about: "answers of 429 are waited for", open: "the node tries again after pauses of its own and reads no Retry-After"},
	{number: 52, about: "backup and restore", open: notBuilt},
	{number: 53, about: "migration", open: notBuilt},
	{number: 54, about: "graphics cards on the bus", open: notBuilt},
	{number: 57, about: "an instance from its creation to its end", open: noInstances + "; crn holds it up to backups and migration"},
}

const (
	noInstances    = "no check from outside yet"
	notBuilt       = "this node does not do it yet"
	noConfidential = "this node starts no confidential machines"
)
