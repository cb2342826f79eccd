"""Write a run's samples for other tools: a Parquet file, a data set for the hub, a log of Inspect.

python -m ATTS.export results/NAME --to parquet|inspect|hub_dataset [--output PATH]
"""

from ATTS import console
from ATTS.reporting.export import ExportSettings, export

if __name__ == "__main__":
    console.run(ExportSettings, __doc__, export)
