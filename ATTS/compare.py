"""Put finished runs beside each other in one table; differences and speed-ups are against the first.

python -m ATTS.compare results/demo/draft results/demo/target results/demo/atts [--json]
"""

from ATTS import console
from ATTS.analysis.compare import CompareSettings, compare

if __name__ == "__main__":
    console.run(CompareSettings, __doc__, compare)
