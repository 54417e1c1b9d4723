# An application without a framework: each path does what its test wants.
import asyncio


class AlephApp:
    """As in the network's Python SDK: HTTP goes on to another application, messages to a handler whose result is awaited later."""

    seen = []

    async def __call__(self, scope, receive=None, send=None):
        if scope["type"] == "aleph.message":
            async def later():
                self.seen.append(scope["body"])
                await send({"handled": True})

            return later()
        await served(scope, receive, send)


async def lifespan(scope, receive, send):
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            scope["state"]["started"] = "yes"
        else:
            print("ended in order", flush=True)
        await send({"type": message["type"] + ".complete"})
        if message["type"] == "lifespan.shutdown":
            return


async def socket(scope, receive, send):
    await receive()
    if scope["path"] == "/refused":
        return await send({"type": "websocket.close"})
    await send({"type": "websocket.accept", "subprotocol": (scope["subprotocols"] or [None])[0]})
    while True:
        message = await receive()
        if message["type"] == "websocket.disconnect":
            return print("socket ended with", message["code"], flush=True)
        if message["text"] == "close":
            return await send({"type": "websocket.close", "code": 4001, "reason": "as you wish"})
        await send({"type": "websocket.send", "text": message["text"], "bytes": message["bytes"]})


async def text(send, body, status=200, headers=()):
    await send({"type": "http.response.start", "status": status, "headers": list(headers)})
    await send({"type": "http.response.body", "body": body.encode()})


async def served(scope, receive, send):
    if scope["type"] == "lifespan":
        return await lifespan(scope, receive, send)
    if scope["type"] == "websocket":
        return await socket(scope, receive, send)
    path = scope["path"]
    if path == "/echo":
        more = True
        await send({"type": "http.response.start", "status": 201, "headers": [(b"X-Method", scope["method"].encode())]})
        while more:
            message = await receive()
            more = message["more_body"]
            await send({"type": "http.response.body", "body": message["body"], "more_body": more})
    elif path == "/count":
        total, more = 0, True
        while more:
            message = await receive()
            total, more = total + len(message["body"]), message["more_body"]
        await text(send, str(total))
    elif path == "/state":
        await text(send, "%s %s %s" % (scope["state"]["started"], scope["client"][0], scope["scheme"]))
    elif path == "/events":
        await text(send, repr(AlephApp.seen))
    elif path == "/wait":
        while (await receive())["type"] != "http.disconnect":
            pass
        print("the client left", flush=True)
    elif path == "/empty":
        await text(send, "", 204)
    elif path == "/half":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        raise RuntimeError("in the middle")
    elif path == "/raises":
        raise RuntimeError("before the answer")
    elif path == "/unread":
        await text(send, "not read")
    elif path == "/slow":
        print("slow", flush=True)
        await asyncio.sleep(0.5)
        await text(send, "slow")
    else:
        await text(send, "%s?%s %s" % (path, scope["query_string"].decode(), scope["raw_path"].decode()), 404)


app = AlephApp()
