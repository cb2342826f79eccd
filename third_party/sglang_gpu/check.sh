#!/usr/bin/env bash
# What SGLang needs of a machine with GPUs, beside its packages: bash third_party/sglang_gpu/check.sh [PYTHON]
# A line for each thing, with what to do about it. Ends with status 1 if the servers couldn't start.
set -euo pipefail

python=${1:-python3}
least=580 # the first driver with CUDA 13.0
failed=0

report() { # what it is, what to do (nothing if it is well)
    if [[ -z ${2:-} ]]; then echo "ok       $1"; else echo "PROBLEM  $1: $2"; failed=1; fi
}

if driver=$(nvidia-smi --query-gpu=driver_version --format=csv,noheader 2>/dev/null) && [[ $driver =~ ^([0-9]+)\. ]]; then
    advice=""
    if ((BASH_REMATCH[1] < least)); then advice="CUDA 13.0 needs $least or newer; update the driver"; fi
    report "NVIDIA driver ${driver%%$'\n'*}" "$advice"
else
    echo "note     nvidia-smi shows no driver: right while an image is built; to run, $least or newer is needed"
fi

compiler=${CXX:-c++} # what SGLang's kernels are compiled with; FlashInfer's the same
if ! command -v "$compiler" >/dev/null; then
    report "C++ compiler $compiler" "not found; install g++ 11 or newer (on Debian: apt install g++)"
elif ! echo 'template <typename T> concept C = requires(T t) { t + t; }; C auto one = 1;' |
    "$compiler" -std=c++20 -fsyntax-only -x c++ - 2>/dev/null; then
    report "C++ compiler $compiler" "doesn't compile C++20; install g++ 11 or newer, or name one with CXX"
else
    report "C++ compiler $compiler with C++20"
fi

header=$("$python" -c 'import sysconfig; print(sysconfig.get_paths()["include"] + "/Python.h")')
if [[ -f $header ]]; then
    report "Python.h"
else
    report "Python.h" "$header is missing, which Triton compiles with; install it (on Debian: apt install python3-dev)"
fi
exit "$failed"
