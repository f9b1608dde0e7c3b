"""Netlink (RFC 3549): the kernel's own protocol for its network configuration, as typed values and batches.

`message` frames, `socket` carries, and one file for each family of routing messages (rtnetlink(7)) turns objects of
`nankeen.model.state` into messages and back.
"""
