# Sourced by profile_async.sh and profile_sync.sh: one run on servers that are up, where its time went, and
# a timeline. The run is ref_async's with the variables of the suites; more flags are passed on.
#   CONFIG=... DATASET=math500 OUT=results/profile
: "${DATASET:=math500}"
: "${OUT:=results/profile}"

profile() { # NAME FLAG...
    local name=$1
    shift
    "$PYTHON" -m ATTS.ref_async --small_model_name "${SMALL_NAME:-$SMALL_MODEL}" \
        --eval_model_name "${EVAL_NAME:-$EVAL_MODEL}" --dataset_name "$DATASET" --output_dir "$OUT/$name" \
        --small_model_url "http://$SGLANG_HOST:$SMALL_MODEL_PORT" \
        --eval_model_url "http://$SGLANG_HOST:$EVAL_MODEL_PORT" "$@"
    "$PYTHON" -m ATTS.timeline --output_dir "$OUT/$name"
    "$PYTHON" - "$OUT/$name/summary.json" <<'END'
import json, sys
summary = json.load(open(sys.argv[1]))
print(json.dumps({name: summary.get(name) for name in ("wall_seconds", "timing", "written_tokens", "servers")}, indent=1))
END
}
