"""What the calls of the published Python command line share: running it, and the lines that official.go reads.

It runs the program aleph beside this interpreter as a user's shell would, without a terminal.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

needed = ["ALEPH_API", "ALEPH_PRIVATE_KEY", "ALEPH_PRIVATE_KEY_B", "ALEPH_SETTINGS_ADDRESS"]
if missing := [name for name in needed if not os.environ.get(name)]:
    sys.exit(f"tool.py: set {', '.join(missing)}; official.go says what they are")
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


class Failed(Exception):
    pass


def command(*arguments):
    return [str(Path(sys.executable).parent / "aleph"), "--no-format", *arguments]


def aleph(*arguments, typed=""):
    """Runs the tool and returns what it printed."""
    done = subprocess.run(command(*arguments), env=environment, input=typed, capture_output=True, text=True, timeout=60)
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


def step(number, name, function):
    """Runs one step and prints what came of it. A step that fails hides no other."""
    try:
        value = function()
    except Exception as error:
        why = " ".join(f"{type(error).__name__}: {error}".split())
        print(f"{number} cli FAIL {name}: {why[:600]}", flush=True)
        return None
    print(f"{number} cli ok {name}", flush=True)
    return value
