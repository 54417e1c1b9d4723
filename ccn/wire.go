package ccn

// wire adds what stands on the node's core: the API and the services that read and publish.
func (n *Node) wire() error {
	return nil
}
