"""The demo: a family of problems, and a draft and a target model trained on it."""

from pathlib import Path

MODELS = {role: Path(__file__).parent / "models" / role for role in ("draft", "target")}
ALIASES = {f"demo-{role}": folder for role, folder in MODELS.items()}


def resolve(model: str) -> str:
    """The folder behind ``demo-draft`` and ``demo-target``; any other name as it is."""
    return str(ALIASES.get(model, model))
