"""Serves an ASGI application: by uvicorn where the runtime has it, or else by what follows, which needs nothing but Python 3.7.

    asgi.py MODULE:VARIABLE --host HOST --port PORT --forwarded-allow-ips IP,… [more options of uvicorn]

Its clients are the compute node alone, whose HTTP/1.1 is in order; what they send is not trusted to be. Specifications: ASGI 3.0,
HTTP 2.3, WebSocket 2.3, lifespan 2.0.
"""

import asyncio
import base64
import email.utils
import hashlib
import http
import importlib
import importlib.util
import inspect
import operator
import runpy
import signal
import struct
import sys
import traceback
import types
import urllib.parse

MAX_HEAD = 64 << 10
MAX_MESSAGE = 16 << 20  # bytes of a message of a WebSocket
PIECE = 64 << 10
BACKLOG = 2048
GRACE = 10  # seconds for the answers in progress when the program is to end
LINGER = 2  # seconds for what a client still sends after its answer
EVENT_PATH = "/_aleph/event"


class Malformed(Exception):
    """The client does not speak as it should."""


class Input:
    """What a connection brings, read as far as it is wanted."""

    def __init__(self, reader):
        self.reader, self.data = reader, b""

    async def more(self):
        piece = await self.reader.read(PIECE)
        self.data += piece
        return bool(piece)

    async def until(self, mark, limit):
        """Returns what is before the mark, or None at the end of the connection."""
        begin = 0
        while True:
            at = self.data.find(mark, begin)
            if at >= 0:
                got, self.data = self.data[:at], self.data[at + len(mark):]
                return got
            if len(self.data) > limit:
                raise Malformed("more than %d bytes before the end of a part" % limit)
            begin = max(0, len(self.data) - len(mark) + 1)
            if not await self.more():
                return None

    async def some(self, most):
        """Returns at least a byte, and nothing at the end of the connection."""
        if not self.data and not await self.more():
            return b""
        got, self.data = self.data[:most], self.data[most:]
        return got

    async def exactly(self, count):
        while len(self.data) < count:
            if not await self.more():
                raise Malformed("the connection ended in the middle")
        got, self.data = self.data[:count], self.data[count:]
        return got


class Request:
    """The head of a request."""

    def __init__(self, head):
        first, *lines = head.split(b"\r\n")
        try:
            self.method, self.target, self.version = first.decode("ascii").split(" ")
            self.headers = []
            for line in lines:
                name, colon, value = line.partition(b":")
                if not colon or not name or name != name.strip():
                    raise ValueError(line)
                self.headers.append((name.lower(), value.strip()))
            self.length = int(self.first(b"content-length") or 0)
        except ValueError:
            raise Malformed("the head of the request is none")
        self.chunked = b"chunked" in self.listed(b"transfer-encoding")
        if self.length < 0 or not self.version.startswith("HTTP/1."):
            raise Malformed("the head of the request is none")
        self.keep = b"close" not in self.listed(b"connection") and self.version != "HTTP/1.0"
        self.upgrades = b"upgrade" in self.listed(b"connection") and self.listed(b"upgrade") == [b"websocket"]

    def first(self, name):
        return next((v for n, v in self.headers if n == name), b"")

    def listed(self, name):
        return [word.strip().lower() for n, v in self.headers if n == name for word in v.split(b",")]


class Exchange:
    """One request and its answer."""

    def __init__(self, server, request, source, writer, scope):
        self.server, self.request, self.source, self.writer, self.scope = server, request, source, writer, scope
        self.left = request.length  # bytes of the body, or of its chunk, that are still to come
        self.ended = not request.chunked and not request.length  # the body
        self.told = False  # the application has had the whole body
        self.expects = request.first(b"expect").lower() == b"100-continue"
        self.head = None  # of the answer, until it is sent
        self.started = self.complete = self.gone = False
        self.over = asyncio.Event()
        self.watching = None

    async def piece(self):
        """Returns a piece of the body, which is empty at the latest at the end."""
        if self.expects and not self.started:
            self.expects = False
            self.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if self.request.chunked and not self.left:
            line = await self.source.until(b"\r\n", 256)
            try:
                self.left = int((line or b"").partition(b";")[0], 16)
            except ValueError:
                raise Malformed("a chunk without its length")
            if not self.left:
                while await self.source.until(b"\r\n", MAX_HEAD):
                    pass  # trailers
                self.ended = True
                return b""
        got = await self.source.some(min(self.left, PIECE))
        if not got:
            raise Malformed("the connection ended in the middle")
        self.left -= len(got)
        if self.left:
            return got
        if self.request.chunked:
            if await self.source.exactly(2) != b"\r\n":
                raise Malformed("a chunk without its end")
        else:
            self.ended = True
        return got

    async def receive(self):
        if not self.told and not self.gone and not self.complete:
            body = b""
            try:
                if not self.ended:
                    body = await self.piece()
                self.told = self.ended
                return {"type": "http.request", "body": body, "more_body": not self.ended}
            except (Malformed, OSError):
                self.gone = True
        if not self.gone and not self.complete:
            if self.watching is None:
                self.watching = asyncio.ensure_future(self.watch())
            await self.over.wait()
        return {"type": "http.disconnect"}

    async def watch(self):
        """Sees the client leave while the application is at its answer."""
        try:
            while len(self.source.data) <= MAX_HEAD:
                if not await self.source.more():
                    break
            else:
                return
        except OSError:
            pass
        self.gone = True
        self.over.set()

    async def send(self, message):
        kind = message["type"]
        if self.gone:
            return
        if kind == "http.response.start" and self.head is None:
            self.head = message
        elif kind == "http.response.body" and self.head is not None and not self.complete:
            await self.body(message.get("body", b""), message.get("more_body", False))
        else:
            raise RuntimeError("unexpected message of the application: %s" % kind)

    async def body(self, body, more):
        out = []
        if not self.started:
            self.started = True
            out.append(self.first_lines(body, more))
        if body and not self.bare:
            out += [b"%x\r\n" % len(body), body, b"\r\n"] if self.chunks else [body]
        if not more:
            self.complete = True
            if self.chunks and not self.bare:
                out.append(b"0\r\n\r\n")
        try:
            self.writer.write(b"".join(out))
            await self.writer.drain()
        except OSError:
            self.gone = True
        if self.complete or self.gone:
            self.over.set()

    def first_lines(self, body, more):
        status = self.head["status"]
        headers = [(bytes(n).lower(), bytes(v)) for n, v in self.head.get("headers", ())]
        names = {n for n, _ in headers}
        self.bare = self.request.method == "HEAD" or status < 200 or status in (204, 304)
        self.chunks = False
        if b"content-length" not in names and b"transfer-encoding" not in names and not (status < 200 or status in (204, 304)):
            if not more:
                headers.append((b"content-length", b"%d" % len(body)))
            elif self.request.version == "HTTP/1.1":
                self.chunks = True
                headers.append((b"transfer-encoding", b"chunked"))
            else:
                self.request.keep = False
        if b"date" not in names:
            headers.append((b"date", email.utils.formatdate(usegmt=True).encode()))
        if any(n == b"connection" and b"close" in v.lower() for n, v in headers):
            self.request.keep = False
        elif not self.request.keep or not self.ended:
            self.request.keep = False
            headers.append((b"connection", b"close"))
        return head_of(status, headers)

    async def run(self, app):
        """Reports whether the connection can take another request."""
        try:
            await app(self.scope, self.receive, self.send)
            if not self.complete and not self.gone:
                print("the application returned without an answer", file=sys.stderr)
        except Exception:
            traceback.print_exc()
        if not self.started and not self.gone:
            self.head = {"status": 500, "headers": [(b"content-type", b"text/plain; charset=utf-8")]}
            self.request.keep = False
            await self.body(b"Internal Server Error", False)
        if self.watching is not None:
            self.watching.cancel()
            await asyncio.wait([self.watching])
        self.over.set()
        return self.complete and self.request.keep and self.ended and not self.gone


def head_of(status, headers):
    try:
        phrase = http.HTTPStatus(status).phrase
    except ValueError:
        phrase = ""
    lines = [("HTTP/1.1 %d %s" % (status, phrase)).encode()]
    lines += [n + b": " + v for n, v in headers]
    if any(b"\r" in line or b"\n" in line for line in lines):
        raise ValueError("a header with the end of a line in it")
    return b"\r\n".join(lines) + b"\r\n\r\n"


CONTINUED, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10


class WebSocket:
    """A connection by RFC 6455."""

    def __init__(self, request, source, writer, scope):
        self.request, self.source, self.writer, self.scope = request, source, writer, scope
        self.came = asyncio.Queue(16)  # messages for the application; the client waits beyond
        self.came.put_nowait({"type": "websocket.connect"})
        self.accepted = self.closed = False
        self.reading = None

    async def receive(self):
        message = await self.came.get()
        if message["type"] == "websocket.disconnect":
            self.came.put_nowait(message)  # for who asks again
        return message

    async def send(self, message):
        kind = message["type"]
        if not self.accepted and not self.closed:
            if kind == "websocket.accept":
                return await self.accept(message)
            if kind == "websocket.close":
                self.closed = True
                return await self.write(head_of(403, [(b"content-length", b"0"), (b"connection", b"close")]))
        elif kind == "websocket.send":
            text = message.get("text")
            return await self.frame(TEXT, text.encode()) if text is not None else await self.frame(BINARY, message["bytes"])
        elif kind == "websocket.close":
            return await self.close(message.get("code", 1000), message.get("reason") or "")
        raise RuntimeError("unexpected message of the application: %s" % kind)

    async def accept(self, message):
        self.accepted = True
        key = self.request.first(b"sec-websocket-key") + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        headers = [
            (b"upgrade", b"websocket"), (b"connection", b"Upgrade"),
            (b"sec-websocket-accept", base64.b64encode(hashlib.sha1(key).digest())),
        ]
        if message.get("subprotocol"):
            headers.append((b"sec-websocket-protocol", message["subprotocol"].encode()))
        headers += [(bytes(n), bytes(v)) for n, v in message.get("headers", ())]
        await self.write(head_of(101, headers))
        self.reading = asyncio.ensure_future(self.read())

    async def write(self, out):
        try:
            self.writer.write(out)
            await self.writer.drain()
        except OSError:
            self.closed = True

    async def frame(self, kind, data):
        if self.closed:
            return
        size = len(data)
        length = struct.pack("!B", size) if size < 126 else struct.pack("!BH", 126, size) if size < 1 << 16 else struct.pack("!BQ", 127, size)
        await self.write(bytes([0x80 | kind]) + length + data)

    async def close(self, code, reason=""):
        await self.frame(CLOSE, struct.pack("!H", code) + reason.encode()[:123])
        self.closed = True

    async def read(self):
        code, reason = 1006, ""
        try:
            code, reason = await self.messages()
        except Malformed as e:
            code, reason = e.args if len(e.args) == 2 else (1006, "")
            if len(e.args) == 2:
                await self.close(code, reason)
        except OSError:
            pass
        self.closed = True
        await self.came.put({"type": "websocket.disconnect", "code": code, "reason": reason})

    async def messages(self):
        """Reads until the client closes, and returns how."""
        kind, parts, size = None, [], 0
        while True:
            first, second = await self.source.exactly(2)
            what, length = first & 15, second & 127
            if length == 126:
                length, = struct.unpack("!H", await self.source.exactly(2))
            elif length == 127:
                length, = struct.unpack("!Q", await self.source.exactly(8))
            if first & 0x70 or not second & 0x80 or what >= CLOSE and (length > 125 or not first & 0x80):
                raise Malformed(1002, "a frame that is none")
            if size + length > MAX_MESSAGE:
                raise Malformed(1009, "a message of more than %d bytes" % MAX_MESSAGE)
            mask = await self.source.exactly(4)
            data = unmask(await self.source.exactly(length), mask)
            if what == CLOSE:
                code, = struct.unpack("!H", data[:2]) if len(data) >= 2 else (1005,)
                await self.close(1000 if code == 1005 else code)
                return code, data[2:].decode("utf-8", "replace")
            if what == PING:
                await self.frame(PONG, data)
                continue
            if what == PONG:
                continue
            if what not in (CONTINUED, TEXT, BINARY) or (what == CONTINUED) != (kind is not None):
                raise Malformed(1002, "a frame out of order")
            kind = what or kind
            parts.append(data)
            size += length
            if first & 0x80:
                data, text = b"".join(parts), None
                if kind == TEXT:
                    try:
                        data, text = None, data.decode()
                    except UnicodeDecodeError:
                        raise Malformed(1007, "a text that is not UTF-8")
                await self.came.put({"type": "websocket.receive", "bytes": data, "text": text})
                kind, parts, size = None, [], 0

    async def run(self, app):
        try:
            await app(self.scope, self.receive, self.send)
        except Exception:
            traceback.print_exc()
            if self.accepted:
                await self.close(1011)
        if not self.accepted and not self.closed:
            await self.write(head_of(500, [(b"content-length", b"0"), (b"connection", b"close")]))
        elif self.accepted:
            await self.close(1000)
        if self.reading is not None:
            self.reading.cancel()
            await asyncio.wait([self.reading])


def unmask(data, mask):
    """The same with each byte turned back by one of the mask."""
    size = len(data)
    whole = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(data, "big") ^ int.from_bytes(whole, "big")).to_bytes(size, "big")


class Lifespan:
    """Tells the application when it starts and ends, if it wants to know."""

    def __init__(self, app):
        self.app, self.state = app, {}
        self.events, self.answers = asyncio.Queue(), asyncio.Queue()
        self.task = None

    async def startup(self):
        """Raises what keeps the application from starting."""
        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": self.state}
        self.task = asyncio.ensure_future(self.app(scope, self.events.get, self.answers.put))
        answer = await self.ask("lifespan.startup")
        if answer and answer["type"] == "lifespan.startup.failed":
            raise RuntimeError("the application failed to start: " + answer.get("message", ""))

    async def ask(self, kind):
        """Returns the answer, or None from who does not listen."""
        await self.events.put({"type": kind})
        answer = asyncio.ensure_future(self.answers.get())
        await asyncio.wait([answer, self.task], return_when=asyncio.FIRST_COMPLETED)
        if answer.done():
            return answer.result()
        answer.cancel()
        self.task.exception()  # what does not know of lifespans raises, which is no news
        return None

    async def shutdown(self):
        if not self.task.done():
            await self.ask("lifespan.shutdown")


async def linger(reader, writer):
    """Takes what the client still sends after its answer, of which it would lose the end if the connection were closed before."""
    async def rest():
        while await reader.read(PIECE):
            pass

    try:
        writer.write_eof()
        await asyncio.wait_for(rest(), LINGER)
    except (OSError, asyncio.TimeoutError):
        pass


class Server:
    def __init__(self, app, options):
        self.app, self.options = app, options
        self.trusted = options.get("--forwarded-allow-ips", "127.0.0.1").split(",")
        self.lifespan = Lifespan(app)
        self.busy, self.idle = set(), set()
        self.ending = False

    async def run(self):
        await self.lifespan.startup()
        end = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_event_loop().add_signal_handler(number, end.set)
        listener = await asyncio.start_server(self.connected, self.options["--host"], int(self.options["--port"]), backlog=BACKLOG)
        await end.wait()
        self.ending = True
        listener.close()
        for writer in list(self.idle):
            writer.close()
        if self.busy:
            await asyncio.wait(self.busy, timeout=GRACE)
        await self.lifespan.shutdown()

    async def connected(self, reader, writer):
        source = Input(reader)
        try:
            while not self.ending:
                self.idle.add(writer)
                head = await source.until(b"\r\n\r\n", MAX_HEAD)
                self.idle.discard(writer)
                if head is None:
                    break
                work = asyncio.ensure_future(self.answer(Request(head), source, writer))
                self.busy.add(work)
                try:
                    if not await work:
                        await linger(reader, writer)
                        break
                finally:
                    self.busy.discard(work)
        except Malformed as e:
            body = str(e).encode()
            writer.write(head_of(400, [(b"content-length", b"%d" % len(body)), (b"connection", b"close")]) + body)
            await linger(reader, writer)
        except OSError:
            pass
        finally:
            self.idle.discard(writer)
            writer.close()

    async def answer(self, request, source, writer):
        scope = self.scope(request, writer)
        if request.upgrades:
            scope.update(type="websocket", scheme={"https": "wss"}.get(scope["scheme"], "ws"))
            del scope["method"]
            scope["subprotocols"] = [w.decode("latin-1") for w in request.listed(b"sec-websocket-protocol")]
            await WebSocket(request, source, writer, scope).run(self.app)
            return False
        return await Exchange(self, request, source, writer, scope).run(self.app)

    def scope(self, request, writer):
        target = request.target
        if not target.startswith("/"):  # the absolute form
            parts = urllib.parse.urlsplit(target)
            target = (parts.path or "/") + ("?" + parts.query if parts.query else "")
        path, _, query = target.partition("?")
        client, scheme = writer.get_extra_info("peername")[:2], "http"
        if client[0] in self.trusted:  # the node says who calls
            scheme = request.first(b"x-forwarded-proto").decode("latin-1").strip() or scheme
            hosts = [h.decode("latin-1") for h in request.listed(b"x-forwarded-for")]
            if hosts:
                client = next((h for h in reversed(hosts) if h not in self.trusted), hosts[0]), 0
        return {
            "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": request.version[5:],
            "method": request.method, "scheme": scheme, "path": urllib.parse.unquote(path), "raw_path": path.encode("ascii"),
            "query_string": query.encode("ascii"), "root_path": "", "headers": request.headers, "client": tuple(client),
            "server": tuple(writer.get_extra_info("sockname")[:2]), "state": dict(self.lifespan.state),
        }


class Events:
    """Hands an AlephApp the messages that the node brings by HTTP."""

    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        headers = dict(scope.get("headers") or ())
        if scope["type"] != "http" or scope["path"] != EVENT_PATH or headers.get(b"aleph-event") != b"aleph.message":
            return await self.app(scope, receive, send)
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body, more = body + message["body"], message.get("more_body", False)

        async def ignore(_):
            pass  # what a handler returns goes nowhere

        result = await self.app({"type": "aleph.message", "body": body.decode()}, receive, ignore)
        while inspect.isawaitable(result):
            result = await result
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})


def application(name):
    """Loads MODULE:VARIABLE. The program ends, with a word on its error output, where there is no such thing."""
    module, _, variable = name.partition(":")
    try:
        loaded = importlib.import_module(module)
    except Exception:
        traceback.print_exc()
        sys.exit("the application %s cannot be imported" % name)
    try:
        app = operator.attrgetter(variable)(loaded)
    except AttributeError:
        sys.exit("the module %s has no %s" % (module, variable))
    # Those of the network's Python SDK take messages as a scope of their own.
    return Events(app) if any(c.__name__ == "AlephApp" for c in type(app).__mro__) else app


async def serve(name, options):
    await Server(application(name), options).run()


def main():
    sys.path[0] = ""  # the folder of the program, as with python3 -m
    name, *rest = sys.argv[1:]
    if importlib.util.find_spec("uvicorn") is None:
        return asyncio.run(serve(name, dict(zip(rest[::2], rest[1::2]))))
    served = types.ModuleType("aleph_served")
    served.__getattr__ = lambda _: application(name)  # not before uvicorn has chosen the event loop
    sys.modules[served.__name__] = served
    sys.argv[1] = served.__name__ + ":app"
    runpy.run_module("uvicorn", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
