"""How much is loaded, which bounds the time that it takes, on any machine."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = {"httpx", "httpcore", "anyio", "cryptography", "websockets", "coincurve", "asyncio", "ssl"}


def loaded_by(statement: str) -> set[str]:
    """Return the modules that a statement loads in a new interpreter, beyond those that it starts with."""
    script = f"import sys, json; before = set(sys.modules); {statement}; print(json.dumps([*(set(sys.modules) - before)]))"
    here = Path(__file__).parent.parent
    out = subprocess.run([sys.executable, "-S", "-c", script], capture_output=True, check=True, text=True, cwd=here)
    return set(json.loads(out.stdout))


def test_the_package_itself_is_almost_nothing() -> None:
    assert len(loaded_by("import aleph_im")) < 25


@pytest.mark.parametrize(
    "names", ["Client", "AsyncClient, Filter, Options", "build, Unsigned, Signed", "from_key", "AlephError"]
)
def test_names_bring_no_network_and_no_cryptography(names: str) -> None:
    loaded = loaded_by(f"from aleph_im import {names}")
    assert not {name.partition(".")[0] for name in loaded} & HEAVY
    assert len(loaded) < 200


def test_a_client_brings_no_group_of_calls_before_it_is_used() -> None:
    groups = {"answers", "files", "machines", "posts", "programs", "wire"}
    assert not {name.removeprefix("aleph_im.") for name in loaded_by("from aleph_im import Client")} & groups


def test_all_names_are_there() -> None:
    import aleph_im

    for name in aleph_im.__all__:
        assert getattr(aleph_im, name) is not None
    assert set(aleph_im.__all__) <= set(dir(aleph_im))
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        aleph_im.Nothing  # noqa: B018
