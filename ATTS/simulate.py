"""Simulate a run on GPUs you name: how long, which side is the bottleneck, what more GPUs bring.

python -m ATTS.simulate --draft 8B:A100 --target 32B:A100x2 --questions 100 --samples 16 --turns 15
"""

from ATTS import console
from ATTS.simulation.simulate import SimulateSettings, answer

if __name__ == "__main__":
    console.run(SimulateSettings, __doc__, answer)
