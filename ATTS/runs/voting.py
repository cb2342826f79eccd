"""The part of settings that says when the samples of a question are enough, and whose confidence is asked."""

from typing import Literal

from ATTS.flags import Part, require
from ATTS.votes import stop
from ATTS.votes.stop import StopName, StopRule


class Voting(Part):
    """When the samples of a question are enough."""

    stop: StopName = "none"
    """When a question's answers decide it; then its waiting samples never start and its running ones are cancelled
    (docs/STOPPING.md). majority: nothing can change it any more; beta: the leading answer beats the next one with
    probability --stop_threshold; asc: it has that share of the samples; esc: --stop_threshold samples in a row agree;
    es: an answer has that confidence. While other questions
    wait, no more samples of one are under way than may all be needed. none: all are run."""

    stop_threshold: float | None = None
    """Default: beta 0.95, asc 0.8, esc 4, es 0.8."""

    confidence: Literal["draft", "target", "both"] | None = None
    """Ask a model at the end of a sample, by one token, whether its answer is right, to vote by
    (compute_accuracy --votes weighted) and to stop by (es, and asc then goes by confidence: the target's if both are
    asked)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _ = self.rule  # raises for a threshold that there can't be
        require(self.stop != "es" or self.confidence is not None, "--stop es goes by confidence: give --confidence too")

    @property
    def rule(self) -> StopRule:
        """The rule, with its threshold. Raises ValueError."""
        return stop.rule(self.stop, self.stop_threshold)

    @property
    def asked(self) -> tuple[str, ...]:
        """The roles of the models whose confidence is asked, the one that votes go by first."""
        return ("target", "draft") if self.confidence == "both" else (self.confidence,) if self.confidence else ()


class OwnVoting(Voting):
    """When the samples of a question are enough."""

    confidence: Literal["draft"] | None = None
    """Ask the model at the end of a sample, by one token, whether its answer is right, to vote by
    (compute_accuracy --votes weighted) and to stop by (es, and asc then goes by confidence). draft: the only model,
    whichever it is."""
