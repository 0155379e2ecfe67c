"""Tokens at their real width: exact both ways, and the layout that the docs promise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidtok_edge.runtime.coding.packing import bits_for, pack, packed_size, unpack


@given(
    st.integers(1, 31).flatmap(
        lambda bits: st.tuples(st.just(bits), st.lists(st.integers(0, 2**bits - 1), max_size=70))
    )
)
def test_round_trip_and_layout(case: tuple[int, list[int]]) -> None:
    bits, values = case
    data = pack(np.array(values, np.int32), bits)
    whole = sum(value << i * bits for i, value in enumerate(values))  # the rule, in big numbers
    assert data == whole.to_bytes(packed_size(len(values), bits), "little")
    np.testing.assert_array_equal(unpack(data, len(values), bits), np.array(values, np.int32))


@pytest.mark.parametrize(
    ("codebook", "bits", "size"), [(4096, 12, 1536), (32768, 15, 1920), (262144, 18, 2304)]
)
def test_a_latent_of_256x256_takes_its_real_width(codebook: int, bits: int, size: int) -> None:
    assert bits_for(codebook) == bits
    assert len(pack(np.full((32, 32), codebook - 1, np.int32), bits)) == size


@pytest.mark.parametrize("value", [-1, 16])
def test_a_value_that_does_not_fit_is_refused(value: int) -> None:
    with pytest.raises(ValueError, match="0 to 15"):
        pack(np.array([3, value], np.int32), 4)


def test_what_pack_cannot_have_written_is_refused() -> None:
    with pytest.raises(ValueError, match="2 bytes"):
        unpack(b"abc", 3, 4)
    with pytest.raises(ValueError, match="not zero"):
        unpack(b"\x00\xf0", 3, 4)
