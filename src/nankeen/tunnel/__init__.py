"""The udp backend's data path: pod packets between a TUN device and UDP sockets, in a process of its own."""
