"""Sample files that another program wrote: the published drivers' layouts as this project's, all else refused."""

import math
from pathlib import Path
from typing import Any, cast

from ATTS.errors import UserError
from ATTS.method.types import Stage
from ATTS.store.records import Record

# What the published single-model drivers call the steps of a sample.
STAGES = {"draft": Stage.DRAFT.value, "self_ppl": Stage.SCORE.value, "self_continue": Stage.CONTINUE.value}
TEXTS = ("question", "question_id", "reference_answer", "group", "exit_status", "reason")
READ_AGAIN = ("final_answer_runtime", "final_answer_regex", "final_answer_llm")


def sample(path: Path, content: object) -> Record:
    """A sample with the keys and types that this project reads. Raises UserError, with the file.

    An answer that is missing is none; an entry of the history that names no model has none.
    """
    if not isinstance(content, dict) or not content.keys() & {"final_answer", "full_history"}:
        raise UserError(f"{path} is no sample: it has neither final_answer nor full_history; move it out of the folder")
    number = int(path.stem.removeprefix("problem_"))
    record: dict[str, Any] = {"problem_index": _integer(path, "problem_index", content.get("problem_index", number))}
    if "schema" in content:
        record["schema"] = content["schema"]
    for name in ("question_index", "repeat"):
        if content.get(name) is not None:
            record[name] = _integer(path, name, content[name])
    for name in (*TEXTS, *READ_AGAIN):
        if isinstance(content.get(name), str):
            record[name] = content[name]
    record["final_answer"] = _answer(path, content.get("final_answer"))
    if content.get("duration_seconds") is not None:
        record["duration_seconds"] = _number(path, "duration_seconds", content["duration_seconds"])
    record["full_history"] = _history(path, content.get("full_history") or [], record.get("question", ""))
    return cast(Record, record)


def _history(path: Path, entries: object, question: str) -> list[dict[str, Any]]:
    """The driver with a barrier writes texts alone, the question first; the others an object an entry."""
    if not isinstance(entries, list):
        raise UserError(f"{path}: its full_history is no list")
    if entries and isinstance(entries[0], str) and entries[0].strip() == question.strip():
        entries = entries[1:]
    stages: list[dict[str, Any]] = []
    for place, entry in enumerate(entries):
        if isinstance(entry, str):
            stages.append({"turn": place, "model": "", "output": entry})
            continue
        if not isinstance(entry, dict):
            raise UserError(f"{path}: entry {place} of its full_history is neither a text nor an object")
        before = stages[-1]["turn"] if stages else 0
        turn = _integer(path, f"turn of entry {place}", entry.get("turn", before))
        model = str(entry.get("model") or "")
        known = {**entry, "turn": turn, "model": STAGES.get(model, model)}
        for name in ("ppl", "percentile"):
            if known.get(name) is not None:
                known[name] = _number(path, f"{name} of entry {place}", known[name])
        if "should_takeover" in known:
            known["rejected"] = bool(known["should_takeover"])
        if not isinstance(known.get("output", ""), str):
            raise UserError(f"{path}: the output of entry {place} is no text")
        stages.append(known)
    return stages


def _answer(path: Path, value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return str(value)
    raise UserError(f"{path}: its final_answer is neither a text nor a number")


def _integer(path: Path, name: str, value: Any) -> int:
    number = _number(path, name, value)
    if not number.is_integer() or number < 0:
        raise UserError(f"{path}: its {name} is {value!r}, not a whole number")
    return int(number)


def _number(path: Path, name: str, value: Any) -> float:
    """A number, also one that is written as text. Published scores may be infinite."""
    try:
        return float(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else float("")
    except (ValueError, OverflowError):
        raise UserError(f"{path}: its {name} is {value!r}, not a number") from None
