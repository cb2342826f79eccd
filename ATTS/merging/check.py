"""Whether shards are one run: all of them, each whole, made with the same settings, no sample twice."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ATTS.errors import UserError
from ATTS.store import result_folder, shards
from ATTS.store.provenance import differences
from ATTS.store.records import OWED, Key, Record
from ATTS.store.shards import Place
from ATTS.tasks.datasets import Question

SHOWN = 5  # samples named in a message


@dataclass(frozen=True)
class Joined:
    """A whole run. ``files`` by the number of the sample; ``about``: its settings."""

    places: list[Place]
    files: dict[int, Path]
    keys: list[Key]
    about: dict[str, Any]


def joined(folders: Iterable[Path]) -> Joined:
    """The run of which all shards are in ``folders``. Raises UserError."""
    places: list[Place] = []
    for folder in dict.fromkeys(folders):
        found = shards.read(folder)
        if not found:
            raise UserError(f"{folder} holds no shard of a run (shard-1-of-4.json): it needs runs with --shard")
        places += found
    first = places[0]
    for place in places[1:]:
        _same_run(first, place)
    _all_there(places)
    files: dict[int, Path] = {}
    keys: dict[int, Key] = {}
    for folder in dict.fromkeys(place.path.parent for place in places):
        own = [place for place in places if place.path.parent == folder]
        of = {index: place for place in own for index in place.content["samples"]}
        for path, sample in result_folder.files(folder):
            index = sample["problem_index"]
            if index not in of:
                raise UserError(f"{path} is a sample of none of the shards in {folder}: remove it")
            about = of[index].content["about"]
            if sample.get("settings_digest") != about["digest"] and not _own_file(about):
                raise UserError(f"{path} was made with other settings than {of[index].path.stem}: remove it and rerun")
            if sample.get("exit_status") not in OWED:
                files[index], keys[index] = path, _key(sample, first.content["repeats"])
        _whole(own, files)
    if len(files) != first.content["all_samples"]:
        raise UserError(f"the shards have {len(files)} samples, the run {first.content['all_samples']}")
    places.sort(key=lambda place: place.content["shard"])
    return Joined(places, dict(sorted(files.items())), [keys[index] for index in sorted(keys)], first.content["about"])


def _own_file(about: dict[str, Any]) -> bool:
    """Whether the questions are of a person's own file, whose path is in the digest although it may change."""
    return str(about["decisive"]["dataset_name"]).endswith(".jsonl")


def _same_run(first: Place, other: Place) -> None:
    """Raises UserError."""
    one, two = first.content, other.content
    if one["of"] != two["of"]:
        raise UserError(f"{first.path} is one of {one['of']} shards, {other.path} one of {two['of']}: join one run")
    changed = differences(one["about"]["decisive"], two["about"]["decisive"])
    if changed:
        raise UserError(
            f"{other.path.parent} was made with other settings than {first.path.parent}:\n  " + "\n  ".join(changed)
        )
    for name in ("questions_digest", "repeats", "all_samples"):
        if one[name] != two[name]:
            raise UserError(f"{first.path} and {other.path} are of different questions or numbers of samples: {name}")


def _all_there(places: Sequence[Place]) -> None:
    """Raises UserError."""
    where: dict[int, Place] = {}
    for place in places:
        known = where.setdefault(place.content["shard"], place)
        if known is not place:
            raise UserError(f"{known.path} and {place.path} are the same shard: leave one of the folders out")
    of = places[0].content["of"]
    missing = [f"{number}/{of}" for number in range(1, of + 1) if number not in where]
    if missing:
        raise UserError(f"shards {', '.join(missing)} are missing: run them, or name their folders, too")
    taken: set[int] = set()
    for place in places:
        twice = taken.intersection(place.content["samples"])
        if twice:
            raise UserError(f"sample {min(twice)} is of {place.path.stem} and of another shard, too")
        taken.update(place.content["samples"])


def _whole(own: Iterable[Place], files: dict[int, Path]) -> None:
    """Raises UserError."""
    for place in own:
        owed = [index for index in place.content["samples"] if index not in files]
        if owed:
            more = f" and {len(owed) - SHOWN} more" if len(owed) > SHOWN else ""
            raise UserError(
                f"{place.path.stem} in {place.path.parent} isn't finished: it owes {len(owed)} of"
                f" {len(place.content['samples'])} samples ({', '.join(map(str, owed[:SHOWN]))}{more});"
                " rerun its command"
            )
        if place.content["summary"] is None:
            raise UserError(f"{place.path.stem} in {place.path.parent} has not ended: rerun its command")


def _key(sample: Record, repeats: int) -> Key:
    """A sample's, as its run had it."""
    question = Question(
        sample["question_index"],
        sample.get("question", ""),
        sample.get("reference_answer", ""),
        group=sample.get("group", ""),
    )
    return Key(question, sample["repeat"], repeats)
