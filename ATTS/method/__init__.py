"""The method of arXiv 2509.15148, without input or output: prompts, chain, score, calibration, loop."""
