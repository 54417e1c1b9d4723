"""The examples of the README run as they are printed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from aleph_im import payg

from .node import FUNDED_KEY, Node

README = (Path(__file__).parent.parent / "README.md").read_text()
EXAMPLES = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 6
    assert len(EXAMPLES) == README.count("```python")


@pytest.mark.parametrize("example", EXAMPLES, ids=range(len(EXAMPLES)))
def test_an_example_runs(
    example: str,
    node: Node,
    chain: payg.StreamChain,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ALEPH_API_HOST", node.url)
    monkeypatch.setenv("ALEPH_PRIVATE_KEY", FUNDED_KEY)
    monkeypatch.setattr(payg, "AVALANCHE", chain)  # the public one costs money
    exec(compile(example, "README.md", "exec"), {"__name__": "__main__"})
    assert capsys.readouterr().out or "broadcast" in example
