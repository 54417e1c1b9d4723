"""A small web application for the Aleph network.

Deploy it with:  aleph program deploy examples/hello-fastapi
"""

import itertools
import platform

from fastapi import FastAPI

app = FastAPI(title="hello")

# The same machine answers many calls: this counts those that it has answered.
calls = itertools.count(1)


@app.get("/")
async def index():
    return {
        "message": "Hello from a virtual machine on Aleph",
        "python": platform.python_version(),
        "host": platform.node(),
        "calls": next(calls),
    }


@app.get("/health")
async def health():
    return {"status": "ok"}
