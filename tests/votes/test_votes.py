"""Votes and stop rules on fixed answers and confidences, with ties and samples without an answer."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from ATTS.tasks.equivalence import Grader
from ATTS.votes.labels import Labels
from ATTS.votes.stop import StopName, decision, fewest, outcome, probability_of_lead, rule
from ATTS.votes.vote import VOTES, Ballot


def ballots(answers: str, confidences: list[float] | None = None) -> list[Ballot]:
    """A letter a sample, "-" for one without an answer."""
    told = confidences or [None] * len(answers)
    return [Ballot(None if a == "-" else a, c) for a, c in zip(answers, told, strict=True)]


@pytest.mark.parametrize(
    ("vote", "answers", "confidences", "winners"),
    [
        ("majority", "ABBA-B", None, "B"),
        ("majority", "BAAB", None, "BA"),  # a tie: the one seen first stands first
        ("majority", "--", None, ""),
        ("majority", "", None, ""),
        ("majority", "ABB", [0.9, 0.1, 0.1], "B"),  # confidences don't matter
        ("weighted", "ABB", [0.9, 0.1, 0.1], "A"),
        ("weighted", "ABB", [0.2, 0.1, 0.1], "AB"),
        ("weighted", "AB-", [0.2, 0.3, 0.9], "B"),  # no answer, no vote
        ("weighted", "AAB", [0.25, 0.5, 0.75], "AB"),
        ("best_of_n", "ABB", [0.9, 0.1, 0.8], "A"),
        ("best_of_n", "BA-", [0.5, 0.5, 0.9], "BA"),
        ("best_of_n", "---", [0.5, 0.5, 0.9], ""),
    ],
)
def test_votes(vote: str, answers: str, confidences: list[float] | None, winners: str) -> None:
    assert VOTES[vote](ballots(answers, confidences)) == tuple(winners)


CASES: list[tuple[StopName, float | None, str, list[float] | None, str | None, int]] = [
    ("none", None, "AAAAAAAA", None, "A", 8),
    ("none", None, "ABAB", None, "A", 4),
    ("none", None, "----", None, None, 4),
    # the lead must exceed what is left
    ("majority", None, "AAAAABBB", None, "A", 5),
    ("majority", None, "ABAAAABB", None, "A", 6),
    ("majority", None, "A-AA--AA", None, "A", 6),  # a sample without an answer can't vote for another
    ("majority", None, "AABB", None, "A", 4),
    # P(lead): 3 to 0 is 15/16, 4 to 0 31/32, 5 to 1 120/128, 6 to 1 247/256
    ("beta", 0.95, "AAAAAAAA", None, "A", 4),
    ("beta", 0.9, "AAAAAAAA", None, "A", 3),
    ("beta", 0.95, "BAAAAAAA", None, "A", 7),
    ("beta", 0.95, "A-A-A-A-", None, "A", 7),  # used, though it doesn't vote
    ("beta", 0.95, "ABABABAB", None, "A", 8),
    ("beta", 0.95, "BABAA", None, "A", 5),
    ("beta", None, "AAAAB", None, "A", 4),
    ("beta", 0.95, "--------", None, None, 8),
    ("asc", 0.8, "AABB", None, "A", 2),
    ("asc", 0.8, "ABAAAAAA", None, "A", 5),
    ("asc", 0.8, "A-AAAA", None, "A", 5),  # its share is of all samples
    ("asc", 0.8, "ABAB", None, "A", 4),
    ("asc", 0.8, "ABCD", [0.9, 0.1, 0.1, 0.1], "A", 2),  # 0.9 of 1.0
    ("asc", 0.8, "ABBC", [0.5, 0.4, 0.3, 0.1], "B", 4),  # never sure: the vote by confidence
    ("asc", 0.8, "ABBC", [0.0, 0.0, 0.0, 0.0], "A", 4),
    ("esc", 4, "ABAAAAAA", None, "A", 8),  # windows don't overlap: AAAA at 3 to 6 is none
    ("esc", 4, "AAAABBBB", None, "A", 4),
    ("esc", 2, "ABBB", None, "B", 4),
    ("esc", 2, "--AA", None, "A", 4),  # a window without answers decides nothing
    ("esc", None, "A-AAAAAA", None, "A", 8),
    ("es", 0.7, "ABC", [0.1, 0.8, 0.9], "B", 2),
    ("es", 0.7, "-BC", [0.9, 0.7, 0.9], "B", 2),
    ("es", 0.7, "ABB", [0.6, 0.2, 0.3], "A", 3),  # nobody sure: by confidence
    ("es", 1.0, "AB", [0.9, 1.0], "B", 2),
]


@pytest.mark.parametrize(("name", "threshold", "answers", "confidences", "answer", "used"), CASES)
def test_stop_rules(
    name: StopName, threshold: float | None, answers: str, confidences: list[float] | None, answer: str, used: int
) -> None:
    found = outcome(rule(name, threshold), ballots(answers, confidences))
    assert (found.answer, found.used) == (answer, used)
    assert found.stopped == (used < len(answers))


@given(st.integers(0, 30), st.integers(0, 30))
def test_the_chance_of_a_lead_is_the_beta_distributions(first: int, second: int) -> None:
    assert probability_of_lead(first, second) == pytest.approx(stats.beta.sf(0.5, first + 1, second + 1), abs=1e-12)


answers_of = st.text("ABC-", max_size=16)


@given(answers_of)
def test_what_majority_stops_at_is_the_majority_of_all(answers: str) -> None:
    """The only rule that promises it."""
    stopped, full = outcome(rule("majority"), ballots(answers)), outcome(rule("none"), ballots(answers))
    winners = VOTES["majority"](ballots(answers))
    assert stopped.answer == full.answer
    assert not stopped.stopped or winners == (full.answer,)


@given(answers_of, st.sampled_from(["majority", "beta", "asc", "esc"]), st.integers(1, 16))
def test_a_decision_depends_on_nothing_that_comes_after_it(answers: str, name: StopName, cut: int) -> None:
    """What a resumed run relies on: the samples before a decision give it again."""
    whole = decision(rule(name), ballots(answers), 16)
    part = decision(rule(name), ballots(answers[:cut]), 16)
    if whole is None or whole.used > cut:
        assert part is None
    else:
        assert part == whole


@pytest.mark.parametrize(
    ("name", "answers", "count"),
    [
        *(("beta", "", 4), ("beta", "AAA", 1), ("beta", "AB", 5), ("beta", "A-", 3), ("beta", "ABABABAB", 7)),
        *(("asc", "", 2), ("asc", "AB", 3), ("esc", "", 4), ("esc", "AAB", 5), ("es", "AB", 1)),
        *(("majority", "", 9), ("majority", "AAAAAAAA", 1), ("none", "AA", 14)),
    ],
)
def test_so_many_samples_can_start_without_one_too_many(name: StopName, answers: str, count: int) -> None:
    stop = rule(name)
    assert fewest(stop, ballots(answers), 16) == count
    for fewer in range(count):
        assert decision(stop, ballots(answers + "A" * fewer), 16) is None


@pytest.mark.parametrize(
    ("name", "threshold", "message"),
    [
        ("beta", 0.5, "between 0.5 and 1"),
        ("beta", 1.0, "between 0.5 and 1"),
        ("asc", 0.0, "between 0 and 1"),
        ("es", 1.1, "between 0 and 1"),
        ("esc", 2.5, "a whole number, at least 2"),
        ("esc", 1, "a whole number, at least 2"),
        ("majority", 0.9, "--stop majority has no --stop_threshold"),
    ],
)
def test_a_threshold_that_a_rule_cannot_have_is_refused(name: StopName, threshold: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rule(name, threshold)


def test_answers_that_mean_the_same_are_one_vote() -> None:
    with Grader(2) as grader:
        label = Labels(grader)
        assert label(0, "0.5") == label(0, r"\frac{1}{2}") == label(0, "1/2")
        assert label(0, "0.25") != label(0, "0.5")
        assert label(1, r"\frac{1}{2}") == label(1, "0.5")  # named by the first answer of this question
