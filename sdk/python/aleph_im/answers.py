"""What nodes say, as records. Names are those of the API (ccn-api); amounts are Decimals, times are aware datetimes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, Generic, Literal, TypeVar

from .errors import RejectedError, rejection
from .record import Record

T = TypeVar("T")

Status = Literal["pending", "processed", "rejected", "forgotten", "removing", "removed"]
MessageType = Literal["POST", "AGGREGATE", "STORE", "PROGRAM", "INSTANCE", "FORGET", "V-PROGRAM"]


@dataclass(frozen=True)
class Page(Generic[T]):
    """One page of a list, with what the node says about all of it."""

    items: list[T]
    page: int
    per_page: int
    total: int


@dataclass(frozen=True, kw_only=True)
class Confirmation(Record):
    """A transaction that anchors a message on a chain."""

    chain: str
    height: int
    hash: str


@dataclass(frozen=True, kw_only=True)
class Message(Record):
    """A message as a node shows it."""

    item_hash: str
    type: str
    chain: str
    sender: str
    signature: str | None
    item_type: str
    item_content: str | None = None
    content: Any = None
    """When the content travels inside the message, what its sender wrote, read from the text that was hashed."""
    time: datetime
    """When its sender says it was made."""
    channel: str | None = None
    size: int | None = None
    """Bytes of the content; lists only."""
    confirmed: bool = False
    confirmations: list[Confirmation] = field(default_factory=list)
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
class MessageStatus(Record):
    """Where a message stands."""

    status: Status
    item_hash: str
    reception_time: datetime


@dataclass(frozen=True, kw_only=True)
class Post(Record):
    """A post merged with its latest amendment."""

    item_hash: str
    """Of the version that counts."""
    content: Any
    original_item_hash: str
    original_type: str
    address: str
    """Owner."""
    ref: Any
    channel: str | None
    created: datetime
    last_updated: datetime


@dataclass(frozen=True, kw_only=True)
class PostV0(Record):
    """A post in the older form, with the envelope of the version that counts."""

    chain: str
    item_hash: str
    sender: str
    """The owner."""
    type: str
    channel: str | None
    confirmed: bool
    content: Any
    item_content: str | None
    item_type: str
    signature: str | None
    size: int
    time: datetime
    confirmations: list[Confirmation]
    original_item_hash: str
    original_signature: str | None
    original_type: str
    hash: str
    address: str
    ref: Any


@dataclass(frozen=True, kw_only=True)
class Aggregate(Record):
    """The merged content of all messages of one owner under one key."""

    address: str
    key: str
    content: dict[str, Any]
    created: datetime
    last_updated: datetime


@dataclass(frozen=True, kw_only=True)
class OwnedFile(Record):
    """A file that an address keeps on the network."""

    file_hash: str
    size: int
    """Bytes."""
    type: str
    created: datetime
    item_hash: str
    """Of the STORE message that keeps it."""


@dataclass(frozen=True, kw_only=True)
class FileVersion(Record):
    """The file that a STORE message, or the newest one with a ref, keeps."""

    ref: str
    owner: str
    file_hash: str
    download_url: str
    size: int
    """Bytes."""


@dataclass(frozen=True, kw_only=True)
class CreditLot(Record):
    """Credits that end at the same time."""

    expiration_date: datetime | None
    amount: int


@dataclass(frozen=True, kw_only=True)
class Balance(Record):
    """What an address holds. Amounts of tokens are ALEPH."""

    address: str
    balance: Decimal
    """On all chains."""
    details: dict[str, Decimal]
    """By chain."""
    locked_amount: Decimal
    """What its resources need it to hold."""
    credit_balance: int
    credit_balance_details: list[CreditLot] | None = None

    @property
    def free(self) -> Decimal:
        """Tokens that no resource needs."""
        return self.balance - self.locked_amount


@dataclass(frozen=True, kw_only=True)
class CreditEntry(Record):
    """Credits that came, or went when amount is negative."""

    amount: int
    price: Decimal | None
    bonus_amount: int | None
    tx_hash: str | None
    token: str | None
    chain: str | None
    provider: str | None
    origin: str | None
    origin_ref: str | None
    payment_method: str | None
    credit_ref: str
    credit_index: int
    expiration_date: datetime | None
    message_timestamp: datetime
    expense_count: int | None = None
    expense_size_mib: Decimal | None = None


@dataclass(frozen=True, kw_only=True)
class CreditSummary(Record):
    """The sums of a history of credits."""

    address: str
    entry_count: int
    total_amount: int
    total_incoming: int
    total_outgoing: int


@dataclass(frozen=True, kw_only=True)
class PriceLine(Record):
    """One part of a price, in the three ways to pay."""

    type: str
    name: str
    cost_hold: Decimal
    """ALEPH."""
    cost_stream: Decimal
    """ALEPH a second."""
    cost_credit: Decimal
    """Credits a second."""
    size_mib: Decimal | None = None


@dataclass(frozen=True, kw_only=True)
class Price(Record):
    """What a resource costs in the way that it is paid."""

    required_tokens: Decimal
    payment_type: str
    cost: Decimal
    """ALEPH to hold, ALEPH a second, or credits a second, as payment_type says."""
    charged_address: str = ""
    detail: list[PriceLine] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class AllocatedNode(Record):
    """A node that runs a workload, or the core node that it is linked to."""

    node_id: str
    name: str = ""
    url: str = ""
    ipv6: str | None = None
    supports_ipv6: bool = False


@dataclass(frozen=True, kw_only=True)
class Period(Record):
    """From when, and for how many seconds, an allocation holds."""

    start_timestamp: datetime
    duration_seconds: int


@dataclass(frozen=True, kw_only=True)
class Allocation(Record):
    """Where a workload runs."""

    vm_hash: str
    vm_type: str
    vm_ipv6: str | None = None
    period: Period
    node: AllocatedNode
    """The compute node."""
    ccn: AllocatedNode | None = None
    """The core node that it is linked to."""


@dataclass(frozen=True, kw_only=True)
class MappedPort(Record):
    """A port of a compute node that leads to one of a machine."""

    host: int
    tcp: bool = False
    udp: bool = False


@dataclass(frozen=True, kw_only=True)
class Networking(Record):
    """How a machine is reached."""

    host_ipv4: str | None = None
    """The compute node's own."""
    ipv4_ip: str | None = None
    """Behind the compute node."""
    ipv6_ip: str | None = None
    mapped_ports: dict[str, MappedPort] = field(default_factory=dict)
    """By port of the machine."""


@dataclass(frozen=True, kw_only=True)
class Execution(Record):
    """A workload of a compute node (crn §2.4.2)."""

    vm_type: str = ""
    running: bool = False
    networking: Networking = field(default_factory=Networking)
    status: dict[str, Any] = field(default_factory=dict)
    """When it was defined_at, started_at and so on; text of the compute node."""


@dataclass(frozen=True, kw_only=True)
class LogLine(Record):
    """A line that a workload printed."""

    time: str = field(default="", metadata={"name": "__REALTIME_TIMESTAMP"})
    stream: str = field(default="", metadata={"name": "file"})
    """stdout or stderr."""
    message: str = field(default="", metadata={"name": "MESSAGE"})
