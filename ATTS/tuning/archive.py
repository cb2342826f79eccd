"""What was tried: a JSON line a trial, so that a search goes on where it was."""

import json
import math
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ATTS.errors import UserError
from ATTS.store import atomic
from ATTS.tuning.space import Setting


@dataclass(frozen=True, slots=True)
class Trial:
    """``share``: of the questions to search on that it was tried on. ``cost``: of a question, in the budget's unit."""

    setting: Setting
    share: float
    score: float
    cost: float
    level: str = "replay"

    def value(self, budget: float | None) -> float:
        """What a search looks for the most of: the score, above the budget less the logarithm of what that is exceeded
        by, so that the way back into it can be seen from anywhere."""
        over = 0.0 if budget is None or self.cost <= budget else math.log(self.cost / budget)
        return self.score - over


class Archive:
    """The trials of one search, in memory and, with a path, in a file. ``about``: what must be the same to go on."""

    def __init__(self, path: Path | None, about: dict[str, Any], runs: Collection[str] | None = None) -> None:
        """Reads what is there of ``runs`` (None: of any; what --run made for an earlier command may not be among them).
        Raises UserError for a file of another search or one that is damaged; a last line that was cut off is dropped.
        """
        self.trials: list[Trial] = []
        self._path = path
        if path is None:
            return
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        lines = text.splitlines(keepends=True)
        whole = [line for line in lines if line.endswith("\n")]
        try:
            rows = [json.loads(line) for line in whole]
            if rows and rows[0] != about:
                raise UserError(f"{path} is of another search: choose another --archive, or remove it")
            for row in rows[1:]:
                trial = Trial(**{**row, "setting": Setting(**row["setting"])})
                if runs is None or trial.setting.run in runs:
                    self.trials.append(trial)
        except (ValueError, TypeError, KeyError) as error:
            raise UserError(f"{path} is damaged ({error}): remove it to search anew") from None
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic.sweep(path.parent, path.name)
        if not rows or len(whole) < len(lines):
            atomic.write(path, ("".join(whole) or json.dumps(about) + "\n").encode())

    def add(self, trial: Trial) -> None:
        """Keeps a trial, on the disk too. Raises OSError."""
        self.trials.append(trial)
        if self._path is not None:
            row = {"setting": trial.setting.json()} | {
                name: getattr(trial, name) for name in ("share", "score", "cost", "level")
            }
            with atomic.names(self._path), self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")

    def tried(self, share: float = 1.0) -> dict[Setting, Trial]:
        """The trials on at least this share of the questions, by setting; the one on most questions."""
        found: dict[Setting, Trial] = {}
        for trial in self.trials:
            if trial.share >= share and (trial.setting not in found or trial.share > found[trial.setting].share):
                found[trial.setting] = trial
        return found
