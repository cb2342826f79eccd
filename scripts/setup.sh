#!/usr/bin/env bash
# Make .venv with the pinned SGLang and this project: bash scripts/setup.sh
#   DEVICE=cpu|cuda  which SGLang (default: cuda if nvidia-smi works, else cpu)
#   TEST=1           the test tools too
#   VENV=DIR         where (default: .venv)    PYTHON=python3.11  made with which Python
# Does nothing when everything asked for is there already. For cuda, what else the machine needs is checked first, a line
# a thing, and the toolkit that kernels are compiled with is laid out in VENV/cuda.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

VENV=${VENV:-.venv}
TEST=${TEST:-0}
if [[ -z ${DEVICE:-} ]]; then
    if nvidia-smi >/dev/null 2>&1; then DEVICE=cuda; else DEVICE=cpu; fi
fi
case $DEVICE in
    cpu) SGLANG=third_party/sglang_cpu ;;
    cuda) SGLANG=third_party/sglang_gpu ;;
    *) echo "error: DEVICE must be cpu or cuda, not '$DEVICE'" >&2; exit 2 ;;
esac

base=("$SGLANG/requirements.txt" requirements.lock scripts/setup.sh pyproject.toml)
if [[ $DEVICE == cuda ]]; then base+=("$SGLANG/toolkit.sh"); fi
fingerprint() { cat "$@" | sha256sum | cut -d' ' -f1; }
done=$(fingerprint "${base[@]}")
done_test=$(fingerprint "${base[@]}" requirements-test.lock)
if [[ $TEST == 1 ]]; then wanted=$done_test; else wanted=$done; fi
stamp="$VENV/.installed-$DEVICE" # the fingerprints of what is installed

# One set-up at a time; a second one waits and then finds everything there.
exec 9>"${VENV%/}.lock"
flock 9
if [[ -f $stamp ]] && grep -q "$wanted" "$stamp"; then exit 0; fi

if [[ ! -x $VENV/bin/python ]]; then
    python=""
    for candidate in ${PYTHON:-} python3.11 python3 python3.12; do
        if "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' 2>/dev/null; then
            python=$candidate
            break
        fi
    done
    if [[ -z $python ]]; then
        echo "error: Python 3.11 or 3.12 is needed and none was found; name one with PYTHON=/path/to/python3.11" >&2
        exit 2
    fi
    "$python" -m venv "$VENV" || { echo "error: no virtual environment could be made (on Debian: apt install python3-venv)" >&2; exit 2; }
fi

if [[ $DEVICE == cuda ]]; then bash "$SGLANG/check.sh" "$VENV/bin/python" >&2; fi

pip() { "$VENV/bin/python" -m pip "$@" --quiet --disable-pip-version-check; }
echo "installing into $VENV ($DEVICE); the first time this takes some minutes" >&2
if [[ $DEVICE == cpu ]]; then
    # torch first: the lock is installed without dependencies, so nothing can drag another torch in.
    pip install torch==2.13.0
    pip install --no-deps -r "$SGLANG/requirements.txt"
    site=$("$VENV/bin/python" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')
    printf '%s\nimport sglang_cpu_shim\n' "$PWD/$SGLANG/shim" >"$site/sglang_cpu_shim.pth"
else
    pip install --no-deps -r "$SGLANG/requirements.txt" # all of them: nothing is left to choose
    bash "$SGLANG/toolkit.sh" "$VENV"
fi
pip install --no-deps -r requirements.lock
if [[ $TEST == 1 ]]; then pip install --no-deps -r requirements-test.lock; fi
pip install --no-deps --no-build-isolation -e .
echo "$done" >"$stamp"
if [[ $TEST == 1 ]]; then echo "$done_test" >>"$stamp"; fi
