"""Read the answers of a result folder again, this project's or a published one, and grade it.

python -m ATTS.re_extract --input_dir results/... --dataset_name math500 [--extract_mode llm] [--dry_run]
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ATTS.problem import Problem
from ATTS.runs import answering, cli, folders, judging, metrics, re_extraction, report, store
from ATTS.runs.answering import ExtractMode
from ATTS.runs.settings.parts import default_data_dir, require


@dataclass(frozen=True, kw_only=True)
class ReExtractSettings(judging.JudgeSettings):
    """Flags of re_extract."""

    input_dir: Path
    """The result folder; its files are rewritten one by one, each whole or not at all."""

    dataset_name: str | None = None
    """Data set with the right answers, or a .jsonl file with 'problem' and 'answer'; default: those stored with
    the samples."""

    repeats: int | None = None
    """Samples of every question; default: the folder's own, else 16."""

    extract_mode: ExtractMode = "regex"
    """How answers are read: by regex, as published (nested braces cut), or by an OpenAI-compatible model."""

    answer_after_think: bool = False
    """Count answers behind </think> only."""

    dry_run: bool = False
    """Show what would change and the accuracy then; change nothing."""

    data_dir: Path | None = None
    """Folder with local copies of the data sets; else $ATTS_DATA_DIR; else the hub."""

    json: bool = False
    """Print JSON."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.repeats is None or self.repeats >= 1, "--repeats must be at least 1")


async def re_extract(settings: ReExtractSettings) -> str:
    data_dir = settings.data_dir or default_data_dir()
    folder = folders.load(settings.input_dir, settings.dataset_name, settings.repeats, data_dir)
    extractor = judging.extractor(settings) if settings.extract_mode == "llm" else None
    try:
        find = answering.reader(settings.extract_mode, settings.answer_after_think)
        changes = await re_extraction.re_extract(folder, find, extractor, settings.concurrency, settings.dry_run)
    finally:
        if extractor:
            await extractor.close()
    graded = await judging.graded(changes.folder, settings)
    if not settings.dry_run:
        store.update_summary(settings.input_dir, graded)
    counts = {"samples": len(folder.samples), "missing": folder.missing, "changed": len(changes.changed)}
    result: dict[str, Any] = {**counts, **graded, **metrics.work(changes.folder.samples)}
    if extractor:
        result["extraction"] = extractor.endpoint.cost()
    if changes.failed:
        print(report.accuracy(result, per_question=False))
        raise Problem(
            f"{len(changes.failed)} of {len(folder.samples)} samples keep their answers, because the model gave none"
            f" ({changes.failed[0]}); the same command tries them again"
        )
    if settings.json:
        return json.dumps(result, indent=1)
    return "\n".join((re_extraction.describe(changes, settings.dry_run), "", report.accuracy(result, False)))


if __name__ == "__main__":
    cli.run(ReExtractSettings, __doc__, re_extract)
