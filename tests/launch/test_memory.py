"""Two servers on one machine's memory: neither takes what the other needs."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ATTS import demo
from ATTS.errors import UserError
from ATTS.launch import memory
from ATTS.launch.memory import Model
from ATTS.launch.supervisor import Server, fitted

MODELS = st.builds(
    Model, weights=st.integers(1, 8 * memory.GIB), token=st.integers(1, 500_000), context=st.integers(512, 200_000)
)


def value(flags: list[str], name: str) -> int:
    return int(flags[flags.index(name) + 1])


@given(st.lists(MODELS, min_size=1, max_size=2), st.integers(1, 64 * memory.GIB))
def test_caches_weights_and_processes_fit_the_free_memory_or_it_is_said(models: list[Model], free: int) -> None:
    fixed = sum(model.weights + memory.PROCESSES for model in models)
    try:
        flags = memory.flags(models, free)
    except UserError:
        smallest = fixed + len(models) * memory.MIN_TOKENS * max(model.token for model in models)
        assert smallest > memory.USED * free - len(models)
        return
    tokens = [value(one, "--max-total-tokens") for one in flags]
    assert fixed + sum(n * model.token for n, model in zip(tokens, models, strict=True)) <= memory.USED * free
    for one, count, model in zip(flags, tokens, models, strict=True):
        context = value(one, "--context-length")
        assert memory.MIN_TOKENS <= count <= memory.MAX_TOKENS
        assert context <= model.context
        assert context * memory.CHAINS <= count


def config(folder: Path, **more: object) -> Path:
    known = {"num_attention_heads": 12, "num_key_value_heads": 2, "hidden_size": 1536, "num_hidden_layers": 28}
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({**known, "max_position_embeddings": 32768, **more}))
    (folder / "model.safetensors").write_bytes(bytes(1000))
    return folder


def test_a_models_cache_and_numbers_are_those_of_its_configuration(tmp_path: Path) -> None:
    made = Model.read(config(tmp_path / "a", torch_dtype="bfloat16"))
    assert made == Model(1000, 2 * 28 * 2 * 128 * 2, 32768, "bfloat16")
    assert Model.read(config(tmp_path / "b", dtype="float32")).token == 2 * made.token
    (tmp_path / "a" / "config.json").write_text('{"num_attention_heads": 12, "hidden_size": 1536}')
    with pytest.raises(UserError, match=r"num_hidden_layers.*MEM_FRACTION"):
        Model.read(tmp_path / "a")


def test_flags_of_the_user_win_and_a_share_that_is_given_is_kept(tmp_path: Path) -> None:
    model = str(config(tmp_path / "real", torch_dtype="bfloat16"))
    given = Server("small_model", "demo-draft", 1, device="cpu", memory_fraction=0.1)
    own = Server("eval_model", model, 2, device="cpu", extra=("--max-total-tokens", "5000"))
    gpu = Server("eval_model", "hub/model", 3)
    first, second, third = (one.command() for one in fitted([given, own, gpu]))
    assert "--max-total-tokens" not in first
    assert first[first.index("--mem-fraction-static") + 1] == "0.1"
    assert "float32" in first
    assert "--prefill-decode-interval" in first
    assert "--prefill-decode-interval" not in third
    assert second[second.index("--dtype") + 1] == "bfloat16"
    assert second[-2:] == ["--max-total-tokens", "5000"]  # the last one counts
    assert "--mem-fraction-static" not in third
    assert third[third.index("--model-path") + 1] == "hub/model"


def test_a_model_that_nobody_has_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match=r"nobody/nothing.*give its folder"):
        memory.download("nobody/nothing")
    assert memory.download("demo-draft") == demo.MODELS["draft"]
