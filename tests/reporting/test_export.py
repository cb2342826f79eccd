"""What other tools read is what the folder holds."""

import asyncio
from pathlib import Path
from typing import Any

import hostile
import made_run
import pytest
from conftest import door
from pyarrow import parquet

from ATTS.errors import UserError
from ATTS.flags import make
from ATTS.reporting.export import ExportSettings, export
from ATTS.store import result_folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Samples of hostile texts."""
    return made_run.write(tmp_path_factory.mktemp("runs") / "one", 24, 2, turns=3, words=4, text=hostile.text)


def exported(folder: Path, to: str, output: Path) -> Path:
    return asyncio.run(export(make(ExportSettings, run=folder, to=to, output=output)))


def plain(text: str) -> str:
    return text.encode(errors="replace").decode()


def check(rows: list[dict[str, Any]], folder: Path) -> None:
    stored = list(result_folder.samples(folder))
    assert [row["problem_index"] for row in rows] == [sample["problem_index"] for sample in stored]
    summary = result_folder.read_summary(folder)
    assert sum(row["right"] for row in rows) / len(rows) == summary["mean_accuracy"]
    assert summary["written_tokens"] == {who: sum(row[f"{who}_tokens"] for row in rows) for who in ("draft", "target")}
    for row, sample in zip(rows, stored, strict=True):
        assert row["question"] == sample["question"]
        assert row["final_answer"] == (None if sample["final_answer"] == "invalid" else sample["final_answer"])
        texts = [plain(entry["output"]) for entry in sample["full_history"] if "output" in entry]
        assert [chunk["text"] for chunk in row["chunks"]] == texts
        assert row["text"] == "".join(texts)
        scores = [entry["ppl"] for entry in sample["full_history"] if "ppl" in entry]
        assert [chunk["score"] for chunk in row["chunks"] if chunk["score"] is not None] == scores


def test_parquet_and_the_data_set_hold_the_samples(folder: Path, tmp_path: Path) -> None:
    check(parquet.read_table(exported(folder, "parquet", tmp_path / "a.parquet")).to_pylist(), folder)
    dataset = exported(folder, "hub_dataset", tmp_path / "set")
    check(parquet.read_table(dataset / "data").to_pylist(), folder)
    assert "path: data/*.parquet" in (dataset / "README.md").read_text()
    with pytest.raises(UserError, match="is not empty"):
        exported(folder, "hub_dataset", dataset)


def test_inspect_reads_its_log_back(folder: Path, tmp_path: Path) -> None:
    log = pytest.importorskip("inspect_ai.log", reason="inspect_ai is not installed")
    found = log.read_eval_log(str(exported(folder, "inspect", tmp_path / "a.eval")))
    stored = list(result_folder.samples(folder))
    assert (found.status, len(found.samples)) == ("success", len(stored))
    assert found.results.scores[0].metrics["mean_accuracy"].value == result_folder.read_summary(folder)["mean_accuracy"]
    by_id = {(sample.id, sample.epoch): sample for sample in found.samples}
    for own in stored:
        sample = by_id[own["question_id"], own["repeat"] + 1]
        assert sample.target == own["reference_answer"]
        assert [m.text for m in sample.messages[1:]] == [
            plain(e["output"]) for e in own["full_history"] if "output" in e
        ]
        assert sample.scores["right"].answer == (None if own["final_answer"] == "invalid" else own["final_answer"])


def test_the_front_door_writes_beside_the_reader(folder: Path, tmp_path: Path) -> None:
    done = door("export", str(folder), "--to", "parquet", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["one.parquet"]
    with pytest.raises(UserError, match=r"a log of Inspect ends in|needs Inspect"):
        exported(folder, "inspect", tmp_path / "log.txt")
