package ccn

// wire adds what stands on the node's core: the services that read and publish, and the routes that they answer.
func (n *Node) wire() error {
	if err := n.addServices(); err != nil {
		return err
	}
	for pattern, handler := range n.scheduler.Routes() {
		n.mux.Handle(pattern, handler)
	}
	return nil
}
