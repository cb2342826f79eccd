"""The result folder: whole files only, resumed by content, refused when it is another run's."""

import asyncio
import fcntl
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from ATTS.errors import ExitStatus, UserError
from ATTS.method.chain import Chain
from ATTS.store import atomic
from ATTS.store.records import Key, record
from ATTS.store.result_folder import ResultStore, samples
from ATTS.tasks.answers import find_answer
from ATTS.tasks.datasets import Question

ABOUT = {"decisive": {"turns": 15, "calibration": "abc"}}
QUESTIONS = [Question(i, f"question {i}", str(i)) for i in range(3)]
KEYS = [Key(question, repeat, 2) for question in QUESTIONS for repeat in range(2)]


def content(key: Key, status: ExitStatus = ExitStatus.ANSWERED) -> dict[str, Any]:
    return record(key, Chain(find_answer), status, None, 1.5, {"settings_digest": "d", "calibration_digest": None})


def save(store: ResultStore, *keys: Key, status: ExitStatus = ExitStatus.ANSWERED) -> None:
    for key in keys:
        asyncio.run(store.save(content(key, status)))


def test_what_is_saved_is_not_owed_again(tmp_path: Path) -> None:
    with ResultStore(tmp_path, ABOUT, force=False) as store:
        assert store.owed(KEYS) == KEYS
        save(store, KEYS[0], KEYS[3])
    with ResultStore(tmp_path, ABOUT, force=False) as store:
        assert store.owed(KEYS) == [KEYS[1], KEYS[2], KEYS[4], KEYS[5]]
    assert [s["problem_index"] for s in samples(tmp_path)] == [0, 3]


@pytest.mark.parametrize("status", list(ExitStatus))
def test_only_what_servers_or_people_stopped_is_owed_again(tmp_path: Path, status: ExitStatus) -> None:
    with ResultStore(tmp_path, ABOUT, force=False) as store:
        save(store, KEYS[0], status=status)
        owed = KEYS[0] in store.owed(KEYS)
    assert owed == (status in {ExitStatus.SERVER_FAILED, ExitStatus.SCORE_FAILED, ExitStatus.CANCELLED})


@pytest.mark.parametrize("cut", [0, 1, 100, -3])
def test_a_torn_file_is_work_still_owed(tmp_path: Path, cut: int) -> None:
    with ResultStore(tmp_path, ABOUT, force=False) as store:
        save(store, KEYS[0])
        path = store.path(0)
        path.write_bytes(path.read_bytes()[:cut])
        assert KEYS[0] in store.owed(KEYS)
    assert list(samples(tmp_path)) == []


def test_a_folder_of_another_run_is_refused_with_the_difference_and_left_as_it_is(tmp_path: Path) -> None:
    ResultStore(tmp_path, ABOUT, force=False).close()
    before = (tmp_path / "settings.json").read_bytes()
    other = {"decisive": {"turns": 20, "calibration": "abc"}}
    with pytest.raises(UserError, match="turns: made with 15, now 20"):
        ResultStore(tmp_path, other, force=False)
    assert (tmp_path / "settings.json").read_bytes() == before
    ResultStore(tmp_path, other, force=True).close()


def test_a_sample_of_another_question_under_the_same_number_is_noticed(tmp_path: Path) -> None:
    with ResultStore(tmp_path, ABOUT, force=False) as store:
        save(store, KEYS[0])
        with pytest.raises(UserError, match="the data set has changed"):
            store.owed([Key(Question(0, "something else", "1"), 0, 2)])


def test_a_reference_that_was_corrected_is_corrected_in_the_samples(tmp_path: Path) -> None:
    with ResultStore(tmp_path, ABOUT, force=False) as store:
        save(store, *KEYS)
    corrected = [Question(q.index, q.problem, "corrected") if q.index == 1 else q for q in QUESTIONS]
    with ResultStore(tmp_path, ABOUT, force=False) as store:
        assert store.finished([Key(question, repeat, 2) for question in corrected for repeat in range(2)]) == set(
            range(6)
        )
    assert [s["reference_answer"] for s in samples(tmp_path)] == ["0", "0", "corrected", "corrected", "2", "2"]


def test_lines_of_a_journal_are_on_the_disk_when_they_are_reported_in_their_order(tmp_path: Path) -> None:
    """Also when some of the callers are cancelled; what they had begun may be there, once."""
    path = tmp_path / "journal"
    journal = atomic.Journal(path)

    async def add(number: int) -> None:
        await journal.add(str(number).encode())
        assert str(number) in path.read_text().split()

    async def run() -> None:
        adding = [asyncio.create_task(add(number)) for number in range(200)]
        await asyncio.sleep(0)
        for task in adding[::7]:
            task.cancel()
        await asyncio.gather(*adding, return_exceptions=True)
        await add(200)
        assert all(task.cancelled() or not task.exception() for task in adding)

    asyncio.run(run())
    assert path.read_text().split() == [str(number) for number in range(201)]
    asyncio.run(add(201))
    assert path.read_text().endswith("200\n201\n")


def test_a_journal_that_can_not_be_written_says_so_and_the_loop_goes_on(tmp_path: Path) -> None:
    async def run() -> int:
        journal = atomic.Journal(tmp_path)  # a folder
        told = await asyncio.gather(*(journal.add(b"x") for _ in range(5)), return_exceptions=True)
        return sum(isinstance(error, OSError) for error in told)

    assert asyncio.run(run()) == 5


def test_results_of_unknown_origin_are_not_added_to(tmp_path: Path) -> None:
    (tmp_path / "problem_0000.json").write_text(json.dumps({"problem_index": 0, "full_history": []}))
    with pytest.raises(UserError, match="unknown origin"):
        ResultStore(tmp_path, ABOUT, force=False)


def test_a_folder_that_is_removed_under_a_run_says_so_and_the_same_command_begins_anew(tmp_path: Path) -> None:
    """Also where a sample came between the removal of one file and the next."""
    about, folder = {**ABOUT, "digest": "d"}, tmp_path / "run"
    with ResultStore(folder, about, force=False) as store:
        save(store, KEYS[0])
        (folder / "settings.json").unlink()
        with pytest.raises(UserError, match=r"run was removed or moved away while .* same command begins anew"):
            save(store, KEYS[1])
        shutil.rmtree(folder)
        with pytest.raises(UserError, match="removed or moved away"):
            save(store, KEYS[1])
        assert not folder.exists()
    with ResultStore(folder, about, force=False) as store:
        save(store, KEYS[1])
        (folder / "settings.json").unlink()
    with ResultStore(folder, about, force=False) as store:
        assert KEYS[1] not in store.owed(KEYS)
    (folder / "settings.json").unlink()
    with pytest.raises(UserError, match="unknown origin"):
        ResultStore(folder, {**ABOUT, "digest": "another"}, force=False)


def test_what_killed_writes_left_behind_is_removed_and_what_another_writes_is_not(tmp_path: Path) -> None:
    left, held = tmp_path / ".problem_0001.json.abc.tmp", tmp_path / ".problem_0002.json.abc.tmp"
    left.touch()
    with held.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        ResultStore(tmp_path, ABOUT, force=False).close()
        assert (left.exists(), held.exists()) == (False, True)


def test_no_file_outside_the_folder_is_written_through_a_link(tmp_path: Path) -> None:
    outside, folder = tmp_path / "outside", tmp_path / "run"
    folder.mkdir()
    for name in ("problem_0000.json", "settings.json", "summary.json", "decisions.jsonl"):
        (folder / name).symlink_to(outside)
    with ResultStore(folder, ABOUT, force=True) as store:
        save(store, KEYS[0])
        store.save_summary({"samples": 1})
    assert not outside.exists()
    (folder / ".lock").unlink()
    (folder / ".lock").symlink_to(outside)
    with pytest.raises(UserError, match="can't be written to"):
        ResultStore(folder, ABOUT, force=False)
    assert not outside.exists()


ODD = {
    "problem_index": ("../../x", -1, True, 1.5, None),
    "full_history": (None, {}, [3], [{}], [{"turn": "0", "model": "small"}], [{"turn": 0}]),
    "final_answer": (3, [], {}),
    "usage": (None, [], {"draft": 3}),
    "exit_status": (None, 3),
    "duration_seconds": ("1", None),
    "question": (None, 3),
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in ODD.items() for value in values])
def test_a_sample_with_odd_values_is_refused_with_its_file_or_read_without_them(
    tmp_path: Path, name: str, value: object
) -> None:
    path = tmp_path / "problem_0000.json"
    path.write_text(json.dumps({**content(KEYS[0]), name: value}))
    try:
        (found,) = samples(tmp_path)
    except UserError as error:
        assert str(path) in str(error)  # noqa: PT017 - either is right
    else:
        assert found["problem_index"] == 0
        assert found.get(name) is None or found[name] != value or name == "duration_seconds"


def test_two_runs_do_not_write_to_one_folder(tmp_path: Path) -> None:
    with ResultStore(tmp_path, ABOUT, force=False), pytest.raises(UserError, match="another run"):
        ResultStore(tmp_path, ABOUT, force=False)
    ResultStore(tmp_path, ABOUT, force=False).close()


def test_a_folder_that_can_not_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="can't be written"):
        ResultStore(tmp_path / "file" / "results", ABOUT, force=False)


def test_more_than_10000_samples_are_read_in_the_order_of_their_index(tmp_path: Path) -> None:
    for index in (9999, 10000, 2, 10):
        (tmp_path / f"problem_{index:04d}.json").write_text(json.dumps({"problem_index": index, "full_history": []}))
    assert [s["problem_index"] for s in samples(tmp_path)] == [2, 10, 9999, 10000]


def test_a_save_that_has_begun_survives_cancellation(tmp_path: Path) -> None:
    async def cancelled_while_saving(store: ResultStore) -> None:
        saving = asyncio.create_task(store.save(content(KEYS[0])))
        await asyncio.sleep(0)
        saving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await saving

    with ResultStore(tmp_path, ABOUT, force=False) as store:
        asyncio.run(cancelled_while_saving(store))
        assert KEYS[0] not in store.owed(KEYS)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "target"
    atomic.write(path, b"old")
    with pytest.raises(TypeError):
        atomic.write(path, "text")  # type: ignore[arg-type]
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
