"""The published Python command line, unmodified, against the node at ALEPH_API: call 42 of calls.json.

It runs the program aleph beside this interpreter as a user's shell would, without a terminal.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import uuid
from pathlib import Path

needed = ["ALEPH_API", "ALEPH_PRIVATE_KEY", "ALEPH_PRIVATE_KEY_B", "ALEPH_SETTINGS_ADDRESS"]
if missing := [name for name in needed if not os.environ.get(name)]:
    sys.exit(f"cli.py: set {', '.join(missing)}; official.go says what they are")
api, key_a, key_b, settings_address = (os.environ[name] for name in needed)

scratch = tempfile.TemporaryDirectory()
home = Path(scratch.name)
environment = {
    "PATH": os.environ["PATH"],
    "HOME": scratch.name,
    "CI": "1",
    "NO_COLOR": "1",
    "COLUMNS": "300",
    "ALEPH_CONFIG_HOME": scratch.name,
    "ALEPH_API_HOST": api,
    "ALEPH_ALEPH_AGGREGATE_ADDRESS": settings_address,
    "ALEPH_PRIVATE_KEY_STRING": key_a,
}
channel = f"CONFORMANCE-{uuid.uuid4()}"
address_b = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"


class Failed(Exception):
    pass


def aleph(*arguments):
    """Runs the tool and returns what it printed."""
    done = subprocess.run(
        [str(Path(sys.executable).parent / "aleph"), "--no-format", *arguments],
        env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60,
    )
    if done.returncode != 0:
        raise Failed(f"exit code {done.returncode}: {done.stdout[-300:]} {done.stderr[-300:]}")
    return done.stdout


def printed_json(text):
    """The JSON in what was printed, which may stand among lines for people."""
    found = re.search(r"^[\[{]", text, re.MULTILINE)
    if not found:
        raise Failed(f"no JSON in {text[-300:]!r}")
    return json.JSONDecoder().raw_decode(text[found.start():])[0]


def need(condition, text):
    if not condition:
        raise Failed(text)


def step(name, function):
    """Runs one step and prints what came of it. A step that fails hides no other."""
    try:
        value = function()
    except Exception as error:
        why = " ".join(f"{type(error).__name__}: {error}".split())
        print(f"42 cli FAIL {name}: {why[:600]}", flush=True)
        return None
    print(f"42 cli ok {name}", flush=True)
    return value


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


stored = step("file upload", file_upload)
step("file list", file_list)
step("file download", file_download)
step("file forget", file_forget)
posted = step("message post", message_post)
step("message get", message_get)
step("message find", message_find)
step("message forget", message_forget)
step("aggregate post", aggregate_post)
step("aggregate get", aggregate_get)
step("authorizations add", authorizations_add)
step("authorizations list", authorizations_list)
step("credits show", credits_show)
step("node core", node_core)
step("pricing all", pricing_all)
scratch.cleanup()
