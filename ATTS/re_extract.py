"""Read the answers of a result folder again, this project's or a published one, and grade it.

python -m ATTS.re_extract --input_dir results/... --dataset_name math500 [--extract_mode llm] [--dry_run]
"""

from ATTS import console
from ATTS.analysis.re_extract import ReExtractSettings, re_extract

if __name__ == "__main__":
    console.run(ReExtractSettings, __doc__, re_extract)
