#!/usr/bin/env bash
# Makes the environment in which the Python SDK is checked and tested: sdk/python/.venv, with what requirements-dev.txt pins.
# What is there and right is left alone.
set -euo pipefail
cd "$(dirname "$0")/../sdk/python"

cmp -s requirements-dev.txt .venv/installed.txt && exit
rm -rf .venv
python3 -m venv .venv
.venv/bin/pip install --quiet --disable-pip-version-check --requirement requirements-dev.txt
cp requirements-dev.txt .venv/installed.txt
