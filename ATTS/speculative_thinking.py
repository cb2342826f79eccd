"""Run Speculative Thinking: the draft writes, the target opens paragraphs that affirm, reflect or verify.

python -m ATTS.speculative_thinking --spe_config configs/speculative_thinking/demo.yml --evals demo --n 4
"""

from ATTS import console
from ATTS.baselines.flags import SpeculativeThinkingSettings
from ATTS.baselines.speculative_thinking.run import evaluate_speculative_thinking

if __name__ == "__main__":
    console.run(SpeculativeThinkingSettings, __doc__, evaluate_speculative_thinking)
