"""What a CNI request does on the node: addresses are reserved, the pod's interface is made, and both are taken back."""
