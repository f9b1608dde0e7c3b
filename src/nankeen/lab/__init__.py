"""Whole clusters on one machine: switches, routers, nodes and pods in namespaces, with the real agent on every node.

A `Topology` says what to build; `lab up` starts a supervisor, the first process of the lab's own PID namespace, which
builds it and stays; a `Lab` says what stands. Killing the supervisor ends every process of the lab.
"""

from nankeen.lab.entry import enter_lab
from nankeen.lab.lab import Lab, LabNode, LabPod
from nankeen.lab.record import find_lab, labs

__all__ = ["Lab", "LabNode", "LabPod", "enter_lab", "find_lab", "labs"]
