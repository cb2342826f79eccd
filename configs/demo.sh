# The demo pair on CPU: two small models that come with the package.
: "${DEVICE:=cpu}"
: "${SMALL_MODEL:=demo-draft}"
: "${EVAL_MODEL:=demo-target}"
: "${SMALL_MODEL_MEM_FRACTION:=0.97}" # no limit beside the number of tokens below: of what is free when it starts, what
: "${EVAL_MODEL_MEM_FRACTION:=0.97}"  # others take while it loads counts as its own, and with a small share it then ends
: "${SMALL_MODEL_ARGS:=--max-total-tokens 65536}"
: "${EVAL_MODEL_ARGS:=--max-total-tokens 65536}"
: "${SMALL_MODEL_MAX_TOKENS:=24}"
: "${EVAL_MODEL_MAX_TOKENS:=24}"
: "${CONFIGS:=demo-draft demo-target demo demo-target demo-draft - - 20}"
