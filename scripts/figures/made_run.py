"""A result folder of made-up samples, as large as is asked for, with any texts: for programs that read folders."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from ATTS.analysis import metrics
from ATTS.errors import ExitStatus
from ATTS.store import atomic, provenance, result_folder
from ATTS.store.records import SCHEMA, HistoryEntry, Key, Keys, Record, StageUsage
from ATTS.tasks.datasets import Question

WORDS = ("we", "add", "the", "two", "sides", "of", "this", "equation", "and", "find", "that", "$x^2$", "is", "a", "sum")


def write(
    folder: Path,
    questions: int,
    repeats: int,
    turns: int = 6,
    words: int = 60,
    seed: int = 0,
    text: Callable[[int, str], str] = lambda _, plain: plain,
    summary: bool = True,
) -> Path:
    """Samples of ``turns`` turns with chunks of so many words; a third is rejected, one in four answers is wrong.

    ``text`` makes of a plain text the one that stands there (it gets the sample's number). ``summary``: as of a run
    that is finished.
    """
    texts = (text(i, f"How much is $1 + {i}$?").encode(errors="replace").decode() for i in range(questions))
    asked = [Question(i, problem, str(i + 1)) for i, problem in enumerate(texts)]
    keys = Keys(asked, repeats)
    settings = {
        "repeats": repeats,
        "rejection_rate": 0.3,
        "small_model_name": "d",
        "eval_model_name": "t",
        "turns": turns,
    }
    decisive = {**settings, "command": "ref_async"}
    about = {"command": "ref_async", "settings": settings, "decisive": decisive, "digest": provenance.digest(decisive)}
    put(folder / result_folder.SETTINGS, about)
    draw = random.Random(seed)
    for key in keys:
        put(folder / f"problem_{key.index:04d}.json", sample(key, draw, turns, words, text))
    if summary:
        clock: dict[str, Any] = {"wall_seconds": 10.0, "samples_in_wall_seconds": len(keys), "servers": {}}
        put(folder / result_folder.SUMMARY, {**metrics.summarise(folder, keys), **clock})
    return folder


def put(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(atomic.as_json(content, allow_nan=False))


def sample(key: Key, draw: random.Random, turns: int, words: int, text: Callable[[int, str], str]) -> Record:
    """One that the loop could have left behind."""
    history: list[HistoryEntry] = []
    at = 0.0

    def wrote(model: str, turn: int, output: str, **more: Any) -> None:
        nonlocal at
        seconds = draw.uniform(0.05, 0.2)
        entry = {"turn": turn, "model": model, "output": output, "tokens": words, "ended": False, "at": at, **more}
        history.append(cast(HistoryEntry, entry | {"seconds": seconds, "queued": 0.01}))
        at += seconds + 0.01

    right = draw.random() < 0.75
    answer = str(key.question.index + (1 if right else 2)) if draw.random() < 0.95 else None
    for turn in range(turns):
        last = turn == turns - 1
        chunk = text(key.index, " ".join(draw.choices(WORDS, k=words)) + " ")
        wrote("small", turn, f"{chunk}\\boxed{{{answer}}}" if last and answer else chunk)
        if not last:
            percentile = draw.random()
            rejected = percentile >= 0.7
            scored = {"turn": turn, "model": "eval_ppl", "ppl": 1 + 3 * percentile, "percentile": percentile}
            history.append(
                cast(HistoryEntry, {**scored, "rejected": rejected, "at": at, "seconds": 0.02, "queued": 0.0})
            )
            at += 0.02
            if rejected:
                wrote("eval_generate", turn, text(key.index, " ".join(draw.choices(WORDS, k=words)) + " "))
    return {
        "schema": SCHEMA,
        "problem_index": key.index,
        "question_index": key.question.index,
        "question_id": key.question.id,
        "repeat": key.repeat,
        "exit_status": (ExitStatus.ANSWERED if answer else ExitStatus.TURN_LIMIT).value,
        "reason": None,
        "final_answer": answer or "invalid",
        "reference_answer": key.question.answer,
        "duration_seconds": at,
        "started_at": 1_700_000_000.0 + key.index * 0.01,
        "usage": {name: _usage(history, model) for name, model in STAGES.items()},
        "discarded": [],
        "settings_digest": None,
        "calibration_digest": None,
        "question": key.question.problem,
        "full_history": history,
    }


STAGES = {"draft": "small", "score": "eval_ppl", "continue": "eval_generate"}


def _usage(history: list[HistoryEntry], model: str) -> StageUsage:
    entries = [entry for entry in history if entry["model"] == model]
    return {
        "requests": len(entries),
        "prompt_tokens": 0,
        "cached_tokens": 0,
        "written_tokens": sum(entry.get("tokens", 0) for entry in entries),
        "queue_seconds": sum(entry["queued"] for entry in entries),
        "serve_seconds": sum(entry["seconds"] for entry in entries),
    }
