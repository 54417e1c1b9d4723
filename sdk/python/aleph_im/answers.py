"""What nodes say, as records. Names are those of the API (ccn-api); amounts are Decimals, times are aware datetimes.

What the schemas of the network describe is in wire, which is made from them; here is what this SDK adds, or calls otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, Generic, TypeVar

from . import wire
from .errors import RejectedError, rejection
from .record import Record
from .wire import Aggregate as Aggregate
from .wire import AllocatedNode as AllocatedNode
from .wire import Allocation as Allocation
from .wire import Backup as Backup
from .wire import ComputeNode as ComputeNode
from .wire import Confirmation as Confirmation
from .wire import CoreNode as CoreNode
from .wire import CreditEntry as CreditEntry
from .wire import CreditLot as CreditLot
from .wire import CreditSummary as CreditSummary
from .wire import Execution as Execution
from .wire import FileVersion as FileVersion
from .wire import ItemType as ItemType
from .wire import MappedPort as MappedPort
from .wire import MessageStatus as MessageStatus
from .wire import MessageType as MessageType
from .wire import Networking as Networking
from .wire import OwnedFile as OwnedFile
from .wire import PaymentType as PaymentType
from .wire import Period as Period
from .wire import Post as Post
from .wire import PostV0 as PostV0
from .wire import Price as Price
from .wire import PriceLine as PriceLine
from .wire import RegisteredNodes as RegisteredNodes
from .wire import Status as Status
from .wire import Website as Website

T = TypeVar("T")


@dataclass(frozen=True)
class Page(Generic[T]):
    """One page of a list, with what the node says about all of it."""

    items: list[T]
    page: int
    per_page: int
    total: int


@dataclass(frozen=True, kw_only=True)
class Message(wire.Message):
    """A processed message, with what was checked of it."""

    content: Any = None
    """When the content travels inside the message, what its sender wrote, read from the text that was hashed."""
    content_verified: bool = False
    """Whether the content was seen to be what item_hash says."""
    signature_verified: bool = False
    """Whether the signature was seen to be the sender's. What a contract sent has none."""


@dataclass(frozen=True, kw_only=True)
class MessageInfo(Record):
    """What a node knows about one message."""

    status: Status
    item_hash: str
    reception_time: datetime
    message: Message | None = None
    """While it is processed or being removed."""
    forgotten_by: list[str] = field(default_factory=list)
    reason: str | None = None
    """Why it is being removed, or was."""
    error_code: int | None = None
    """Why it was rejected (errors.REASONS)."""
    details: Any = None
    remains: Mapping[str, Any] = field(default_factory=dict)
    """What is shown of a message that is pending, rejected, forgotten or removed; the node's word alone."""

    @property
    def rejection(self) -> RejectedError | None:
        """Why the network refused it; None unless it did."""
        if self.status != "rejected":
            return None
        return rejection(self.item_hash, -1 if self.error_code is None else self.error_code, self.details)


@dataclass(frozen=True, kw_only=True)
class Balance(wire.Balance):
    """What an address holds. Amounts of tokens are ALEPH."""

    @property
    def free(self) -> Decimal:
        """Tokens that no resource needs."""
        return self.balance - self.locked_amount


@dataclass(frozen=True, kw_only=True)
class LogLine(Record):
    """A line that a workload printed."""

    time: str = field(default="", metadata={"name": "__REALTIME_TIMESTAMP"})
    stream: str = field(default="", metadata={"name": "file"})
    """stdout or stderr."""
    message: str = field(default="", metadata={"name": "MESSAGE"})
