"""Run Speculative Thinking: the draft writes, the target opens paragraphs that affirm, reflect or verify.

python -m ATTS.speculative_thinking --spe_config configs/speculative_thinking/demo.yml --evals demo --n 4
"""

from ATTS.runs import cli
from ATTS.runs.settings.baselines import SpeculativeThinkingSettings
from ATTS.runs.speculative_thinking import evaluate_speculative_thinking

if __name__ == "__main__":
    cli.run(SpeculativeThinkingSettings, __doc__, evaluate_speculative_thinking)
