#!/usr/bin/env bash
# Renew requirements.txt from requirements.in: bash third_party/sglang_gpu/lock.sh
#   PYTHON=python3.11  with which Python (3.11 or 3.12; the set is the same)
# Only metadata is downloaded, for this machine's platform (x86_64 Linux is what is locked). Two minutes.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3.11}" -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --dry-run --ignore-installed --quiet --disable-pip-version-check \
    --report "$work/report.json" -r requirements.in
"$work/venv/bin/python" - "$work/report.json" >"$work/requirements.txt" <<'PROGRAM'
import json, platform, sys

report = json.load(open(sys.argv[1]))
made = f"pip {report['pip_version']}, Python {platform.python_version()}, {platform.machine()}"
print(f"# All packages of SGLang on NVIDIA GPUs, made by lock.sh from requirements.in ({made}). Don't edit.")
chosen = {(one["metadata"]["name"], one["metadata"]["version"]) for one in report["install"]}
print("\n".join(f"{name}=={version}" for name, version in sorted(chosen, key=lambda one: one[0].lower())))
PROGRAM
mv "$work/requirements.txt" requirements.txt
