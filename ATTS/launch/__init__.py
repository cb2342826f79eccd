"""Starting and stopping servers and gateways on this machine."""
