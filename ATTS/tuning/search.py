"""The search: finished runs in, the best setting within a budget out."""

import asyncio
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from ATTS.analysis.compute_accuracy import JudgeSettings
from ATTS.analysis.folders import Truth
from ATTS.console import say
from ATTS.errors import UserError
from ATTS.flags import NotNegative, Part, Positive, Range, require
from ATTS.simulation.roofline import Deployment
from ATTS.store.replies import ReplyCache
from ATTS.tasks.llm import Endpoint
from ATTS.tuning import llm, real, replay, report, seconds
from ATTS.tuning.archive import Archive, Trial
from ATTS.tuning.replay import Run
from ATTS.tuning.searchers import SEARCHERS, Searcher, SearcherName
from ATTS.tuning.space import Setting, Space
from ATTS.votes.vote import VOTES

Unit = Literal["tokens", "price", "seconds"]


class SearchSettings(Part):
    """Flags of search."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Result folders or recordings of the same questions, all samples of each: the draft alone, the target alone, ATTS
    at several rates. The first half of their questions is searched on, the second half reported on."""

    truth: Truth = Truth()

    read_again: bool = False
    """Read the answers of the chains again, with nested braces whole: for published folders and recordings."""

    objective: replay.Objective = "majority"
    """What is to be right: a sample (mean), or the vote of a question's samples, by count (majority) or by the
    confidence that runs with --confidence hold (weighted)."""

    unit: Unit = "tokens"
    """What a setting costs: tokens written, by either model; a price for them (--prices); or wall seconds on --draft
    and --target, simulated for each trial."""

    budget: Annotated[float | None, Range(0, open_low=True)] = None
    """Most that a question may cost in that unit; default: no limit."""

    prices: NotNegative[tuple[float, float]] = (0.2, 1.0)
    """Of a million tokens that the draft writes, and of the target."""

    draft: str = "8B:A100"
    """Draft as MODEL:DEVICExGPUS, for --unit seconds."""

    target: str = "32B:A100x2"
    """Target, likewise."""

    searcher: SearcherName = "rules"
    """What chooses the next setting: one after the other (grid), random, a Gaussian process (gp), successive halving
    over the questions (halving), steps from the best one (rules), or an OpenAI-compatible model (llm: OPENAI_API_KEY,
    OPENAI_BASE_URL, OPENAI_MODEL)."""

    trials: Positive[int] = 60
    """Most settings to try, those of an earlier search in the archive among them."""

    rates: tuple[float, ...] = ()
    """Rejection rates to be considered besides: of those that no run was made with the command is
    told that makes it."""

    run: bool = False
    """Make these runs, on the servers of the last run of ATTS that was given, which must be up: all rates on some of
    the questions to search on, the better half on twice as many, and so on; the best on all questions."""

    seed: int = 0
    """Draws what is random."""

    archive: Path | None = None
    """File of the trials, a JSON line each; the same search goes on with it."""

    llm_cache: Path = JudgeSettings.__dataclass_fields__["llm_cache"].default
    """The model's replies by content, so that the same command asks nothing twice."""

    picture: Path | None = None
    """Where a picture of the front goes."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(len(self.runs) > 0, "give at least one result folder or recording")
        require(all(0 <= rate <= 1 for rate in self.rates), "--rates must lie in [0, 1]")


class Environment:
    """Scores settings, each at the cheapest level that can answer: replay, and the virtual clock for seconds, which has
    an event loop of its own, so not within another one."""

    def __init__(self, runs: Sequence[Run], s: SearchSettings) -> None:
        """Raises UserError."""
        runs = replay.with_roles(runs)
        self.runs = {run.name: run for run in runs}
        if len(self.runs) < len(runs):
            raise UserError("two of the runs have the same name: rename one of the folders")
        self.searched, self.held_out = replay.halves(runs)
        self.space = Space.of(((r.name, r.turns, r.repeats) for r in runs), vote=s.objective != "mean")
        self._votes = s.objective != "mean"
        self._vote = VOTES["weighted" if s.objective == "weighted" else "majority"]
        for run in runs if s.objective == "weighted" else ():
            if all(sample.confidence is None for samples in run.questions.values() for sample in samples):
                raise UserError(
                    f"{run.path} holds no confidences to vote by: --objective weighted needs --confidence runs"
                )
        self._unit, self._prices = s.unit, (s.prices[0] / 1e6, s.prices[1] / 1e6)
        self._pair = Deployment.parse(s.draft), Deployment.parse(s.target)

    def tried(self, setting: Setting, share: float = 1.0) -> Trial:
        """A setting on a share of the searched questions."""
        questions = self.searched[: max(1, round(share * len(self.searched)))]
        score, cost = self.on(setting, questions)
        level = "time" if self._unit == "seconds" else "replay"
        return Trial(setting, share, sum(score.right) / len(score.right), cost, level)

    def reported(self, trials: Sequence[Trial]) -> list[report.Row]:
        """Trials on the questions that were not searched on."""
        return [report.Row(trial, *self.on(trial.setting, self.held_out)) for trial in trials]

    def on(self, setting: Setting, questions: Sequence[int]) -> tuple[replay.Score, float]:
        """Its score on some questions and the cost of one of these."""
        return self._of(self.runs[setting.run], setting, questions)

    def worth(self, run: Run, budget: float | None) -> tuple[float, float]:
        """What rates are compared by, the more the better: the value of the run's best setting on the questions that it
        has, or of all its samples and turns where there is no budget; of equal ones the cheaper."""
        questions, repeats = sorted(run.questions), run.repeats if self._votes else 1
        settings: Sequence[Setting] = [Setting(run.name, run.turns, repeats)]
        if budget is not None:
            settings = Space.of([(run.name, run.turns, run.repeats)], self._votes).settings
        trials = []
        for setting in settings:
            score, cost = self._of(run, setting, questions)
            trials.append(Trial(setting, 1.0, sum(score.right) / len(score.right), cost))
        return max((trial.value(budget), -trial.cost) for trial in trials)

    def _of(self, run: Run, setting: Setting, questions: Sequence[int]) -> tuple[replay.Score, float]:
        score = replay.score(run, setting, questions, vote=self._vote)
        if self._unit == "seconds":
            return score, seconds.seconds(run, setting, questions, *self._pair) / len(questions)
        prices = (1.0, 1.0) if self._unit == "tokens" else self._prices
        if run.alone == "target":  # what its only model writes stands under draft
            prices = (prices[1], prices[1])
        return score, replay.cost(score, prices)


async def explored(
    environment: Environment, searcher: Searcher, archive: Archive, budget: float | None, trials: int, seed: int
) -> list[Trial]:
    """Tries settings until there are so many trials on all questions, or nothing is left. What is drawn follows
    from the seed and the number of trials, so a search that goes on is the same."""
    while len(archive.tried()) < trials:
        dice = random.Random(f"{seed}-{len(archive.trials)}")
        chosen = await searcher(environment.space, archive.trials, budget, dice)
        if chosen is None:
            break
        archive.add(await asyncio.to_thread(environment.tried, *chosen))
    return list(archive.tried().values())


async def search(s: SearchSettings) -> str:
    """Returns the front and the best setting's command. Raises UserError."""
    runs = [replay.read(path, *s.truth.given, s.read_again) for path in s.runs]
    environment = Environment(runs, s)
    if s.run:
        made = await _made(environment, s)
        runs += [replay.read(path, *s.truth.given, s.read_again) for path in made]
        environment = Environment(runs, s)
    size = len(environment.space.settings)
    say(f"{size} settings of {len(runs)} runs; {len(environment.searched)} questions to search on")
    about = _about(s)
    archive = Archive(s.archive, about, environment.runs)
    if s.searcher == "llm":
        async with Endpoint("--searcher llm", cache=ReplyCache(s.llm_cache)) as endpoint:
            found = await explored(environment, llm.searcher(endpoint), archive, s.budget, s.trials, s.seed)
    else:
        found = await explored(environment, SEARCHERS[s.searcher], archive, s.budget, s.trials, s.seed)
    chosen = report.best(found, s.budget)
    rows = await asyncio.to_thread(environment.reported, report.front(found))
    if s.picture:
        report.picture(rows, found, s.unit, s.picture)
    lines = [report.table(rows, s.unit, chosen.setting if chosen else None), ""]
    lines.append(f"{len(found)} of {size} settings tried by {s.searcher}")
    if chosen is None:
        cheapest = min(found, key=lambda trial: trial.cost)
        lines.append(
            f"none costs at most {s.budget:g} {s.unit} a question; the least is {report.amount(cheapest.cost)}"
        )
    else:
        told = report.command(environment.runs[chosen.setting.run], chosen.setting)
        lines += [f"the best within the budget: {chosen.setting}", "", f"    {told or 'a recording has no command'}"]
    return "\n".join([*lines, *_needs_runs(environment, s, chosen)])


def _about(s: SearchSettings) -> dict[str, Any]:
    """What trials depend on."""
    names = ("objective", "unit", "draft", "target", "read_again")
    told = {name: getattr(s, name) for name in names}
    return {**told, "prices": list(s.prices), "runs": [str(path) for path in s.runs]}


async def _made(environment: Environment, s: SearchSettings) -> list[Path]:
    """Runs at the rates that are missing. Raises UserError."""
    pairs, missing = _missing(environment, s)
    if not missing:
        return []
    if not pairs:
        raise UserError("--run goes on from a run of ATTS: give the folder of one")
    base = pairs[-1]

    def worth(folder: Path, count: int) -> tuple[float, float]:
        run = replay.read(folder, *s.truth.given, s.read_again)
        return environment.worth(replay.of_first(run, count), s.budget)

    questions = len(base.questions)
    return await real.at_rates(base, missing, len(environment.searched), questions, worth)


def _missing(environment: Environment, s: SearchSettings) -> tuple[list[Run], list[float]]:
    """The runs of ATTS, and the rates asked for that none of them was made with."""
    pairs = [run for run in environment.runs.values() if run.alone is None]
    known = {report.rate(run) for run in pairs}
    return pairs, [rate for rate in s.rates if rate not in known]


def _needs_runs(environment: Environment, s: SearchSettings, chosen: Trial | None) -> list[str]:
    """What replay can't answer: a chain at another rate would have gone on differently."""
    pairs, missing = _missing(environment, s)
    if s.run or not missing or not pairs:
        return []
    base = next((run for run in pairs if chosen and run.name == chosen.setting.run), pairs[0])
    full = Setting(base.name, base.turns, base.repeats)
    lines = ["", "needs a run, since chains at another rate would have gone on differently:"]
    for rate in missing:
        told = report.command(base, full, rejection_rate=rate)
        lines.append(f"    {told}" if told else f"    rate {rate:g} (a recording has no command)")
    return lines
