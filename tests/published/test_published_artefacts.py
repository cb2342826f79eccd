"""Result folders and arrays of the published system, graded and checked where they lie."""

import asyncio
import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ATTS.analysis.compute_accuracy import AccuracySettings, grade
from ATTS.analysis.re_extract import ReExtractSettings, re_extract
from ATTS.errors import UserError
from ATTS.flags import make
from ATTS.store.recording import read_recording
from ATTS.store.result_folder import samples
from ATTS.tasks import datasets
from ATTS.tasks.equivalence import Grader, Verdict

ARRAYS = {
    "ct1": "ppls_math500_qwq_32B_rllama_8B_s16_t500_temp0.8_ct1__397d5a21.npy",
    "nonct": "ppls_math500_qwq_32B_rllama_8B_s16_t500_temp0.8__ec846181.npy",
}


def graded(**flags: Any) -> dict[str, Any]:
    return dict(json.loads(asyncio.run(grade(make(AccuracySettings, json=True, **flags)))))


@pytest.fixture(scope="module", params=sorted(ARRAYS))
def published(
    request: pytest.FixtureRequest, traces: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Path]:
    """A recorded run in the files that the published driver writes: its keys and no others."""
    folder = tmp_path_factory.mktemp(request.param)
    with gzip.open(traces / f"traces_math500_{request.param}.jsonl.gz", "rt") as lines:
        for line in lines:
            sample = json.loads(line)
            history: list[dict[str, Any]] = []
            for number, turn in enumerate(sample["turns"]):
                history.append({"turn": number, "model": "small", "output": turn["draft_text"]})
                if turn["ppl"] is not None:
                    history.append(
                        {"turn": number, "model": "eval_ppl", "ppl": turn["ppl"], "percentile": turn["percentile"]}
                    )
                if turn["target_text"] is not None:
                    history.append({"turn": number, "model": "eval_generate", "output": turn["target_text"]})
            write(folder, sample["index"], sample["final_answer"], history, sample["question"])
    return request.param, folder


def write(folder: Path, index: int, answer: str, history: list[dict[str, Any]], question: str = "?") -> None:
    content = {"problem_index": index, "final_answer": answer, "duration_seconds": 1.0, "full_history": history}
    (folder / f"problem_{index:04d}.json").write_text(json.dumps({**content, "question": question}))


def test_a_published_folder_is_graded_and_its_array_recognised(
    published: tuple[str, Path], published_arrays: Path, hub: Path
) -> None:
    """Rejections as the recording has them: a percentile of 0.6 or more."""
    name, folder = published
    result = graded(
        output_dir=folder, dataset_name="math500", data_dir=hub, ppl_array_path=published_arrays / ARRAYS[name]
    )
    scored = [e for s in samples(folder) for e in s["full_history"] if e["model"] == "eval_ppl"]
    assert result["percentiles_reproduced"] == result["scored"] == len(scored)
    assert result["rejection_rate"] == sum(e["percentile"] >= 0.6 for e in scored) / len(scored)
    assert (result["samples"], result["missing"], result["questions"]) == (1120, 480, 70)  # 30 questions are not there
    assert result["stages"] is None


def test_our_verdicts_are_the_labels_of_the_recordings_and_reading_again_finds_more(
    published: tuple[str, Path], traces: Path, hub: Path
) -> None:
    """Labels are of the answers at run time, of the last balanced box, and of what a model read."""
    name, folder = published
    recorded = list(read_recording(traces / f"traces_math500_{name}.jsonl.gz"))
    truth = {q.problem: q.answer for q in datasets.load("math500", hub)}
    answers = {"runtime": "final_answer", "balanced": "final_answer_balanced", "llm": "final_answer_llm"}
    with Grader() as grader:
        for label, key in answers.items():
            verdicts = grader.compare((truth[s["question"]], str(s[key])) for s in recorded)
            same = sum((v is Verdict.EQUAL) == s["correct"][label] for v, s in zip(verdicts, recorded, strict=True))
            assert same / len(recorded) >= 0.995, label
    settings = make(ReExtractSettings, input_dir=folder, dataset_name="math500", data_dir=hub, dry_run=True, json=True)
    tried = json.loads(asyncio.run(re_extract(settings)))
    labelled = np.mean([s["correct"]["balanced"] for s in recorded])
    assert labelled < tried["mean_accuracy"] < labelled + 0.015  # lists of boxes, and boxes that a chunk's end split
    assert 90 < tried["changed"] < 160


def test_an_array_that_does_not_belong_to_the_results_is_noticed(
    published: tuple[str, Path], published_arrays: Path, hub: Path
) -> None:
    name, folder = published
    others = [p for p in published_arrays.glob("ppls_math500_qwq_32B_rllama_8B_*.npy") if p.name != ARRAYS[name]]
    assert len(others) == 3
    for path in others:
        with pytest.raises(UserError, match="is not the array that these samples were decided with"):
            graded(output_dir=folder, dataset_name="math500", data_dir=hub, ppl_array_path=path)


def test_infinity_gaps_and_more_than_ten_thousand_files(tmp_path: Path) -> None:
    """Names sort as numbers: question 625 is that of samples 10,000 to 10,015; Infinity is a perplexity."""
    data = tmp_path / "questions.jsonl"
    data.write_text("".join(json.dumps({"problem": str(q), "answer": str(q)}) + "\n" for q in range(640)))
    folder = tmp_path / "results"
    folder.mkdir()
    scored = {"turn": 0, "model": "eval_ppl", "ppl": float("inf"), "percentile": 1.0}
    for index in range(0, 640 * 16, 5):
        write(folder, index, str(index // 16), [{"turn": 0, "model": "small", "output": "x"}, scored])
    assert "Infinity" in (folder / "problem_10000.json").read_text()
    result = graded(output_dir=folder, dataset_name=str(data))
    assert result["mean_accuracy"] == 1.0
    assert (result["questions"], result["samples"], result["missing"]) == (640, 2048, 640 * 16 - 2048)
    assert [s["problem_index"] for s in samples(folder)] == list(range(0, 640 * 16, 5))


def test_an_array_without_the_questions_row_and_samples_without_a_score_are_named(tmp_path: Path) -> None:
    data = tmp_path / "questions.jsonl"
    data.write_text("".join(json.dumps({"problem": str(q), "answer": str(q)}) + "\n" for q in range(3)))
    array = tmp_path / "array.npy"
    np.save(array, np.full((2, 4), 1.5))
    write(tmp_path, 0, "0", [{"turn": 0, "model": "small", "output": "x"}])
    with pytest.raises(UserError, match="record no percentile"):
        graded(output_dir=tmp_path, dataset_name=str(data), ppl_array_path=array)
    write(tmp_path, 16, "1", [{"turn": 0, "model": "eval_ppl", "ppl": 2.0, "percentile": 1.0}])
    assert graded(output_dir=tmp_path, dataset_name=str(data), ppl_array_path=array)["percentiles_reproduced"] == 1
    write(tmp_path, 32, "2", [{"turn": 0, "model": "eval_ppl", "ppl": 2.0, "percentile": 1.0}])
    with pytest.raises(UserError, match=r"1 of 2 recorded percentiles; .* no row for its question 2"):
        graded(output_dir=tmp_path, dataset_name=str(data), ppl_array_path=array)
