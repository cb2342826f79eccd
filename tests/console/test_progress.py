"""What a run says before its first sample ends."""

import asyncio
from pathlib import Path

import pytest
from sums import data, flags

from ATTS import console
from ATTS.analysis.metrics import describe
from ATTS.emulator import Ask, Scripted, Served, Server, Written
from ATTS.flags import make
from ATTS.runs import run
from ATTS.runs.evaluate import evaluate_alone
from ATTS.runs.settings import BaselineSettings


def test_what_is_under_way_is_said_until_something_ends(capsys: pytest.CaptureFixture[str]) -> None:
    with console.Progress(3, 1, "sample") as progress:
        progress.under_way("2 under way")
        progress.add("answered")
        progress.under_way("1 under way")
    told = capsys.readouterr().err
    assert "1/3 samples: 2 under way" in told
    assert "1 under way" not in told.replace("2 under way", "")


def test_a_run_says_how_many_requests_were_answered_and_which_model_it_asks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The server doesn't end a text before the run has said so."""
    monkeypatch.setattr(run, "SILENCE_SECONDS", 0.01)
    said: list[str] = []

    def write(ask: Ask) -> Written:
        said.append(capsys.readouterr().err)
        if any("requests answered" in text for text in said):
            return Written(r"so \\boxed{1001}", "stop")
        return Written(f"step {len(ask.ids)}. ", "length")

    def unscored(ask: Ask, start: int) -> list[float | None]:  # noqa: ARG001
        raise LookupError("nobody asks for scores here")

    async def main() -> Path:
        async with Server(Served(role="model", name="only", content=Scripted(write, unscored))) as server:
            given = flags(server, server, data(tmp_path / "sums.jsonl", [1]), tmp_path)
            more = {"dataset_name": given["dataset_name"], "small_model_name": "only", "small_model_url": server.url}
            more |= {"repeats": 1, "turns": 100_000, "small_model_max_tokens": 4, "output_dir": tmp_path / "out"}
            return await evaluate_alone(make(BaselineSettings, **more))

    folder = asyncio.run(main())
    assert "1 under way" in "".join(said)
    assert '"model": {' in "".join(path.read_text() for path in folder.glob("*.json"))


def test_a_run_without_a_finished_sample_says_so() -> None:
    assert describe({"samples": 0}) == "no sample is finished"
