"""Commands that kills.py ends and gives again: with which settings, what they have finished, what they come to."""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import made_run
import numpy as np
from emulated import Writer, told, write, write_number, write_paragraphs

from ATTS.analysis.re_extract import ReExtractSettings, re_extract
from ATTS.baselines.compare_methods import compare_methods
from ATTS.baselines.fixed_budget.run import evaluate_fixed_budget
from ATTS.baselines.flags import AsyncFixBudgetSettings, SpecReasonSettings, SyncFixBudgetSettings, ThinkingSettings
from ATTS.baselines.method_settings import MethodsSettings
from ATTS.baselines.spec_reason.run import evaluate_spec_reason
from ATTS.baselines.speculative_thinking import config_file
from ATTS.baselines.speculative_thinking.run import evaluate_speculative_thinking
from ATTS.calibration.calibrate import calibrate
from ATTS.flags import make
from ATTS.runs.evaluate import evaluate_async
from ATTS.runs.settings import AsyncSettings, ConformalSettings
from ATTS.store import result_folder
from ATTS.store.records import OWED
from ATTS.tradeoff.frontier import FrontierSettings, frontier
from ATTS.tuning.search import SearchSettings, search

IN_FLIGHT = 16
RULES = Path(__file__).parents[2] / "configs/speculative_thinking/demo.yml"
Flags = dict[str, Any]


@dataclass(frozen=True)
class Work:
    """``settings``: of a folder and the flags of the servers.

    ``finished``: by name what must neither vanish nor change any more (ValueError: a file is torn). ``outcome``: what
    is compared with the undisturbed one. ``names``: of all that is finished; one that comes twice was done twice.
    ``prepared``: makes what is there before. ``done``: counts its moments, where it asks no server.
    """

    settings: Callable[[Flags, Path], Any]
    command: Callable[[Any], Any]
    finished: Callable[[Path], dict[str, bytes]]
    outcome: Callable[[Path], Any]
    names: Callable[[Path], Sequence[object]]
    prepared: Callable[[Path, int], None] = lambda _, __: None
    done: Callable[[Path], int] | None = None
    writer: Writer = write_paragraphs


def run_settings(flags: Flags, folder: Path) -> AsyncSettings:
    return make(
        AsyncSettings,
        **flags,
        repeats=16,
        turns=6,
        takeover="random",
        rejection_rate=0.4,
        samples_in_flight=IN_FLIGHT,
        output_dir=folder / "run",
    )


def calibration_settings(flags: Flags, folder: Path) -> ConformalSettings:
    return make(ConformalSettings, **flags, ppl_array_path=folder / "a.npy", max_concurrent=IN_FLIGHT // 2)


def baseline(kind: type[Any], more: Flags, flags: Flags, folder: Path) -> Any:
    """The settings of a baseline, half of the requests in flight at either server."""
    limits = {"small_model_concurrency": IN_FLIGHT // 2, "eval_model_concurrency": IN_FLIGHT // 2}
    return make(kind, **flags, **limits, **more, output_dir=folder / "run")


def thinking_settings(flags: Flags, folder: Path) -> ThinkingSettings:
    config = config_file.read(RULES)
    rules = {name: value for name, value in config.items() if not name.endswith("model_name") and name != "mode"}
    more = {"repeats": 16, "max_tokens": 140, "temperature": 0.6, "rules": rules}
    made: ThinkingSettings = baseline(ThinkingSettings, more, flags, folder)
    return made


def re_extract_settings(_: Flags, folder: Path) -> ReExtractSettings:
    kept = {"input_dir": folder / "run", "llm_cache": folder / "replies.jsonl"}
    return make(ReExtractSettings, **kept, extract_mode="llm", concurrency=IN_FLIGHT)


def blocks(kind: type[Any], more: Flags, flags: Flags, folder: Path) -> Any:
    """The settings of runs that are made block by block."""
    questions = len(Path(flags["dataset_name"]).read_text().splitlines()) // 4 * 2
    size = {"max_problems": max(4, questions), "repeats": 4, "blocks": 2, "calibration_problems": 20, "sample_size": 2}
    chunks = {"token_budget": 90, "small_model_max_tokens": 20, "evalator_max_tokens": 20}
    asked = flags | {"dataset_name": "demo", "output_dir": folder / "blocks"}
    return make(kind, **asked, **size, **chunks, small_model_concurrency=8, eval_model_concurrency=8, **more)


def search_settings(_: Flags, folder: Path) -> SearchSettings:
    runs = (folder / "one", folder / "two")
    return make(SearchSettings, runs=runs, archive=folder / "archive.jsonl", searcher="random", trials=40)


def whole(folder: Path) -> None:
    """Raises ValueError for a JSON file that is torn, but for temporary ones."""
    for path in folder.rglob("*.json"):
        json.loads(path.read_bytes())


def samples_of(folder: Path) -> dict[str, bytes]:
    """Samples that ended by themselves."""
    whole(folder)
    found = {path.name: path.read_bytes() for path in folder.glob("run/problem_*.json")}
    owed = ("cancelled", "server_failed")
    return {name: raw for name, raw in found.items() if json.loads(raw).get("exit_status") not in owed}


def whole_questions(folder: Path) -> dict[str, bytes]:
    """Samples of questions all of whose samples ended: they rank each other, so before that none is finished."""
    found = samples_of(folder)
    ended = Counter(int(name[8:12]) // 16 for name in found)
    return {name: raw for name, raw in found.items() if ended[int(name[8:12]) // 16] == 16}


def array_of(folder: Path) -> dict[str, bytes]:
    """An array, which is there with its page beside it."""
    whole(folder)
    found = [*folder.glob("a.npy"), *folder.glob("a.json")]
    return {path.name: path.read_bytes() for path in found}


def read_again(folder: Path) -> dict[str, bytes]:
    """Samples that have been read again; those that have not must be there, too."""
    whole(folder)
    found = {path.name: path.read_bytes() for path in folder.glob("run/problem_*.json")}
    there = {f"{name} is there": b"" for name in found}
    return there | {name: raw for name, raw in found.items() if "final_answer_llm" in json.loads(raw)}


def blocks_done(folder: Path) -> dict[str, bytes]:
    """Entries of the log, finished samples, of interrupted blocks too, and arrays."""
    whole(folder)
    place = folder / "blocks"
    found = {path.name: path.read_bytes() for path in place.glob("*.npy") if path.with_suffix(".json").exists()}
    for entry in log(folder):
        found[f"{entry['method']} {entry['block']}"] = json.dumps(entry).encode()
    for path in place.glob("*/problem_*.json"):
        text = path.read_bytes()
        if json.loads(text)["exit_status"] not in OWED:
            found[f"{path.parent.name} {path.name}"] = text
    return found


def log(folder: Path) -> list[Any]:
    return list(result_folder.parsed(folder / "blocks/blocks.json") or [])


def trials(folder: Path) -> list[str]:
    """Whole lines of the archive."""
    path = folder / "archive.jsonl"
    text = path.read_text() if path.exists() else ""
    return text.splitlines() if text.endswith("\n") else text.splitlines()[:-1]


def tried(folder: Path) -> dict[str, bytes]:
    lines = trials(folder)
    for line in lines:
        json.loads(line)
    return {f"line {number}": line.encode() for number, line in enumerate(lines)}


def alike(folder: Path) -> list[str]:
    """Samples by question: those of a question begin alike here, and any of them may be the one that is taken over."""
    return sorted(json.dumps([index // 16, *rest]) for index, *rest in told(folder / "run"))


def compared(folder: Path) -> Any:
    """Texts, scores and decisions of every run, and which blocks each did."""
    names = sorted(path.parent.name for path in folder.glob("blocks/*/settings.json"))
    return [
        *((name, told(folder / "blocks" / name)) for name in names),
        *sorted((entry["method"], entry["block"]) for entry in log(folder)),
    ]


def indexes(folder: Path) -> list[int]:
    return [sample["problem_index"] for sample in result_folder.samples(folder / "run")]


def made_samples(folder: Path, questions: int) -> None:
    made_run.write(folder / "run", questions, 16, turns=2, words=5)


def two_runs(folder: Path, questions: int) -> None:
    for seed, name in enumerate(("one", "two")):
        made_run.write(folder / name, questions, 16, turns=4, words=5, seed=seed)


SAMPLES = (samples_of, alike, indexes)
BUDGETS = {"repeats": 16, "turns": 6, "takeover_rate": 0.4, "takeover_budget": 0}
METHODS = "target,draft,atts,atts_resample,random,async_fix_budget,spec_reason,speculative_thinking"
COMPARED = {"methods": METHODS, "spe_config": RULES}
GRID = {"rates": (0.3,), "calibrations": ("marginal", "per_turn")}

WHAT: dict[str, Work] = {
    "run": Work(
        run_settings,
        partial(evaluate_async, per_question=False),
        samples_of,
        lambda folder: told(folder / "run"),
        indexes,
        writer=write,
    ),
    "spec_reason": Work(
        partial(baseline, SpecReasonSettings, {"repeats": 16, "token_budget": 60, "score_threshold": 5.0}),
        evaluate_spec_reason,
        *SAMPLES,
    ),
    "speculative_thinking": Work(thinking_settings, evaluate_speculative_thinking, *SAMPLES),
    "async_fix_budget": Work(partial(baseline, AsyncFixBudgetSettings, BUDGETS), evaluate_fixed_budget, *SAMPLES),
    "sync_fix_budget": Work(
        partial(baseline, SyncFixBudgetSettings, BUDGETS), evaluate_fixed_budget, whole_questions, alike, indexes
    ),
    "calibration": Work(
        calibration_settings,
        partial(calibrate, per_question=False),
        array_of,
        lambda folder: np.load(folder / "a.npy").tolist(),
        lambda _: (),
        writer=write,
    ),
    "re_extraction": Work(
        re_extract_settings,
        re_extract,
        read_again,
        lambda folder: {name: raw.decode() for name, raw in read_again(folder).items()},
        indexes,
        made_samples,
        writer=write_number,
    ),
    "comparison": Work(
        partial(blocks, MethodsSettings, COMPARED),
        compare_methods,
        blocks_done,
        compared,
        lambda folder: [(entry["method"], entry["block"]) for entry in log(folder)],
    ),
    "frontier": Work(
        partial(blocks, FrontierSettings, GRID),
        frontier,
        blocks_done,
        compared,
        lambda folder: [(entry["method"], entry["block"]) for entry in log(folder)],
    ),
    "search": Work(
        search_settings,
        search,
        tried,
        lambda folder: trials(folder)[1:],
        trials,
        two_runs,
        done=lambda folder: len(trials(folder)),
    ),
}
