"""The protocol vectors that all implementations read: ../shared/vectors beside the checkout, or ALEPH_VECTORS."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from .node import ROOT


def load(name: str) -> Any:
    """Return a vector file; without it there is nothing to test, so that is a failure."""
    folder = Path(os.environ.get("ALEPH_VECTORS") or ROOT.parent / "shared" / "vectors")
    path = folder / name
    if not path.exists():
        raise RuntimeError(f"protocol vectors not found in {folder}: set ALEPH_VECTORS to their folder")
    return json.loads(path.read_text())
