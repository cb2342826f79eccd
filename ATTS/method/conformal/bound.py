"""The paper's budget as a bound: of a question's samples at a turn, at most B go to the target."""

from collections import Counter

from ATTS.method.conformal.decision import Decision, RejectionRule


class QuestionBudget:
    """What one question may hand over: ``most`` chunks a turn, of which ``spent`` counts those rejected so far."""

    __slots__ = ("most", "spent")

    def __init__(self, most: int) -> None:
        self.most = most
        self.spent: Counter[int] = Counter()  # by turn


class Bound:
    """Decides like ``rule`` until the question's ``budget`` of a turn is spent, and accepts the others.

    Whoever is decided first is served first: no sample waits for another, so the chunks handed over are
    the first that the rule rejects, not the worst of the turn.
    """

    __slots__ = ("_budget", "_rule")

    def __init__(self, rule: RejectionRule, budget: QuestionBudget) -> None:
        self._rule, self._budget = rule, budget

    def __call__(self, score: float, turn: int) -> Decision:
        decision = self._rule(score, turn)
        if not decision.rejected:
            return decision
        if self._budget.spent[turn] >= self._budget.most:
            return decision._replace(rejected=False)
        self._budget.spent[turn] += 1
        return decision
