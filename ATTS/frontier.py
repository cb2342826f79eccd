"""Run target, draft, and ATTS at rates and settings on the same questions; show accuracy against the target's work.

bash scripts/frontier.sh    # starts the servers and calls this
"""

from ATTS import console
from ATTS.tradeoff.frontier import FrontierSettings, frontier

if __name__ == "__main__":
    console.run(FrontierSettings, __doc__, frontier)
