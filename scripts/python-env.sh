#!/usr/bin/env bash
# Makes the environment in which the Python SDK is checked and tested: sdk/python/.venv, with what requirements-dev.txt pins,
# and aleph_im/wire.py, the records that are made from the schemas. What is there and right is left alone.
set -euo pipefail
cd "$(dirname "$0")/../sdk/python"

go -C ../.. run ./cmd/aleph-schema -python >aleph_im/wire.py.new
mv aleph_im/wire.py.new aleph_im/wire.py

cmp -s requirements-dev.txt .venv/installed.txt && exit
rm -rf .venv
python3 -m venv .venv
.venv/bin/pip install --quiet --disable-pip-version-check --requirement requirements-dev.txt
cp requirements-dev.txt .venv/installed.txt
