"""Runs test/scenario/scenario.json with this SDK: python -m tests.scenario, as test/scenario/README.md says."""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import string
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Callable
from dataclasses import asdict, is_dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from aleph_im import AlephError, AsyncClient, Filter, InsufficientFundsError, NotFoundError, RejectedError, from_key
from aleph_im.answers import Message
from aleph_im.errors import NotAllowedError
from aleph_im.instances import InstanceSettings
from aleph_im.programs import ProgramSettings

SCENARIO = Path(__file__).resolve().parents[3] / "test" / "scenario" / "scenario.json"

STEP = 60.0  # seconds that a step may take unless it says otherwise


class StepError(Exception):
    """A step went wrong."""


class Runner:
    """Does the steps, each as one of the accounts."""

    def __init__(self, network: dict[str, Any]) -> None:
        run = "".join(random.choices(string.ascii_lowercase, k=8))
        channel = f"SCENARIO-{run}"
        self.network = network
        self.variables: dict[str, Any] = {"run": run, "channel": channel, "key": f"scenario-{run}"}
        self.variables |= {name: network[name] for name in ("runtime", "image", "ssh_key") if name in network}
        self.clients: dict[str, AsyncClient] = {}
        for name, account in network["accounts"].items():
            self.variables[name] = account["address"]
            signer = from_key(account["private_key"], account["chain"])
            self.clients[name] = AsyncClient(network["core"], account=signer, channel=channel)
        self.watching: AsyncGenerator[Message, None] | None = None

    async def close(self) -> None:
        for client in self.clients.values():
            await client.aclose()

    async def step(self, step: dict[str, Any]) -> None:
        if "about" in step:
            print(f"\n{step['about']}")
            return
        if "needs" in step and step["needs"] not in self.network:
            print(f"  left out: {step['do']} needs {step['needs']}")
            return
        end = time.monotonic() + step.get("within", 0)
        while True:
            wrong, got = await self._attempt(step)
            if wrong is None:
                break
            if time.monotonic() >= end:
                raise StepError(f"{step['do']} {json.dumps(step.get('with', {}))}\n  {wrong}; got: {got}")
            await asyncio.sleep(1)
        for name, member in step.get("save", {}).items():
            if member not in got:
                raise StepError(f"{step['do']} has no {member} to save; got: {got}")
            self.variables[name] = got[member]
        print(f"  {step['as']}: {step['do']}")

    async def _attempt(self, step: dict[str, Any]) -> tuple[str | None, Any]:
        """Do a step once; return what is wrong with it, and its result or its error."""
        client, arguments = self.clients[step["as"]], self._filled(step.get("with", {}))
        operation = getattr(self, step["do"].replace(".", "_"))
        try:
            got = plain(await asyncio.wait_for(operation(client, **arguments), step.get("within", STEP)))
            error = None
        except (AlephError, OSError, asyncio.TimeoutError) as failure:
            got, error = kind_of(failure), failure
        if "fails" in step:
            if error is None:
                return "it was to fail", got
            return misfit(self._filled(step["fails"]), got, "error"), f"{got} {error!r}"
        if error is not None:
            return "it failed", repr(error)
        return misfit(self._filled(step.get("expect", {})), got or {}, "result"), got

    def _filled(self, value: Any) -> Any:
        """Put the values of variables in."""
        if isinstance(value, dict):
            return {self._filled(name): self._filled(each) for name, each in value.items()}
        if isinstance(value, list):
            return [self._filled(each) for each in value]
        if not isinstance(value, str):
            return value
        if re.fullmatch(r"\$[a-z_]+", value) and value[1:] in self.variables:
            return self.variables[value[1:]]
        return re.sub(r"\$\{([a-z_]+)\}", lambda match: str(self.variables[match[1]]), value)

    # The operations, in the order of the README.

    async def file_upload(self, c: AsyncClient, text: str, engine: Any = "storage", payment: str | None = None) -> Any:
        paid = None if payment is None else {"chain": "ETH", "type": payment}
        return await c.files.upload(text.encode(), engine=engine, payment=paid)

    async def file_pin(self, c: AsyncClient, file_hash: str) -> Any:
        return await c.files.pin(file_hash)

    async def file_download(self, c: AsyncClient, file_hash: str) -> Any:
        return {"text": (await c.files.read(file_hash)).decode()}

    async def file_list(self, c: AsyncClient, address: str) -> Any:
        return {"files": [file async for file in c.files.list(address)]}

    async def post_create(self, c: AsyncClient, type: str, content: Any, address: str | None = None) -> Any:
        return await c.posts.create(content, type=type, address=address)

    async def post_amend(self, c: AsyncClient, original: str, content: Any) -> Any:
        return await c.posts.amend(original, content)

    async def post_get(self, c: AsyncClient, original: str) -> Any:
        return await c.posts.get(original)

    async def aggregate_set(self, c: AsyncClient, key: str, content: Any, address: str | None = None) -> Any:
        return await c.aggregates.merge(key, content, address=address)

    async def aggregate_get(self, c: AsyncClient, address: str, key: str) -> Any:
        return {"content": await c.aggregates.get(key, address)}

    async def authorization_grant(self, c: AsyncClient, address: str, types: Any, post_types: Any) -> Any:
        return await c.authorizations.grant(address, types=types, post_types=post_types)

    async def authorization_revoke(self, c: AsyncClient, address: str) -> Any:
        return await c.authorizations.revoke(address)

    async def authorization_list(self, c: AsyncClient, address: str) -> Any:
        return {"authorizations": await c.authorizations.granted(address)}

    async def message_get(self, c: AsyncClient, item_hash: str) -> Any:
        info = await c.messages.get(item_hash)
        shown = plain(info.message) if info.message else dict(info.remains)
        return {**shown, "status": info.status, "forgotten_by": info.forgotten_by}

    async def message_list(self, c: AsyncClient, channels: Any, types: Any, addresses: Any) -> Any:
        wanted = Filter(channels=channels, types=types, addresses=addresses)
        return {"item_hashes": [message.item_hash async for message in c.messages.list(wanted)]}

    async def message_forget(self, c: AsyncClient, item_hashes: Any, reason: str | None = None) -> Any:
        return await c.messages.forget(item_hashes, reason=reason)

    async def watch_open(self, c: AsyncClient, channels: Any, types: Any) -> Any:
        self.watching = c.messages.watch(Filter(channels=channels, types=types), history=10)

    async def watch_next(self, c: AsyncClient) -> Any:
        assert self.watching is not None
        return await anext(self.watching)

    async def watch_close(self, c: AsyncClient) -> Any:
        assert self.watching is not None
        await self.watching.aclose()

    async def price_estimate(self, c: AsyncClient, type: str, content: Any) -> Any:
        return await c.prices.estimate(type, content)

    async def price_of(self, c: AsyncClient, item_hash: str) -> Any:
        return await c.prices.of(item_hash)

    async def balance_get(self, c: AsyncClient, address: str) -> Any:
        return await c.addresses.balance(address)

    async def credit_history(self, c: AsyncClient, address: str) -> Any:
        return {"entries": [entry async for entry in c.credits.history(address)]}

    async def program_deploy(self, c: AsyncClient, files: Any, entrypoint: str, runtime: str, memory_mib: int) -> Any:
        with tempfile.TemporaryDirectory() as folder:
            for name, text in files.items():
                Path(folder, name).write_text(text)  # noqa: ASYNC240 - a few bytes
            settings = ProgramSettings(runtime=runtime, memory=memory_mib)
            return await c.programs.deploy(folder, settings, entrypoint=entrypoint)

    async def program_call(self, c: AsyncClient, item_hash: str, path: str) -> Any:
        answer = await c.programs.call(item_hash, path)
        return {"http_status": answer.status, "text": answer.body.decode()}

    async def instance_create(
        self, c: AsyncClient, image: str, disk_mib: int, vcpus: int, memory_mib: int, ssh_keys: Any
    ) -> Any:
        settings = InstanceSettings(image=image, disk=disk_mib, vcpus=vcpus, memory=memory_mib, ssh_keys=ssh_keys)
        return await c.instances.create(settings)

    async def machine_where(self, c: AsyncClient, item_hash: str) -> Any:
        node = (await c.machines.where(item_hash)).node
        return {"url": node.url, "node_hash": node.node_id}

    async def machine_execution(self, c: AsyncClient, item_hash: str) -> Any:
        execution = (await c.machines.executions((await c.machines.where(item_hash)).node.url)).get(item_hash)
        return None if execution is None else {**plain(execution.networking), "running": execution.running}

    async def machine_greeting(self, c: AsyncClient, item_hash: str, port: int) -> Any:
        networking = await self.machine_execution(c, item_hash)
        reader, writer = await asyncio.open_connection(networking["host_ipv4"], networking["mapped_ports"][str(port)]["host"])
        try:
            return {"text": (await reader.readline()).decode()}
        finally:
            writer.close()

    async def machine_operate(self, c: AsyncClient, item_hash: str, operation: Any) -> Any:
        await c.machines.operate(item_hash, operation)

    async def port_open(self, c: AsyncClient, item_hash: str, ports: Any) -> Any:
        for port, how in ports.items():
            last = await c.ports.open(item_hash, int(port), **how)
        return last

    async def port_list(self, c: AsyncClient, address: str, item_hash: str) -> Any:
        return {"ports": {str(port): how for port, how in (await c.ports.list(item_hash, address=address)).items()}}

    async def domain_attach(self, c: AsyncClient, name: str, item_hash: str, target: Any) -> Any:
        return await c.domains.attach(name, item_hash, target=target)

    async def domain_list(self, c: AsyncClient, address: str) -> Any:
        return {"domains": await c.domains.list(address)}

    async def domain_detach(self, c: AsyncClient, name: str) -> Any:
        return await c.domains.detach(name)


def plain(value: Any) -> Any:
    """Return a result as objects and lists."""
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, list):
        return [plain(each) for each in value]
    if isinstance(value, dict):
        return {name: plain(each) for name, each in value.items()}
    return value


def kind_of(failure: Exception) -> dict[str, Any]:
    match failure:
        case InsufficientFundsError():
            return {"kind": "insufficient_funds", "code": failure.code}
        case RejectedError():
            return {"kind": "rejected", "code": failure.code}
        case NotFoundError():
            return {"kind": "not_found"}
        case NotAllowedError():
            return {"kind": "not_allowed"}
    return {"kind": "other"}


def is_number(value: Any) -> bool:
    return isinstance(value, (int, float, Decimal)) and not isinstance(value, bool)


CONDITIONS: dict[str, Callable[[Any, Any], bool]] = {
    "$above": lambda want, got: (is_number(got) or isinstance(got, str)) and Decimal(str(got)) > Decimal(str(want)),
    "$contains": lambda want, got: isinstance(got, list) and any(misfit(want, each, "") is None for each in got),
    "$starts": lambda want, got: isinstance(got, str) and got.startswith(want),
    "$ends": lambda want, got: isinstance(got, str) and got.endswith(want),
    "$any": lambda want, got: got is not None,
}


def misfit(pattern: Any, got: Any, where: str) -> str | None:
    """Return what of a value does not fit a pattern; None when all does."""
    if isinstance(pattern, dict):
        for name, want in pattern.items():
            if name in CONDITIONS:
                if not CONDITIONS[name](want, got):
                    return f"{where} is not {name} {want!r}"
                continue
            if not isinstance(got, dict):
                return f"{where} is no object"
            if wrong := misfit(want, got.get(name), f"{where}.{name}"):
                return wrong
        return None
    if isinstance(pattern, list):
        if not isinstance(got, list) or len(got) != len(pattern):
            return f"{where} is no list of {len(pattern)}"
        wrongs = (misfit(want, each, f"{where}[{i}]") for i, (want, each) in enumerate(zip(pattern, got, strict=True)))
        return next((wrong for wrong in wrongs if wrong), None)
    same = pattern == got and (is_number(pattern) == is_number(got))
    return None if same else f"{where} is not {pattern!r}"


async def run(scenario: dict[str, Any], network: dict[str, Any]) -> None:
    runner = Runner(network)
    try:
        for step in scenario["steps"]:
            await runner.step(step)
    finally:
        await runner.close()


def main() -> int:
    path = os.environ.get("ALEPH_SCENARIO_NETWORK")
    if not path:
        print("set ALEPH_SCENARIO_NETWORK to the file that describes the network", file=sys.stderr)
        return 2
    try:
        asyncio.run(run(json.loads(SCENARIO.read_text()), json.loads(Path(path).read_text())))
    except StepError as wrong:
        print(f"\nscenario: {wrong}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
