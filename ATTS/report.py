"""Write a report that opens in any browser, from the disk: runs side by side, every question, every transcript.

python -m ATTS.report results/A results/B [--output report/]
python -m ATTS.report results/frontier          # a folder of result folders, with its frontier and certificate
"""

from ATTS import console
from ATTS.reporting.build import ReportSettings, report

if __name__ == "__main__":
    console.run(ReportSettings, __doc__, report)
