# Sourced by the four suites: runs `module` once for every row of CONFIGS, servers started and
# stopped around each row. A row that fails is reported and the next one runs.
#   SMALL EVAL DATASET EVAL_SHORT SMALL_SHORT SMALL_TOKENS EVAL_TOKENS TURNS
# "-" in one of the last three takes the default. Calibration suites read the first six columns.

: "${SAMPLE_SIZE:=16}"                         # repeats, and calibration samples a question
: "${DEFAULT_TURNS:=15}"
: "${SMALL_MODEL_MAX_TOKENS:=500}"
: "${EVAL_MODEL_MAX_TOKENS:=500}"
: "${SMALL_MODEL_TEMPERATURE:=0.8}"
: "${SMALL_MODEL_CONFORMAL_TEMPERATURE:=0.8}"  # that of the calibration array
: "${EVAL_MODEL_TEMPERATURE:=0.8}"
: "${REJECTION_RATE:=0.4}"
: "${USE_EVAL_CHAT_TEMPLATE:=1}"
: "${SMALL_MODEL_CONCURRENCY:=0}"               # 0: adaptive
: "${EVAL_MODEL_CONCURRENCY:=0}"
: "${MAX_CONCURRENT:=16}"
: "${MAX_RETRIES:=3}"
: "${EXTRACT_MODE:=regex}"
: "${MAX_PROBLEMS:=0}"
: "${EVALUATION_DIR:=evaluation}"
: "${RESULTS_DIR:=results}"

# CONFIGS in the environment: rows separated by newlines or semicolons.
if [[ -z ${CONFIGS:-} ]]; then source "$ROOT/configs/pairs.sh"; fi
mapfile -t rows < <(tr ';' '\n' <<<"$CONFIGS" | sed '/^[[:space:]]*\(#.*\)\?$/d')

run_suite() { # conformal|async  marginal|per_question
    local kind=$1 mode=$2 failed=() row
    trap 'bash "$ROOT/scripts/stop_sglang_servers.sh"' EXIT
    trap 'exit 130' INT TERM
    for row in "${rows[@]}"; do
        echo "== $row" >&2
        (run_row "$kind" "$mode" $row) || failed+=("$row")
        bash "$ROOT/scripts/stop_sglang_servers.sh"
    done
    echo "== ${#rows[@]} rows, ${#failed[@]} failed" >&2
    if ((${#failed[@]})); then
        printf 'failed: %s\n' "${failed[@]}" >&2
        return 1
    fi
}

run_row() {
    local kind=$1 mode=$2
    shift 2
    if (($# < 5)); then
        echo "error: a row of CONFIGS has at least SMALL EVAL DATASET EVAL_SHORT SMALL_SHORT" >&2
        return 2
    fi
    local small=$1 eval=$2 dataset=$3 eval_short=$4 small_short=$5 small_tokens=${6:--} eval_tokens=${7:--} turns=${8:--}
    if [[ $small_tokens == - ]]; then small_tokens=$SMALL_MODEL_MAX_TOKENS; fi
    if [[ $eval_tokens == - ]]; then eval_tokens=$EVAL_MODEL_MAX_TOKENS; fi
    if [[ $turns == - ]]; then turns=$DEFAULT_TURNS; fi

    local template=() suffix module="ref_$kind"
    if [[ $mode == per_question ]]; then
        module+=_per_question suffix=_per_question
    else
        if [[ $USE_EVAL_CHAT_TEMPLATE == 1 ]]; then template=(--use_chat_template); fi
        suffix=_ct$USE_EVAL_CHAT_TEMPLATE
    fi
    local array="$EVALUATION_DIR/ppls_${dataset}_${eval_short}_${small_short}_s${SAMPLE_SIZE}_t${small_tokens}_temp${SMALL_MODEL_CONFORMAL_TEMPERATURE}${suffix}.npy"

    local flags=(
        --small_model_name "$small" --eval_model_name "$eval" --dataset_name "$dataset" --ppl_array_path "$array"
        --small_model_url "http://$SGLANG_HOST:$SMALL_MODEL_PORT" --eval_model_url "http://$SGLANG_HOST:$EVAL_MODEL_PORT"
        --small_model_max_tokens "$small_tokens" --sample_size "$SAMPLE_SIZE" --max_retries "$MAX_RETRIES"
        --max_problems "$MAX_PROBLEMS" --extract_mode "$EXTRACT_MODE" "${template[@]}"
    )
    if [[ $kind == conformal ]]; then
        flags+=(--small_model_temperature "$SMALL_MODEL_CONFORMAL_TEMPERATURE" --max_concurrent "$MAX_CONCURRENT")
    else
        local name="${small_short}_${eval_short}_${dataset}_sm${small_tokens}_em${eval_tokens}_t${turns}_smt${SMALL_MODEL_TEMPERATURE}_sct${SMALL_MODEL_CONFORMAL_TEMPERATURE}_emt${EVAL_MODEL_TEMPERATURE}_smc${SMALL_MODEL_CONCURRENCY}_emc${EVAL_MODEL_CONCURRENCY}${suffix}"
        flags+=(
            --output_dir "$RESULTS_DIR/$name" --repeats "$SAMPLE_SIZE" --turns "$turns"
            --evalator_max_tokens "$eval_tokens" --rejection_rate "$REJECTION_RATE"
            --small_model_temperature "$SMALL_MODEL_TEMPERATURE" --eval_model_temperature "$EVAL_MODEL_TEMPERATURE"
            --small_model_concurrency "$SMALL_MODEL_CONCURRENCY" --eval_model_concurrency "$EVAL_MODEL_CONCURRENCY"
        )
    fi
    export SMALL_MODEL=$small EVAL_MODEL=$eval
    bash "$ROOT/scripts/launch_sglang_servers.sh" || return
    "$PYTHON" -m "ATTS.$module" "${flags[@]}"
}
