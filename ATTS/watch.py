"""Show how far a run has come that goes on in another terminal, until it ends.

python -m ATTS.watch results/NAME [--by_turn] [--once]
"""

from ATTS import console
from ATTS.progress.status import WatchSettings, watch

if __name__ == "__main__":
    console.run(WatchSettings, __doc__, watch)
