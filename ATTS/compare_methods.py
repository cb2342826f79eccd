"""Run ATTS and all baselines on the same questions and put them into one table and one picture.

bash scripts/compare_methods.sh    # starts the servers and calls this
"""

from ATTS import console
from ATTS.baselines.compare_methods import compare_methods
from ATTS.baselines.method_settings import MethodsSettings

if __name__ == "__main__":
    console.run(MethodsSettings, __doc__, compare_methods)
