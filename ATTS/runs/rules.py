"""What decides in a run: from settings, calibration array and, after an interruption, the samples that are there.

Rules that learn (online, adaptive, smoothed p-values) depend on the decisions before. Each decision's
number in the run is stored with it, so a resumed run takes in the decisions of finished samples, and of those that go
on where they were interrupted, in that order; those of samples that begin anew never happened. Only adaptive needs
these as well, since its promise is about every decision made, in a row: they stand in a journal.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ATTS.analysis.tables import percent
from ATTS.console import say
from ATTS.errors import UserError
from ATTS.flags import flat
from ATTS.method.conformal import GAMMA, CalibrationSet, Coin, Online, PerTurn, RejectionRule
from ATTS.method.conformal.bound import Bound, QuestionBudget
from ATTS.method.conformal.decision import Draws
from ATTS.method.score import recorded
from ATTS.runs import announce, names
from ATTS.runs.settings import AsyncSettings, ConformalSettings
from ATTS.store import calibration
from ATTS.store.calibration import CalibrationArray
from ATTS.store.decisions import DecisionJournal
from ATTS.store.records import OWED, HistoryEntry, Key, Record, round_by_round
from ATTS.store.result_folder import samples
from ATTS.tasks import datasets
from ATTS.tasks.datasets import Question

LEARNING = ("online", "adaptive")


class RejectionRules:
    """A rule for each sample. ``memory`` is what the decisions of the run change."""

    def __init__(
        self,
        kind: str,
        array: CalibrationArray | None,
        rule: Callable[[Key], RejectionRule],
        memory: Online | Draws | None = None,
        journal: DecisionJournal | None = None,
    ) -> None:
        self.kind, self.array = kind, array
        self.budget = 0  # most chunks of a question handed over at a turn; 0 = no bound
        self._rule, self._memory, self._journal = rule, memory, journal
        self._budgets: dict[int, QuestionBudget] = defaultdict(lambda: QuestionBudget(self.budget))

    def __getitem__(self, key: Key) -> RejectionRule:
        rule = self._rule(key)
        return Bound(rule, self._budgets[key.question.index]) if self.budget else rule

    @property
    def learns(self) -> bool:
        """Whether a decision depends on those before it."""
        return self._memory is not None or self.budget > 0

    def resume(self, folder: Path, owed: Sequence[Key], decided: Sequence[tuple[int, HistoryEntry]] = ()) -> list[Key]:
        """Takes in the decisions of the samples in ``folder`` that are not owed, and those of owed ones that go on
        where they were interrupted (``decided``, each with the sample's number), and says in which order
        those that are should be served: repeat by repeat where scores are learnt on the way, since a bank
        that saw one question after another lags behind."""
        memory, again = self._memory, {key.index for key in owed}
        if self.budget:
            self._count(folder, again, {key.question.index for key in owed})
            of = {key.index: key.question.index for key in owed}
            for index, entry in decided:
                self._budgets[of[index]].spent[entry["turn"]] += entry["rejected"]
        if self._journal is not None:
            self._journal.open(folder, decisions(samples(folder), again))
        elif memory is not None:
            self._learn(memory, folder, again, [entry for _, entry in decided])
        if not isinstance(memory, Online):
            return list(owed)
        if memory.decisions:
            held = sum(memory.sizes.values())
            levels = ", ".join(dict.fromkeys(f"{level:.3f}" for level in memory.levels.values()))
            say(f"the memory banks hold {held} scores again; level: {levels}")
        return round_by_round(owed)

    def _learn(self, memory: Online | Draws, folder: Path, again: set[int], more: Sequence[HistoryEntry]) -> None:
        kept = [*decisions(samples(folder), again), *more]
        for entry in sorted(kept, key=lambda entry: int(entry["order"])):
            score = recorded(entry)
            if isinstance(memory, Online) and score is not None:
                # What the rule said: a bound may have overruled it, which a level doesn't learn.
                memory.learn(score, entry["turn"], entry["p_value"] <= entry["level"])
            memory.decisions = entry["order"] + 1

    def _count(self, folder: Path, again: set[int], questions: set[int]) -> None:
        """What finished samples have spent of the budget, of the questions that still owe samples."""
        for sample in samples(folder):
            question = sample.get("question_index", -1)
            if question in questions and sample["problem_index"] not in again and sample["exit_status"] not in OWED:
                spent = (entry["turn"] for entry in sample["full_history"] if entry.get("rejected"))
                self._budgets[question].spent.update(spent)


def decisions(samples: Iterator[Record], owed: set[int]) -> Iterator[HistoryEntry]:
    """The scored chunks of finished samples that aren't owed, in the order of their decisions."""
    numbered = (
        entry
        for sample in samples
        if sample["problem_index"] not in owed and sample.get("exit_status") not in OWED
        for entry in sample["full_history"]
        if entry.get("order") is not None
    )
    yield from sorted(numbered, key=lambda entry: int(entry["order"]))


def kind_of(settings: AsyncSettings, per_question: bool) -> str:
    """The kind of calibration that a front door and its flags amount to. Raises UserError if they contradict."""
    named = settings.rule.calibration
    if per_question and named not in (None, "per_question"):
        raise UserError(f"ref_async_per_question calibrates per question; --calibration {named} is for ref_async")
    if settings.rule.takeover == "random":
        return "random"
    return "per_question" if per_question else named or "marginal"


def make(settings: AsyncSettings, per_question: bool, questions: Sequence[Question]) -> RejectionRules:
    """``questions``: those of the run; none where nobody knows them beforehand, as in a server. Raises UserError
    if the array was made for something else or can't support the rejection rate."""
    rules = _unbounded(settings, per_question, questions)
    if settings.rule.budget_kind == "bound":
        assert settings.rule.budget is not None
        rules.budget = settings.rule.budget
    return rules


def _unbounded(settings: AsyncSettings, per_question: bool, questions: Sequence[Question]) -> RejectionRules:
    """Raises UserError if the array was made for something else or can't support the rejection rate."""
    kind = kind_of(settings, per_question)
    rate, seed = settings.scoring.rejection_rate, settings.data.seed
    if kind == "random":
        if settings.scoring.ppl_array_path is not None:
            say(f"--takeover random needs no calibration: {settings.scoring.ppl_array_path} is not read")
        return RejectionRules(kind, None, lambda key: Coin(rate, f"{seed}-{key.question.index}-{key.repeat}"))
    array = path = None
    if kind != "online" and not (kind == "adaptive" and settings.scoring.ppl_array_path is None):
        path = settings.scoring.ppl_array_path or names.calibration_array(settings, kind == "per_question")
        if kind == "adaptive":
            array = calibration.load(path, None)
        else:
            array = calibration.load(path, kind == "per_question", kind == "per_turn")
        _check_provenance(settings, array, path, questions)
    try:
        if kind in LEARNING:
            return _learning(settings, kind, array)
        assert array is not None
        assert path is not None
        return _fixed(settings, kind, array, path, questions)
    except ValueError as error:
        raise UserError(f"{path}: {error}" if path else str(error)) from None


def _learning(settings: AsyncSettings, kind: str, array: CalibrationArray | None) -> RejectionRules:
    gamma = GAMMA if settings.rule.gamma is None else settings.rule.gamma
    by_turn, rate = kind == "online", settings.scoring.rejection_rate
    online = Online(rate, settings.data.seed, settings.rule.bank_window or 0, gamma, by_turn)
    if array is not None:
        online.start(array.scores, array.turns)
    held = sum(online.sizes.values())
    say(f"one memory bank a turn; they start with {held} scores" + ("" if held else ": cold"))
    nominal, where = percent(rate), " at a turn" if by_turn else ""
    if not gamma:
        say(
            f"warning: at --gamma 0 the level stays at {nominal} and more is rejected, since rejected samples reach a"
            " turn last: for 40 % recorded runs came to 43 % with the adaptive limits and to 47 % with all samples"
            " under way (docs/GUARANTEES.md); leave --gamma out, or use --calibration adaptive"
        )
        return RejectionRules(kind, array, lambda _: online, online)
    within = percent((1 + gamma) / (gamma * 400))
    say(f"of every 400 decisions{where} {nominal} will be rejected, give or take {within}, whatever the scores do")
    if by_turn:
        return RejectionRules(kind, array, lambda _: online, online)
    journal = DecisionJournal(online)
    return RejectionRules(kind, array, lambda _: journal, online, journal)


def _fixed(
    settings: AsyncSettings, kind: str, array: CalibrationArray, path: Path, questions: Sequence[Question]
) -> RejectionRules:
    rate, form = settings.scoring.rejection_rate, settings.rule.p_value or "published"
    draws = Draws(settings.data.seed) if form == "smoothed" else None
    rule: RejectionRule
    if kind == "per_turn":
        rule = per_turn = PerTurn(array.by_turn, rate, form, draws, array.questions_by_turn)
        if questions:
            announce.by_turn(settings, array, per_turn, questions)
    elif kind == "marginal":
        rule = CalibrationSet(array.scores, rate, form, draws)
        if questions:
            announce.first_chunks(settings, array, questions)
        announce.later_turns(settings)
    else:
        return _by_question(settings, kind, array, path, questions, draws)
    return RejectionRules(kind, array, lambda _: rule, draws)


def _by_question(
    settings: AsyncSettings,
    kind: str,
    array: CalibrationArray,
    path: Path,
    questions: Sequence[Question],
    draws: Draws | None,
) -> RejectionRules:
    """Sets of a question's own scores, or of its group's."""
    rate, form = settings.scoring.rejection_rate, settings.rule.p_value or "published"
    if kind == "per_question":
        rows = rows_of(array, path, questions)
        own = {index: CalibrationSet(array.of_row(row), rate, form, draws) for index, row in rows.items()}
        few = [index for index, row in rows.items() if not np.isfinite(array.scores[row]).all()]
        if few:
            say(f"{len(few)} questions have fewer scores than were asked for, the first of them question {few[0]}")
        announce.of_a_question(settings, array.scores.shape[1])
        return RejectionRules(kind, array, lambda key: own[key.question.index], draws)
    groups = array.by_group
    if not groups:
        raise UserError(
            f"{path} doesn't tell the groups of its questions: it needs a data set that does (a 'group' on every line"
            " of a .jsonl file, or math500, olympiad), calibrated with python -m ATTS.ref_conformal"
        )
    members = Counter(question.group for question in questions)
    missing = members.keys() - groups.keys()
    if missing:
        raise UserError(f"{path} has no scores of the group {min(missing)!r}; it has {', '.join(sorted(groups))}")
    sets = {group: CalibrationSet(groups[group], rate, form, draws) for group in members}
    for group in sorted(members):
        announce.first_chunks(settings, array, questions, group)
    announce.later_turns(settings)
    return RejectionRules(kind, array, lambda key: sets[key.question.group], draws)


def rows_of(array: CalibrationArray, path: Path, questions: Sequence[Question]) -> dict[int, int]:
    """Which row belongs to which question: by content where the array says it, else by number."""
    ids = (array.provenance or {}).get("question_ids")
    number = {name: row for row, name in enumerate(ids)} if ids else None
    rows = {}
    for question in questions:
        row = number.get(question.id) if number is not None else question.index
        if row is None or row >= len(array.scores):
            raise UserError(
                f"{path} has no scores for question {question.index}: it has {len(array.scores)} rows, one a"
                " question; run ref_conformal_per_question with the same data set, seed and --max_problems"
            )
        rows[question.index] = row
    return rows


def _check_provenance(
    settings: AsyncSettings, array: CalibrationArray, path: Path, questions: Sequence[Question]
) -> None:
    problems = []
    if array.provenance is None:
        say(f"{path} has no {calibration.provenance_path(path).name} beside it: what it was made for can't be checked")
        if array.score.name != (now := settings.scoring.score):
            problems.append(f"score: it tells none, so it is taken for {array.score.name!r}, now {now!r}")
    else:
        wanted = purpose(settings, array.turns is not None)
        # A certificate names its array by content, and is for other questions; a server's questions are not known.
        if settings.rule.certificate is not None or not questions:
            wanted = {name: value for name, value in wanted.items() if name not in OF_QUESTIONS}
        problems = calibration.differences(array.provenance, wanted)
    if array.provenance is not None and settings.data.calibration_split and array.scores.ndim == 1:
        shared = set(array.provenance["question_ids"]) & {question.id for question in questions}
        if shared:
            problems.append(f"{len(shared)} of the evaluated questions were calibrated on (another --seed?)")
    if problems and not settings.output.force:
        raise UserError(
            f"{path} was made for something else:\n  " + "\n  ".join(problems) + "\nmake one for these settings with"
            " python -m ATTS.ref_conformal, name another with --ppl_array_path, or accept it with --force"
        )
    for difference in problems:
        say(f"--force accepts {path} although {difference}")


OF_QUESTIONS = ("dataset_name", "questions", "calibration_split")

# What an array is made for; the loop asks for the same.
PURPOSE = (
    "small_model_name",
    "eval_model_name",
    "dataset_name",
    "small_model_max_tokens",
    "small_model_temperature",
    "top_p",
    "use_chat_template",
    "thinking",
    "calibration_split",
    "compat",
    *("score", "score_window"),
    "score_answers",
    "answer_after_think",
    "extract_mode",
)


# And what later turns depend on besides.
PURPOSE_OF_TURNS = (
    *("rejection_rate", "evalator_max_tokens", "eval_model_temperature"),
    *("on_rejection", "draft_attempts"),
)


def purpose(settings: ConformalSettings | AsyncSettings, turns: bool = False) -> dict[str, Any]:
    """Those settings by name. A model that reads answers (llm) does so when a chain is over: it changes no score."""
    values = flat(settings)
    decisive = {name: values[name] for name in (*PURPOSE, *(PURPOSE_OF_TURNS if turns else ()))}
    decisive |= datasets.content(settings.data.dataset_name)
    return decisive | {"extract_mode": "published" if decisive["extract_mode"] == "published" else "regex"}
