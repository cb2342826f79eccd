"""What a run folder and a calibration array say about how they were made."""

import dataclasses
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import orjson

from ATTS.runs.flags import Run

# Settings that say where, how fast or how far, not what: results made with others of these belong together.
INCIDENTAL = frozenset(
    {
        "small_model_port",
        "eval_model_port",
        "sglang_port",
        "small_model_url",
        "eval_model_url",
        "small_model_concurrency",
        "eval_model_concurrency",
        "scoring_concurrency",
        "samples_in_flight",
        "schedule",
        "optimistic",
        "max_concurrent",
        "max_problems",
        "data_dir",
        "max_retries",
        "request_timeout",
        "force",
        "ppl_array_path",
        "output_dir",
        "problem_id",
        "repeat_id",
        "start",
        "end",
    }
)


def resolved(settings: Run) -> dict[str, Any]:
    """All settings, as JSON values."""
    values = dataclasses.asdict(settings)
    return {name: str(value) if isinstance(value, Path) else value for name, value in values.items()}


def decisive(settings: Run, **more: object) -> dict[str, Any]:
    """The settings that decide what results mean, and ``more`` that does."""
    chosen = {name: value for name, value in resolved(settings).items() if name not in INCIDENTAL}
    return {**chosen, **more}


def digest(content: Mapping[str, Any]) -> str:
    return sha256(orjson.dumps(content, option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]


def differences(made: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """Where ``wanted`` differs from what something was ``made`` with, a line each."""
    return [
        f"{key}: made with {made.get(key)!r}, now {value!r}" for key, value in wanted.items() if made.get(key) != value
    ]
