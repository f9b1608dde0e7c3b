"""X25519 held to the test vectors of RFC 7748."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nankeen.model.curve25519 import clamp, multiply, public_key

ALICE = bytes.fromhex("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a")
BOB = bytes.fromhex("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb")
ALICES_PUBLIC = "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a"
BOBS_PUBLIC = "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f"
AGREED = "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742"

keys = st.binary(min_size=32, max_size=32)


@pytest.mark.parametrize(
    "scalar, point, product",
    [
        (
            "a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4",
            "e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c",
            "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552",
        ),
        (
            "4b66e9d4d1b4673c5ad22691957d6af5c11b6421e0ea01d42ca4169e7918ba0d",
            "e5210f12786811d3f4b7959d0538ae2c31dbe7106fc03c3efc4cd549c715a493",
            "95cbde9476e8907d7aade45cb4b873f88b595a68799fa152e6f8f7647aac7957",
        ),
    ],
)
def test_the_products_of_section_5_2_are_found(scalar: str, point: str, product: str) -> None:
    assert multiply(bytes.fromhex(scalar), bytes.fromhex(point)).hex() == product


def test_the_first_iteration_of_section_5_2_is_found() -> None:
    base = (9).to_bytes(32, "little")
    assert multiply(base, base).hex() == "422c8e7a6227d7bca1350b3e2bb7279f7897b87bb6854b783c60e80311ae3079"


def test_alice_and_bob_of_section_6_1_have_their_public_keys_and_their_secret() -> None:
    assert public_key(ALICE).hex() == ALICES_PUBLIC
    assert public_key(BOB).hex() == BOBS_PUBLIC
    assert multiply(ALICE, bytes.fromhex(BOBS_PUBLIC)).hex() == AGREED
    assert multiply(BOB, bytes.fromhex(ALICES_PUBLIC)).hex() == AGREED


@settings(max_examples=10)
@given(keys, keys)
def test_law_two_nodes_agree_on_a_secret(one: bytes, other: bytes) -> None:
    assert multiply(one, public_key(other)) == multiply(other, public_key(one))


@given(keys)
def test_law_a_clamped_key_stays_and_means_the_same(private: bytes) -> None:
    clamped = clamp(private)
    assert clamp(clamped) == clamped
    assert (clamped[0] & 7, clamped[31] & 0xC0) == (0, 0x40)
