"""SGLang's launch command with a key that nobody sees: ``python -m ATTS.launch.sglang_server VARIABLE [flags]``.

A key on the command line stands in the list of processes, and SGLang logs all of its arguments. Here
the key comes from the environment, and what is logged has it replaced.
"""

import logging
import os
import runpy
import sys
from typing import Any

HIDDEN = "***"


def hide(key: str) -> None:
    """Replaces ``key`` in everything that this process logs."""
    make = logging.getLogRecordFactory()

    def factory(*args: Any, **more: Any) -> logging.LogRecord:
        record = make(*args, **more)
        record.msg, record.args = record.getMessage().replace(key, HIDDEN), ()
        return record

    logging.setLogRecordFactory(factory)


def main() -> None:
    """Starts SGLang's server with this process's arguments."""
    variable, *flags = sys.argv[1:]
    key = os.environ[variable].strip()
    hide(key)
    sys.argv = ["sglang.launch_server", *flags, "--api-key", key]
    runpy.run_module("sglang.launch_server", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
