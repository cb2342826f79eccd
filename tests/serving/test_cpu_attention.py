"""The shim's attention of one bfloat16 query: float32's result, and nothing else is touched."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

SHIM = Path(__file__).parents[2] / "third_party/sglang_cpu/shim/sglang_cpu_shim.py"


def shim() -> Any:
    """The module, but not installed for this process."""
    spec = importlib.util.spec_from_file_location("shim_under_test", SHIM)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.meta_path", [])
        spec.loader.exec_module(module)
    return module


ATTENTION = torch.nn.functional.scaled_dot_product_attention
FAST = shim()._single_queries_in_float32(ATTENTION)


@settings(max_examples=20, deadline=None)
@given(
    queries=st.sampled_from([1, 1, 3]),
    keys=st.integers(3, 60),
    kind=st.sampled_from([torch.bfloat16, torch.float32]),
    seed=st.integers(0, 1000),
)
def test_one_bfloat16_query_is_as_exact_as_float32_and_others_are_left_alone(
    queries: int, keys: int, kind: torch.dtype, seed: int
) -> None:
    drawn = torch.Generator().manual_seed(seed)
    shapes = ((1, 4, queries, 16), (1, 2, keys, 16), (1, 2, keys, 16))
    query, key, value = (torch.randn(shape, generator=drawn).to(kind) for shape in shapes)
    found = FAST(query, key, value, enable_gqa=True)
    exact = ATTENTION(query.float(), key.float(), value.float(), enable_gqa=True)
    assert found.dtype == kind
    if queries == 1:
        assert torch.equal(found, exact.to(kind))
    else:
        assert torch.equal(found, ATTENTION(query, key, value, enable_gqa=True))
