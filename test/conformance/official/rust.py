"""The published Rust command line, unmodified, against the node at ALEPH_API: calls 43 and 44 of calls.json.

The program is ALEPH_RUST_CLI, built with `cargo install --locked aleph-cli --version 0.15.0`, which takes too long for every run.
"""

import json
import os
import subprocess
import sys
import tempfile
import uuid
from pathlib import Path

needed = ["ALEPH_RUST_CLI", "ALEPH_API", "ALEPH_OTHER_API", "ALEPH_PRIVATE_KEY", "ALEPH_PRIVATE_KEY_B"]
if missing := [name for name in needed if not os.environ.get(name)]:
    sys.exit(f"rust.py: set {', '.join(missing)}; official.go says what they are")
program, api, other_api, key, granter_key = (os.environ[name] for name in needed)
channel = f"CONFORMANCE-{uuid.uuid4()}"
scratch = tempfile.TemporaryDirectory()
home = Path(scratch.name)
environment = {"PATH": os.environ["PATH"], "HOME": scratch.name, "XDG_CONFIG_HOME": scratch.name, "ALEPH_PRIVATE_KEY": key}
signed = ["--chain", "eth"]


def aleph(*arguments, by=key, wants_json=True):
    """Runs the program and returns what it printed."""
    done = subprocess.run(
        [program, "--ccn", api, "--json", *arguments], env=environment | {"ALEPH_PRIVATE_KEY": by}, stdin=subprocess.DEVNULL, capture_output=True, timeout=60
    )
    if done.returncode != 0:
        raise AssertionError(f"exit code {done.returncode}: {done.stdout[-300:]} {done.stderr[-300:]}")
    return json.loads(done.stdout) if wants_json else done.stdout


def need(condition, text):
    if not condition:
        raise AssertionError(text)


def step(number, name, function):
    """Runs one step and prints what came of it. A step that fails hides no other."""
    try:
        value = function()
    except Exception as error:
        why = " ".join(f"{type(error).__name__}: {error}".split())
        print(f"{number} rust FAIL {name}: {why[:600]}", flush=True)
        return None
    print(f"{number} rust ok {name}", flush=True)
    return value


def processed(sent):
    need(sent["message_status"] == "processed", f"printed {sent}")
    return sent["item_hash"]


def sync(source, target):
    # The nodes hear of each other's messages by themselves, so there is nothing to copy; the tool looks for each that it misses.
    aleph("message", "sync", "--source", source, "--target", target, "--count", "200", wants_json=False)


def file_upload():
    path = home / "upload.txt"
    path.write_text(f"a file of {channel}")
    processed(aleph("file", "upload", *signed, "--channel", channel, str(path)))


def folder_upload():
    folder = home / "folder"
    folder.mkdir()
    for name in ("one", "two"):
        (folder / name).write_text(f"{name} of {channel}")
    return processed(aleph("file", "upload", *signed, "--channel", channel, str(folder)))


def file_list():
    files = aleph("file", "list", "--address", address, "--count", "100")
    need(folder in [entry["item_hash"] for entry in files if entry["type"] == "dir"], "the folder is not listed")
    (file,) = [entry["file_hash"] for entry in files if entry["type"] == "file" and entry["size"] == len(f"a file of {channel}")][:1]
    return file


def file_download():
    path = home / "downloaded"
    aleph("file", "download", file, "--output", str(path), wants_json=False)
    need(path.read_text() == f"a file of {channel}", "other bytes came back")


def post_create():
    return processed(aleph("post", "create", *signed, "--channel", channel, "--type", "conformance", "--content", '{"text": "first"}'))


def post_amend():
    processed(aleph("post", "amend", *signed, "--channel", channel, "--ref", post, "--content", '{"text": "second"}'))


def message_list():
    listed = aleph("message", "list", "--count", "500", "--addresses", address)
    need(post in [message["item_hash"] for message in listed], "the post is not listed")


def aggregate():
    content = aleph("aggregate", "get", channel, "--address", address)
    return content.get(channel, content)


def aggregate_create():
    return processed(aleph("aggregate", "create", *signed, "--channel", channel, "--key", channel, "--content", '{"a": 1, "b": 2}'))


def aggregate_edit():
    processed(aleph("aggregate", "edit", *signed, "--yes", "--channel", channel, "--key", channel, "--subkey", "a", "--content", "3"))
    need(aggregate() == {"a": 3, "b": 2}, f"it is {aggregate()}")


def aggregate_unset():
    processed(aleph("aggregate", "unset", *signed, "--yes", "--channel", channel, "--key", channel, "--subkey", "b"))
    need(aggregate() == {"a": 3, "b": None}, f"it is {aggregate()}")


def aggregate_forget():
    # The tool names the message that made the aggregate where nodes take a key: nothing has that key, and reference nodes refuse it
    # in the end. What it leaves with is all that can be asked of it.
    sent = aleph("aggregate", "forget", *signed, "--yes", "--channel", channel, created)
    need(sent["type"] == "FORGET" and sent["publication_status"] == "success", f"printed {sent}")


def authorization_received():
    aleph("authorization", "add", *signed, "--channels", channel, address, by=granter_key, wants_json=False)
    need(channel in json.dumps(aleph("authorization", "received", "--address", address)), "the grant is not listed")


def credit_history():
    need(aleph("credit", "history", "--address", address)["credit_history"][-1]["amount"] > 0, "no credits were given")


def credit_summary():
    need(aleph("credit", "summary", "--address", address)["total_incoming"] > 0, "no credits came in")


def account_balance():
    need(aleph("account", "balance", address)["aleph_tokens"] > 0, "no tokens")


address = aleph("post", "create", *signed, "--type", "conformance", "--content", "{}")["sender"]
step(43, "file upload", file_upload)
folder = step(43, "file upload of a folder", folder_upload)
file = step(43, "file list", file_list)
step(43, "file download", file_download)
post = step(43, "post create", post_create)
step(43, "post amend", post_amend)
step(43, "message list --count 500", message_list)
created = step(43, "aggregate create", aggregate_create)
step(43, "aggregate edit", aggregate_edit)
step(43, "aggregate unset", aggregate_unset)
step(43, "aggregate forget", aggregate_forget)
step(43, "authorization received", authorization_received)
step(43, "credit history", credit_history)
step(43, "credit summary", credit_summary)
step(43, "account balance", account_balance)
step(44, "between two core nodes, there", lambda: sync(api, other_api))
step(44, "and back", lambda: sync(other_api, api))
scratch.cleanup()
