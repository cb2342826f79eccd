"""Whether a target's log-probabilities are right, and whether decisions depend on how many are asked for at once.

python scripts/figures/gpu_agreement.py --target http://127.0.0.1:40001 --run results/gpu_check/atts \
    --array results/gpu_check/atts.npy --json results/gpu_check/agreement.json

For scripts/gpu_check.sh, while the servers run. First chunks of the run are scored in batches of several sizes, each
time with an empty prefix cache, and decided by the run's calibration; all are compared with those scored one by one.
The same tokens go through transformers, in the numbers that the server computes with, unless its weights are random.
"""

import asyncio
import itertools
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ATTS import console, demo
from ATTS.errors import UserError
from ATTS.flags import Part
from ATTS.method.conformal import CalibrationSet
from ATTS.method.prompts import maths
from ATTS.method.score import MEAN
from ATTS.method.types import Stage
from ATTS.runs import models, parts
from ATTS.serving import keys
from ATTS.serving.client import SGLangModel
from ATTS.serving.model_folder import ModelFolder
from ATTS.serving.server_info import get_page, new_session, served_name
from ATTS.serving.tokenizer import ModelTokenizer
from ATTS.store import calibration, result_folder

FLUSH_TRIES = 50  # a server that has just answered may be busy for a moment


class AgreementSettings(Part):
    """Flags of this program."""

    target: str
    """URL of the target server."""

    run: Path
    """Result folder whose first chunks are scored."""

    array: Path
    """Calibration array that decides."""

    json: Path
    """File for the figures."""

    rejection_rate: float = 0.4
    """Of the decisions."""

    chunks: int = 32
    """How many are scored."""

    batches: tuple[int, ...] = (1, 8, 32)
    """How many at once."""

    compared: int = 4
    """How many go through transformers, too."""

    reference: Literal["cpu", "cuda", "none"] = "cpu"
    """Where transformers computes. A GPU that servers fill has no room."""


@dataclass(frozen=True)
class Batch:
    """Scores in batches of a size against those one by one: shares of 1, absolute differences."""

    size: int
    seconds: float
    same_decisions: float
    logprob_most: float
    score_most: float  # relative


@dataclass(frozen=True)
class Reference:
    """The server's log-probabilities against those of transformers, token by token."""

    dtype: str
    tokens: int
    mean: float
    most: float
    score_most: float  # relative


Case = tuple[list[int], int]  # a prompt with a chunk behind it, and where the chunk begins


def cases(settings: AgreementSettings, tokenizer: ModelTokenizer) -> list[Case]:
    """First chunks of the run. Raises UserError if there is none."""
    found = []
    for sample in itertools.islice(result_folder.samples(settings.run), settings.chunks):
        prompt = tokenizer.prompt(maths(sample["question"]))
        drafts = [e["output"] for e in sample["full_history"] if e["model"] == Stage.DRAFT.value and e["output"]]
        if drafts:
            found.append(([*prompt, *tokenizer.encode(drafts[0])], len(prompt)))
    if not found:
        raise UserError(f"{settings.run} holds no chunk of a draft: run ref_async first")
    return found


async def scored(model: SGLangModel, asked: Sequence[Case], size: int) -> list[list[float]]:
    """Log-probabilities of each chunk, ``size`` at once, none from the cache. Raises UserError, ScoreFailed."""
    found: list[list[float]] = []
    for first in range(0, len(asked), size):
        batch = asked[first : first + size]
        replies = await asyncio.gather(*(model.logprobs(*case) for case in batch))
        found += [[value if value is not None else float("nan") for value in values] for values, _ in replies]
    return found


def score(values: Sequence[float]) -> float:
    """The published score."""
    return MEAN(values, len(values))


def compared(size: int, seconds: float, ours: Any, single: Any, decide: CalibrationSet) -> Batch:
    """A batch size against one by one."""
    scores = [(score(a), score(b)) for a, b in zip(ours, single, strict=True)]
    return Batch(
        size,
        seconds,
        float(np.mean([decide(a).rejected == decide(b).rejected for a, b in scores])),
        max(float(np.max(np.abs(np.subtract(a, b)))) for a, b in zip(ours, single, strict=True)),
        max(abs(a / b - 1) for a, b in scores),
    )


def reference(folder: str, dtype: str, device: str, asked: Sequence[Case], served: Sequence[list[float]]) -> Reference:
    """What transformers computes of the same tokens."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype)).to(device).eval()
    off, scores = [], []
    for (ids, start), values in zip(asked, served, strict=True):
        with torch.no_grad():
            logits = model(torch.tensor([ids], device=device)).logits[0, start - 1 : -1].float()
        own = logits.log_softmax(-1).cpu().gather(1, torch.tensor(ids[start:])[:, None])[:, 0].tolist()
        off += [abs(a - b) for a, b in zip(own, values, strict=True)]
        scores.append(abs(score(values) / score(own) - 1))
    return Reference(dtype, len(off), float(np.mean(off)), max(off), max(scores))


def dtype_of(told: dict[str, Any], folder: str) -> str:
    """The numbers that a server computes with: as it was told, else those that the model was saved in."""
    if told.get("dtype", "auto") != "auto":
        return str(told["dtype"])
    config = json.loads((Path(folder) / "config.json").read_bytes())
    saved = str(config.get("dtype") or config.get("torch_dtype") or "float16")
    return "float16" if saved == "float32" else saved  # SGLang's auto


async def agreement(settings: AgreementSettings) -> str:
    """Measures and writes the figures. Raises UserError."""
    array = calibration.load(settings.array, per_question=False)
    decide = CalibrationSet(array.scores, settings.rejection_rate)
    async with new_session(timeout=3600) as session:
        name = await served_name(session, settings.target, "target")
        most, one = max(settings.batches), [settings.target]
        model, tokenizer = await models.connect(session, parts.Requests(), "target", one, name, most)
        pages = [
            await get_page(session, settings.target, page, "target") for page in ("/server_info", "/get_server_info")
        ]
        told: dict[str, Any] = next(filter(None, pages), {})  # releases before 0.5 have the second one only
        asked = cases(settings, tokenizer)

        async def flushed() -> None:
            for _ in range(FLUSH_TRIES):
                async with session.post(f"{settings.target}/flush_cache", headers=keys.headers("target")) as reply:
                    if reply.status == 200:
                        return
                await asyncio.sleep(0.2)
            raise UserError(f"the target server at {settings.target} doesn't empty its cache: others use it, too")

        rounds = {}
        for size in dict.fromkeys([1, *settings.batches]):
            await flushed()
            began = time.perf_counter()
            rounds[size] = (await scored(model, asked, size), time.perf_counter() - began)
    single = rounds[1][0]
    batches = [compared(size, seconds, ours, single, decide) for size, (ours, seconds) in rounds.items()]
    found: Reference | None = None
    random = told.get("load_format") == "dummy"
    if settings.reference != "none" and not random:
        folder = demo.resolve(model.info.model_path)
        several = asked[: settings.compared]
        kind = dtype_of(told, str(ModelFolder.find(folder).path))
        found = await asyncio.to_thread(
            reference, folder, kind, settings.reference, several, single[: settings.compared]
        )
    figures = {
        "chunks": len(asked),
        "tokens": sum(len(ids) - start for ids, start in asked),
        "random_weights": random,
        "batches": [asdict(batch) for batch in batches],
        "reference": asdict(found) if found else None,
    }
    settings.json.write_text(json.dumps(figures, indent=1) + "\n")
    return f"{len(asked)} chunks scored in batches of {', '.join(map(str, rounds))}; figures in {settings.json}"


if __name__ == "__main__":
    console.run(AgreementSettings, __doc__, agreement)
