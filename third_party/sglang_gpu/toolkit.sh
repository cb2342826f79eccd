#!/usr/bin/env bash
# Lay the CUDA toolkit of the installed packages out as compilers expect it: bash third_party/sglang_gpu/toolkit.sh VENV
# VENV/cuda is then what CUDA_HOME names: bin, include and nvvm as they are; lib64 with the libraries and the names that
# the linker looks for, which the packages lack (-lcudart, and -lcuda, the driver's, in lib64/stubs).
set -euo pipefail

venv=$(cd "$1" && pwd)
packages=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')/nvidia/cu13
if [[ ! -x $packages/bin/nvcc ]]; then
    echo "error: $packages/bin/nvcc is missing: run DEVICE=cuda bash scripts/setup.sh" >&2
    exit 1
fi
driver=$({ ldconfig -p || /sbin/ldconfig -p; } 2>/dev/null | awk '/libcuda\.so\.1 .*x86-64/ { print $NF; exit }') || true
cuda=$venv/cuda
rm -rf "$cuda"
mkdir -p "$cuda/lib64/stubs"
ln -s "$packages/bin" "$packages/include" "$packages/nvvm" "$cuda/"
ln -s "$packages"/lib/* "$cuda/lib64/"
ln -sf "$packages"/lib/libcudart.so.* "$cuda/lib64/libcudart.so"
# Without a driver, as while an image is built: where containers get it when they run.
ln -s "${driver:-/usr/lib/x86_64-linux-gnu/libcuda.so.1}" "$cuda/lib64/stubs/libcuda.so"
