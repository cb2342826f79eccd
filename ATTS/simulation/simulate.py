"""What simulations answer: one run in numbers, and curves over samples and turns."""

import asyncio
import json
import math
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ATTS.analysis import pictures
from ATTS.analysis.tables import markdown, percent
from ATTS.analysis.timeline import LABELS
from ATTS.console import say
from ATTS.flags import NotNegative, Part, Positive
from ATTS.simulation.roofline import MODELS, Deployment
from ATTS.simulation.run import DriverOptions, Outcome, Workload, simulate


class SimulateSettings(Part):
    """Flags of simulate."""

    draft: str = "8B:A100"
    """Draft as MODEL:DEVICExGPUS; models 1.5B 7B 8B 14B 32B 70B, devices L4 4090 A100 H100 H200."""

    target: str = "32B:A100x2"
    """Target, likewise."""

    draft_replicas: Positive[int] = 1
    """Servers of the draft, each as --draft says."""

    target_replicas: Positive[int] = 1
    """Servers of the target, each as --target says."""

    work: Workload = Workload(questions=100, samples=16, turns=15, answers=0.35)

    small_model_concurrency: NotNegative[int] = 0
    """Most requests in flight at each draft; 0 = adaptive."""

    eval_model_concurrency: NotNegative[int] = 0
    """Most requests in flight at each target; 0 = adaptive."""

    optimistic: bool = False
    """Let the draft write on while its last chunk is scored."""

    pictures: Path | None = None
    """Folder for the curves over questions, samples and turns (minutes), instead of one run in numbers."""

    json: bool = False
    """Print JSON."""


async def answer(settings: SimulateSettings) -> str:
    """What simulate prints. Raises UserError."""
    pair = Deployment.parse(settings.draft), Deployment.parse(settings.target)
    return await asyncio.to_thread(_answer, settings, *pair)  # a simulation has an event loop of its own


def _answer(settings: SimulateSettings, draft: Deployment, target: Deployment) -> str:
    if settings.pictures is not None:
        drawn = curves(draft, target)
        settings.pictures.mkdir(parents=True, exist_ok=True)
        (settings.pictures / "simulation.json").write_text(json.dumps(drawn, indent=1) + "\n")
        simulation(drawn, settings.pictures)
        if not settings.json:
            return tables(drawn)
        return json.dumps(drawn)
    work = settings.work
    runs = compare(work, draft, target, settings)
    if settings.draft_replicas + settings.target_replicas > 2:
        one = replace(own(settings), draft_replicas=1, target_replicas=1)
        runs[ONE_EACH] = run(work, draft, target, one)
    for role, pair in {"draft": (doubled(draft), target), "target": (draft, doubled(target))}.items():
        runs[f"twice the GPUs for the {role}"] = run(work, *pair, own(settings))
    if settings.json:
        return json.dumps({name: asdict(run) for name, run in runs.items()})
    return describe(runs, draft, target)


OURS, BARRIER, QUESTION, LIMITS = "ATTS", "barrier in every turn", "one question at a time", "limits of one question"
ALL, ALONE, ONE_EACH = "all three", "target alone", "one server a side"
ALONE_PUBLISHED, ALONE_SINGLE = "target alone, a question at a time, 8 requests", "target alone, 1 request"


def compare(
    work: Workload, draft: Deployment, target: Deployment, settings: SimulateSettings | None = None
) -> dict[str, Outcome]:
    """The same chains driven in different ways: as this project does; with one thing changed at a time, and with all
    of them; and all written by the target alone, with as many requests as it holds, as the published driver does
    (one question at a time, 8 requests), and with one request at a time."""
    return {name: run(work, draft, target, way) for name, way in ways(work, settings).items()}


def ways(work: Workload, settings: SimulateSettings | None = None) -> dict[str, DriverOptions]:
    """Ranking needs all candidates of a turn, hence the barrier; published drivers run one question at a time, and
    then no more requests are in flight than it has samples."""
    ours, samples = own(settings), work.samples
    limited = replace(ours, draft_limit=samples, target_limit=samples)
    return {
        OURS: ours,
        BARRIER: replace(ours, barrier=True),
        QUESTION: replace(ours, schedule="question"),
        LIMITS: limited,
        ALL: replace(limited, samples_in_flight=samples, schedule="question", barrier=True),
        ALONE: DriverOptions(target_alone=True, target_replicas=ours.target_replicas),
        ALONE_PUBLISHED: DriverOptions(target_alone=True, target_limit=8, schedule="question"),
        ALONE_SINGLE: DriverOptions(target_alone=True, target_limit=1),
    }


def doubled(preset: Deployment) -> Deployment:
    """The same model on twice as many devices."""
    return Deployment(preset.model, preset.device, 2 * preset.gpus)


def own(settings: SimulateSettings | None) -> DriverOptions:
    """This project's way."""
    if settings is None:
        return DriverOptions()
    return DriverOptions(
        draft_limit=settings.small_model_concurrency,
        target_limit=settings.eval_model_concurrency,
        draft_replicas=settings.draft_replicas,
        target_replicas=settings.target_replicas,
        optimistic=settings.optimistic,
    )


def run(work: Workload, draft: Deployment, target: Deployment, options: DriverOptions) -> Outcome:
    """One workload driven in one way. Returns what it came to."""
    timings = (
        {"target": target.timing()} if options.target_alone else {"draft": draft.timing(), "target": target.timing()}
    )
    script, questions = work.script(by_target_alone=options.target_alone)
    tokens = (work.draft_tokens, work.target_tokens)
    return simulate(
        script,
        questions,
        work.samples,
        work.turns,
        timings,
        options,
        tokens=tokens,
        rejection_rate=work.rejection_rate,
        on_rejection=work.on_rejection,
    )


def describe(runs: dict[str, Outcome], draft: Deployment, target: Deployment) -> str:
    """The outcomes as a table."""
    columns = ("run", "hours", ": ATTS", "tokens/s", "draft busy", "target busy", "most KV tokens, draft / target", "r")
    rows = []
    ours = runs[OURS]
    for name, run in runs.items():
        busy = [f"{100 * run.engines[role]['busy']:.0f} %" if role in run.engines else "-" for role in ROLES]
        kv = [f"{run.engines[role]['most_kv_tokens']:,.0f}" if role in run.engines else "-" for role in ROLES]
        hours, times = f"{run.seconds / 3600:.2f}", _short(run.seconds / ours.seconds)
        rows.append((name, hours, times, f"{run.tokens_per_second:,.0f}", *busy, " / ".join(kv), _short(run.intensity)))
    alone = [runs[name].seconds / ours.seconds for name in (BARRIER, QUESTION, LIMITS)]
    product = math.prod(alone)
    lines = [
        f"draft {draft} ({draft.kv_tokens:,} tokens of memory), target {target} ({target.kv_tokens:,}); simulated",
        *_discarded(ours),
        "",
        markdown(columns, rows),
        "",
        f"product of the three: {product:.2f}; all three together: {runs[ALL].seconds / ours.seconds:.2f}",
    ]
    return "\n".join(lines)


def _discarded(run: Outcome) -> list[str]:
    if not run.discarded:
        return []
    share = percent(run.discarded / (run.discarded + sum(run.written.values())))
    return [f"{run.discarded:,} tokens of the draft were rejected and replaced, {share} of all"]


MANY = 1000  # of r: hardly anybody waits


def _short(value: float | None) -> str:
    if value is None or value >= MANY:
        return "-" if value is None else f"> {MANY}"
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"


ROLES = ("draft", "target")
CURVES = (OURS, BARRIER, QUESTION, LIMITS, ALL, ALONE)
AXES = {
    "questions": (1, 2, 4, 8, 16, 32),  # with one sample each
    "samples": (1, 2, 4, 8, 16, 32, 64, 128),
    "turns": (1, 2, 5, 10, 20, 40),
}


def curves(draft: Deployment, target: Deployment, questions: int = 4) -> dict[str, Any]:
    """The paper's argument: what the barrier costs over samples and turns, every chain taking all turns; and what
    the number of questions does by itself, with one sample each, where no sample waits for another."""

    def work(axis: str, value: int) -> Workload:
        sizes = {"questions": questions, "samples": 16, "turns": 10} | ({"samples": 1} if axis == "questions" else {})
        return Workload(**sizes | {axis: value}, answers=0.0)  # type: ignore[arg-type]

    def point(axis: str, value: int) -> dict[str, Any]:
        say(f"simulating {value} {axis}")
        chosen = ((name, way) for name, way in ways(work(axis, value)).items() if name in CURVES)
        runs = {name: run(work(axis, value), draft, target, way) for name, way in chosen}
        return {
            "value": value,
            "seconds": {name: run.seconds for name, run in runs.items()},
            "tokens_per_second": {name: run.tokens_per_second for name, run in runs.items()},
            "over_atts": {name: run.seconds / runs[OURS].seconds for name, run in runs.items()},
            "intensity": {name: run.intensity for name, run in runs.items()},
            "waiting_share": {name: run.waited / (run.waited + run.served) for name, run in runs.items()},
            "most_kv_gigabytes": {
                name: sum(
                    run.engines[role]["most_kv_tokens"] * MODELS[preset.model].kv_bytes / 1e9
                    for role, preset in zip(ROLES, (draft, target), strict=True)
                    if role in run.engines
                )
                for name, run in runs.items()
            },
        }

    drawn = {axis: [point(axis, value) for value in values] for axis, values in AXES.items()}
    return {"pair": [str(draft), str(target)], "questions_of_samples_and_turns": questions, **drawn}


def tables(drawn: dict[str, Any]) -> str:
    """The curves in numbers: how many times as long as ATTS, and r."""
    parts = []
    for axis in AXES:
        points = drawn[axis]
        rows = [
            (label.format(name), *(_short(point[what][name]) for point in points))
            for what, label in (("over_atts", "{}: time : ATTS"), ("intensity", "{}: r"))
            for name in points[0][what]
            if what != "over_atts" or name != OURS
        ]
        parts.append(markdown((axis, *(str(point["value"]) for point in points)), rows))
    return "\n\n".join(parts) + "\n"


def simulation(curves: dict[str, Any], folder: Path) -> list[Path]:
    """Three pictures: over questions, samples and turns. Returns their paths."""
    panels_shown = [
        ("seconds", "seconds"),
        ("tokens_per_second", "tokens a second"),
        ("waiting_share", "share of the time spent waiting"),
        ("most_kv_gigabytes", "KV memory at most, GB"),
    ]
    paths = []
    for axis in ("questions", "samples", "turns"):
        points = curves[axis]
        values = [point["value"] for point in points]
        paths.append(folder / f"simulation_{axis}.png")
        with pictures.drawn(paths[-1], 13, 3.2, columns=4) as (figure, panels):
            for panel, (key, title) in zip(panels, panels_shown, strict=True):
                for name in points[0][key]:
                    panel.plot(values, [point[key][name] for point in points], label=name)
                panel.set_xscale("log", base=2)
                panel.set_xticks(values, [str(value) for value in values])
                panel.set(title=title, xlabel=LABELS[axis])
                if key != "waiting_share":
                    panel.set_yscale("log")
            figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper left", ncols=6)
    return paths
