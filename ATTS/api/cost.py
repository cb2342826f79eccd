"""What an answer cost, by model."""

from dataclasses import dataclass, fields

from ATTS.method.chain import Chain
from ATTS.method.types import Stage


@dataclass
class Cost:
    """Tokens, and chunks that were scored and rejected. ``draft`` and ``target``: written, discarded ones included;
    ``scored``: of the chunks that the target scored; ``discarded``: written for nothing; ``kept``: the text's."""

    draft_tokens: int = 0
    target_tokens: int = 0
    scored_tokens: int = 0
    discarded_tokens: int = 0
    kept_tokens: int = 0
    scored: int = 0
    rejected: int = 0

    def add(self, other: "Cost") -> None:
        """Adds another's."""
        for one in fields(self):
            setattr(self, one.name, getattr(self, one.name) + getattr(other, one.name))

    @classmethod
    def of(cls, chain: Chain) -> "Cost":
        """Of one sample."""
        cost, drafted = cls(), 0
        for event in chain.history:
            tokens = event.usage.completion_tokens
            if event.stage is Stage.SCORE:
                cost.scored_tokens += drafted
                cost.scored += 1
                cost.rejected += bool(event.rejected)
            elif event.stage.author == "draft":
                cost.draft_tokens += tokens
                drafted = tokens
            else:
                cost.target_tokens += tokens
            if event.stage.discarded:
                cost.discarded_tokens += tokens
            elif event.stage.author:
                cost.kept_tokens += tokens
        early = sum(one.tokens or 0 for one in chain.discarded)  # drafted ahead, by --optimistic
        cost.draft_tokens += early
        cost.discarded_tokens += early
        return cost
