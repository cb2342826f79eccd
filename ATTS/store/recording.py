"""A recording as the samples of a result folder, so that whatever reads the one reads the other."""

import gzip
import json
import zlib
from pathlib import Path
from typing import Any

from ATTS.errors import UserError
from ATTS.method.types import Stage
from ATTS.store.records import HistoryEntry, Record


def read_results(path: Path) -> list[Record]:
    """The published keys of every sample. Raises UserError for a file that is no recording."""
    return [_record(path, sample) for sample in read_recording(path)]


def _record(path: Path, sample: dict[str, Any]) -> Record:
    history: list[HistoryEntry] = []
    for number, turn in enumerate(sample["turns"]):
        history.append({"turn": number, "model": Stage.DRAFT.value, "output": turn["draft_text"]})
        if turn["ppl"] is not None:
            score: HistoryEntry = {"turn": number, "model": Stage.SCORE.value, "ppl": turn["ppl"]}
            history.append(score | {"percentile": turn.get("percentile")})
        if turn["target_text"] is not None:
            history.append({"turn": number, "model": Stage.CONTINUE.value, "output": turn["target_text"]})
    try:
        return {
            "problem_index": sample["index"],
            "question_index": sample["question_id"],
            "final_answer": sample["final_answer"],
            "duration_seconds": sample["duration"],
            "question": sample["question"],
            "full_history": history,
        }
    except KeyError as error:
        raise UserError(f"a sample of {path} has no {error}: it can be replayed, but is no finished run") from None


def read_recording(path: Path) -> list[dict[str, Any]]:
    """The samples of a recording. Raises UserError for a file that is none."""
    opened = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(path, "rt", encoding="utf-8") as lines:
            samples = [json.loads(line) for line in lines if line.strip()]
    except (OSError, EOFError, ValueError, RecursionError, zlib.error) as error:
        raise UserError(f"the recording {path} can't be read: {error}") from error
    if not samples or any(not isinstance(one, dict) or not {"question", "turns"} <= one.keys() for one in samples):
        raise UserError(f"{path} is not a recording: its lines need question and turns")
    return samples
