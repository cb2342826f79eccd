"""A run by a certificate: its settings and its array, and only questions that it doesn't rest on."""

import asyncio
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sums

from ATTS.emulator import Server
from ATTS.errors import UserError
from ATTS.flags import make
from ATTS.runs.evaluate import evaluate_async
from ATTS.runs.settings import AsyncSettings
from ATTS.store import certificate
from ATTS.store.result_folder import read_summary
from ATTS.tradeoff.certify import CertifySettings, certify


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs at .9 and .5 on 60 questions, and a certificate for the latter."""
    folder = sums.make(tmp_path_factory.mktemp("runs"), 80, (0.9, 0.5))
    asyncio.run(certify(CertifySettings(runs=(folder,), max_loss=0.1, output=folder / "c.json")))
    return folder


def run(made: Path, out: Path, numbers: range | list[int], **more: Any) -> Path:
    """What a person types who has nothing but the certificate, and the servers' addresses."""

    async def main() -> Path:
        async with Server(sums.served("draft")) as one, Server(sums.served("target")) as two:
            flags: dict[str, Any] = {
                "small_model_name": "draft",
                "eval_model_name": "target",
                "small_model_url": one.url,
                "eval_model_url": two.url,
                "dataset_name": str(sums.data(out.with_suffix(".jsonl"), numbers)),
                "repeats": 3,
                "certificate": made / "c.json",
                "output_dir": out,
            }
            return await evaluate_async(make(AsyncSettings, **flags | more), per_question=False)

    return asyncio.run(main())


def test_the_certified_setting_runs_on_other_questions_with_the_promise(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = run(made, tmp_path / "out", range(500, 530))
    told = json.loads((folder / "settings.json").read_text())
    assert told["settings"]["rejection_rate"] == 0.5
    assert told["settings"]["use_chat_template"]
    assert told["decisive"]["calibration"] == certificate.load(made / "c.json").calibration["digest"]
    assert "certificate" not in told["decisive"]  # where its settings are from decides nothing
    assert "c.json: with 90 % confidence, samples on questions like these 60" in capsys.readouterr().err
    summary = read_summary(folder)
    assert (summary["mean_accuracy"], summary["samples"]) == (1.0, 90)


def test_questions_that_it_rests_on_are_refused_by_number(made: Path, tmp_path: Path) -> None:
    known = certificate.load(made / "c.json").question_ids
    with pytest.raises(UserError, match=r"rests on questions 1, 2 of .*out\.jsonl, so it promises nothing") as caught:
        run(made, tmp_path / "out", [500, 3, 7])  # whether certified or calibrated on
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match=r"rests on questions 0, 1, 2, 3, 4 and 75 more"):
        run(made, tmp_path / "out", range(80))
    assert len(known) == 60
    assert not list(tmp_path.glob("out/problem_*"))


def test_a_flag_that_contradicts_it_is_refused(made: Path, tmp_path: Path) -> None:
    for more, message in (
        ({"rejection_rate": 0.3}, r"--rejection_rate 0\.3 contradicts .*c\.json, which is for 0\.5"),
        ({"eval_model_name": "draft"}, r"--eval_model_name draft contradicts"),
        ({"turns": 3}, r"--turns 3 contradicts"),
    ):
        with pytest.raises(UserError, match=message):
            run(made, tmp_path / "out", range(500, 503), **more)
    run(made, tmp_path / "out", range(500, 503), rejection_rate=0.5)  # said again is no contradiction


def test_another_array_or_command_is_refused(made: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.npy"
    np.save(other, np.linspace(1.0, 2.0, 40))
    with pytest.raises(UserError, match="is not the calibration array of"):
        run(made, tmp_path / "out", range(500, 503), ppl_array_path=other)
    base: dict[str, Any] = {"small_model_name": "draft", "eval_model_name": "target", "dataset_name": "demo"}
    with pytest.raises(UserError, match=r"is for python -m ATTS\.ref_async"):
        asyncio.run(evaluate_async(make(AsyncSettings, **base, certificate=made / "c.json"), per_question=True))
    with pytest.raises(UserError, match="does not exist; make one with"):
        asyncio.run(evaluate_async(make(AsyncSettings, **base, certificate=tmp_path / "no.json"), per_question=False))
