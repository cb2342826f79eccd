"""Join the shards of a run (``--shard i/n``) to one result folder: exact counts, equal settings, no doubles.

python -m ATTS.merge results/whole results/machine_1 results/machine_2
"""

from ATTS import console
from ATTS.merging.merge import MergeSettings, merge

if __name__ == "__main__":
    console.run(MergeSettings, __doc__, merge)
