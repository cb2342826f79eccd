"""The front doors on real servers: a whole run, bad input, interruption and resume."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Pair, door, free_ports, launch, stop

pytestmark = [pytest.mark.servers, pytest.mark.timeout(600)]

SMALL = ("--dataset_name", "demo", "--small_model_max_tokens", "24", "--use_chat_template")


def calibrate(pair: Pair, cwd: Path, *more: str, module: str = "ref_conformal") -> subprocess.CompletedProcess[str]:
    return door(module, *pair.flags, *SMALL, "--sample_size", "4", "--max_problems", "6", *more, cwd=cwd)


def loop_flags(pair: Pair, *more: str) -> list[str]:  # a later flag wins over an earlier one
    sizes = ("--sample_size", "4", "--max_problems", "6", "--repeats", "2", "--turns", "20")
    limits = ("--small_model_concurrency", "16", "--eval_model_concurrency", "4")
    return [*pair.flags, *SMALL, *sizes, "--evalator_max_tokens", "24", *limits, *more]


def results(folder: Path) -> dict[int, dict[str, Any]]:
    return {int(path.stem[8:]): json.loads(path.read_text()) for path in folder.glob("problem_*.json")}


@pytest.fixture(scope="module")
def calibrated(servers: Pair, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a marginal calibration array at its default place."""
    folder = tmp_path_factory.mktemp("calibrated")
    done = calibrate(servers, folder)
    assert done.returncode == 0, done.stderr
    return folder


def test_the_two_marginal_commands_work_as_they_stand(servers: Pair, calibrated: Path) -> None:
    """Calibration and evaluation at their default places; every file says what it is; a rerun does nothing."""
    array = calibrated / "evaluation/ppls_demo_demo-target_demo-draft_s4_t24_temp0.8_ct1.npy"
    scores = np.load(array)
    about = json.loads(array.with_suffix(".json").read_text())
    assert scores.shape == (24,)
    assert (scores >= 1).all()
    assert about["made_for"]["eval_model_name"] == "demo-target"
    assert about["servers"]["target"]["sglang"] == "0.5.23"
    assert len(about["question_ids"]) == 6
    assert not list(array.parent.glob("*.partial*"))

    done = door("ref_async", *loop_flags(servers), cwd=calibrated)
    assert done.returncode == 0, done.stderr
    (folder,) = (calibrated / "results").iterdir()
    assert done.stdout.strip().endswith(str(folder.relative_to(calibrated)))
    samples = results(folder)
    assert sorted(samples) == list(range(12))
    for index, sample in samples.items():
        assert sample["problem_index"] == index
        assert sample["question_index"] == index // 2
        assert sample["exit_status"] in {"answered", "turn_limit", "draft_ended", "target_ended"}
        assert sample["calibration_digest"] == about["digest"]
        assert sample["question_id"] not in about["question_ids"]  # demo calibrates on problems of its own
        for entry in sample["full_history"]:
            if entry["model"] == "eval_ppl":
                assert entry["percentile"] == np.count_nonzero(scores < entry["ppl"]) / 24
                assert entry["rejected"] == (entry["percentile"] >= 0.6)
        written = [e["model"] for e in sample["full_history"]]
        for i, entry in enumerate(sample["full_history"]):
            if entry["model"] == "eval_ppl":
                assert (written[i + 1 : i + 2] == ["eval_generate"]) == entry["rejected"]
        usage = sample["usage"]
        assert usage["draft"]["written_tokens"] == sum(
            e["tokens"] for e in sample["full_history"] if e["model"] == "small"
        )
        assert usage["draft"]["serve_seconds"] > 0
    settings = json.loads((folder / "settings.json").read_text())
    assert settings["decisive"]["rejection_rate"] == 0.4
    assert settings["digest"] == samples[0]["settings_digest"]
    summary = json.loads((folder / "summary.json").read_text())
    assert (summary["samples"], summary["owed"]) == (12, 0)

    before = {path: path.stat().st_mtime_ns for path in folder.glob("problem_*.json")}
    again = door("ref_async", *loop_flags(servers), cwd=calibrated)
    assert again.returncode == 0
    assert {path: path.stat().st_mtime_ns for path in folder.glob("problem_*.json")} == before
    assert json.loads((folder / "summary.json").read_text()) == summary
    assert "already there" in calibrate(servers, calibrated).stderr

    graded = door("compute_accuracy", "--output_dir", str(folder), "--json", cwd=calibrated)
    assert json.loads(graded.stdout)["mean_accuracy"] == summary["mean_accuracy"]
    by_name = door("compute_accuracy", "--output_dir", str(folder), "--dataset_name", "demo", cwd=calibrated)
    assert by_name.returncode == 0, by_name.stderr
    other = door("ref_async", *loop_flags(servers, "--output_dir", str(folder), "--turns", "9"), cwd=calibrated)
    assert other.returncode == 2
    assert "turns: made with 20, now 9" in other.stderr


def test_optimistic_drafting_the_prefix_cache_and_where_the_time_went(
    servers: Pair, calibrated: Path, tmp_path: Path
) -> None:
    """On real servers: nearly all that could be cached is, drafts ahead are broken off, the accounts add up."""
    array = next((calibrated / "evaluation").glob("*.npy"))
    more = ("--ppl_array_path", str(array), "--output_dir", "out", "--repeats", "8", "--optimistic")
    adaptive = ("--small_model_concurrency", "0", "--eval_model_concurrency", "0")
    done = door("ref_async", *loop_flags(servers, *more, *adaptive), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    for stage in ("score", "continue"):
        used = summary["stages"][stage]
        assert used["cached_tokens"] >= 0.9 * (
            used["prompt_tokens"] - (24 * used["requests"] if stage == "score" else 0)
        )
    told = summary["timing"]
    assert told["discarded"]["chunks"] > 0
    assert told["computing_seconds"] > 0
    for role in ("draft", "target"):
        server = summary["servers"][role]
        assert 0 < server["busy"] <= 1.01
        assert server["forgotten"] < 0.1
        assert server["by_its_metrics"]["looks"] >= 1
    drawn = door("timeline", "--output_dir", "out", cwd=tmp_path)
    assert drawn.returncode == 0, drawn.stderr
    assert (tmp_path / "out/timeline.png").read_bytes().startswith(b"\x89PNG")


def test_the_prefix_cache_serves_what_stands_before_a_chunk_that_is_replaced(servers: Pair, tmp_path: Path) -> None:
    """At least 95 % of what each server had seen of a chain that still stands, though half of the drafts are
    rejected and drafted again or replaced, and an answer is scored before it ends the sample."""
    more = ("--on_rejection", "resample", "--draft_attempts", "2", "--takeover", "random", "--rejection_rate", "0.5")
    more += ("--output_dir", "out", "--repeats", "8")
    done = door("ref_async", *loop_flags(servers, *more), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    assert summary["discarded_tokens"]["draft"] > 1000
    for role in ("draft", "target"):
        assert summary["servers"][role]["forgotten"] <= 0.05
    used = summary["stages"]["score"]
    assert used["cached_tokens"] > 0.6 * used["prompt_tokens"]


def test_the_two_conditional_commands_work_as_they_stand(servers: Pair, tmp_path: Path) -> None:
    done = calibrate(servers, tmp_path, module="ref_conformal_per_question")
    assert done.returncode == 0, done.stderr
    scores = np.load(next((tmp_path / "evaluation").glob("*.npy")))
    assert scores.shape == (6, 4)
    done = door("ref_async_per_question", *loop_flags(servers), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (folder,) = (tmp_path / "results").iterdir()
    for sample in results(folder).values():
        row = scores[sample["question_index"]]
        for entry in sample["full_history"]:
            if entry["model"] == "eval_ppl":
                assert entry["percentile"] == np.count_nonzero(row < entry["ppl"]) / 4


def test_a_model_alone_and_the_comparison(servers: Pair, tmp_path: Path) -> None:
    flags = ("--dataset_name", "demo", "--max_problems", "4", "--repeats", "2", "--small_model_max_tokens", "300")
    for role, port in (("draft", servers.draft_port), ("target", servers.target_port)):
        done = door(
            "baseline",
            *flags,
            *("--small_model_name", f"demo-{role}", "--sglang_port", str(port), "--output_dir", role),
            cwd=tmp_path,
        )
        assert done.returncode == 0, done.stderr
        assert len(results(tmp_path / role)) == 8
    table = door("compare", "draft", "target", cwd=tmp_path)
    assert table.returncode == 0, table.stderr
    assert [line.split("|")[1].strip() for line in table.stdout.splitlines()[2:4]] == ["draft", "target"]
    assert json.loads(door("compare", "draft", "--json", cwd=tmp_path).stdout)[0]["samples"] == 8
    assert door("compare", "nothing", cwd=tmp_path).returncode == 2


def test_a_run_killed_half_way_is_finished_by_the_same_command_with_nothing_lost_or_done_twice(
    servers: Pair, calibrated: Path, tmp_path: Path
) -> None:
    """kill -9 in mid-run; also calibration."""
    array = next((calibrated / "evaluation").glob("*.npy"))
    run = [
        *(sys.executable, "-m", "ATTS.ref_async"),
        *loop_flags(servers, "--ppl_array_path", str(array), "--output_dir", "out", "--max_problems", "30"),
    ]
    with subprocess.Popen(run, cwd=tmp_path, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
        wait_until(lambda: len(list(tmp_path.glob("out/problem_*.json"))) >= 10)
        process.kill()
    finished = {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in tmp_path.glob("out/problem_*.json")}
    assert 10 <= len(finished) < 60
    (tmp_path / "out/problem_0059.json").write_text('{"problem_index": 59, "full_hi')  # torn by the crash
    done = subprocess.run(run, cwd=tmp_path, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr
    assert f"{len(finished)} of 60 samples are already" in done.stderr
    assert sorted(results(tmp_path / "out")) == list(range(60))
    for path, before in finished.items():
        assert (path.stat().st_mtime_ns, path.read_bytes()) == before
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    assert (summary["samples"], summary["samples_in_wall_seconds"]) == (60, 60 - len(finished))


def test_a_calibration_killed_half_way_goes_on_with_the_scores_it_has(servers: Pair, tmp_path: Path) -> None:
    flags = (*servers.flags, *SMALL, "--sample_size", "16", "--max_problems", "30")
    run = [sys.executable, "-m", "ATTS.ref_conformal", *flags]

    def partial() -> list[bytes]:
        return [line for path in tmp_path.glob("evaluation/*.partial.jsonl") for line in path.read_bytes().splitlines()]

    with subprocess.Popen(run, cwd=tmp_path, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
        wait_until(lambda: len(partial()) > 40)
        process.kill()
    kept = [json.loads(line) for line in partial()[1:]]
    done = subprocess.run(run, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    scores = np.load(next(tmp_path.glob("evaluation/*.npy"))).reshape(30, 16)
    assert all(scores[entry["row"], entry["sample"]] == entry["ppl"] for entry in kept)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_says_so_keeps_what_is_finished_and_marks_the_rest(
    servers: Pair, calibrated: Path, tmp_path: Path, number: signal.Signals
) -> None:
    array = next((calibrated / "evaluation").glob("*.npy"))
    flags = loop_flags(servers, "--ppl_array_path", str(array), "--output_dir", "out", "--max_problems", "60")
    command = [sys.executable, "-m", "ATTS.ref_async", *flags]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        wait_until(lambda: len(list(tmp_path.glob("out/problem_*.json"))) >= 5)
        process.send_signal(number)
        _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Rerun the same command to resume" in told
    assert "Traceback" not in told
    statuses = [sample["exit_status"] for sample in results(tmp_path / "out").values()]
    assert 0 < statuses.count("cancelled") <= 20
    assert len(statuses) - statuses.count("cancelled") >= 5


def test_a_server_killed_half_way_is_named_and_a_resume_finishes_the_job(calibrated: Path, tmp_path: Path) -> None:
    array = next((calibrated / "evaluation").glob("*.npy"))
    more = ("--ppl_array_path", str(array), "--output_dir", "out", "--max_problems", "20", "--max_retries", "1")
    try:
        pair = launch(tmp_path / "servers")
        command = [sys.executable, "-m", "ATTS.ref_async", *loop_flags(pair, *more)]
        with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
            wait_until(lambda: len(list(tmp_path.glob("out/problem_*.json"))) >= 10)
            os.killpg(int((tmp_path / "servers/eval_model.pid").read_text().split()[0]), signal.SIGKILL)
            _, told = process.communicate(timeout=120)
        assert process.returncode == 2
        assert f"the target server at http://127.0.0.1:{pair.target_port} has gone" in told
        finished = {
            path: path.read_bytes()
            for path in tmp_path.glob("out/problem_*.json")
            if json.loads(path.read_text())["exit_status"] == "answered"
        }
        assert len(finished) >= 10
        down = door("ref_async", *loop_flags(pair, *more), cwd=tmp_path)
        assert down.returncode == 2
        assert "no server answers" in down.stderr
        stop(tmp_path / "servers")
        pair = launch(tmp_path / "servers")
        done = door("ref_async", *loop_flags(pair, *more), cwd=tmp_path, timeout=400)
        assert done.returncode == 0, done.stderr
        assert len(results(tmp_path / "out")) == 40
        assert all(path.read_bytes() == before for path, before in finished.items())
    finally:
        stop(tmp_path / "servers")


def test_every_bad_input_has_a_clear_message_and_costs_nothing(servers: Pair, calibrated: Path, tmp_path: Path) -> None:
    """One process each; none leaves a result behind."""
    array = next((calibrated / "evaluation").glob("*.npy"))
    good = ("--ppl_array_path", str(array), "--output_dir", "out")
    (tmp_path / "file").write_text("")
    np.save(tmp_path / "short.npy", np.array([1.5]))
    np.save(tmp_path / "matrix.npy", np.ones((6, 4)))
    np.save(tmp_path / "nan.npy", np.array([1.5, np.nan]))
    long = tmp_path / "long.jsonl"
    long.write_text(json.dumps({"problem": "7 " * 3000, "answer": "1"}) + "\n")
    cases = {
        "unknown data set 'demos'": ("ref_async", loop_flags(servers, *good, "--dataset_name", "demos")),
        "does not exist; make it with": ("ref_async", loop_flags(servers, "--output_dir", "out")),
        "too few for a rejection rate": (
            "ref_async",
            loop_flags(servers, "--ppl_array_path", "short.npy", "--output_dir", "out"),
        ),
        "marginal (one set of scores) is needed": (
            "ref_async",
            loop_flags(servers, "--ppl_array_path", "matrix.npy", "--output_dir", "out"),
        ),
        "not finite": ("ref_async", loop_flags(servers, "--ppl_array_path", "nan.npy", "--output_dir", "out")),
        "small_model_max_tokens: made with 24, now 30": (
            "ref_async",
            loop_flags(servers, *good, "--small_model_max_tokens", "30"),
        ),
        "per question (one row a question) is needed": ("ref_async_per_question", loop_flags(servers, *good)),
        "no server answers at": (
            "ref_async",
            loop_flags(servers, *good, "--eval_model_port", str(free_ports(1)[0])),
        ),
        "serves": ("ref_async", loop_flags(servers, *good, "--small_model_name", "demo-target", "--force")),
        "can't be written": ("ref_async", loop_flags(servers, *good, "--output_dir", "file/out")),
        "does not fit the draft server's context": (
            "ref_conformal",
            [*servers.flags, "--dataset_name", str(long), "--ppl_array_path", "made.npy"],
        ),
        "--repeats must be at least 1": ("ref_async", loop_flags(servers, *good, "--repeats", "0")),
        "Perhaps you meant": ("ref_async", loop_flags(servers, *good, "--turnz", "3")),
        "needs OPENAI_API_KEY": ("ref_async", loop_flags(servers, *good, "--extract_mode", "llm")),
    }

    def run(case: tuple[str, Sequence[str]]) -> subprocess.CompletedProcess[str]:
        return door(case[0], *case[1], cwd=tmp_path, OPENAI_API_KEY="")

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        ended = zip(cases, pool.map(run, cases.values()), strict=True)
    for message, done in ended:
        assert done.returncode == 2, (message, done.stderr)
        assert message in " ".join((done.stderr + done.stdout).split()), (message, done.stderr)
        assert "Traceback" not in done.stderr, done.stderr
    assert not list(tmp_path.glob("out/problem_*.json"))
    assert not (tmp_path / "made.npy").exists()


def test_an_own_file_with_choices_runs_through(servers: Pair, tmp_path: Path) -> None:
    """The demo pair can't answer such a question; the run ends with a typed status all the same."""
    path = tmp_path / "mine.jsonl"
    path.write_text(json.dumps({"problem": "Pick.", "answer": "B", "choices": ["one", "two"]}) + "\n")
    common = (*servers.flags, "--dataset_name", str(path), "--small_model_max_tokens", "16")
    done = door("ref_conformal", *common, "--sample_size", "4", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    loop = ("--sample_size", "4", "--repeats", "2", "--turns", "2", "--evalator_max_tokens", "16")
    done = door("ref_async", *common, *loop, "--output_dir", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(results(tmp_path / "out")) == 2


def wait_until(condition: Any, timeout: float = 120) -> None:
    limit = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < limit, "waited in vain"
        time.sleep(0.05)
