"""The pictures of a report, each with the words that stand in for it and the numbers behind it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ATTS.analysis import pictures
from ATTS.analysis.by_turn import bounds
from ATTS.analysis.pictures import COLOURS, FAINT, LINES, drawn, label
from ATTS.analysis.tables import percent, within
from ATTS.reporting.runs import Run

MOST = 12  # runs in a picture; more can't be told apart
BINS = 160  # points of time
MOST_IN_A_BIN = 50  # % of the chunks; where more have nearly the same score, the others are seen on a log scale only
FEWEST = 5  # questions behind a rate that is drawn: with fewer, the interval says nothing. The table tells all


@dataclass(frozen=True)
class Chart:
    """A picture in the report's folder, with its table."""

    file: str
    title: str
    alt: str
    columns: Sequence[str]
    rows: Sequence[Sequence[object]]


def draw(folder: Path, runs: Sequence[Run]) -> list[Chart]:
    """All that these runs tell enough for. Raises OSError."""
    runs = runs[:MOST]
    makers: list[Callable[[Path, Sequence[Run]], Iterator[Chart]]] = [
        _against_tokens,
        _against_seconds,
        _over_samples,
        _over_turns,
        _rates,
        _scores,
        _stages,
        _in_flight,
    ]
    return [chart for make in makers for chart in make(folder, runs)]


def _label(run: Run) -> str:
    return label(run.letter, run.name)


def tokens(run: Run) -> float | None:
    """The target's tokens a sample."""
    return run.written["target"] / run.row["samples"] if run.written and run.row["samples"] else None


def seconds(run: Run) -> float | None:
    """The whole run's wall seconds; None where its clock didn't see all of it."""
    whole = run.row.get("wall_seconds") and run.row["samples_in_wall_seconds"] == run.row["samples"]
    return float(run.row["wall_seconds"]) if whole else None


def _against_tokens(folder: Path, runs: Sequence[Run]) -> Iterator[Chart]:
    title, unit = "Accuracy against tokens", "target's tokens a sample"
    yield from _trade(folder, runs, tokens, "tokens.svg", title, unit)


def _against_seconds(folder: Path, runs: Sequence[Run]) -> Iterator[Chart]:
    yield from _trade(folder, runs, seconds, "seconds.svg", "Accuracy against time", "wall seconds")


def _trade(
    folder: Path, runs: Sequence[Run], cost: Callable[[Run], float | None], file: str, title: str, unit: str
) -> Iterator[Chart]:
    points = [(run, value) for run in runs if (value := cost(run)) is not None and run.row["low"] is not None]
    if not points:
        return
    with drawn(folder / file) as (_, panel):
        for run, value in points:
            mean, low, high = (100 * run.row[name] for name in ("mean_accuracy", "low", "high"))
            look = pictures.style(run.number) | {"linestyle": "none", "markersize": 6}
            panel.errorbar([value], [mean], yerr=[[mean - low], [high - mean]], capsize=3, label=_label(run), **look)
            panel.annotate(run.letter, (value, mean), textcoords="offset points", xytext=(6, 4))
        panel.set(xlabel=unit, ylabel="accuracy of a sample, % (95 %)")
        panel.set_xlim(left=-0.03 * max(value for _, value in points))  # a point at 0 is seen whole
    rows = [(f"{run.letter}  {run.name}", f"{value:,.1f}", percent(run.row["mean_accuracy"])) for run, value in points]
    yield Chart(file, title, f"{title}: a point a run, with its interval", ("run", unit, "accuracy"), rows)


def _over_samples(folder: Path, runs: Sequence[Run]) -> Iterator[Chart]:
    runs = [run for run in runs if run.row["mean_accuracy"] is not None and len(run.row["majority_at_k"]) > 1]
    if not runs:
        return
    rows = []
    with drawn(folder / "samples.svg") as (figure, panel):
        for run in runs:
            votes, best = run.row["majority_at_k"], run.row["pass_at_k"]
            ks = sorted(map(int, votes))
            look = pictures.style(run.number)
            panel.plot(ks, [100 * votes[str(k)] for k in ks], label=_label(run), **look)
            spread = run.row["intervals"]["majority_at_k"]
            pictures.band(panel, ks, [spread[str(k)] for k in ks], run.number)
            panel.plot(ks, [100 * best[str(k)] for k in ks], **(look | {"linestyle": ":", "alpha": 0.7}))
            for name, key in (("vote", "majority_at_k"), ("any", "pass_at_k")):
                by_k, spread = run.row[key], run.row["intervals"][key]
                rows += [(f"{run.letter}  {run.name}", name, k, within(by_k[str(k)], spread[str(k)])) for k in ks]
        panel.set(xlabel="samples of a question", ylabel="accuracy, %: vote; any (dots)")
        panel.set_xticks(sorted({int(k) for run in runs for k in run.row["majority_at_k"]}))
        pictures.legend(figure)
    alt = "Accuracy of the vote (line, 95 % interval as a band) and of the best of k samples (dots), for every run"
    yield Chart("samples.svg", "Accuracy over samples", alt, ("run", "of", "samples", "accuracy (95 %)"), rows)


def _over_turns(folder: Path, runs: Sequence[Run]) -> Iterator[Chart]:
    runs = [run for run in runs if len(run.turns) > 1]
    if not runs:
        return
    rows = []
    with drawn(folder / "turns.svg") as (figure, panel):
        for run in runs:
            turns = [row["turns"] for row in run.turns]
            panel.plot(
                turns, [100 * row["accuracy"] for row in run.turns], label=_label(run), **pictures.style(run.number)
            )
            pictures.band(panel, turns, map(bounds, run.turns), run.number)
            rows += [
                (f"{run.letter}  {run.name}", row["turns"], within(row["accuracy"], bounds(row)), row["stopped"])
                for row in run.turns
            ]
        panel.xaxis.get_major_locator().set_params(integer=True)
        panel.set(xlabel="turns that a sample may take", ylabel="accuracy of a sample, % (95 %)")
        pictures.legend(figure)
    alt = "Accuracy if samples had been stopped after so many turns, a line a run with its 95 % interval as a band"
    columns = ("run", "turns", "accuracy (95 %)", "samples that end then")
    yield Chart("turns.svg", "Accuracy over turns", alt, columns, rows)


def _rates(folder: Path, runs: Sequence[Run]) -> Iterator[Chart]:
    found = [(run, rows) for run in runs if run.row["scored"] and (rows := run.rejected_by_turn())]
    if not found:
        return
    cells = []
    with drawn(folder / "rates.svg") as (figure, panel):
        for place, (run, told) in enumerate(found):
            rows = [row for row in told if row["questions"] >= FEWEST] or told
            shift = 0.12 * (place - (len(found) - 1) / 2)
            rate = [100 * row["rate"] for row in rows]
            error = [
                [100 * (row["rate"] - row["low"]) for row in rows],
                [100 * (row["high"] - row["rate"]) for row in rows],
            ]
            look = pictures.style(run.number)
            turns = [row["turn"] + 1 + shift for row in rows]
            panel.errorbar(turns, rate, yerr=error, capsize=2, label=_label(run), **look)
            if run.rate is not None:
                panel.axhline(100 * run.rate, color=look["color"], linewidth=0.9, linestyle=(0, (1, 2)))
            cells += [
                (
                    f"{run.letter}  {run.name}",
                    row["turn"] + 1,
                    row["n"],
                    f"{percent(row['rate'])} ({percent(row['low'])} - {percent(row['high'])})",
                    percent(run.rate),
                )
                for row in told
            ]
        panel.xaxis.get_major_locator().set_params(integer=True)
        panel.set(xlabel="turn", ylabel="rejected of scored chunks, % (95 %)", ylim=(0, 100))
        pictures.legend(figure)
    alt = (
        "Share of scored chunks that was rejected at each turn with its interval; dotted: the rate that was asked for."
        f" Turns that fewer than {FEWEST} questions reach are in the table only"
    )
    yield Chart(
        "rates.svg", "Rejection rate by turn", alt, ("run", "turn", "scored", "rejected (95 %)", "asked"), cells
    )


def _scores(folder: Path, runs: Sequence[Run]) -> Iterator[Chart]:
    """One a run."""
    for run in (run for run in runs if len(run.columns.score) > 1):
        score, rejected = np.array(run.columns.score), np.array(run.columns.rejected, dtype=bool)
        groups = [("accepted", score[~rejected], COLOURS[0], "-"), ("rejected", score[rejected], COLOURS[1], "--")]
        known = run.calibration_scores()
        if known is not None and len(known):
            groups.append(("calibration", known, FAINT, ":"))
        edges = np.unique(np.quantile(score, np.linspace(0, 1, 400)))
        if len(edges) < 2:
            continue
        low, high = float(edges[0]), float(np.quantile(score, 0.995))
        edges = np.linspace(low, max(high, low + 1e-9), 41)
        shares = [
            (name, 100 * np.histogram(np.clip(values, low, edges[-1]), bins=edges)[0] / len(values), colour, line)
            for name, values, colour, line in groups
            if len(values)
        ]
        file = f"scores_{run.number}.svg"
        with drawn(folder / file) as (figure, panel):
            for name, share, colour, line in shares:
                panel.stairs(share, edges, label=name, color=colour, linestyle=line, linewidth=1.4)
            if max(share.max() for _, share, *_ in shares) > MOST_IN_A_BIN:
                panel.set_yscale("log")
                panel.yaxis.set_major_formatter("{x:g}")
            panel.set(xlabel=f"score ({run.settings.get('score', 'mean')})", ylabel="of the chunks, %")
            pictures.legend(figure)
        rows = [
            (name, len(values), *(f"{value:.3g}" for value in np.quantile(values, (0.05, 0.5, 0.95))))
            for name, values, *_ in groups
            if len(values)
        ]
        title = f"Scores of {run.letter}  {run.name}"
        beside = "(the calibration array is not there)" if known is None else "beside those of the calibration set"
        alt = f"How the scores of accepted and of rejected chunks are distributed, {beside}"
        yield Chart(file, title, alt, ("chunks", "n", "5 %", "median", "95 %"), rows)


def _stages(folder: Path, runs: Sequence[Run]) -> Iterator[Chart]:
    runs = [run for run in runs if run.row["stages"]]
    if not runs:
        return
    stages = list(dict.fromkeys(stage for run in runs for stage in run.row["stages"]))
    rows = []
    with drawn(folder / "stages.svg", height=1.4 + 0.35 * len(runs)) as (figure, panel):
        for place, run in enumerate(runs):
            left = 0.0
            for number, stage in enumerate(stages):
                used: dict[str, Any] = run.row["stages"].get(stage, {})
                spent = [
                    used.get(name, 0.0) / max(1, run.row["samples"]) for name in ("serve_seconds", "queue_seconds")
                ]
                for what, width, hatch, alpha in (("", spent[0], "", 1.0), (", waiting", spent[1], "////", 0.45)):
                    name = f"{stage}{what}" if place == 0 else None
                    colour = COLOURS[number % len(COLOURS)]
                    panel.barh(
                        place, width, left=left, color=colour, alpha=alpha, hatch=hatch, label=name, edgecolor="white"
                    )
                    left += width
                if used:
                    rows.append((f"{run.letter}  {run.name}", stage, *(f"{value:.3f}" for value in spent)))
        panel.set_yticks(range(len(runs)), [run.letter for run in runs])
        panel.invert_yaxis()
        panel.set(xlabel="seconds a sample (hatched: waiting for a free slot)")
        pictures.legend(figure)
    alt = "Seconds of a sample at the servers by stage, and waiting apart"
    yield Chart("stages.svg", "Where the time went", alt, ("run", "stage", "at the server, s", "waiting, s"), rows)


def _in_flight(folder: Path, runs: Sequence[Run]) -> Iterator[Chart]:
    """One a run."""
    for run in (run for run in runs if run.columns.spans):
        spans = {who: (np.array(begins), np.array(ends)) for who, (begins, ends) in run.columns.spans.items()}
        first = min(float(begins.min()) for begins, _ in spans.values())
        last = max(float(ends.max()) for _, ends in spans.values())
        at = np.linspace(first, last, BINS)
        rows, file = [], f"in_flight_{run.number}.svg"
        with drawn(folder / file) as (figure, panel):
            for number, (who, (begins, ends)) in enumerate(sorted(spans.items())):
                begun = np.searchsorted(np.sort(begins), at, side="right")
                count = begun - np.searchsorted(np.sort(ends), at, side="right")
                look = {"color": COLOURS[number], "linestyle": LINES[number], "marker": "none", "linewidth": 1.1}
                panel.step(at - first, count, where="mid", label=run.alone or who, **look)
                rows.append((run.alone or who, f"{count.mean():.1f}", int(count.max())))
            panel.set(xlabel="seconds of the run", ylabel="requests in flight", ylim=(0, None))
            panel.yaxis.get_major_locator().set_params(integer=True)
            pictures.legend(figure)
        title = f"In flight of {run.letter}  {run.name}"
        yield Chart(file, title, "Requests at each server over time", ("server", "on the average", "most"), rows)
