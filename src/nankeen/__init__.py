"""nankeen: a Kubernetes pod network that speaks flannel's formats."""

__version__ = "0.1.0"
