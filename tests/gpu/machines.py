"""The configurations of machines, as the scripts read them, and the models that they name, as the hub has them."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conftest import ROOT

from ATTS import demo
from ATTS.launch.supervisor import Server

ROLES = ("SMALL_MODEL", "EVAL_MODEL")
NAMES = [f"{role}{what}" for role in ROLES for what in ("", "_MEM_FRACTION", "_ARGS", "_REPLICAS")]
NAMES += ["SMALL_MODEL_DEVICE", "EVAL_MODEL_DEVICES", "SGLANG_LOGPROB_CHUNK_SIZE"]

QWEN = {"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "vocab_size": 152064}
LLAMA = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 128256}


def shape(hidden: int, layers: int, heads: int, kv_heads: int, inner: int, **more: Any) -> dict[str, Any]:
    """A model's config.json."""
    sizes = {"hidden_size": hidden, "num_hidden_layers": layers, "num_attention_heads": heads}
    sizes |= {"num_key_value_heads": kv_heads, "intermediate_size": inner, "max_position_embeddings": 131072}
    return {"torch_dtype": "bfloat16", "tie_word_embeddings": False, **sizes, **more}


MODELS = {
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B": shape(1536, 28, 12, 2, 8960, **QWEN | {"vocab_size": 151936}),
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B": shape(3584, 28, 28, 4, 18944, **QWEN),
    "deepseek-ai/DeepSeek-R1-Distill-Llama-8B": shape(4096, 32, 32, 8, 14336, **LLAMA),
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-14B": shape(5120, 48, 40, 8, 13824, **QWEN),
    "Qwen/QwQ-32B": shape(5120, 64, 40, 8, 27648, **QWEN | {"max_position_embeddings": 40960}),
}
SIMULATED = dict(zip(MODELS, ("1.5B", "7B", "8B", "14B", "32B"), strict=True))


def folder(name: str, parent: Path) -> Path:
    """A folder with the model's configuration, the demo's tokenizer and no weights."""
    made = parent / name.replace("/", "--")
    if not made.exists():
        made.mkdir()
        for file in demo.MODELS["target"].glob("*token*"):
            shutil.copy(file, made)
        (made / "config.json").write_text(json.dumps(MODELS[name]))
    return made


def variables(config: str, **environment: str) -> dict[str, str]:
    """What a configuration sets, with the defaults of the scripts. Raises CalledProcessError."""
    script = f'source {ROOT}/scripts/common.sh; for n in {" ".join(NAMES)}; do printf "%s=%s\\0" "$n" "${{!n-}}"; done'
    clean = {
        name: value for name, value in os.environ.items() if not name.startswith((*ROLES, "SPECULATIVE", "SGLANG"))
    }
    given = {**clean, "CONFIG": f"configs/{config}.sh" if config else "", "PYTHON": sys.executable, **environment}
    done = subprocess.run(["bash", "-c", script], cwd=ROOT, env=given, capture_output=True, text=True, check=True)
    return dict(entry.split("=", 1) for entry in done.stdout.split("\0") if entry)


@dataclass(frozen=True)
class Plan:
    """One server of a configuration, or all replicas of it."""

    model: str
    devices: tuple[str, ...]  # of each replica, as CUDA_VISIBLE_DEVICES
    share: float | None
    flags: tuple[str, ...]

    def command(self, parent: Path) -> list[str]:
        """The flags of its (first) replica, with a folder in the place of the hub's name."""
        server = Server("eval_model", self.model, 40001, devices=self.devices[0], memory_fraction=self.share,
                        folder=str(folder(self.model, parent)), extra=self.flags)  # fmt: skip
        return server.command()[3:]


def plans(config: str, **environment: str) -> list[Plan]:
    """Draft and target."""
    found = variables(config, **environment)
    return [
        Plan(
            found[role],
            tuple(found[devices].split(";")),
            float(found[f"{role}_MEM_FRACTION"] or 0) or None,
            tuple(found[f"{role}_ARGS"].split()),
        )
        for role, devices in zip(ROLES, ("SMALL_MODEL_DEVICE", "EVAL_MODEL_DEVICES"), strict=True)
    ]
