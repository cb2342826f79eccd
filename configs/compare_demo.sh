# The comparison of all methods with the demo pair on CPU: five to ten minutes on two cores.
source configs/demo.sh
: "${DATASET:=demo}"
: "${PROBLEMS:=48}"
: "${REPEATS:=4}"
: "${BLOCKS:=4}"
: "${CHUNK:=24}"
: "${TOKEN_BUDGET:=960}"
: "${SAMPLE_SIZE:=1}" "${CALIBRATION_PROBLEMS:=200}" # scores of one problem are alike
: "${SPE_CONFIG:=configs/speculative_thinking/demo.yml}"
: "${OUT:=results/compare_demo}"
