"""WebSockets, for both drivers."""

from __future__ import annotations

from typing import Any

from .errors import AlephError, TransportError, of_status
from .operation import Close, Dial, Effect, Receive, Transmit

_OPTIONS: dict[str, Any] = {
    "max_size": 4 << 20,  # bytes of one frame
    "max_queue": 64,  # frames that wait for the reader; then the node waits
    "ping_interval": 20,
    "ping_timeout": 20,
}


def blocking_socket(effect: Effect) -> Any:
    """Perform an effect on a blocking socket."""
    from websockets.exceptions import ConnectionClosedOK, InvalidStatus, WebSocketException
    from websockets.sync.client import ClientConnection, connect

    try:
        match effect:
            case Dial(url, timeout):
                # Entered as a context that Close leaves: newer versions of the library want to be used so.
                return connect(url, open_timeout=timeout, **_OPTIONS).__enter__()
            case Receive(ClientConnection() as socket):
                return _text(socket.recv())
            case Transmit(ClientConnection() as socket, text):
                return socket.send(text)
            case Close(ClientConnection() as socket):
                return socket.close()
    except ConnectionClosedOK:
        return None
    except InvalidStatus as refusal:
        raise _refused(effect, refusal) from refusal
    except (WebSocketException, OSError) as failure:
        raise TransportError(f"WebSocket: {failure}") from failure
    raise TypeError(f"unknown effect {effect!r}")


async def async_socket(effect: Effect) -> Any:
    """Perform an effect on a socket of the running loop."""
    from websockets.asyncio.client import ClientConnection, connect
    from websockets.exceptions import ConnectionClosedOK, InvalidStatus, WebSocketException

    try:
        match effect:
            case Dial(url, timeout):
                return await connect(url, open_timeout=timeout, **_OPTIONS).__aenter__()
            case Receive(ClientConnection() as socket):
                return _text(await socket.recv())
            case Transmit(ClientConnection() as socket, text):
                return await socket.send(text)
            case Close(ClientConnection() as socket):
                return await socket.close()
    except ConnectionClosedOK:
        return None
    except InvalidStatus as refusal:
        raise _refused(effect, refusal) from refusal
    except (WebSocketException, OSError) as failure:
        raise TransportError(f"WebSocket: {failure}") from failure
    raise TypeError(f"unknown effect {effect!r}")


def _refused(effect: Effect, refusal: Any) -> AlephError:
    url = effect.url if isinstance(effect, Dial) else ""
    body = (refusal.response.body or b"").decode(errors="replace")
    return of_status("GET", url, refusal.response.status_code, body)


def _text(frame: str | bytes) -> str:
    return frame if isinstance(frame, str) else frame.decode()
