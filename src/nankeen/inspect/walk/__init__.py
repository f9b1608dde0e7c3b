"""A packet's way: predicted from what all kernels hold, told step by step, drawn, and proven by such a packet."""
