"""X25519 (RFC 7748 §5): the public key that belongs to a private one.

A node computes its own public key with it, once at each start, because its peers must hear of the key before there is
a device that could be asked. It takes a millisecond and, in Python, does not hide how long: nothing that comes from the
network goes through here.
"""

from __future__ import annotations

KEY_LENGTH = 32
"""Octets of a key, private or public."""

_P = 2**255 - 19
_A24 = 121665
_BASE = 9


def clamp(private: bytes) -> bytes:
    """The private key as a scalar is made of it: a multiple of the cofactor, of fixed length (RFC 7748 §5)."""
    octets = bytearray(private)
    octets[0] &= 248
    octets[31] = octets[31] & 127 | 64
    return bytes(octets)


def public_key(private: bytes) -> bytes:
    """The public key of a private one."""
    return multiply(private, _BASE.to_bytes(KEY_LENGTH, "little"))


def multiply(scalar: bytes, point: bytes) -> bytes:
    """X25519(scalar, point): the Montgomery ladder of RFC 7748 §5, in its own letters."""
    k = int.from_bytes(clamp(scalar), "little")
    x_1 = int.from_bytes(point, "little") % 2**255 % _P
    x_2, z_2, x_3, z_3 = 1, 0, x_1, 1
    swap = 0
    for t in reversed(range(255)):
        k_t = k >> t & 1
        if swap ^ k_t:
            x_2, z_2, x_3, z_3 = x_3, z_3, x_2, z_2
        swap = k_t
        a, b, c, d = x_2 + z_2, x_2 - z_2, x_3 + z_3, x_3 - z_3
        aa, bb = a * a % _P, b * b % _P
        e = aa - bb
        da, cb = d * a % _P, c * b % _P
        x_3, z_3 = (da + cb) ** 2 % _P, x_1 * (da - cb) ** 2 % _P
        x_2, z_2 = aa * bb % _P, e * (aa + _A24 * e) % _P
    if swap:
        x_2, z_2 = x_3, z_3
    return (x_2 * pow(z_2, _P - 2, _P) % _P).to_bytes(KEY_LENGTH, "little")
