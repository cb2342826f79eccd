"""Grade a result folder, one of this project's or a published one.

python -m ATTS.compute_accuracy --output_dir results/... [--dataset_name math500] [--judge both] [--json]
"""

from ATTS import console
from ATTS.analysis.compute_accuracy import AccuracySettings, grade

if __name__ == "__main__":
    console.run(AccuracySettings, __doc__, grade)
