"""The examples of the README run as they are printed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from aleph_im import Client, from_key, payg

from .node import FUNDED_KEY, Node

FUNDED_ADDRESS = from_key(FUNDED_KEY).address
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
    authority: Client,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ALEPH_API_HOST", node.url)
    monkeypatch.setenv("ALEPH_PRIVATE_KEY", FUNDED_KEY)
    monkeypatch.setattr(payg, "AVALANCHE", chain)  # the public one costs money
    runtime = authority.files.upload(b"runtime").item_hash
    authority.aggregates.merge("runtimes", {"default": runtime, "runtimes": {}})
    balances = {FUNDED_ADDRESS: 1_000_000}
    told = {"tags": ["mainnet"], "chain": "ETH", "height": 1, "main_height": 1, "balances": balances}
    authority.posts.create(told, type="balances-update")
    exec(compile(example, "README.md", "exec"), {"__name__": "__main__"})
    assert capsys.readouterr().out or "broadcast" in example
