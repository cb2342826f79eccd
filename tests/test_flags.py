"""The flags of every front door are those that flags.json records: name, values, default.

After a change that is meant: PYTHONPATH=.:tests python tests/test_flags.py
"""

import importlib
import json
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from tyro.extras import get_parser

from ATTS.__main__ import commands
from ATTS.flags import CONFIG

RECORDED = Path(__file__).with_name("flags.json")


SETTLED = [command for command in commands() if command != "servers"]  # whose actions have arguments of their own


def settings_of(command: str) -> type[Any]:
    door = importlib.import_module(f"ATTS.{command}")
    (name,) = (name for name in vars(door) if name.endswith("Settings"))
    return getattr(door, name)  # type: ignore[no-any-return]


def flags(settings: type[Any]) -> dict[str, str]:
    """What each takes, and how its help text ends: its default, or that it is required."""
    found = {}
    for action in get_parser(settings, config=CONFIG, use_underscores=True)._actions:
        text = " ".join(str(action.help).replace(f"{ROOT}/", "").split())
        told = text.rfind("(") if text.endswith(")") else len(text)
        assert text[:told].strip(), f"{action.dest} has no help text"
        name = " ".join(sorted(action.option_strings)) or action.dest
        found[name] = " ".join(filter(None, (str(action.metavar or ""), text[told:])))
    return dict(sorted(found.items()))


@pytest.mark.filterwarnings("ignore:get_parser:DeprecationWarning")
@pytest.mark.parametrize("command", SETTLED)
def test_no_flag_of_a_front_door_changes_unnoticed(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ATTS_DATA_DIR", raising=False)
    assert flags(settings_of(command)) == json.loads(RECORDED.read_text())[command]


if __name__ == "__main__":
    RECORDED.write_text(json.dumps({command: flags(settings_of(command)) for command in SETTLED}, indent=1) + "\n")
