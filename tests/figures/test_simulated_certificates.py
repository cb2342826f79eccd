"""The simulated worlds of certificates, in small: the promise is kept, and the gate tells bad rules."""

import certify
import pytest


def test_a_certificate_is_wrong_no_more_often_than_it_says_and_the_naive_choice_is_most_of_the_time() -> None:
    found = certify.validity(300)
    worst = {name: max(row[name] for row in found) for name in certify.RULES}
    # the largest of 48 shares of 300 worlds, the highest of which is .09: three standard errors
    assert max(worst["fixed sequence"], worst["Bonferroni"]) <= 0.15
    assert worst["naive"] > 0.8
    assert worst["Student"] > 0.15  # losses that are rare look like none


@pytest.mark.parametrize("rule", ["fixed sequence", "Bonferroni"])
def test_the_gate_fails_for_a_rule_that_is_wrong_too_often(rule: str) -> None:
    kept = {"fixed sequence": 0.08, "Bonferroni": 0.08, "Student": 0.2, "naive": 0.9}
    assert certify.not_kept(kept) == []
    assert certify.not_kept({**kept, rule: 0.12}) == [f"{rule} is wrong in 0.120 of the worlds"]
    assert certify.not_kept({**kept, "naive": 0.05}) != []


def test_more_questions_find_more() -> None:
    found = [row for row in certify.power(100) if row["max_loss"] == 0.05 and row["target"] == 0.98]
    shares = [row["fixed sequence"] for row in found]
    assert shares == sorted(shares)
    assert shares[0] < 0.3 < 0.9 < shares[-1]
