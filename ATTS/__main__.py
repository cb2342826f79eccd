"""``python -m ATTS``: the commands, a line each."""

import ast
from pathlib import Path


def commands() -> dict[str, str]:
    """Name and first sentence of each command: the modules of this folder that can be run."""
    listed = {}
    for path in sorted(Path(__file__).parent.glob("[!_]*.py")):
        text = path.read_text(encoding="utf-8")
        if "__main__" in text:
            doc = ast.get_docstring(ast.parse(text)) or ""
            listed[path.stem] = doc.partition("\n")[0]
    return listed


if __name__ == "__main__":
    width = max(map(len, commands()))
    print("python -m ATTS.<command> --help\n")
    for name, line in commands().items():
        print(f"  {name:<{width}}  {line}")
