"""Which of several core nodes a call goes to."""

from __future__ import annotations

from collections.abc import Callable, Sequence

MAINNET = ("https://api2.aleph.im", "https://api3.aleph.im", "https://api.aleph.im")
"""Core nodes of the public network, which are asked when none are named."""

COOL_DOWN = 30.0
"""Seconds for which a node that failed comes after the others."""


class Endpoints:
    """Core nodes in the order in which the user prefers them.

    All calls go to the first node that has not failed lately, so that who has written reads from the same node.
    """

    def __init__(self, urls: Sequence[str], clock: Callable[[], float]) -> None:
        if not urls:
            raise ValueError("name at least one core node, such as http://127.0.0.1:4024")
        self.urls = [url.rstrip("/") for url in urls]
        self._clock = clock
        self._failed: dict[str, float] = {}

    def order(self) -> list[str]:
        """Return all nodes: those that are well in order of preference, then those that failed, longest ago first."""
        now = self._clock()
        ill = {url: at for url, at in self._failed.items() if now - at < COOL_DOWN}
        return [url for url in self.urls if url not in ill] + sorted(ill, key=lambda url: ill[url])

    def failed(self, url: str) -> None:
        """Note that a node could not be reached, or said that it cannot serve now."""
        if url in self.urls:  # and not a compute node that a call names
            self._failed[url] = self._clock()

    def worked(self, url: str) -> None:
        """Note that a node answered."""
        self._failed.pop(url, None)
