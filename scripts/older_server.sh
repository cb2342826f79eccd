#!/usr/bin/env bash
# Which commands work against SGLang 0.4.3.post4, the release that the published code pins: installs it into a virtual
# environment of its own, starts the demo pair on it on this CPU, tries one command after the other and prints a table
# (docs/GPU.md). Needs Python 3.11 and as much room as another SGLang.
#   OLDER_VENV=.venv-older  OUT=results/older_server    ONLY="spec_reason serve"  words of the commands to try; default: all
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

export CONFIG=configs/demo.sh
: "${OLDER_VENV:=.venv-older}" "${OUT:=results/older_server}" "${ONLY:=}"
if [[ ! -x ${PYTHON:-${VENV:-.venv}/bin/python} ]]; then bash scripts/setup.sh; fi
source scripts/common.sh
third=$PWD/third_party/sglang_older
if [[ ! -f $OLDER_VENV/.installed ]]; then
    python3.11 -m venv "$OLDER_VENV"
    "$OLDER_VENV/bin/python" -m pip install --quiet torch==2.13.0
    "$OLDER_VENV/bin/python" -m pip install --quiet --no-deps -r "$third/requirements.txt"
    printf '%s\nimport sglang_older_shim\n' "$third/shim" >"$OLDER_VENV/lib/python3.11/site-packages/sglang_older_shim.pth"
    touch "$OLDER_VENV/.installed"
fi
mkdir -p "$OUT/models"
OUT=$(realpath "$OUT")
"$PYTHON" scripts/figures/older_server.py --models "$OUT/models"
read -r draft target < <("$PYTHON" -m ATTS.servers ports)

flags=(
    --device cpu --dtype float32 --attention-backend torch_native --sampling-backend pytorch --grammar-backend outlines
    --disable-cuda-graph --disable-overlap-schedule --mem-fraction-static 0.1 --max-total-tokens 65536 --enable-metrics
)
set -m # each server leads a process group: its scheduler outlives it otherwise, at full load
groups=()
trap 'for group in "${groups[@]}"; do kill -9 -- "-$group" 2>/dev/null || true; done' EXIT
trap 'exit 130' INT TERM
start() { # ROLE PORT
    OMP_NUM_THREADS=1 TORCHDYNAMO_DISABLE=1 HF_HUB_OFFLINE=1 PYTHONPATH='' "$OLDER_VENV/bin/python" -m sglang.launch_server \
        --model-path "$OUT/models/$1" --served-model-name "demo-$1" --port "$2" "${flags[@]}" >"$OUT/$1.log" 2>&1 &
    groups+=("$!")
}
start draft "$draft"
start target "$target"
for port in "$draft" "$target"; do
    until curl -sf -o /dev/null "http://127.0.0.1:$port/health_generate"; do
        if grep -qs 'unexpectedly failed\|sigquit' "$OUT"/{draft,target}.log; then
            echo "error: a server did not start: see $OUT/draft.log and $OUT/target.log" >&2
            exit 1
        fi
        sleep 1
    done
done
read -ra only <<<"$ONLY"
"$PYTHON" scripts/figures/older_server.py --draft "http://127.0.0.1:$draft" --target "http://127.0.0.1:$target" --out "$OUT" \
    --only "${only[@]}"
