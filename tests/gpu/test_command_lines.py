"""Command lines for GPUs are those that SGLang takes: its own parser reads them, on cards that are only told of."""

import json
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from conftest import free_ports
from machines import MODELS, folder, plans, variables

from ATTS.errors import UserError
from ATTS.launch import speculation

CARDS = {  # name, MiB, compute capability
    "4090": ("NVIDIA GeForce RTX 4090", 24564, 8, 9),
    "H100": ("NVIDIA H100 80GB HBM3", 81559, 9, 0),
    "B200": ("NVIDIA B200", 183359, 10, 0),
}
CONFIGS = {"4090": ["gpu_1x24"], "H100": ["gpu_1x80", "gpu_1x80_8b", "gpu_3x80", "gpu_8x80"], "B200": ["gpu_3x80"]}
QWQ = "Qwen/QwQ-32B"
SMALL = "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B"  # QwQ's vocabulary size, a longer context


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


def drafting(models: Path, algorithm: str, draft: str = SMALL) -> list[str]:
    """The target's command with the engine's own speculation."""
    given = {"SPECULATIVE": algorithm, "SPECULATIVE_DRAFT": str(folder(draft, models))}
    return plans("speculative_decoding", **given)[1].command(models)


@cache
def resolved(models: Path) -> dict[str, dict[str, Any]]:
    """What SGLang makes of each command, by card, configuration and number of the server."""
    by_card = {
        card: {f"{card} {config} {n}": one.command(models) for config in configs for n, one in enumerate(plans(config))}
        for card, configs in CONFIGS.items()
    }
    by_card["H100"] |= {algorithm: drafting(models, algorithm) for algorithm in ("NGRAM", "STANDALONE", "EAGLE3")}
    by_card["H100"]["no such flag"] = [*by_card["H100"]["NGRAM"], "--no-such-flag"]
    given = json.dumps([[CARDS[card], list(commands.values())] for card, commands in by_card.items()])
    program = [sys.executable, str(Path(__file__).with_name("faked_cuda.py"))]
    done = subprocess.run(program, input=given, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    names = [name for commands in by_card.values() for name in commands]
    return dict(zip(names, json.loads(done.stdout.splitlines()[-1]), strict=True))


def test_the_published_pair_on_three_gpus_is_what_the_scripts_start_by_themselves() -> None:
    assert variables("gpu_3x80") == variables("")


def test_sglang_takes_every_command(models: Path) -> None:
    """And gives each card its attention, and on the newest pages of 64 tokens."""
    found = {name: one for name, one in resolved(models).items() if name != "no such flag"}
    assert {name: one["error"] for name, one in found.items() if "error" in one} == {}
    pages = {"4090": ("flashinfer", 1), "H100": ("fa3", 1), "B200": ("trtllm_mha", 64)}
    for card, expected in pages.items():
        ours = [one for name, one in found.items() if name.startswith(card)]
        assert len(ours) == 2 * len(CONFIGS[card])
        assert {(one["attention_backend"], one["page_size"]) for one in ours} == {expected}


def test_the_share_of_memory_is_sglangs_where_none_is_given(models: Path) -> None:
    """More than 0.9 would leave too little over 60 GB: 10 GB are kept."""
    found = resolved(models)
    shares = {name: one["mem_fraction_static"] for name, one in found.items() if name.startswith("H100")}
    assert shares["H100 gpu_1x80 0"] == 0.15
    assert shares["H100 gpu_1x80_8b 0"] == 0.33
    assert [shares[f"H100 gpu_3x80 {n}"] for n in (0, 1)] == [0.83, 0.828]
    assert [found[f"{card} gpu_3x80 1"]["chunked_prefill_size"] for card in ("H100", "B200")] == [8192, 16384]
    assert found["B200 gpu_3x80 1"]["mem_fraction_static"] == 0.853
    assert 81559 * (1 - 0.83) > 10 * 1024


def test_a_flag_that_sglang_does_not_know_is_refused_here(models: Path) -> None:
    """So the test above can fail."""
    assert resolved(models)["no such flag"]["error"].startswith("SystemExit")


def test_the_engines_own_speculation_is_as_it_is_asked_for(models: Path) -> None:
    found = resolved(models)
    keys = ("speculative_algorithm", "speculative_num_draft_tokens", "mem_fraction_static")
    assert [tuple(found[algorithm][key] for key in keys) for algorithm in ("NGRAM", "STANDALONE", "EAGLE3")] == [
        ("NGRAM", 12, found["H100 gpu_3x80 1"]["mem_fraction_static"]),
        ("STANDALONE", 4, 0.8),
        ("EAGLE3", 4, 0.8),
    ]


@pytest.mark.parametrize("given", [{"SPECULATIVE": "STANDALONE"}, {"SPECULATIVE": "EAGLE3"}, {"SPECULATIVE": "MAGIC"}])
def test_speculation_without_a_draft_or_of_another_kind_is_refused_by_the_configuration(given: dict[str, str]) -> None:
    with pytest.raises(subprocess.CalledProcessError) as told:
        variables("speculative_decoding", **given)
    assert "SPECULATIVE" in told.value.stderr


STANDALONE = ("--speculative-algorithm", "STANDALONE", "--speculative-draft-model-path")


def altered(models: Path, name: str, **changes: Any) -> str:
    """A folder of QwQ's shape with another configuration."""
    made = models / name
    shutil.copytree(folder(QWQ, models), made)
    (made / "config.json").write_text(json.dumps({**MODELS[QWQ], **changes}))
    return str(made)


def test_a_draft_of_the_same_tokens_and_context_may_draft(models: Path) -> None:
    speculation.check(str(folder(QWQ, models)), [*STANDALONE, str(folder(SMALL, models))])
    speculation.check("nobody/asks", ["--speculative-algorithm=NGRAM"])
    speculation.check("nobody/asks", [])


def test_a_draft_with_a_shorter_context_is_refused_unless_that_is_allowed(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of any kind; a shorter context of the target will do, too."""
    short = altered(models, "short", max_position_embeddings=32768)
    monkeypatch.delenv(speculation.LONGER, raising=False)
    for algorithm in ("STANDALONE", "EAGLE3"):
        flags = ["--speculative-algorithm", algorithm, f"--speculative-draft-model-path={short}"]
        with pytest.raises(UserError, match=r"context of 32768 .* of 40960.*--context-length 32768"):
            speculation.check(str(folder(QWQ, models)), flags)
        speculation.check(str(folder(QWQ, models)), [*flags, "--context-length", "32768"])
    monkeypatch.setenv(speculation.LONGER, "1")
    speculation.check(str(folder(QWQ, models)), flags)


def test_a_draft_of_another_vocabulary_is_refused_before_anything_starts(models: Path) -> None:
    other = altered(models, "fewer", vocab_size=151936)
    with pytest.raises(UserError, match=r"152064 embeddings and .* 151936.*SPECULATIVE=NGRAM"):
        speculation.check(str(folder(QWQ, models)), [*STANDALONE, other])
    more = Path(altered(models, "more"))
    content = json.loads((more / "tokenizer.json").read_text())
    number = max(token["id"] for token in content["added_tokens"]) + 1
    content["added_tokens"].append({**content["added_tokens"][-1], "id": number, "content": "<think>"})
    (more / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"differ in 1 tokens \(<think>\)"):
        speculation.check(str(folder(QWQ, models)), [*STANDALONE, str(more)])


def test_the_launch_command_says_so(models: Path, tmp_path: Path) -> None:
    draft, target = free_ports(2)
    command = [sys.executable, "-m", "ATTS.servers", "start", "--device", "cuda", "--folder", str(tmp_path)]
    command += ["--small_model", "demo-draft", "--small_model_port", str(draft)]
    command += ["--eval_model", str(folder(QWQ, models)), "--eval_model_port", str(target)]
    command += ["--eval_model_args", "--speculative-algorithm STANDALONE"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr == "error: --speculative-algorithm STANDALONE needs a draft: set SPECULATIVE_DRAFT\n"
