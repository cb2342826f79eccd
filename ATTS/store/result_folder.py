"""The result folder: one file a sample, written whole or not at all, resumed by content."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import orjson

from ATTS.console import say
from ATTS.errors import UserError
from ATTS.store import atomic, foreign, lock
from ATTS.store.provenance import UNTOLD, differences
from ATTS.store.records import OWED, SCHEMA, Key, Record
from ATTS.store.summary import Summary

SETTINGS = "settings.json"
SUMMARY = "summary.json"
LOCK = ".lock"
# What this project's samples all have; a file without any of them is read as another program's.
OWN_KEYS = {"problem_index", "final_answer", "full_history", "duration_seconds", "exit_status", "usage"}


class ResultStore:
    """A folder that one run writes to, or several shards of one. Use as a context manager: it holds a lock, on the
    folder or on its shard's part of it."""

    def __init__(self, folder: Path, about: Mapping[str, Any], force: bool, shard: str = "") -> None:
        """Opens or makes ``folder`` for the run that ``about`` describes.

        ``about["decisive"]`` are the settings that decide what results mean. A folder made with
        others is refused with the difference, unless ``force``. ``shard``: the name of this part of the run, of
        which there are ``about["shards"]``. Raises UserError.
        """
        self.folder, self.shard = folder, shard
        self._lock: int | None = None
        self._claim: lock.Claim | None = None
        name = f"{LOCK}.{shard}" if shard else LOCK
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(folder / name, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW, 0o644)
            self._claim = lock.hold(self._lock, folder / name)
            atomic.sweep(folder)
            self._check(about, force)
        except BlockingIOError as error:
            self.close()
            raise UserError(occupied(folder, shard, error)) from None
        except OSError as error:
            self.close()
            raise UserError(f"result folder {folder} can't be written to: {error}") from None
        except BaseException:
            self.close()
            raise

    def _check(self, about: Mapping[str, Any], force: bool) -> None:
        path = self.folder / SETTINGS
        if not path.exists():
            if not force and not self._all_of(about.get("digest")):
                raise UserError(
                    f"{self.folder} holds results without {SETTINGS}, so of unknown origin; choose another"
                    " --output_dir, or --force to add to them"
                )
            path.unlink(missing_ok=True)  # a link to nowhere
            if atomic.create(path, _json(about)):
                return
        try:
            known = json.loads(path.read_text())
            stored, cut = UNTOLD | known["decisive"], known.get("shards")
        except (ValueError, KeyError, TypeError, RecursionError, AttributeError) as error:
            raise UserError(f"{path} is damaged ({error}); restore it or choose another --output_dir") from None
        if cut != about.get("shards"):
            raise UserError(_other_shards(self.folder, cut))
        changed = differences(stored, about["decisive"])
        if changed and not force:
            raise UserError(
                f"{self.folder} holds results of another run:\n  "
                + "\n  ".join(changed)
                + "\nchoose another --output_dir, or --force to mix them"
            )
        if changed or not cut:  # those of shards are the same but for what their own files tell
            atomic.write(path, _json(about))

    def _all_of(self, digest: str | None) -> bool:
        """Whether no sample in the folder is of a run with other settings."""
        found = (parsed(path) for path in paths(self.folder))
        return all(isinstance(one, dict) and digest and one.get("settings_digest") == digest for one in found)

    def __enter__(self) -> "ResultStore":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Lets other runs use the folder."""
        if self._claim is not None:
            self._claim.release()
            self._claim = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def owed(self, keys: Sequence[Key]) -> list[Key]:
        """Those of ``keys`` without a finished sample. Raises UserError if a file is another question's."""
        done = self.finished(keys)
        return [key for key in keys if key.index not in done]

    def finished(self, keys: Sequence[Key]) -> set[int]:
        """Indexes of the finished samples among ``keys``. Raises UserError if a file is another question's.

        A file counts by its content: one that is torn is work still owed. A reference answer that was
        corrected in the data set since is corrected in the samples, too, so that they are graded alike.
        """
        corrected: dict[int, Record] = {}
        there = {name for name in os.listdir(self.folder) if name.startswith("problem_")}
        done = set()
        for key in keys if there else ():
            path = self.path(key.index)
            record = read(path) if path.name in there else None
            if record is None:
                continue
            if record.get("question_id") != key.question.id or record.get("repeat") != key.repeat:
                raise UserError(
                    f"{path} is a sample of another question than this data set's question"
                    f" {key.question.index}: the data set has changed; choose another --output_dir"
                )
            if record.get("exit_status") not in OWED:
                done.add(key.index)
                if record.get("reference_answer") != key.question.answer:
                    corrected[key.index] = {**record, "reference_answer": key.question.answer}
        for index, content in corrected.items():
            atomic.write(self.path(index), _json(content))
        if corrected:
            say(f"{len(corrected)} samples in {self.folder} get the reference answers that the data set has today")
        return done

    def path(self, index: int) -> Path:
        """The file of a sample."""
        return self.folder / f"problem_{index:04d}.json"

    async def save(self, content: Record) -> None:
        """Writes one sample; once begun it is finished even if the run is cancelled. Raises UserError."""
        path = self.path(content["problem_index"])
        if self._claim is not None and self._claim.lost:
            raise UserError(
                f"{self.folder} was claimed by another run while this one stood still; rerun the same command when that"
                " one has ended"
            )
        try:
            (self.folder / SETTINGS).stat()
            await atomic.write_aside(path, _json(content), new_folder=False)
        except FileNotFoundError:
            raise UserError(removed(self.folder)) from None
        except OSError as error:
            raise UserError(
                f"{path} can't be written: {error.strerror}; the samples before it are kept. Make room, or make the"
                " folder writable, and rerun the same command to resume"
            ) from None

    def summary(self) -> Summary | None:
        """The summary of an earlier run of the same command; None if there is none."""
        return summary(self.folder)

    def save_summary(self, summary: Summary) -> None:
        """Writes summary.json. Raises OSError."""
        atomic.write(self.folder / SUMMARY, _json(summary), new_folder=False)


def occupied(folder: Path, shard: str, error: BlockingIOError) -> str:
    """What to say of a folder, or a shard's part of it, that another run has."""
    who = f" ({error.strerror})" if "process" in str(error.strerror) else ""
    return f"another run is writing to {folder}{f' as {shard}' if shard else ''}{who}"


def _other_shards(folder: Path, cut: int | None) -> str:
    if cut is None:
        return f"{folder} holds a run without shards: continue it without --shard, or choose another --output_dir"
    return (
        f"{folder} holds shards of a run that was cut into {cut}: give --shard i/{cut}, or join them with"
        " python -m ATTS.merge"
    )


def removed(folder: Path) -> str:
    """What to say of a folder that is no longer there."""
    return (
        f"{folder} was removed or moved away while the run wrote to it; move it back, or the same command begins anew"
    )


def summary(folder: Path) -> Summary | None:
    """A run's summary.json; None if there is none, or another program's."""
    content = _object(folder / SUMMARY)
    whole = all(isinstance(content.get(name), int) for name in ("samples", "owed"))
    return cast(Summary, content) if whole else None


def about_of(folder: Path) -> dict[str, Any]:
    """A run's settings.json; empty if there is none, or another program's."""
    content = _object(folder / SETTINGS)
    return content if isinstance(content.get("settings"), dict) else {}


def settings(folder: Path) -> dict[str, Any]:
    """The settings in it; empty likewise."""
    return dict(about_of(folder).get("settings", {}))


def update_summary(folder: Path, news: Mapping[str, Any]) -> None:
    """Replaces what a finished run's summary says of ``news``; a folder without one of this project's stays so."""
    known = summary(folder)
    if known:
        atomic.write(folder / SUMMARY, _json({**known, **news}))


def read(path: Path) -> Record | None:
    """A sample's record; None for a file that is missing, torn or no sample, which is work still owed."""
    content = parsed(path)
    if not isinstance(content, dict) or "problem_index" not in content or "full_history" not in content:
        return None
    if content.get("schema", SCHEMA) != SCHEMA:
        raise UserError(f"{path} has schema {content['schema']}; this version reads {SCHEMA}")
    return cast(Record, content)


def parsed(path: Path) -> Any:
    """What a JSON file holds; None where it is missing or torn."""
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UserError(f"{path} can't be read: {error.strerror}") from None
    try:
        return orjson.loads(raw)
    except ValueError:  # torn, or a published one with Infinity in it, which only the standard library reads
        try:
            return json.loads(raw)
        except ValueError:
            return None
        except RecursionError:
            raise UserError(f"{path} is nested too deeply to be a sample") from None


def read_summary(folder: Path) -> Summary:
    """What a finished run amounted to. Raises UserError if it isn't finished."""
    path = folder / SUMMARY
    if not path.exists():
        raise UserError(f"{folder} has no {SUMMARY}: the run is not finished; give its command again")
    known = summary(folder)
    if not known:
        raise UserError(f"{path} is damaged, or not of this project; give the run's command again")
    return known


def samples(folder: Path) -> Iterator[Record]:
    """Every whole sample of a result folder, in the order of its files. Raises UserError for a file that is none."""
    for _, sample in files(folder):
        yield sample


def files(folder: Path) -> Iterator[tuple[Path, Record]]:
    """Each with its file. Raises UserError, also for a sample that is there twice."""
    where: dict[int, Path] = {}
    for path in paths(folder):
        content = parsed(path)
        if content is None:  # missing or torn
            continue
        if isinstance(content, dict) and content.get("schema", SCHEMA) != SCHEMA:
            raise UserError(f"{path} has schema {content['schema']}; this version reads {SCHEMA}")
        sample = cast(Record, content) if _own(content) else foreign.sample(path, content)
        first = where.setdefault(sample["problem_index"], path)
        if first != path:
            raise UserError(f"{first} and {path} are both sample {sample['problem_index']}: remove one of them")
        yield path, sample


def paths(folder: Path) -> list[Path]:
    """The sample files of a result folder in the order of their numbers."""
    named = [(path.stem.removeprefix("problem_"), path) for path in folder.glob("problem_*.json")]
    return [path for _, path in sorted((int(number), path) for number, path in named if number.isdecimal())]


def _own(content: Any) -> bool:
    return isinstance(content, dict) and "schema" in content and content.keys() >= OWN_KEYS and _typed(content)


def _typed(content: dict[str, Any]) -> bool:
    """Whether a sample holds what its readers rely on; one that doesn't is read as another program's, or refused."""
    numbers = content.get("question_index", 0), content.get("repeat", 0), content["problem_index"]
    history, usage = content["full_history"], content["usage"]
    return (
        all(type(number) is int and number >= 0 for number in numbers)
        and isinstance(content["exit_status"], str)
        and isinstance(content["duration_seconds"], int | float)
        and isinstance(content["final_answer"], str | None)
        and all(isinstance(content.get(name, ""), str) for name in ("question", "question_id", "reference_answer"))
        and isinstance(usage, dict)
        and all(isinstance(used, dict) for used in usage.values())
        and isinstance(history, list)
        and all(isinstance(one, dict) and type(one.get("turn")) is int and "model" in one for one in history)
    )


def _object(path: Path) -> dict[str, Any]:
    content = parsed(path)
    return content if isinstance(content, dict) else {}


def _json(content: Mapping[str, Any]) -> bytes:
    return atomic.as_json(content, allow_nan=False)
