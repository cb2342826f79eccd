"""Show when more turns stop paying: accuracy, tokens and time by turn, of one run or several.

python -m ATTS.by_turn results/NAME ... [--picture turns.png] [--json]
python -m ATTS.by_turn recording.jsonl.gz --dataset_name math500 [--read_again]
"""

from ATTS import console
from ATTS.analysis.by_turn import ByTurnSettings, show

if __name__ == "__main__":
    console.run(ByTurnSettings, __doc__, show)
