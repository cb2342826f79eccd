"""A run as a log of Inspect, by its own library: the samples, their grades, and each chunk as a message."""

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ATTS.errors import UserError
from ATTS.reporting.runs import Run


def write(path: Path, run: Run, rows: Iterable[dict[str, Any]]) -> None:
    """``path`` ends in .eval or .json. Raises UserError."""
    try:
        from inspect_ai import log
        from inspect_ai.model import ChatMessageAssistant, ChatMessageUser, ModelOutput
        from inspect_ai.scorer import Score
    except ImportError:
        raise UserError("--to inspect needs Inspect: pip install inspect_ai") from None
    if path.suffix not in (".eval", ".json"):
        raise UserError(f"--output {path}: a log of Inspect ends in .eval or .json")
    models = " + ".join(
        str(run.settings[name]) for name in ("small_model_name", "eval_model_name") if name in run.settings
    )
    samples = []
    for row in rows:
        chunks = [
            ChatMessageAssistant(content=chunk["text"], model=chunk["author"], metadata={**chunk, "text": None})
            for chunk in row["chunks"]
        ]
        score = Score(
            value="C" if row["right"] else "I", answer=row["final_answer"], metadata={"exit_status": row["exit_status"]}
        )
        samples.append(
            log.EvalSample(
                id=row["question_id"] or row["question_index"],
                epoch=(row["repeat"] if row["repeat"] is not None else row["problem_index"]) + 1,
                input=row["question"],
                target=row["reference_answer"],
                messages=[ChatMessageUser(content=row["question"]), *chunks],
                output=ModelOutput.from_content(models or "published", row["text"]),
                scores={"right": score},
                total_time=row["seconds"],
            )
        )
    metric = log.EvalMetric(name="mean_accuracy", value=run.row["mean_accuracy"] or 0.0)
    written = log.EvalLog(
        status="success",
        eval=log.EvalSpec(
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            task=run.name,
            dataset=log.EvalDataset(name=str(run.settings.get("dataset_name", run.name)), samples=len(samples)),
            model=models or "published",
            config=log.EvalConfig(epochs=run.folder.repeats),
        ),
        results=log.EvalResults(
            total_samples=len(samples),
            completed_samples=len(samples),
            scores=[log.EvalScore(name="right", scorer="right", metrics={metric.name: metric})],
        ),
        samples=samples,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    log.write_eval_log(written, str(path))
