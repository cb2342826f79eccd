"""A run's samples for other tools: a row each in Parquet, with its chunks as a list; or a log of Inspect."""

import asyncio
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from ATTS.analysis import folders
from ATTS.analysis.folders import Truth
from ATTS.errors import UserError
from ATTS.flags import Part
from ATTS.reporting import inspect_log
from ATTS.reporting.runs import Run, read
from ATTS.reporting.samples import shown
from ATTS.store.records import Record

TOGETHER = 500  # samples in memory
CARD = """---
configs:
- config_name: default
  data_files:
  - split: train
    path: data/*.parquet
---
# {name}

{samples} samples of {questions} questions, written by ATTS: a row a sample, its chunks in order under `chunks`.
"""


class ExportSettings(Part):
    """Flags of export."""

    run: Annotated[Path, tyro.conf.Positional]
    """Result folder, of this project or a published one, or a recording."""

    to: Literal["parquet", "inspect", "hub_dataset"]
    """parquet: one file; hub_dataset: a folder that datasets.load_dataset reads and that can be uploaded to the hub;
    inspect: a log for Inspect's viewer (needs pip install inspect_ai)."""

    output: Path | None = None
    """Where it goes; default: NAME.parquet, NAME_dataset/ or NAME.eval in this folder."""

    truth: Truth = Truth()


async def export(settings: ExportSettings) -> Path:
    """Returns the path of what was written. Raises UserError."""
    endings = {"parquet": ".parquet", "hub_dataset": "_dataset", "inspect": ".eval"}
    output = settings.output or Path(settings.run.resolve().name + endings[settings.to])
    (run,) = await asyncio.to_thread(read, [settings.run], settings.truth)
    if settings.to == "inspect":
        await asyncio.to_thread(inspect_log.write, output, run, rows(run))
    elif settings.to == "parquet":
        await asyncio.to_thread(_parquet, output, run)
    else:
        if output.exists() and any(output.iterdir()):
            raise UserError(f"{output} is not empty: choose another --output")
        await asyncio.to_thread(_parquet, output / "data" / "train-00000-of-00001.parquet", run)
        card = CARD.format(name=_plain(run.name), samples=run.row["samples"], questions=run.row["questions"])
        (output / "README.md").write_text(card, encoding="utf-8")
    return output


def rows(run: Run) -> Iterator[dict[str, Any]]:
    """A sample each, read one after the other; ``right`` is the grade of algebra."""
    places = {sample["problem_index"]: place for place, sample in enumerate(run.folder.samples)}
    for sample in folders.read(run.path):
        if sample["problem_index"] in places:
            place = places[sample["problem_index"]]
            yield _row(sample, run.folder.samples[place], run.folder.references[place], run.states[place] == "r")


def _row(sample: Record, small: Record, reference: str, right: bool) -> dict[str, Any]:
    content = shown(sample)
    chunks = [_chunk(one) for one in content["c"]]
    tokens = {who: sum(c["tokens"] or 0 for c in chunks if c["author"] == who) for who in ("draft", "target")}
    answer = sample["final_answer"]
    return {
        "problem_index": sample["problem_index"],
        "question_index": small["question_index"],
        "question_id": sample.get("question_id"),
        "repeat": sample.get("repeat"),
        "question": _plain(sample.get("question", "")),
        "reference_answer": _plain(reference),
        "final_answer": None if answer in (None, "", "invalid") else _plain(str(answer)),
        "right": right,
        "exit_status": content["s"],
        "seconds": content["d"],
        "draft_tokens": tokens["draft"],
        "target_tokens": tokens["target"],
        "text": "".join(c["text"] for c in chunks if not c["discarded"]),
        "chunks": chunks,
    }


def _chunk(one: dict[str, Any]) -> dict[str, Any]:
    score = one.get("score", {})
    return {
        "turn": one["t"],
        "author": one["by"],
        "text": _plain(one.get("x", "")),
        "tokens": one.get("n"),
        "discarded": bool(one.get("gone")),
        "seconds": one.get("sec"),
        "score": score.get("v"),
        "percentile": score.get("pc"),
        "rejected": score.get("rej"),
    }


def _plain(text: str) -> str:
    """Without halves of characters, which Parquet can't hold."""
    return text.encode("utf-8", "replace").decode()


def _parquet(path: Path, run: Run) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    chunk = pa.struct(
        [
            *(("turn", pa.int32()), ("author", pa.string()), ("text", pa.string()), ("tokens", pa.int32())),
            *(("discarded", pa.bool_()), ("seconds", pa.float64()), ("score", pa.float64())),
            *(("percentile", pa.float64()), ("rejected", pa.bool_())),
        ]
    )
    schema = pa.schema(
        [
            *(("problem_index", pa.int64()), ("question_index", pa.int64()), ("question_id", pa.string())),
            *(("repeat", pa.int64()), ("question", pa.string()), ("reference_answer", pa.string())),
            *(("final_answer", pa.string()), ("right", pa.bool_()), ("exit_status", pa.string())),
            *(("seconds", pa.float64()), ("draft_tokens", pa.int64()), ("target_tokens", pa.int64())),
            *(("text", pa.string()), ("chunks", pa.list_(chunk))),
        ]
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    with parquet.ParquetWriter(path, schema, compression="zstd") as writer:
        samples = rows(run)
        while some := list(islice(samples, TOGETHER)):
            writer.write_table(pa.Table.from_pylist(some, schema=schema))
