"""The bytes of a calibration array: numbers, or the published dictionary, read without running anything in it."""

import io
import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ATTS.errors import UserError

Scores = NDArray[np.float64]
# An array by turn: one entry a scored chunk, ``question`` being the row of the question in question_ids.
BY_TURN = np.dtype([("turn", "<i4"), ("question", "<i4"), ("score", "<f8")])


def parse(path: Path, raw: bytes) -> NDArray[Any]:
    """Numbers of one kind, or the columns of an array by turn. Raises UserError."""
    if raw.startswith(b"PK"):
        raise UserError(f"{path} is an archive of arrays, not one array")
    try:
        if _is_pickled(raw):
            array: NDArray[Any] = _pickled_dictionary(path, raw)
        else:
            array = np.load(io.BytesIO(raw), allow_pickle=False)
    except Exception as error:
        raise UserError(f"{path} is not a NumPy array: {error}") from None
    if array.dtype == BY_TURN and array.ndim == 1 and (array["turn"] >= 0).all() and (array["question"] >= 0).all():
        return np.asarray(array)
    if array.dtype.kind not in "fiu":
        raise UserError(f"{path} holds {array.dtype}, not numbers")
    return np.asarray(array, dtype=np.float64)


def _is_pickled(raw: bytes) -> bool:
    """Whether an array holds objects. Raises ValueError if it has not the bytes that its header says, which may be more
    than any machine has."""
    stream = io.BytesIO(raw)
    shape, _, kind = _header(stream)
    size, there = math.prod(shape) * kind.itemsize, len(raw) - stream.tell()
    if not kind.hasobject and size != there:
        raise ValueError(f"its header says {size} bytes, and there are {there}")
    return kind.hasobject


def _header(stream: io.BytesIO) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, order and type of an array; the stream stands behind it then. Raises ValueError."""
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    return read(stream)


def _pickled_dictionary(path: Path, raw: bytes) -> Scores:
    """The published conditional form: {question number: [scores]} saved by np.save with pickle."""
    stream = io.BytesIO(raw)
    try:
        _header(stream)
        content = _InertUnpickler(stream).load()
        rows = {int(key): [float(value) for value in values] for key, values in content.content().items()}
    except Exception:  # a damaged or hostile stream can fail anywhere
        raise UserError(
            f"{path} holds Python objects, of which only the published form is read, one dictionary of question"
            " numbers with a list of scores each; save numbers: numpy.save(path, numpy.array(scores, dtype=float))"
        ) from None
    if sorted(rows) != list(range(len(rows))):
        raise UserError(f"{path} lacks questions: it has {len(rows)} rows numbered up to {max(rows, default=-1)}")
    lengths = {len(row) for row in rows.values()}
    if len(lengths) > 1:
        raise UserError(f"{path} has rows of different lengths: {sorted(lengths)}")
    return np.array([rows[i] for i in range(len(rows))], dtype=np.float64)


class _Inert:
    """Stands for any class a stream names: takes whatever it is given and does nothing."""

    def __init__(self, *args: Any) -> None:
        self.args = args
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def content(self) -> Any:
        """The only element of a 0-d object array, whose state is (version, shape, dtype, order, [object])."""
        return self.state[4][0]

    def __float__(self) -> float:
        """A NumPy scalar: built from a dtype and eight bytes."""
        return float(np.frombuffer(self.args[1], dtype="<f8")[0])


class _InertUnpickler(pickle.Unpickler):
    """Never imports or calls anything of the stream's choosing."""

    def find_class(self, _module: str, _name: str) -> Any:
        return _Inert
