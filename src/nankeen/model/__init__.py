"""Values: addresses, leases, the network configuration, kernel state and the difference between two states.

The ground floor. It imports nothing but the standard library and touches nothing outside itself.
"""
