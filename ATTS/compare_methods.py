"""Run ATTS and all baselines on the same questions and put them into one table and one picture.

bash scripts/compare_methods.sh    # starts the servers and calls this
"""

from ATTS.runs import cli
from ATTS.runs.comparison import MethodsSettings, compare_methods

if __name__ == "__main__":
    cli.run(MethodsSettings, __doc__, compare_methods)
