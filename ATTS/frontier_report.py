"""Put finished runs of the same questions on one frontier: accuracy to the target's against its tokens and time.

python -m ATTS.frontier_report results/frontier --margin 0.02 --picture frontier.png
"""

from ATTS import console
from ATTS.tradeoff.frontier_report import FrontierReportSettings, show

if __name__ == "__main__":
    console.run(FrontierReportSettings, __doc__, show)
