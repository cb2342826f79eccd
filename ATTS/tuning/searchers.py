"""Ways to choose the next setting to try, all of them the same function: what was tried -> what to try."""

import random
import warnings
from collections.abc import Awaitable, Callable, Sequence
from typing import Literal

import numpy as np

from ATTS.tuning.archive import Trial
from ATTS.tuning.space import Setting, Space

SearcherName = Literal["grid", "random", "gp", "halving", "rules", "llm"]
Next = tuple[Setting, float] | None  # the setting and the share of the questions to try it on; None: nothing is left
Searcher = Callable[[Space, Sequence[Trial], float | None, random.Random], Awaitable[Next]]
FIRST = 5  # random trials before a Gaussian process knows anything
SHARES = (0.125, 0.25, 0.5, 1.0)  # of the questions, round by round of halving


def untried(space: Space, trials: Sequence[Trial]) -> list[Setting]:
    """Those not tried on all questions, in their order."""
    known = {trial.setting for trial in trials if trial.share == 1}
    return [setting for setting in space.settings if setting not in known]


async def grid(space: Space, trials: Sequence[Trial], budget: float | None, dice: random.Random) -> Next:  # noqa: ARG001
    """One after the other."""
    left = untried(space, trials)
    return (left[0], 1.0) if left else None


async def at_random(space: Space, trials: Sequence[Trial], budget: float | None, dice: random.Random) -> Next:  # noqa: ARG001
    """Any that is left."""
    left = untried(space, trials)
    return (dice.choice(left), 1.0) if left else None


async def gp(space: Space, trials: Sequence[Trial], budget: float | None, dice: random.Random) -> Next:
    """The largest expected improvement by a Gaussian process (Matern 5/2, scikit-learn) over logarithms of turns and
    samples and indicators of run and rule."""
    left = untried(space, trials)
    if len(trials) < FIRST or len(left) < 2:
        return (dice.choice(left), 1.0) if left else None
    from scipy import stats
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import Matern, WhiteKernel

    rows = dict(zip(space.settings, space.features(), strict=True))
    values = np.array([trial.value(budget) for trial in trials])
    model = GaussianProcessRegressor(Matern(nu=2.5) + WhiteKernel(1e-3), normalize_y=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a bound of a kernel's scale says nothing here
        model.fit(np.array([rows[trial.setting] for trial in trials]), values)
    mean, deviation = model.predict(np.array([rows[setting] for setting in left]), return_std=True)
    gain = mean - values.max()
    z = gain / np.maximum(deviation, 1e-9)
    expected = gain * stats.norm.cdf(z) + deviation * stats.norm.pdf(z)
    return left[int(expected.argmax())], 1.0


async def halving(space: Space, trials: Sequence[Trial], budget: float | None, dice: random.Random) -> Next:
    """Successive halving: all settings, in a random order, on an eighth of the questions, the better half on a quarter,
    and so on."""
    staying = list(space.settings)
    for share in SHARES:
        known = {trial.setting: trial for trial in trials if trial.share == share}
        left = [setting for setting in staying if setting not in known]
        if left:
            return dice.choice(left), share
        staying.sort(key=lambda setting: -known[setting].value(budget))
        staying = staying[: max(1, len(staying) // 2)]
    return None


async def rules(space: Space, trials: Sequence[Trial], budget: float | None, dice: random.Random) -> Next:  # noqa: ARG001
    """AgentTTS's three insights (arXiv 2508.00890) without a language model: every run first, with all of its samples
    and turns and a rule that stops; then from the best setting one step at a time, samples before turns; and from the
    new best one again, since the best samples move with the run. Then the same from the next best."""
    known = {trial.setting: trial for trial in trials}
    for run in space.runs:
        own = [setting for setting in space.settings if setting.run == run]
        most = max((s.turns, s.repeats, (s.stop, s.threshold) == ("beta", 0.95), s.stop == "none") for s in own)
        first = next(
            s for s in own if (s.turns, s.repeats, (s.stop, s.threshold) == ("beta", 0.95), s.stop == "none") == most
        )
        if first not in known:
            return first, 1.0
    for trial in sorted(known.values(), key=lambda one: -one.value(budget)):
        for setting in space.near[trial.setting]:
            if setting not in known:
                return setting, 1.0
    return None


SEARCHERS: dict[str, Searcher] = {"grid": grid, "random": at_random, "gp": gp, "halving": halving, "rules": rules}
