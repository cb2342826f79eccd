"""Tables of finished runs."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ATTS.console import printable

COLUMNS = (
    "run",
    "accuracy of a sample (95 %)",
    "any of k, as in the paper (95 %)",
    "rejected",
    "handed over",
    "tokens written",
    "by the target",
    "wall s",
    "samples/s",
    "s/sample",
    "difference (95 %)",
    "speed-up",
    "by sample",
)


def markdown(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table. Cells are shown as ``str`` makes them, on one line and without what Markdown or HTML would act on."""
    lines: list[Sequence[object]] = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(map(cell, cells))} |" for cells in lines)


def cell(value: object) -> str:
    """A cell's text: it ends no cell, opens no tag and makes no link, whoever wrote it."""
    text = " ".join(str(value).split())
    for found, shown in (("|", "\\|"), ("<", "&lt;"), ("](", "]\\(")):
        text = text.replace(found, shown)
    return text


def in_picture(name: str) -> str:
    """A name in a picture, where dollars would begin a formula."""
    return printable(name).replace("$", r"\$")


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Runs beside each other; differences and speed-ups are against the first."""
    return markdown(COLUMNS, [_cells(row) for row in rows])


def _cells(run: Mapping[str, Any]) -> tuple[str, ...]:
    whole = run.get("wall_seconds") and run["samples_in_wall_seconds"] == run["samples"]
    unknown = "resumed" if run.get("wall_seconds") else "-"  # a resumed run's clock saw only its last part
    against = run["against_first"]
    return (
        run["run"],
        within(run["mean_accuracy"], (run["low"], run["high"])),
        _of_most(run, "pass_at_k"),
        percent(run["rejection_rate"]),
        percent(run["takeover_rate"]) if run["scored"] else "-",
        f"{sum(run['written_tokens'].values()):,}" if run["written_tokens"] else "-",
        percent(run["target_share"]) if run["scored"] else "-",
        f"{run['wall_seconds']:.1f}" if whole else unknown,
        f"{run['samples'] / run['wall_seconds']:.3g}" if whole else unknown,
        "-" if run["sample_seconds"] is None else f"{run['sample_seconds']:.2f}",
        difference(against["accuracy"] if against else None),
        f"{against['speed_up']:.2f}" if against and against["speed_up"] else "-",
        f"{against['sample_speed_up']['ratio']:.2f}" if against and against["sample_speed_up"] else "-",
    )


def _of_most(run: Mapping[str, Any], name: str) -> str:
    """A measure of k samples at the largest k, which is the number of repeats."""
    k = max(run[name], key=int)
    return f"k = {k}: {within(run[name][k], run['intervals'][name][k])}"


def within(value: float | None, bounds: Sequence[float | None] | None) -> str:
    """A share with its interval."""
    low, high = bounds or (None, None)
    return percent(value) if low is None else f"{percent(value)} ({percent(low)} - {percent(high)})"


def difference(part: Mapping[str, float | None] | None) -> str:
    """In percentage points, with its interval if there is one."""
    mean, low, high = (part[name] if part else None for name in ("difference", "low", "high"))
    if mean is None:
        return "-"
    bounds = f" ({100 * low:+.1f} - {100 * high:+.1f})" if low is not None and high is not None else ""
    return f"{100 * mean:+.1f}{bounds}"


def accuracy(result: Mapping[str, Any], per_question: bool) -> str:
    """One graded folder, in words and tables."""
    lines = [
        f"accuracy of a sample (mean accuracy) {within(result['mean_accuracy'], (result['low'], result['high']))};"
        f" {result['questions']} questions, {result['samples']} samples ({result['missing']} missing,"
        f" {result['unanswered']} without an answer, {result['undecided']} undecided)",
        "",
        markdown(
            ("k", "any of k (pass@k), the paper's accuracy", "majority of k"),
            [
                (k, *(within(result[name][k], result["intervals"][name][k]) for name in ("pass_at_k", "majority_at_k")))
                for k in result["pass_at_k"]
            ],
        ),
        "(in brackets: 95 % intervals over questions)",
        "",
        markdown(
            ("stopped", "samples", "accuracy"),
            [
                (status, part["samples"], percent(part["accuracy"]))
                for status, part in result["accuracy_by_status"].items()
            ],
        ),
    ]
    if result["scored"]:
        lines += [
            "",
            f"rejected {percent(result['rejection_rate'])} of {result['scored']} scored chunks; {result['turns']:.2f}"
            " turns a sample",
        ]
    if "percentiles_reproduced" in result:
        lines.append(f"the calibration array gives all {result['percentiles_reproduced']} recorded percentiles again")
    if "judge" in result:
        lines += ["", *_judge(result["judge"])]
    if per_question:
        columns = ("question", "reference", "right", "of", "majority", "undecided", "most frequent answers")
        lines += ["", markdown(columns, [_question(row) for row in result["per_question"]])]
        differ = [str(row["question_index"]) for row in result["per_question"] if 0 < row["right"] < row["samples"]]
        lines += [
            "",
            f"samples differ, some right and some not, on {len(differ)} questions: {', '.join(differ) or '-'}",
        ]
    return "\n".join(lines)


def _judge(said: Mapping[str, Any]) -> list[str]:
    lines = [
        f"judge {said['model']}: {said['requests']} requests, {said['cached']} replies from the disk,"
        f" {said['failed']} failed, {said['unreadable']} unreadable; {said['prompt_tokens']} tokens read,"
        f" {said['completion_tokens']} written; any answer right in {percent(said['any_of_all'])} of the questions"
    ]
    if said["disagreements"]:
        columns = ("question", "reference", "answer", "samples", "math", "llm")
        keys = ("question_index", "reference", "answer", "samples", "math", "llm")
        lines += ["", markdown(columns, [[_cell(row[key]) for key in keys] for row in said["disagreements"]])]
    return lines


def _question(row: Mapping[str, Any]) -> tuple[object, ...]:
    answers = ", ".join(f"{_cell(answer)} x {count}" for answer, count in list(row["answers"].items())[:3])
    majority = percent(row["majority"])
    reference = _cell(row["reference"])
    return (row["question_index"], reference, row["right"], row["samples"], majority, row["undecided"], answers)


def _cell(value: object) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= 40 else f"{text[:37]}..."


def percent(value: float | None) -> str:
    """With a decimal; "-" for what is not known."""
    return "-" if value is None else f"{100 * value:.1f} %"
