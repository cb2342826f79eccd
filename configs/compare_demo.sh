# The comparison of all methods with the demo pair on CPU: about eight minutes on two cores.
source configs/demo.sh
: "${DATASET:=demo}"
: "${PROBLEMS:=48}"
: "${REPEATS:=4}"
: "${BLOCKS:=4}"
: "${CHUNK:=24}"
: "${TOKEN_BUDGET:=960}"
: "${SPE_CONFIG:=configs/speculative_thinking/demo.yml}"
: "${OUT:=results/compare_demo}"
