"""Emulate a draft and a target server until interrupted.

python -m ATTS.emulate --recording run.jsonl.gz --small_model_port 40000 --eval_model_port 40001
"""

from ATTS import console
from ATTS.emulator.emulate import EmulatorSettings, serve

if __name__ == "__main__":
    console.run(EmulatorSettings, __doc__, serve)
