"""How two servers share the memory of a machine without a GPU.

SGLang takes all memory that it finds free for its cache, and each of two servers that start together counts the
other's. So the cache of each is said in tokens, before either starts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ATTS import demo
from ATTS.errors import UserError
from ATTS.serving.model_folder import PATTERNS, ModelFolder

GIB = 1 << 30
USED = 0.9  # of what is free now
PROCESSES = 2 * GIB  # of one server, besides weights and cache: three Python processes with torch, measured 1.7 to 1.9
MAX_TOKENS = 65_536  # in a cache: 80 chains of 800 tokens, more than cores can work on
MIN_TOKENS = 4_096
CHAINS = 8  # at least so many of full length fit
# Scoring makes a row of the whole vocabulary for every token. By default 2048 of them at a time, 3.6 GB for Qwen2.5's
# 151,936 tokens, given back to the system and fetched anew for each batch: a fifth to nearly half of the CPU time.
ENVIRONMENT = {
    "SGLANG_LOGPROB_CHUNK_SIZE": "256",
    "MALLOC_MMAP_THRESHOLD_": "2000000000",
    "MALLOC_TRIM_THRESHOLD_": "4000000000",
}
# Steps of writing between two batches of prompts. By default prompts go first, and where chunks come to be scored all
# the time, nothing is written until none is left.
DECODE_STEPS = 8
FRACTION = 0.97  # --mem-fraction-static: no limit beside the number of tokens


@dataclass(frozen=True)
class Model:
    """What a model takes: ``weights`` and one ``token`` of its cache in bytes; the longest ``context`` in tokens."""

    weights: int
    token: int
    context: int
    dtype: str = "float32"  # or "bfloat16"

    @classmethod
    def read(cls, folder: Path) -> "Model":
        """From a folder in the Hugging Face layout. Raises UserError."""
        config = ModelFolder(str(folder), folder).json("config.json")
        config = config.get("text_config", config)
        dtype = "bfloat16" if (config.get("dtype") or config.get("torch_dtype")) == "bfloat16" else "float32"
        try:
            heads = config["num_attention_heads"]
            width = config.get("head_dim") or config["hidden_size"] // heads
            numbers = 2 * config["num_hidden_layers"] * (config.get("num_key_value_heads") or heads) * width
            context = config["max_position_embeddings"]
        except KeyError as error:
            raise UserError(
                f"{folder / 'config.json'} lacks {error}, so the memory of its server can't be fitted: give"
                " SMALL_MODEL_MEM_FRACTION and EVAL_MODEL_MEM_FRACTION"
            ) from None
        weights = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
        return cls(weights, numbers * (2 if dtype == "bfloat16" else 4), context, dtype)


def flags(models: Sequence[Model], free: int) -> list[list[str]]:
    """SGLang's flags for each of ``models``, which share ``free`` bytes: what weights and processes leave is for the
    caches, the same for each. Raises UserError if it is too little."""
    fixed = sum(model.weights + PROCESSES for model in models)
    share = (int(USED * free) - fixed) // len(models)
    needed = max(model.token for model in models) * MIN_TOKENS
    if share < needed:
        least = (fixed + needed * len(models)) / USED / GIB
        raise UserError(
            f"{len(models)} servers need {least:.1f} GiB of memory"
            f" ({sum(model.weights for model in models) / GIB:.1f} for weights), but"
            f" {free / GIB:.1f} are free: end other programs, or choose smaller models"
        )
    made = []
    for model in models:
        tokens = min(MAX_TOKENS, share // model.token)
        made.append(["--mem-fraction-static", str(FRACTION), "--max-total-tokens", str(tokens)])
        made[-1] += ["--context-length", str(min(model.context, tokens // CHAINS))]
    return made


def free() -> int:
    """Bytes that programs can still take: of the machine, or of the container (control groups 2), whichever is less."""
    lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    machine, group = int(lines["MemAvailable"].split()[0]) * 1024, Path("/sys/fs/cgroup")
    try:
        return min(machine, int((group / "memory.max").read_text()) - int((group / "memory.current").read_text()))
    except (OSError, ValueError):  # no such group, or no limit ("max")
        return machine


def download(model: str) -> Path:
    """The folder of ``model``, weights included: a folder or one of the demo pair as it is, else from the hub or its
    cache. Raises UserError."""
    path = Path(demo.resolve(model))
    if path.is_dir():
        return path
    from huggingface_hub import snapshot_download

    try:
        return Path(str(snapshot_download(model, allow_patterns=[*PATTERNS, "*.safetensors*"])))
    except Exception as error:  # offline, unknown, gated, not a name: every one has a class of its own
        raise UserError(
            f"the model {model!r} is no folder here, and neither the hub nor its cache gives it ({error}); download it"
            " elsewhere and give its folder"
        ) from error
