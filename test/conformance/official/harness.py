"""What the calls of the Python SDK share: the lines that official.go reads."""

import asyncio


def expect(actual, wanted):
    if actual != wanted:
        raise AssertionError(f"got {actual!r}, want {wanted!r}")


async def step(number, name, function, within=40):
    """Runs one step of a call and prints what came of it. A step that fails hides no other."""
    try:
        value = await asyncio.wait_for(function(), within)
    except Exception as error:
        why = " ".join(f"{type(error).__name__}: {error}".split())
        print(f"{number} py FAIL {name}: {why[:600]}", flush=True)
        return None
    print(f"{number} py ok {name}", flush=True)
    return value
