# The frontier with the demo pair on CPU.
source configs/demo.sh
: "${DATASET:=demo}"
: "${PROBLEMS:=300}"
: "${REPEATS:=2}"
: "${BLOCKS:=3}"
: "${CHUNK:=24}"
: "${TOKEN_BUDGET:=960}"
: "${SAMPLE_SIZE:=1}" "${CALIBRATION_PROBLEMS:=800}" # scores of one problem are alike
: "${OUT:=results/frontier_demo}"
