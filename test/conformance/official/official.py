"""The published Python SDK, unmodified, against the node at ALEPH_API. The numbers are those of calls.json."""

import asyncio
import os
import secrets
import sys
import tempfile
import time
import uuid
from pathlib import Path

needed = ["ALEPH_API", "ALEPH_PRIVATE_KEY", "ALEPH_PRIVATE_KEY_B", "ALEPH_RUNTIME", "ALEPH_SETTINGS_ADDRESS"]
if missing := [name for name in needed if not os.environ.get(name)]:
    sys.exit(f"official.py: set {', '.join(missing)}; official.go says what they are")
api, key_a, key_b, runtime, settings_address = (os.environ[name] for name in needed)

# The SDK reads its settings, and makes files in its home, as soon as it is imported; it must not meet the user's.
scratch = tempfile.TemporaryDirectory()
os.environ["ALEPH_CONFIG_HOME"] = scratch.name
os.environ["ALEPH_API_HOST"] = api
os.environ["ALEPH_ALEPH_AGGREGATE_ADDRESS"] = settings_address
del os.environ["ALEPH_PRIVATE_KEY"]

from aleph.sdk.chains.cosmos import CSDKAccount  # noqa: E402
from aleph.sdk.chains.ethereum import ETHAccount  # noqa: E402
from aleph.sdk.chains.nuls2 import NULSAccount  # noqa: E402
from aleph.sdk.chains.solana import SOLAccount  # noqa: E402
from aleph.sdk.chains.substrate import DOTAccount, Keypair  # noqa: E402
from aleph.sdk.chains.tezos import TezosAccount  # noqa: E402
from aleph.sdk.client import AuthenticatedAlephHttpClient  # noqa: E402
from aleph.sdk.client.services.pricing import PricingEntity  # noqa: E402
from aleph.sdk.exceptions import ForgottenMessageError, InsufficientFundsError  # noqa: E402
from aleph.sdk.query.filters import MessageFilter, PostFilter, SortOrder  # noqa: E402
from aleph.sdk.query.responses import PriceResponse  # noqa: E402
from aleph.sdk.types import Authorization, PortFlags, Ports, StorageEnum  # noqa: E402
from aleph_message.models import Chain, ItemHash, MessageType, Payment, PaymentType, PostMessage  # noqa: E402
from aleph_message.status import MessageStatus  # noqa: E402

from harness import expect, step  # noqa: E402

hold = Payment(chain=Chain.ETH, type=PaymentType.hold, receiver=None)
credit = Payment(chain=Chain.ETH, type=PaymentType.credit, receiver=None)
channel = f"CONFORMANCE-{uuid.uuid4()}"


async def post(client, content, post_type="conformance", **options):
    message, status = await client.create_post(content, post_type, channel=channel, sync=True, **options)
    expect(status, MessageStatus.PROCESSED)
    return message


async def messages(client, account):
    content = {"text": f"hello {channel}", "tags": ["conformance-py"]}
    first = await step(25, "inline", lambda: post(client, content))

    async def long():
        message = await post(client, {"long": "x" * 60_000}, inline=False)
        expect(message.item_type.value, "storage")

    await step(25, "not inline", long)

    async def get_message():
        message, status = await client.get_message(first.item_hash, PostMessage, with_status=True)
        expect(status, MessageStatus.PROCESSED)
        expect(message.content.content, content)
        expect(message.sender, account.get_address())

    await step(26, "get_message", get_message)

    async def get_message_status():
        expect(await client.get_message_status(first.item_hash), MessageStatus.PROCESSED)

    await step(26, "get_message_status", get_message_status)

    for number in range(5):
        await post(client, {"number": number}, post_type="conformance-list")
    by_channel = MessageFilter(
        channels=[channel], addresses=[account.get_address()], message_types=[MessageType.post],
        content_types=["conformance-list"], start_date=time.time() - 3600, sort_order=SortOrder.ASCENDING,
    )

    async def pages_and_cursors():
        paged = []
        for page in (1, 2, 3):
            answer = await client.get_messages(
                page_size=2, page=page, message_filter=by_channel, ignore_invalid_messages=False
            )
            expect((answer.pagination_total, answer.pagination_page), (5, page))
            paged += [message.item_hash for message in answer.messages]
        walked = [m.item_hash async for m in client.get_messages_iterator(message_filter=by_channel)]
        expect(len(paged), 5)
        expect(walked, paged)

    await step(27, "pages and cursors agree", pages_and_cursors)

    posts = PostFilter(types=["conformance-list"], channels=[channel], addresses=[account.get_address()])

    async def strict_posts():
        answer = await client.get_posts(page_size=100, post_filter=posts, ignore_invalid_messages=False)
        expect((len(answer.posts), answer.pagination_item), (5, "posts"))
        walked = [p.item_hash async for p in client.get_posts_iterator(post_filter=posts)]
        expect(sorted(walked), sorted(p.item_hash for p in answer.posts))

    await step(28, "strict models parse, cursors agree", strict_posts)

    async def amend():
        message = await post(client, {"text": "amended"}, post_type="amend", ref=first.item_hash)
        answer = await client.get_posts(post_filter=PostFilter(hashes=[first.item_hash]), ignore_invalid_messages=False)
        expect(len(answer.posts), 1)
        shown = answer.posts[0]
        expect(shown.content, {"text": "amended"})
        expect((shown.item_hash, shown.original_item_hash), (message.item_hash, first.item_hash))
        return message

    amendment = await step(29, "the amended text shows", amend)

    async def watch():
        heard = asyncio.get_running_loop().create_future()

        async def listen():
            async for message in client.watch_messages(MessageFilter(channels=[channel], content_types=["conformance-live"])):
                heard.set_result(message.item_hash)
                return

        listener = asyncio.create_task(listen())
        # A socket that was not open in time misses a post, so it is posted until one is heard.
        sent = []
        while not heard.done() and not listener.done():
            sent.append((await post(client, {"number": len(sent)}, post_type="conformance-live")).item_hash)
            await asyncio.wait([listener], timeout=1)
        await listener
        if heard.result() not in sent:
            raise AssertionError(f"heard {heard.result()}, sent {sent}")

    await step(37, "a live message is heard", watch)

    async def forget():
        victim = await post(client, {"text": "to be forgotten"})
        _, status = await client.forget([victim.item_hash], "conformance", channel=channel, sync=True)
        expect(status, MessageStatus.PROCESSED)
        try:
            await client.get_message(victim.item_hash)
        except ForgottenMessageError:
            return
        raise AssertionError("the forgotten message was answered")

    await step(38, "a forgotten message says so", forget)

    async def get_message_error():
        content = {
            "address": account.get_address(), "time": time.time(), "type": "amend", "content": {"a": 1},
            "ref": amendment.item_hash,  # an amend cannot be amended
        }
        message, status, _ = await client.submit(
            content, MessageType.post, channel=channel, sync=True, raise_on_rejected=False
        )
        expect(status, MessageStatus.REJECTED)
        error = await client.get_message_error(message.item_hash)
        expect(error["error_code"], 102)
        if "details" not in error:
            raise AssertionError(f"no details in {error!r}")

    await step(39, "code and details of a refusal", get_message_error)


async def aggregates(client, account, delegate):
    address, key = account.get_address(), f"k-{channel}"

    async def merge():
        for content in ({"a": 1}, {"b": {"c": 2}}, {"a": None}):
            _, status = await client.create_aggregate(key, content, channel=channel, sync=True)
            expect(status, MessageStatus.PROCESSED)
        expect(await client.get_aggregate(address, key), {"a": None, "b": {"c": 2}})

    await step(30, "members are merged", merge)

    async def several():
        expect(list(await client.get_aggregates(address, [key, f"none-{channel}"])), [key])
        expect(await client.get_aggregate(address, f"none-{channel}"), None)
        expect(await client.get_aggregates(ETHAccount(secrets.token_bytes(32)).get_address()), None)

    await step(30, "what is missing is None", several)

    async def list_aggregates():
        answer = await client.list_aggregates(keys=[key], addresses=[address])
        expect((answer.pagination_total, len(answer.aggregates)), (1, 1))
        expect(answer.aggregates[0]["key"], key)

    await step(30, "list_aggregates", list_aggregates)

    async with AuthenticatedAlephHttpClient(delegate, api_server=api) as other:

        async def granted():
            await client.add_authorization(Authorization(address=delegate.get_address(), channels=[channel]))
            message = await post(other, {"text": "in your name"}, address=address)
            expect((message.content.address, message.sender), (address, delegate.get_address()))

        await step(31, "a delegate may post", granted)

        async def revoked():
            await client.revoke_all_authorizations(delegate.get_address())
            content = {"address": address, "time": time.time(), "type": "conformance", "content": {"text": "no more"}}
            message, status, _ = await other.submit(
                content, MessageType.post, channel=channel, sync=True, raise_on_rejected=False
            )
            expect(status, MessageStatus.REJECTED)
            expect((await client.get_message_error(message.item_hash))["error_code"], 2)

        await step(31, "and may no more when revoked", revoked)

    async def ports():
        vm = ItemHash(secrets.token_hex(32))
        wanted = Ports(ports={22: PortFlags(tcp=True, udp=False)})
        await client.port_forwarder.create_ports(vm, wanted)
        expect(await client.port_forwarder.get_ports(vm), wanted)

    await step(40, "port_forwarder", ports)

    async def pricing():
        prices = await client.pricing.get_pricing_for_services([PricingEntity.STORAGE, PricingEntity.INSTANCE])
        expect(set(prices), {PricingEntity.STORAGE, PricingEntity.INSTANCE})

    await step(40, "pricing", pricing)

    async def network_settings():
        settings = await client.network_settings.get_settings_aggregate()
        expect(len(settings.compatible_gpus), 1)

    await step(40, "network settings", network_settings)

    async def runtimes():
        entries = await client.runtimes.get_runtimes()
        expect([entry.item_hash for entry in entries], [runtime])

    await step(40, "runtimes", runtimes)


async def files(client, account):
    data = f"a file of {channel}".encode()

    async def store(**options):
        message, status = await client.create_store(channel=channel, sync=True, **options)
        expect(status, MessageStatus.PROCESSED)
        return message

    stored = await step(32, "storage, held", lambda: store(file_content=data, payment=hold))
    await step(32, "storage, credit", lambda: store(file_content=data + b"!", payment=credit))

    async def update():
        message = await store(file_content=data + b" v2", ref=stored.item_hash)
        expect(message.content.ref, stored.item_hash)

    await step(32, "a new version by ref", update)
    pinned = await step(32, "ipfs", lambda: store(file_content=data, storage_engine=StorageEnum.ipfs))
    await step(
        32, "a hash that is known",
        lambda: store(file_hash=pinned.content.item_hash, storage_engine=StorageEnum.ipfs, ref="conformance"),
    )

    async def download_file():
        expect(await client.download_file(stored.content.item_hash), data)

    await step(33, "download_file", download_file)

    async def download_file_to_path():
        path = Path(scratch.name) / "downloaded"
        await client.download_file_to_path(stored.content.item_hash, path)
        expect(path.read_bytes(), data)

    await step(33, "download_file_to_path", download_file_to_path)

    async def get_stored_content():
        found = await client.get_stored_content(stored.item_hash)
        expect((found.error, found.hash), (None, stored.content.item_hash))

    await step(33, "get_stored_content", get_stored_content)

    async def get_account_files():
        answer = await client.get_account_files(account.get_address())
        if stored.content.item_hash not in [item.file_hash for item in answer.files]:
            raise AssertionError("the stored file is not listed")

    await step(36, "get_account_files", get_account_files)


async def machines(client, poor):
    async def code():
        message, _ = await client.create_store(file_content=secrets.token_bytes(1000), channel=channel, sync=True)
        return message

    stored = await step(34, "code of a program", code)

    def program(sender):
        return sender.create_program(
            program_ref=stored.item_hash, entrypoint="main:app", runtime=runtime, payment=hold, channel=channel, sync=True
        )

    def instance(sender, payment):
        return sender.create_instance(
            rootfs=runtime, rootfs_size=20_480, payment=payment, memory=2048, vcpus=1, timeout_seconds=30,
            ssh_keys=["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJconformance user@example"], channel=channel, sync=True,
        )

    async def is_processed(made):
        message, status = await made
        expect(status, MessageStatus.PROCESSED)
        return message

    async def lacks_funds(made):
        try:
            await made
        except InsufficientFundsError as error:
            if not error.required_funds > error.available_funds:
                raise AssertionError(f"needs {error.required_funds}, has {error.available_funds}")
            return
        raise AssertionError("it was accepted")

    async def lacks_credits(made):
        # The SDK has no error of its own for missing credits.
        try:
            await made
        except ValueError as error:
            if "6" not in str(error):
                raise AssertionError(f"another reason: {error}")
            return
        raise AssertionError("it was accepted")

    function = await step(34, "program", lambda: is_processed(program(client)))
    held = await step(34, "instance, held", lambda: is_processed(instance(client, hold)))
    await step(34, "instance, credit", lambda: is_processed(instance(client, credit)))
    await step(34, "instance, held, without funds", lambda: lacks_funds(instance(poor, hold)))
    await step(34, "instance, credit, without funds", lambda: lacks_credits(instance(poor, credit)))

    def is_price(price):
        expect(type(price), PriceResponse)
        if not price.required_tokens > 0:
            raise AssertionError(f"it costs {price!r}")

    async def get_estimated_price():
        is_price(await client.get_estimated_price(held.content))

    await step(35, "get_estimated_price", get_estimated_price)

    async def get_store_estimated_price():
        is_price(await client.get_store_estimated_price(10))

    await step(35, "get_store_estimated_price", get_store_estimated_price)

    async def get_program_price():
        is_price(await client.get_program_price(function.item_hash))

    await step(35, "get_program_price", get_program_price)


async def balances(client, account):
    address = account.get_address()

    async def get_balances():
        balance = await client.get_balances(address)
        if not (balance.address == address and balance.balance > 0 and balance.credit_balance > 0):
            raise AssertionError(f"no tokens or no credits: {balance!r}")

    await step(36, "get_balances", get_balances)

    async def get_credit_history():
        history = await client.get_credit_history(address)
        if not (history.credit_history and history.credit_history[-1].amount > 0):
            raise AssertionError(f"no credits were given: {history!r}")

    await step(36, "get_credit_history", get_credit_history)

    async def get_chain_balances():
        answer = await client.get_chain_balances()
        if address not in [item.address for item in answer.balances]:
            raise AssertionError("the balance is not listed")

    await step(36, "get_chain_balances", get_chain_balances)

    async def get_address_stats():
        answer = await client.get_address_stats()
        if not answer.data[address].messages >= answer.data[address].post > 0:
            raise AssertionError(f"counted {answer.data[address]!r}")

    await step(36, "get_address_stats", get_address_stats)


async def chains():
    accounts = {
        "SOL": lambda: SOLAccount(secrets.token_bytes(32)),
        "DOT": lambda: DOTAccount(mnemonics=Keypair.generate_mnemonic()),
        "TEZOS": lambda: TezosAccount(secrets.token_bytes(32)),
        "CSDK": lambda: CSDKAccount(private_key=secrets.token_bytes(32)),
        "NULS2": lambda: NULSAccount(private_key=secrets.token_bytes(32)),
    }
    for chain, make in accounts.items():

        async def create_post():
            async with AuthenticatedAlephHttpClient(make(), api_server=api) as client:
                message = await post(client, {"chain": chain})
                expect(message.chain.value, chain)

        await step(41, chain, create_post)


async def main():
    account, delegate = (ETHAccount(bytes.fromhex(key.removeprefix("0x"))) for key in (key_a, key_b))
    async with AuthenticatedAlephHttpClient(account, api_server=api) as client:
        await messages(client, account)
        await aggregates(client, account, delegate)
        await files(client, account)
        async with AuthenticatedAlephHttpClient(ETHAccount(secrets.token_bytes(32)), api_server=api) as poor:
            await machines(client, poor)
        await balances(client, account)
    await chains()


asyncio.run(main())
scratch.cleanup()
