"""What a run folder and a calibration array say about how they were made."""

from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import orjson

from ATTS.flags import Part, flags, flat

# What result folders and arrays of versions without these settings were made with.
UNTOLD: dict[str, Any] = {
    "on_rejection": "continue",
    "score_answers": False,
    "draft_attempts": 1,
    "score_window": None,
    "stop": "none",
    "stop_threshold": None,
    "confidence": None,
    "thinking": "default",
}


def resolved(settings: Part) -> dict[str, Any]:
    """All settings by the names of their flags, as JSON values."""
    return {name: str(value) if isinstance(value, Path) else value for name, value in flat(settings).items()}


def decisive(settings: Part, **more: object) -> dict[str, Any]:
    """The settings that decide what results mean, and ``more`` that does."""
    incidental = {flag.name for flag in flags(type(settings)) if flag.incidental}
    chosen = {name: value for name, value in resolved(settings).items() if name not in incidental}
    return {**chosen, **more}


def digest(content: Mapping[str, Any]) -> str:
    """Of settings, 16 hex digits; a data file counts by its questions."""
    return sha256(orjson.dumps(_by_content(content), option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]


def _by_content(about: Mapping[str, Any]) -> dict[str, Any]:
    """Without the path of a data file whose questions are told."""
    kept = {name: value for name, value in about.items() if name != "dataset_name" or "questions" not in about}
    return {name: _by_content(value) if isinstance(value, dict) else value for name, value in kept.items()}


def differences(stored: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """Where ``wanted`` differs from what something was ``made`` with, a line each.

    A person's own data file is the same if its questions are, wherever it lies. A result folder doesn't tell
    them, but each of its samples does (store.py); an array that doesn't tell is of the same path or content.
    """
    lines = []
    for key, value in wanted.items():
        known = stored.get(key)
        if isinstance(known, dict) and isinstance(value, dict):
            lines += differences(known, value)
        elif key == "questions" and key not in stored:
            continue  # made by an older version: its dataset_name decides
        elif key == "dataset_name" and known != value and _same_file(stored, wanted):
            continue
        elif known != value:
            lines.append(f"{key}: made with {known!r}, now {value!r}")
    return lines


def _same_file(stored: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    names = [str(about.get("dataset_name")) for about in (stored, wanted)]
    if not all(name.endswith(".jsonl") for name in names):
        return False
    if "questions" not in wanted or "questions" in stored:
        return True
    first, second = map(Path, names)
    if first.resolve() == second.resolve():
        return True
    return first.is_file() and second.is_file() and first.read_bytes() == second.read_bytes()
