"""Build from the folder of a checkout: aleph_im/wire.py is made first where it is missing (scripts/python-env.sh)."""

import subprocess
from pathlib import Path

from setuptools import setup

HERE = Path(__file__).resolve().parent
WIRE = HERE / "aleph_im" / "wire.py"

if not WIRE.exists():
    made = subprocess.run(["go", "run", "./cmd/aleph-schema", "-python"], cwd=HERE.parents[1], check=True, capture_output=True)
    WIRE.write_bytes(made.stdout)

setup()
