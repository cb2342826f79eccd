"""Calibration arrays: safe, checked, and the published ones readable."""

import asyncio
import io
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ATTS.errors import UserError
from ATTS.store import calibration
from ATTS.store.journal import Journal


def test_every_published_array_loads_in_its_mode_and_in_no_other(published_arrays: Path) -> None:
    loaded = 0
    for path in sorted(published_arrays.glob("ppls_*.npy")):
        per_question = path.name.endswith(".matrix.npy")
        raw = np.load(path)
        array = calibration.load(path, per_question)
        assert np.array_equal(array.scores, raw)
        with pytest.raises(UserError, match="is needed here"):
            calibration.load(path, not per_question)
        loaded += 1
    assert loaded >= 25


@given(scores=arrays(np.float64, st.tuples(st.integers(1, 5), st.integers(1, 4)), elements=st.floats(1, 1e6)))
def test_saving_and_loading_gives_the_scores_back_with_their_provenance(
    tmp_path_factory: pytest.TempPathFactory, scores: np.ndarray
) -> None:
    path = tmp_path_factory.mktemp("arrays") / "a.npy"
    calibration.save(path, scores, {"made_for": {"dataset_name": "demo"}})
    array = calibration.load(path, per_question=True)
    assert np.array_equal(array.scores, scores)
    assert array.provenance is not None
    assert array.provenance["made_for"] == {"dataset_name": "demo"}
    assert array.provenance["digest"] == array.digest


def test_the_published_pickled_dictionary_is_read(tmp_path: Path) -> None:
    path = tmp_path / "per_question.npy"
    rows = {1: [np.float64(1.5), 2.0], 0: [1.25, 3.0]}
    np.save(path, rows)  # type: ignore[arg-type]
    assert calibration.load(path, per_question=True).scores.tolist() == [[1.25, 3.0], [1.5, 2.0]]


def test_a_hostile_pickle_executes_nothing(tmp_path: Path) -> None:
    witness = tmp_path / "witness"

    class Hostile:
        def __reduce__(self) -> object:
            return os.system, (f"touch {witness}",)

    for content in (Hostile(), {0: [Hostile()]}):
        path = tmp_path / "adversarial.npy"
        np.save(path, np.array(content, dtype=object))
        with pytest.raises(UserError):
            calibration.load(path, per_question=True)
        assert not witness.exists()


@pytest.mark.parametrize("content", [b"", b"junk", b"\x93NUMPY", pickle.dumps({0: [1.0]})])
@pytest.mark.parametrize("per_question", [False, True])
def test_a_file_that_is_no_array_is_refused(tmp_path: Path, content: bytes, per_question: bool) -> None:
    path = tmp_path / "bad.npy"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"bad\.npy"):
        calibration.load(path, per_question)


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (np.array([]), "is empty"),
        (np.array([1.5, np.nan]), "1 scores of 2 that are not finite"),
        (np.array([1.5, np.inf]), "not finite"),
        (np.array([1.5, 0.0]), "below 1"),
        (np.ones((2, 2)), "ref_async_per_question"),
        (np.ones((2, 2, 2)), "no calibration array"),
        (np.array(["a"]), "not numbers"),
        (np.array([True]), "not numbers"),
    ],
)
def test_unusable_scores_are_refused_with_the_reason(tmp_path: Path, scores: np.ndarray, message: str) -> None:
    path = tmp_path / "bad.npy"
    np.save(path, scores)
    with pytest.raises(UserError, match=message):
        calibration.load(path, per_question=False)


def test_a_missing_array_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"ATTS\.ref_conformal_per_question"):
        calibration.load(tmp_path / "none.npy", per_question=True)


def test_an_array_that_its_provenance_does_not_describe_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    calibration.save(path, np.array([1.5, 2.0]), {})
    buffer = io.BytesIO()
    np.save(buffer, np.array([1.5, 2.5]))
    path.write_bytes(buffer.getvalue())
    with pytest.raises(UserError, match="is not the array that"):
        calibration.load(path, per_question=False)
    calibration.provenance_path(path).write_text("{")
    with pytest.raises(UserError, match="is not JSON"):
        calibration.load(path, per_question=False)


def test_arrays_whose_names_differ_anywhere_have_descriptions_of_their_own(tmp_path: Path) -> None:
    names = ("a.npy", "a", "temp0.8", "temp0.9", "temp0.8.npy", "scores.v1", "scores.v2", "b.json")
    for number, name in enumerate(names):
        calibration.save(tmp_path / name, np.array([1.5 + number]), {"name": name})
    for name in names:
        about = calibration.load(tmp_path / name, per_question=False).provenance
        assert about is not None
        assert about["name"] == name
    partials = set()
    for name in names:
        with Journal(tmp_path / name, name) as partial:
            partials.add(partial.path)
    assert len(partials) == len(names)


def test_one_run_at_a_time_makes_an_array(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    with Journal(path, "digest") as first:
        asyncio.run(first.add({"row": 1}))
        with pytest.raises(UserError, match=r"another run is making .*a\.npy"):
            Journal(path, "digest")
    with Journal(path, "digest") as again:
        assert again.entries == [{"row": 1}]
        again.remove()
        with Journal(path, "digest") as new:  # the name is free, whoever still holds the file that had it
            assert new.entries == []


def with_header(header: str, content: bytes) -> bytes:
    padded = header.encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(padded).to_bytes(2, "little") + padded + content


FLOATS = "{'descr': '<f8', 'fortran_order': False, 'shape': (SHAPE,), }"
OBJECT = "{'descr': '|O', 'fortran_order': False, 'shape': (), }"
ODD_ARRAYS = {
    **{
        shape: with_header(FLOATS.replace("SHAPE", shape), b"x" * 8) for shape in ("9" * 13, "9" * 30, "2", "-1", "1e9")
    },
    "deep": with_header("(" * 110, b""),
    "archive": b"PK\x03\x04" + b"x" * 50,
    "deep pickle": with_header(OBJECT, b"(" * 10**6 + b"t" * 10**6),
    "huge pickle": with_header(OBJECT, b"\x8e" + b"\xff" * 7 + b"\x7f"),
}


@pytest.mark.parametrize("name", ODD_ARRAYS)
def test_an_odd_array_is_refused_in_a_line(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.npy").write_bytes(ODD_ARRAYS[name])
    with pytest.raises(UserError, match=r"a\.npy"):
        calibration.load(tmp_path / "a.npy", None)


@pytest.mark.parametrize(
    "odd",
    [
        *({calibration.COUNTS: counts} for counts in ([1, 2], ["2"], 3, [3, -1], [[2]], None)),
        *({"groups": 3}, {"question_ids": [None]}, {"made_for": []}, {"sample_size": "16"}),
    ],
)
def test_an_odd_description_is_refused_in_a_line(tmp_path: Path, odd: dict[str, object]) -> None:
    path = tmp_path / "a.npy"
    calibration.save(path, np.array([1.5, 2.5]), odd)
    with pytest.raises(UserError, match=r"a\.json is damaged: "):
        calibration.load(path, None)
    calibration.provenance_path(path).write_text("[" * 100_000)
    with pytest.raises(UserError, match=r"a\.json is not JSON"):
        calibration.load(path, None)


@pytest.mark.parametrize(
    "content", [[1.5, 2.0], [[1.5], [2.0, 3.0]], {"a": 1}, {0: 1.5}, {0: ["x"]}, None, {0: [1.5], "b": [1.5]}]
)
@pytest.mark.parametrize("per_question", [False, True])
def test_an_array_of_objects_is_refused_with_the_form_that_is_read(
    tmp_path: Path, content: object, per_question: bool
) -> None:
    path = tmp_path / "objects.npy"
    array = np.empty(len(content) if isinstance(content, list) else (), dtype=object)
    array[...] = content if isinstance(content, list) and not isinstance(content[0], list) else None
    if not isinstance(content, list):
        array[()] = content
    np.save(path, array)
    with pytest.raises(UserError, match=r"objects\.npy holds Python objects, .*dictionary of question.*numpy\.save"):
        calibration.load(path, per_question)
