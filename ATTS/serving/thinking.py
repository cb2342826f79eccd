"""Models that think before they answer, by what their chat templates write."""

from collections.abc import Mapping


def note(opens: Mapping[str, bool], answer_after_think: bool) -> str | None:
    """What a run's user should know. ``opens``: of each role, whether its template begins an answer with an opening
    mark of thoughts."""
    thinking = [role for role, yes in opens.items() if yes]
    if not thinking:
        return None
    if len(thinking) < len(opens):
        others = " and ".join(role for role, yes in opens.items() if not yes)
        return (
            f"warning: the chat template of the {thinking[0]} opens thoughts (<think>), that of the {others} doesn't"
            " and reads them as an answer: where a template has a switch, --thinking on or off makes them alike"
        )
    if not answer_after_think:
        return (
            "the chat template opens thoughts (<think>): a box in them ends a sample; --answer_after_think counts"
            " what stands behind </think> only"
        )
    return None
