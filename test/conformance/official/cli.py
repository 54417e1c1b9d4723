"""The published Python command line, unmodified, against the node at ALEPH_API: call 42 of calls.json."""

import json
import uuid

from tool import Failed, aleph, home, need, printed_json, scratch, step

channel = f"CONFORMANCE-{uuid.uuid4()}"
address_b = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"


def file_upload():
    path = home / "upload.txt"
    path.write_text(f"a file of {channel}")
    message = printed_json(aleph("file", "upload", str(path), "--storage-engine", "storage", "--channel", channel))
    need(message["type"] == "STORE", f"printed {message}")
    return message


def file_list():
    files = printed_json(aleph("file", "list", "--json"))["files"]
    need(stored["content"]["item_hash"] in [entry["file_hash"] for entry in files], "the file is not listed")


def file_download():
    aleph("file", "download", stored["content"]["item_hash"], "--output-path", scratch.name, "--file-name", "back", "--file-extension", ".txt")
    need((home / "back.txt").read_text() == f"a file of {channel}", "other bytes came back")


def file_forget():
    aleph("file", "forget", stored["item_hash"], "--channel", channel)


def message_post():
    path = home / "post.json"
    path.write_text(json.dumps({"text": channel}))
    return printed_json(aleph("message", "post", "--path", str(path), "--type", "conformance", "--channel", channel))


def message_get():
    out = aleph("message", "get", posted["item_hash"])
    need("processed" in out.lower() and channel in out, f"printed {out[-300:]!r}")


def message_find():
    found = printed_json(aleph("message", "find", "--channels", channel, "--message-types", "POST"))
    need(posted["item_hash"] in json.dumps(found), "the post is not found")


def message_forget():
    aleph("message", "forget", posted["item_hash"], "--channel", channel)
    need("forgotten" in aleph("message", "get", posted["item_hash"]).lower(), "it is not forgotten")


def aggregate_post():
    aleph("aggregate", "post", channel, '{"a": 1}', "--sync", "--channel", channel)


def aggregate_get():
    value = printed_json(aleph("aggregate", "get", channel))
    need(value.get(channel, value) == {"a": 1}, f"printed {value}")


def authorizations_add():
    aleph("authorizations", "add", address_b, "--channels", channel)


def authorizations_list():
    need(address_b in aleph("authorizations", "list", "--json"), "the delegate is not listed")


def credits_show():
    need(printed_json(aleph("credits", "show", "--json")), "nothing was printed")


def node_core():
    need(isinstance(printed_json(aleph("node", "core", "--json")), list), "no list was printed")


def pricing_all():
    need(printed_json(aleph("pricing", "all", "--json")), "nothing was printed")


stored = step(42, "file upload", file_upload)
step(42, "file list", file_list)
step(42, "file download", file_download)
step(42, "file forget", file_forget)
posted = step(42, "message post", message_post)
step(42, "message get", message_get)
step(42, "message find", message_find)
step(42, "message forget", message_forget)
step(42, "aggregate post", aggregate_post)
step(42, "aggregate get", aggregate_get)
step(42, "authorizations add", authorizations_add)
step(42, "authorizations list", authorizations_list)
step(42, "credits show", credits_show)
step(42, "node core", node_core)
step(42, "pricing all", pricing_all)
scratch.cleanup()
