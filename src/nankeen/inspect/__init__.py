"""Looking at a cluster: proving the pod network model with real packets, and telling a packet's way.

What decides (`party`, `plan`, `verdict`) is apart from what does (`survey`, `station`, `prober`): the former
are plain functions over values and are tested without root.
"""
