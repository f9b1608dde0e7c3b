"""The node daemon: takes a lease, tells the others, and keeps the node's kernel equal to what the leases ask for."""
