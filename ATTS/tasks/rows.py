"""Rows of data files, each with the place where it stands: JSON lines in any Unicode encoding, and Parquet."""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from io import StringIO
from pathlib import Path
from typing import Any

from ATTS.errors import UserError

PLAIN_DIGITS = 60  # a number that has more of them without its exponent keeps the exponent


class Number(str):
    """A number as it is written in the file: 0.00005 stays that, and no digit is lost."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Row:
    """One row; ``where`` names its file and line for messages."""

    where: str
    fields: dict[str, Any]

    def text(self, column: str) -> str:
        """What stands in ``column``, as it is written. Raises UserError if that is no text or number, or blank."""
        if column not in self.fields:
            raise UserError(f"{self.where}: no {column}")
        return self.plain(self.fields[column], column)

    def plain(self, value: object, what: str) -> str:
        """``value``, which the message calls ``what``, as text. Raises UserError as above."""
        if isinstance(value, Number):
            text = _plain_number(value)
        elif isinstance(value, bool):
            text = json.dumps(value)
        elif isinstance(value, int | Decimal):
            text = _plain_number(str(value))
        elif isinstance(value, float):
            text = _plain_number(repr(value)) if math.isfinite(value) else ""
        elif isinstance(value, str):
            text = value
            _check_unicode(text, f"{self.where}: the {what}")
        elif value is None:
            text = ""
        else:
            raise UserError(f"{self.where}: the {what} is {_kind(value)}, not a text or a number")
        if not text.strip():
            problem = f"no {what}" if value in (None, "") else f"the {what} is {_kind(value)}"
            raise UserError(f"{self.where}: {problem}")
        return text


def read_jsonl(path: Path) -> Iterator[Row]:
    """The rows of a JSON-lines file; blank lines are none. Raises UserError."""
    for number, line in enumerate(StringIO(_text(path), newline=None), 1):
        where = f"{path}, line {number}"
        if not line.strip():
            continue
        try:
            row = json.loads(line, parse_float=Number, parse_int=Number)
        except json.JSONDecodeError as error:
            raise UserError(f"{where}: not JSON ({error.msg} at character {error.pos + 1})") from None
        except RecursionError:
            raise UserError(f"{where}: not JSON that can be read: it is nested too deeply") from None
        if not isinstance(row, dict):
            raise UserError(f"{where}: not a JSON object")
        yield Row(where, row)


def read_parquet(path: Path) -> Iterator[Row]:
    """The rows of a Parquet file. Raises UserError."""
    import pyarrow
    import pyarrow.parquet

    try:
        rows = pyarrow.parquet.read_table(path).to_pylist()
    except (OSError, pyarrow.ArrowException) as error:
        raise UserError(f"{path} can't be read as Parquet: {error}") from None
    for number, row in enumerate(rows, 1):
        yield Row(f"{path}, row {number}", row)


def _text(path: Path) -> str:
    """A file's text: UTF-8, or UTF-16 and UTF-32 as JSON's first bytes tell them; a byte order mark is no text."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} can't be read: {error.strerror}") from None
    encoding = json.detect_encoding(raw)
    try:
        return raw.decode(encoding)
    except UnicodeDecodeError as error:
        line = raw[: error.start].decode(encoding, "replace").count("\n") + 1
        wrong = raw[error.start : error.start + 1].hex()
        raise UserError(
            f"{path}, line {line}: not {error.encoding.upper()} text (byte 0x{wrong}); write the file in UTF-8,"
            " for example with iconv -f ISO-8859-1 -t UTF-8 if it is Latin-1"
        ) from None


def _check_unicode(text: str, what: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise UserError(
            f"{what} holds \\u{ord(text[error.start]):04x}, half of a character (a lone surrogate): write the character"
            " itself, or remove it"
        ) from None


def _plain_number(written: str) -> str:
    """Without an exponent, and a whole number without its ".0"; otherwise as written."""
    try:
        number = Decimal(written)
    except InvalidOperation:
        return written
    if abs(number.adjusted()) > PLAIN_DIGITS or not number.is_finite():
        return written
    text = format(number, "f")
    whole, _, decimals = text.partition(".")
    return text if decimals.strip("0") else whole


def _kind(value: object) -> str:
    if isinstance(value, float):
        return "not a number" if math.isnan(value) else "not finite"
    if isinstance(value, str):
        return "blank"
    return "an object" if isinstance(value, dict) else "a list" if isinstance(value, list) else type(value).__name__
