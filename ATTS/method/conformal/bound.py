"""The paper's budget as a bound: of a question's samples at a turn, at most B go to the target."""

from collections import Counter

from ATTS.method.conformal.decision import Decision, RejectionRule


class Bound:
    """Decides like ``judge`` until ``budget`` chunks of a turn are rejected, and accepts the others.

    One for each question. Whoever is decided first is served first: no sample waits for another, so the
    chunks handed over are the first that the rule rejects, not the worst of the turn.
    """

    __slots__ = ("_judge", "budget", "spent")

    def __init__(self, judge: RejectionRule, budget: int) -> None:
        self._judge, self.budget = judge, budget
        self.spent: Counter[int] = Counter()  # rejected chunks by turn

    def __call__(self, score: float, turn: int) -> Decision:
        verdict = self._judge(score, turn)
        if not verdict.rejected:
            return verdict
        if self.spent[turn] >= self.budget:
            return verdict._replace(rejected=False)
        self.spent[turn] += 1
        return verdict
