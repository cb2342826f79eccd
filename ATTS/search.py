"""Search finished runs for the best setting within a budget: which run, how many samples and turns, when to stop.

python -m ATTS.search results/draft results/target results/atts_* --unit tokens --budget 8000 --picture front.png
"""

from ATTS import console
from ATTS.tuning.search import SearchSettings, search

if __name__ == "__main__":
    console.run(SearchSettings, __doc__, search)
