"""What a search found: the front on questions that it didn't see, the best within the budget, and its command."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ATTS.analysis import intervals, pictures
from ATTS.analysis.pictures import FAINT
from ATTS.analysis.tables import markdown, within
from ATTS.flags import flags, flat, make
from ATTS.runs.settings import AsyncSettings, BaselineSettings
from ATTS.store import result_folder
from ATTS.tuning.archive import Trial
from ATTS.tuning.replay import Run, Score
from ATTS.tuning.space import Setting

KINDS = {"ref_async": AsyncSettings, "ref_async_per_question": AsyncSettings, "baseline": BaselineSettings}


@dataclass(frozen=True)
class Row:
    """A setting of the front: as it was searched, and on the questions that are held out."""

    trial: Trial
    held_out: Score
    cost: float  # on these

    @property
    def accuracy(self) -> tuple[float, float, float]:
        """On the held-out questions, with its 95 % interval."""
        found = intervals.of_questions(self.held_out.right)
        return found.rate, found.low, found.high


def front(trials: Sequence[Trial]) -> list[Trial]:
    """Those that no other is as good as for less, by the questions searched on; the cheapest first."""
    kept: list[Trial] = []
    for trial in sorted(trials, key=lambda one: (one.cost, -one.score)):
        if not kept or trial.score > kept[-1].score:
            kept.append(trial)
    return kept


def best(trials: Sequence[Trial], budget: float | None) -> Trial | None:
    """The highest score within the budget, the cheapest of these; None where nothing is within it."""
    inside = [trial for trial in trials if budget is None or trial.cost <= budget]
    return min(inside, key=lambda trial: (-trial.score, trial.cost), default=None)


def table(rows: Sequence[Row], unit: str, chosen: Setting | None) -> str:
    """The front as a table."""
    cells = []
    for row in rows:
        rate, low, high = row.accuracy
        name = f"**{row.trial.setting}**" if row.trial.setting == chosen else str(row.trial.setting)
        searched = f"{100 * row.trial.score:.1f} %"
        cells.append((name, within(rate, (low, high)), searched, amount(row.cost), amount(row.trial.cost)))
    columns = ("setting", "held out (95 %)", "searched", f"{unit} a question, held out", "searched")
    return markdown(columns, cells)


def amount(cost: float) -> str:
    """A cost for people: tokens and seconds with one decimal, the small fractions that prices are with three digits."""
    return f"{cost:,.1f}" if cost >= 1 else f"{cost:.3g}"


def picture(rows: Sequence[Row], others: Sequence[Trial], unit: str, path: Path) -> None:
    """The front with intervals on held-out questions, over all that was tried."""
    points = [(row.cost, *row.accuracy) for row in rows]
    bars = [[100 * (rate - low) for _, rate, low, _ in points], [100 * (high - rate) for _, rate, _, high in points]]
    costs, rates = [cost for cost, *_ in points], [100 * rate for _, rate, *_ in points]
    with pictures.drawn(path) as (figure, panel):
        panel.scatter([t.cost for t in others], [100 * t.score for t in others], s=8, color=FAINT, label="tried")
        panel.errorbar(costs, rates, bars, capsize=2, label="front, held-out questions", **pictures.style(0))
        panel.set(xscale="log", xlabel=f"{unit} a question", ylabel="right, % (95 %)")
        panel.xaxis.set_major_formatter("{x:g}")
        pictures.legend(figure)


def command(run: Run, setting: Setting, **other: Any) -> str | None:
    """The command that runs a setting on other questions, ``other`` flags changed; None of a run that doesn't tell."""
    about: Mapping[str, Any] = result_folder.about_of(run.path) if run.path.is_dir() else {}
    kind = KINDS.get(str(about.get("command")))
    if kind is None:
        return None
    stored = {flag.name for flag in flags(kind)}
    given = {name: value for name, value in about["settings"].items() if name in stored and name != "output_dir"}
    given |= {"repeats": setting.repeats, "turns": setting.turns, "stop": setting.stop}
    given |= {"stop_threshold": setting.threshold, "max_problems": 0, **other}
    required = {flag.name for flag in flags(kind) if flag.name in ("small_model_name", "eval_model_name")}
    plain = flat(make(kind, **{name: given[name] for name in required}, dataset_name="OTHER_QUESTIONS"))
    words = ["python", "-m", f"ATTS.{about['command']}"]
    for name, value in given.items():
        if name == "dataset_name":
            words += ["--dataset_name", "OTHER_QUESTIONS"]
        elif value is True:
            words.append(f"--{name}")
        elif value is not None and value is not False and (name in required or str(value) != str(plain.get(name))):
            words += [f"--{name}", str(value)]
    return shlex.join(words)


def rate(run: Run) -> float | None:
    """The rejection rate that a run was made with; None of one that doesn't tell."""
    value = result_folder.settings(run.path).get("rejection_rate") if run.path.is_dir() else None
    return None if value is None else float(value)
