"""The published Python SDK, unmodified, operates an instance and a program on the compute node at ALEPH_CRN."""

import asyncio
import hashlib
import json
import os
import sys
import tarfile
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

needed = [
    "ALEPH_API", "ALEPH_PRIVATE_KEY", "ALEPH_PRIVATE_KEY_B", "ALEPH_CRN", "ALEPH_INSTANCE", "ALEPH_CONFIDENTIAL", "ALEPH_PROGRAM",
]
if missing := [name for name in needed if not os.environ.get(name)]:
    sys.exit(f"operate.py: set {', '.join(missing)}; official.go says what they are")
api, key, stranger_key, node, instance, confidential, program = (os.environ[name] for name in needed)

# The SDK reads its settings, and makes files in its home, as soon as it is imported; it must not meet the user's.
scratch = tempfile.TemporaryDirectory()
os.environ["ALEPH_CONFIG_HOME"] = scratch.name
os.environ["ALEPH_API_HOST"] = api
del os.environ["ALEPH_PRIVATE_KEY"]

import aiohttp  # noqa: E402
from aleph.sdk.chains.ethereum import ETHAccount  # noqa: E402
from aleph.sdk.chains.solana import SOLAccount  # noqa: E402
from aleph.sdk.client import AuthenticatedAlephHttpClient  # noqa: E402
from aleph.sdk.client.vm_client import VmClient, VmOperation  # noqa: E402
from aleph.sdk.client.vm_confidential_client import VmConfidentialClient  # noqa: E402
from aleph.sdk.types import Authorization, PortFlags, Ports  # noqa: E402
from aleph_message.models import MessageType  # noqa: E402

from harness import expect, step  # noqa: E402


def reason(text):
    return json.loads(text)["error"]


async def entry(client, vm=instance):
    """The machine in the list of what the node runs, read by the strict models of the SDK."""
    return await client.crn.get_vm(node, vm)


async def started(client):
    running = await entry(client)
    if running is None or not running.running:
        raise AssertionError(f"it does not run: {running}")
    return running.status.started_at


async def output(vms, last, vm=instance):
    """Follows the output of a machine until a line of it has come."""
    frames = vms.get_logs(vm)
    try:
        expect(json.loads(await anext(frames)), {"status": "connected"})
        async for text in frames:
            frame = json.loads(text)
            if frame["type"] not in ("stdout", "stderr"):
                raise AssertionError(f"the stream ended with {frame}")
            if last in frame["message"]:
                return
    finally:
        await frames.aclose()
    raise AssertionError(f"the stream ended before {last!r}")


async def lists(client, vms):
    async def start():
        status, text = await vms.start_instance(instance)
        expect(status, 200)
        expect(json.loads(text), {"success": True, "successful": True, "failing": [], "errors": {}})

    await step(46, "start_instance", start)

    async def get_active_vms():
        listed = (await client.crn.get_active_vms_v2(node)).root[instance]
        expect((listed.running, listed.networking.mapped_ports["22"].tcp), (True, True))

    await step(46, "get_active_vms_v2", get_active_vms)

    async def get_active_vms_v1():
        listed = (await client.crn.get_active_vms_v1(node)).root[instance]
        if not listed.networking.ipv4.endswith("/24"):
            raise AssertionError(f"listed as {listed}")

    await step(46, "get_active_vms_v1", get_active_vms_v1)

    async def refused():
        status, text = await vms.start_instance(confidential)
        expect(status, 503)
        if "confidential" not in json.loads(text)["errors"][confidential]:
            raise AssertionError(f"answered {text}")

    await step(46, "start_instance of what the node does not offer", refused)

    async def reserve_resources():
        content = (await client.get_message(instance)).content.model_dump(mode="json", exclude_none=True)
        status, text = await vms.reserve_resources(content)
        expect((status, json.loads(text)["status"]), (200, "reserved"))
        status, text = await vms.reserve_resources(content | {"resources": {"vcpus": 1, "memory": 1_000_000, "seconds": 30}})
        expect((status, reason(text)), (503, "This CRN cannot reserve the requested resources at this time."))

    await step(47, "reserve_resources", reserve_resources)


async def logs(vms):
    await step(48, "get_logs of an instance, from its start on", lambda: output(vms, "small guest: up"), within=120)

    async def past():
        async with vms.operate(vm_id=instance, operation="logs", method="GET") as answer:
            expect(answer.status, 200)
            lines = await answer.json()
        if not any("small guest: up" in line["MESSAGE"] and line["file"] and line["__REALTIME_TIMESTAMP"] for line in lines):
            raise AssertionError(f"{len(lines)} lines without it")

    await step(48, "operate logs", past)


async def life(client, vms):
    async def reboot():
        before = await started(client)
        expect(await vms.reboot_instance(instance), (200, f"Rebooted VM with ref {instance}"))
        if await started(client) <= before:
            raise AssertionError("it was not started again")

    await step(49, "reboot_instance", reboot)

    async def stop():
        expect(await vms.stop_instance(instance), (200, f"Stopped VM with ref {instance}"))
        expect((await entry(client)).running, False)
        expect(await vms.stop_instance(instance), (200, "Already stopped, nothing to do"))

    await step(49, "stop_instance", stop)

    async def start():
        expect((await vms.start_instance(instance))[0], 200)
        await started(client)

    await step(49, "start_instance of what was stopped", start)

    async def reinstall():
        before = await started(client)
        for erase in (False, True):
            expect(await vms.reinstall_instance(instance, erase_volumes=erase), (200, f"Reinstalled VM with ref {instance}"))
        if await started(client) <= before:
            raise AssertionError("it was not started again")

    await step(49, "reinstall_instance", reinstall)

    async def expire():
        # The SDK tells no time, and the node can only say so; what sends one is heard.
        status, text = await vms.expire_instance(instance)
        expect((status, reason(text)), (400, "Invalid timeout duration"))
        expect(
            await vms.perform_operation(instance, VmOperation.EXPIRE, json_data={"timeout": 3600.0}),
            (200, f"Expiring VM with ref {instance} in 3600 seconds"),
        )

    await step(49, "expire_instance", expire)

    async def manage():
        status, text = await vms.manage_instance(instance, [VmOperation.STOP, VmOperation.REBOOT])
        expect((status, text), (200, "All operations completed successfully"))
        await started(client)

    await step(49, "manage_instance", manage)

    async def rescue():
        # Published clients ask for it; no published node has it.
        for status, text in (await vms.enter_rescue(instance), await vms.exit_rescue(instance)):
            expect((status, reason(text)), (404, "404: Not Found"))

    await step(49, "enter_rescue and exit_rescue", rescue)

    async def erase():
        expect(await vms.erase_instance(instance), (200, f"Erased VM with ref {instance}"))
        expect((await vms.start_instance(instance))[0], 200)
        await started(client)

    await step(49, "erase_instance, then a new one", erase)


async def ports(client):
    async def update():
        await client.port_forwarder.create_ports(instance, Ports(ports={8080: PortFlags(tcp=True, udp=False)}))
        expect(await client.crn.update_instance_config(node, instance), {})
        mapped = (await entry(client)).networking.mapped_ports["8080"]
        expect((mapped.tcp, mapped.udp), (True, False))
        if not mapped.host >= 1024:
            raise AssertionError(f"mapped to {mapped}")

    await step(50, "create_ports and update_instance_config", update)

    async def updated():
        await client.port_forwarder.update_ports(instance, Ports(ports={8080: PortFlags(tcp=True, udp=True), 53: PortFlags(tcp=False, udp=True)}))
        expect(await client.crn.update_instance_config(node, instance), {})
        mapped = (await entry(client)).networking.mapped_ports
        expect({port: (mapped[port].tcp, mapped[port].udp) for port in ("8080", "53")}, {"8080": (True, True), "53": (False, True)})

    await step(50, "update_ports", updated)


async def backups(client, vms):
    async def create():
        status, text = await vms.create_backup(instance)
        while status == 202:
            await asyncio.sleep(0.5)
            status, text = await vms.get_backup(instance)
        expect(status, 200)
        backup = json.loads(text)
        expect((backup["volumes"], backup["checksum"][:7]), (["rootfs.qcow2"], "sha256:"))
        return backup

    backup = await step(63, "create_backup and get_backup", create, within=120)

    async def download():
        path = Path(scratch.name) / "backup.tar"
        async with vms.session.get(node + urlsplit(backup["download_url"])._replace(scheme="", netloc="").geturl()) as answer:
            expect(answer.status, 200)
            path.write_bytes(await answer.read())
        expect("sha256:" + hashlib.sha256(path.read_bytes()).hexdigest(), backup["checksum"])
        with tarfile.open(path) as archive:
            archive.extract("rootfs.qcow2", scratch.name, filter="data")

    await step(63, "the archive, by its link", download)

    async def restore():
        before = await started(client)
        status, text = await vms.restore_from_file(instance, Path(scratch.name) / "rootfs.qcow2")
        expect((status, json.loads(text)["status"]), (200, "restored"))
        if await started(client) <= before:
            raise AssertionError("it was not started again")

    await step(63, "restore_from_file", restore)

    async def delete():
        expect(await vms.delete_backup(instance, backup["backup_id"]), (200, f"Deleted backup {backup['backup_id']}"))
        expect((await vms.get_backup(instance))[0], 404)

    await step(63, "delete_backup", delete)


async def others(client, owner_vms):
    stranger, delegate = ETHAccount(bytes.fromhex(stranger_key)), SOLAccount(bytes(range(32)))

    async def unknown():
        async with VmClient(stranger, node) as vms:
            expect(await vms.reboot_instance(instance), (403, "Unauthorized sender"))
            frames = [json.loads(text) async for text in vms.get_logs(instance)]
            expect(frames, [{"status": "failed", "reason": "unauthorized sender"}])
            async with vms.operate(vm_id=instance, operation="logs", method="GET") as answer:
                expect((answer.status, await answer.text()), (403, "Unauthorized sender"))

    await step(51, "a stranger is refused", unknown)

    async def absent():
        other = "0" * 64
        status, text = await owner_vms.reboot_instance(other)
        expect((status, reason(text)), (404, f"No virtual machine with ref {other}"))
        expect((await owner_vms.start_instance(other))[0], 404)
        try:
            await anext(owner_vms.get_logs(other))
        except aiohttp.WSServerHandshakeError as error:
            expect(error.status, 404)
        else:
            raise AssertionError("its output was streamed")

    await step(51, "what is not there is not found", absent)

    async def solana():
        await client.add_authorization(Authorization(address=delegate.get_address(), types=[MessageType.instance]))
        try:
            async with VmClient(delegate, node) as vms:
                # A node may have read just before that nobody is trusted.
                while (answer := await vms.reboot_instance(instance)) == (403, "Unauthorized sender"):
                    await asyncio.sleep(0.5)
                expect(answer, (200, f"Rebooted VM with ref {instance}"))
                frames = vms.get_logs(instance)
                expect(json.loads(await anext(frames)), {"status": "connected"})
                await frames.aclose()
        finally:
            await client.revoke_all_authorizations(delegate.get_address())

    await step(51, "a Solana account that the owner trusts", solana)


async def programs(client, vms):
    async def call():
        async with vms.session.get(f"{node}/vm/{program}/count") as answer:
            expect(answer.status, 200)
            return (await answer.text()).split()[0]

    first = await step(52, "a program runs", call, within=120)

    async def printed():
        await output(vms, "probe: started", program)
        async with vms.operate(vm_id=program, operation="logs", method="GET") as answer:
            expect(answer.status, 200)
            if "probe: started" not in [line["MESSAGE"] for line in await answer.json()]:
                raise AssertionError("its first line is missing")

    await step(52, "get_logs and operate logs", printed)

    async def reboot():
        expect(await vms.reboot_instance(program), (200, f"Rebooted VM with ref {program}"))
        if await call() == first:
            raise AssertionError("the machine is the same")

    await step(52, "reboot_instance", reboot, within=120)

    async def stop():
        expect(await vms.stop_instance(program), (200, f"Stopped VM with ref {program}"))
        expect(await entry(client, program), None)

    await step(52, "stop_instance", stop)

    async def erase():
        await call()
        expect(await vms.erase_instance(program), (200, f"Erased VM with ref {program}"))

    await step(52, "erase_instance", erase, within=120)


async def secrets(account):
    async with VmConfidentialClient(account, Path("sevctl"), node) as vms:

        async def certificates():
            status, path = await vms.get_certificates()
            text = Path(path).read_text()
            Path(path).unlink()
            expect((status, reason(text)), (503, "Confidential computing setting not enabled on that server"))

        await step(53, "get_certificates", certificates)

        async def initialize():
            file = Path(scratch.name) / "session"
            file.write_bytes(b"session")
            try:
                await vms.initialize(instance, file, file)
            except ValueError as error:
                if "400" not in str(error):
                    raise
            else:
                raise AssertionError("it was initialized")
            status, text = await vms.perform_operation(instance, "confidential/initialize")
            expect((status, json.loads(text)["code"]), (400, "vm_running"))

        await step(53, "initialize", initialize)

        async def measurement():
            status, text = await vms.perform_operation(instance, "confidential/measurement", method="GET")
            expect((status, json.loads(text)["code"]), (400, "not_confidential"))

        await step(53, "measurement", measurement)


async def main():
    account = ETHAccount(bytes.fromhex(key.removeprefix("0x")))
    async with AuthenticatedAlephHttpClient(account, api_server=api) as client, VmClient(account, node) as vms:
        await lists(client, vms)
        await logs(vms)
        await life(client, vms)
        await ports(client)
        await backups(client, vms)
        await others(client, vms)
        await programs(client, vms)
    await secrets(account)


asyncio.run(main())
scratch.cleanup()
