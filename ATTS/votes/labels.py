"""Which answers of a question mean the same, found as they come."""

from ATTS.tasks import notation
from ATTS.tasks.equivalence import Grader, Verdict

MOST_KNOWN = 40  # different answers of one question that a new one is compared with


class Labels:
    """Names answers so that those that mean the same, by the grader's notion, have the same name: 1/2 and 0.5 are one
    vote. The name is the first such answer of the question."""

    def __init__(self, grader: Grader) -> None:
        self._grader = grader
        self._names: dict[tuple[int, str], str] = {}
        self._first: dict[int, list[str]] = {}

    def __call__(self, question: int, answer: str) -> str:
        """The vote of an answer to the question of that number. May take seconds of algebra; never raises."""
        form = notation.compact(notation.plain(answer))
        known = self._names.get((question, form))
        if known is None:
            first = self._first.setdefault(question, [])
            pairs = [(one, form) for one in first[:MOST_KNOWN]]
            verdicts = zip(pairs, self._grader.compare(pairs), strict=True)
            known = next((pair[0] for pair, verdict in verdicts if verdict is Verdict.EQUAL), form)
            if known is form:
                first.append(form)
            self._names[question, form] = known
        return known
