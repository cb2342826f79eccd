"""Certificates from real result folders: what is chosen, what is said, what is refused."""

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import sums
from conftest import door

from ATTS.errors import UserError
from ATTS.store import certificate
from ATTS.tradeoff.certify import CertifySettings, certify


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs at three rates, of 60 questions: .5 sees every bad chunk, .1 a quarter of them."""
    return sums.make(tmp_path_factory.mktemp("runs"), 80, (0.9, 0.5, 0.1))


def ask(folder: Path, tmp_path: Path, **more: Any) -> CertifySettings:
    return CertifySettings(**{"runs": (folder,), "max_loss": 0.1, "output": tmp_path / "c.json"} | more)


def test_the_cheapest_setting_that_holds_is_certified_and_the_command_for_it_told(made: Path, tmp_path: Path) -> None:
    told = asyncio.run(certify(ask(made, tmp_path)))
    found = certificate.load(tmp_path / "c.json")
    assert (found.settings["rejection_rate"], found.loss, found.n) == (0.5, 0.0, 60)
    rows = {row["setting"]: row for row in found.tried}
    assert [rows[name]["certified"] for name in ("atts_0.9", "atts_0.5", "atts_0.1")] == [True, True, False]
    assert rows["atts_0.1"]["loss"] > 0.2
    assert rows["atts_0.9"]["cost"] > found.cost == rows["atts_0.5"]["cost"]
    assert found.loss < found.bound <= 0.1
    assert len(set(found.question_ids)) == 60
    assert "with 90 % confidence, samples on questions like these 60" in told
    assert f"python -m ATTS.ref_async --certificate {tmp_path / 'c.json'} --small_model_name draft" in told


def test_the_front_door_says_the_same(made: Path, tmp_path: Path) -> None:
    done = door("certify", str(made), "--max_loss", "0.1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert certificate.load(tmp_path / "certificate.json").settings["rejection_rate"] == 0.5
    done = door("certify", str(made), "--max_loss", "0.001", "--output", "none.json", cwd=tmp_path)
    assert done.returncode == 2
    assert "nothing can be certified" in done.stderr
    assert "| atts_0.5 | 0.5 | +0.0 |" in done.stdout
    assert not (tmp_path / "none.json").exists()


def test_where_nothing_holds_it_says_what_it_would_take(made: Path, tmp_path: Path) -> None:
    message = r"atts_0.9, was seen to lose \+0.0 points; with losses like its own it takes about 1[123]\d questions"
    with pytest.raises(UserError, match=message):
        asyncio.run(certify(ask(made, tmp_path, max_loss=0.02)))


def test_a_loss_that_was_seen_and_is_too_much_is_no_question_of_numbers(made: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="which no number of questions helps"):
        asyncio.run(certify(ask(made, tmp_path, runs=(made / "target", made / "atts_0.1"))))


def test_bonferroni_costs_power_but_needs_no_order(made: Path, tmp_path: Path) -> None:
    asyncio.run(certify(ask(made, tmp_path, procedure="bonferroni", max_loss=0.12)))
    found = certificate.load(tmp_path / "c.json")
    assert found.settings["rejection_rate"] == 0.5
    asyncio.run(certify(ask(made, tmp_path, max_loss=0.12)))
    assert certificate.load(tmp_path / "c.json").bound < found.bound


def test_seconds_are_a_cost_too(made: Path, tmp_path: Path) -> None:
    asyncio.run(certify(ask(made, tmp_path, cost="seconds")))
    found = certificate.load(tmp_path / "c.json")
    clocks = [json.loads((made / name / "summary.json").read_text())["wall_seconds"] for name in ("target", "atts_0.5")]
    rows = {row["setting"]: row for row in found.tried}
    assert rows["atts_0.5"]["cost"] == pytest.approx(clocks[1] / clocks[0])
    assert found.cost_in == "seconds"


def edit(path: Path, **news: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **news}))


def copied(made: Path, tmp_path: Path, *names: str) -> Path:
    for name in names:
        shutil.copytree(made / name, tmp_path / "runs" / name)
    return tmp_path / "runs"


def test_a_changed_certificate_is_refused(made: Path, tmp_path: Path) -> None:
    asyncio.run(certify(ask(made, tmp_path)))
    edit(tmp_path / "c.json", max_loss=0.001)
    with pytest.raises(UserError, match="was changed after it was made"):
        certificate.load(tmp_path / "c.json")
    (tmp_path / "c.json").write_text("{}")
    with pytest.raises(UserError, match="is no certificate"):
        certificate.load(tmp_path / "c.json")
    with pytest.raises(UserError, match="does not exist"):
        certificate.load(tmp_path / "other.json")


def test_runs_that_say_nothing_about_other_questions_are_refused(made: Path, tmp_path: Path) -> None:
    folder = copied(made, tmp_path, "target", "atts_0.5")
    path = folder / "atts_0.5/settings.json"
    about = json.loads(path.read_text())
    own = certificate_questions(folder / "target")
    edit(path, calibration={**about["calibration"], "question_ids": own})
    with pytest.raises(UserError, match="was calibrated on 60 of its own questions"):
        asyncio.run(certify(ask(folder, tmp_path)))
    edit(path, calibration=None, settings={**about["settings"], "calibration": "online"})
    with pytest.raises(UserError, match="decides by the questions that came before"):
        asyncio.run(certify(ask(folder, tmp_path)))
    edit(path, command="spec_reason", settings=about["settings"])
    with pytest.raises(UserError, match="was made by spec_reason"):
        asyncio.run(certify(ask(folder, tmp_path)))


def certificate_questions(folder: Path) -> list[str]:
    return sorted({json.loads(path.read_text())["question_id"] for path in folder.glob("problem_*.json")})


def test_folders_that_do_not_belong_together_are_refused(made: Path, tmp_path: Path) -> None:
    folder = copied(made, tmp_path, "target", "draft", "atts_0.5", "atts_0.9")
    with pytest.raises(UserError, match="none of the runs is of the target target alone"):
        asyncio.run(certify(ask(folder / "draft", tmp_path, runs=(folder / "draft", folder / "atts_0.5"))))
    with pytest.raises(UserError, match="besides the target alone"):
        asyncio.run(certify(ask(folder, tmp_path, runs=(folder / "target",))))
    with pytest.raises(UserError, match=r"has no settings\.json"):
        asyncio.run(certify(ask(folder, tmp_path, runs=(tmp_path / "nothing", folder / "target"))))
    with pytest.raises(UserError, match="have the same name"):
        asyncio.run(certify(ask(folder, tmp_path, runs=(folder, made / "atts_0.5"))))
    shutil.copytree(folder / "atts_0.5", folder / "again")
    with pytest.raises(UserError, match="are of the same settings"):
        asyncio.run(certify(ask(folder, tmp_path)))
    shutil.rmtree(folder / "again")
    edit(folder / "atts_0.9/summary.json", owed=1)
    with pytest.raises(UserError, match="owes 1 samples"):
        asyncio.run(certify(ask(folder, tmp_path)))
    shutil.rmtree(folder / "atts_0.9")
    for path in (folder / "atts_0.5").glob("problem_*.json"):
        edit(path, question_id=json.loads(path.read_text())["question_id"][::-1])
    with pytest.raises(UserError, match="are not of the same questions"):
        asyncio.run(certify(ask(folder, tmp_path)))


@pytest.mark.parametrize("more", [{"max_loss": 1.0}, {"max_loss": -0.1}, {"confidence": 1.0}, {"confidence": 0.3}])
def test_settings_that_make_no_certificate_are_refused(more: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="must lie in"):
        ask(tmp_path, tmp_path, **more)
