"""The published Python SDK, unmodified, against the node at ALEPH_API, as the wallet of ALEPH_PRIVATE_KEY.

The numbers are those of the calls in spec/sdk-cli.md §6.4.
"""

import asyncio
import os
import sys
import tempfile
import uuid
from pathlib import Path

api = os.environ.get("ALEPH_API")
key = os.environ.get("ALEPH_PRIVATE_KEY")
if not api or not key:
    sys.exit("official.py: set ALEPH_API (base URL of a node) and ALEPH_PRIVATE_KEY (hex, a funded wallet)")

# The SDK reads and makes files in its home as soon as it is imported; it must not meet the user's.
scratch = tempfile.TemporaryDirectory()
os.environ["ALEPH_CONFIG_HOME"] = scratch.name
os.environ["ALEPH_API_HOST"] = api

from aleph.sdk.chains.ethereum import ETHAccount  # noqa: E402
from aleph.sdk.client import AuthenticatedAlephHttpClient  # noqa: E402
from aleph.sdk.types import StorageEnum  # noqa: E402
from aleph_message.models import PostMessage  # noqa: E402
from aleph_message.status import MessageStatus  # noqa: E402

results = []


async def call(name, run):
    try:
        value = await run()
    except Exception as error:  # a failed call must not hide the others
        results.append(False)
        print(f"FAIL {name}: {type(error).__name__}: {error}", flush=True)
        return None
    results.append(True)
    print(f"PASS {name}", flush=True)
    return value


def expect(actual, wanted):
    if actual != wanted:
        raise AssertionError(f"got {actual!r}, want {wanted!r}")


async def main():
    account = ETHAccount(bytes.fromhex(key.removeprefix("0x")))
    channel = f"CONFORMANCE-{uuid.uuid4()}"
    content = {"text": f"hello {channel}"}
    data = f"a file of {channel}".encode()

    async with AuthenticatedAlephHttpClient(account, api_server=api) as client:

        async def create_post():
            message, status = await client.create_post(
                post_content=content, post_type="conformance", channel=channel, sync=True
            )
            expect(status, MessageStatus.PROCESSED)
            return message

        post = await call("25 create_post is processed", create_post)

        async def create_long_post():
            message, status = await client.create_post(
                post_content=content, post_type="conformance", channel=channel, inline=False, sync=True
            )
            expect(status, MessageStatus.PROCESSED)
            expect(message.item_type.value, "storage")

        await call("25 create_post with stored content is processed", create_long_post)

        async def get_message():
            message, status = await client.get_message(post.item_hash, PostMessage, with_status=True)
            expect(status, MessageStatus.PROCESSED)
            expect(message.content.content, content)
            expect(message.sender, account.get_address())

        await call("26 get_message returns the post", get_message)

        async def get_message_status():
            expect(await client.get_message_status(post.item_hash), MessageStatus.PROCESSED)

        await call("26 get_message_status", get_message_status)

        async def create_store():
            message, status = await client.create_store(
                file_content=data, storage_engine=StorageEnum.storage, channel=channel, sync=True
            )
            expect(status, MessageStatus.PROCESSED)
            return message

        store = await call("32 create_store stores a file", create_store)

        async def download_file():
            expect(await client.download_file(store.content.item_hash), data)

        await call("33 download_file returns its bytes", download_file)

        async def download_file_to_path():
            path = Path(scratch.name) / "downloaded"
            await client.download_file_to_path(store.content.item_hash, path)
            expect(path.read_bytes(), data)

        await call("33 download_file_to_path returns its bytes", download_file_to_path)

        async def get_stored_content():
            stored = await client.get_stored_content(store.item_hash)
            expect(stored.error, None)
            expect(stored.hash, store.content.item_hash)

        await call("33 get_stored_content finds the file", get_stored_content)


asyncio.run(main())
scratch.cleanup()
print(f"{results.count(True)} passed, {results.count(False)} failed")
sys.exit(0 if all(results) else 1)
