// The published TypeScript SDK, unmodified, against the node at ALEPH_API. The numbers are those of calls.json.
import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'

import { ChainType, newAccount as newAvalanche } from '@aleph-sdk/avalanche'
import { AuthenticatedAlephHttpClient } from '@aleph-sdk/client'
import { newAccount as newCosmos } from '@aleph-sdk/cosmos'
import { importAccountFromPrivateKey, newAccount as newEthereum } from '@aleph-sdk/ethereum'
import { BaseMessageClient, Encoding, ItemType, MessageType, PaymentType } from '@aleph-sdk/message'
import { newAccount as newNuls2 } from '@aleph-sdk/nuls2'
import { newAccount as newSolana } from '@aleph-sdk/solana'
import { newAccount as newSubstrate } from '@aleph-sdk/substrate'
import { newAccount as newTezos } from '@aleph-sdk/tezos'

import { api, call, channel, eventually, fetchJSON, keyA, keyB, runtime } from './harness.mjs'

const accountA = importAccountFromPrivateKey(keyA)
const accountB = importAccountFromPrivateKey(keyB)
const client = new AuthenticatedAlephHttpClient(accountA, api)
const clientB = new AuthenticatedAlephHttpClient(accountB, api)

const hold = { chain: 'ETH', type: PaymentType.hold }
const credit = { chain: 'ETH', type: PaymentType.credit }
const long = 'x'.repeat(60_000)
const file = Buffer.from(`a file of ${channel}`)
// What `ipfs add` of Kubo answers for these bytes with its defaults.
const known = { bytes: Buffer.from('hello world\n'), cid: 'QmT78zSuBmuS4z925WZfrqQ1qHaJ56DQaTfyMUF7F8ff5o' }

const hashes = (list) => list.map((item) => item.item_hash).sort()
const status = async (hash) => (await fetchJSON(`/api/v0/messages/${hash}`)).status

// processed sends a post and expects that the node applied it.
async function processed(sender, config) {
  const message = await sender.createPost({ channel, postType: 'conformance', sync: true, ...config })
  assert.equal(await status(message.item_hash), 'processed')
  return message
}

const posts = {}
await call(1, 'a post is processed', async () => {
  posts.first = await processed(client, { content: { text: 'first', tags: ['conformance-tag', channel] } })
})

await call(2, 'Solana', async () => {
  const message = await processed(new AuthenticatedAlephHttpClient(newSolana().account, api), { content: { a: 1 } })
  assert.equal(message.chain, 'SOL')
})

const others = {
  Cosmos: ['CSDK', async () => (await newCosmos()).account],
  NULS2: ['NULS2', async () => (await newNuls2()).account],
  'Avalanche X': ['AVAX', async () => (await newAvalanche(ChainType.X_CHAIN)).account],
  Substrate: ['DOT', async () => (await newSubstrate()).account],
  Tezos: ['TEZOS', async () => (await newTezos()).signerAccount],
}
for (const [name, [chain, make]] of Object.entries(others)) {
  await call(3, name, async () => {
    const message = await processed(new AuthenticatedAlephHttpClient(await make(), api), { content: { a: 1 } })
    assert.equal(message.chain, chain)
  })
}

for (const [number, engine] of [[4, ItemType.storage], [5, ItemType.ipfs]]) {
  await call(number, `60 kB on ${engine}`, async () => {
    const message = await processed(client, { content: { long, engine }, storageEngine: engine })
    assert.equal(message.item_type, engine)
    assert.match(message.item_hash, engine === ItemType.ipfs ? /^Qm/ : /^[0-9a-f]{64}$/)
    const found = await client.getPosts({ hashes: [message.item_hash] })
    assert.equal(found.posts[0].content.long, long)
  })
}

await call(6, 'an amend shows, under the original hash', async () => {
  const original = await processed(client, { content: { text: 'v1' } })
  posts.amended = original
  posts.amend = await processed(client, { postType: 'amend', ref: original.item_hash, content: { text: 'v2' } })
  const shown = await client.getPost({ hashes: [original.item_hash] })
  assert.deepEqual(shown.content, { text: 'v2' })
  assert.equal(shown.original_item_hash, original.item_hash)
  assert.equal(shown.item_hash, posts.amend.item_hash)
})

const key = `k-${channel}`
const aggregate = async (content, name = key) => {
  const message = await client.createAggregate({ key: name, content, channel, sync: true })
  assert.equal(await status(message.item_hash), 'processed')
  return message
}
await call(7, 'members of an aggregate are merged', async () => {
  for (const content of [{ a: 1 }, { b: 2 }, { a: null }]) await aggregate(content)
  assert.deepEqual(await client.fetchAggregate(accountA.address, key), { a: null, b: 2 })
})
await call(8, 'only keys that exist', async () => {
  await aggregate({ c: 3 }, `l-${channel}`)
  const found = await client.fetchAggregates(accountA.address, [key, `l-${channel}`, `none-${channel}`])
  assert.deepEqual(Object.keys(found).sort(), [key, `l-${channel}`].sort())
})
await call(9, 'a missing key is not found', async () => {
  await assert.rejects(client.fetchAggregate(accountA.address, `missing-${channel}`), { name: 'MessageNotFoundError' })
})

let store
await call(10, 'a file on storage', async () => {
  store = await client.createStore({ fileObject: file, storageEngine: ItemType.storage, channel, sync: true })
  assert.equal(store.content.item_hash, createHash('sha256').update(file).digest('hex'))
  assert.equal(await status(store.item_hash), 'processed')
})
await call(11, 'a file on IPFS has the CID that Kubo gives it', async () => {
  const message = await client.createStore({ fileObject: known.bytes, storageEngine: ItemType.ipfs, channel, sync: true })
  assert.equal(message.content.item_hash, known.cid)
  assert.equal(await status(message.item_hash), 'processed')
  assert.deepEqual(Buffer.from(await client.downloadFile(known.cid)), known.bytes)
})
await call(12, 'a CID is pinned', async () => {
  const message = await clientB.createStore({ fileHash: known.cid, storageEngine: ItemType.ipfs, channel, sync: true })
  assert.equal(await status(message.item_hash), 'processed')
})
await call(13, 'a file downloads', async () => {
  assert.deepEqual(Buffer.from(await client.downloadFile(store.content.item_hash)), file)
})
await call(13, 'an unknown file is a 404', async () => {
  await assert.rejects(client.downloadFile('0'.repeat(64)), (error) => error.response?.status === 404)
})

await call(14, 'types, channels, addresses, dates', async () => {
  const config = { addresses: [accountA.address], channels: [channel], messageTypes: [MessageType.aggregate], startDate: new Date(Date.now() - 3_600_000), endDate: new Date(Date.now() + 3_600_000) }
  const found = await client.getMessages(config)
  assert.equal(found.pagination_total, 4)
  assert.ok(found.messages.every((m) => m.type === MessageType.aggregate && m.channel === channel && m.sender === accountA.address))
  assert.equal((await client.getMessages({ ...config, startDate: new Date(Date.now() + 1_800_000) })).messages.length, 0)
})
await call(14, 'pages', async () => {
  const config = { channels: [channel], messageTypes: [MessageType.aggregate], pagination: 3 }
  const [one, two] = [await client.getMessages({ ...config, page: 1 }), await client.getMessages({ ...config, page: 2 })]
  assert.deepEqual([one.messages.length, two.messages.length, one.pagination_per_page, two.pagination_page], [3, 1, 3, 2])
  assert.equal(new Set([...hashes(one.messages), ...hashes(two.messages)]).size, 4)
})

const finds = async (filter, want) => {
  const found = await client.getMessages({ channels: [channel], pagination: 100, ...filter })
  assert.deepEqual(hashes(found.messages), hashes(want))
}
const filters = {
  hashes: async () => finds({ hashes: [posts.first.item_hash, posts.amend.item_hash] }, [posts.first, posts.amend]),
  refs: async () => finds({ refs: [posts.amended.item_hash] }, [posts.amend]),
  tags: async () => finds({ tags: ['conformance-tag'] }, [posts.first]),
  contentTypes: async () => finds({ contentTypes: ['amend'] }, [posts.amend]),
  contentKeys: async () => {
    const found = await client.getMessages({ channels: [channel], contentKeys: [key] })
    assert.equal(found.messages.length, 3)
  },
  chains: async () => {
    const found = await client.getMessages({ channels: [channel], chains: ['SOL'] })
    assert.deepEqual(found.messages.map((m) => m.chain), ['SOL'])
  },
}
for (const [name, run] of Object.entries(filters)) await call(15, name, run)

await call(16, 'a message with its confirmations', async () => {
  const message = await client.getMessage(posts.first.item_hash)
  assert.equal(message.content.content.text, 'first')
  assert.equal(message.sender, accountA.address)
  assert.ok(Array.isArray(message.confirmations))
})

await call(17, 'posts by each filter', async () => {
  const base = { channels: [channel], addresses: [accountA.address], types: ['conformance'], pagination: 2, page: 1 }
  const page = await client.getPosts(base)
  assert.deepEqual([page.posts.length, page.pagination_page, page.pagination_per_page, page.pagination_item], [2, 1, 2, 'posts'])
  assert.ok(page.pagination_total >= 3)
  assert.deepEqual(hashes((await client.getPosts({ channels: [channel], tags: ['conformance-tag'] })).posts), [posts.first.item_hash])
  const note = await processed(client, { ref: posts.first.item_hash, content: { text: 'a note' } })
  assert.deepEqual(hashes((await client.getPosts({ refs: [posts.first.item_hash] })).posts), [note.item_hash])
})

const archive = Buffer.from(`not really a zip file, but nobody unpacks it: ${randomBytes(16).toString('hex')}`)
let program
await call(18, 'a program of stored code', async () => {
  const code = await client.createStore({ fileObject: archive, storageEngine: ItemType.storage, channel, sync: true })
  program = await client.createProgram({ programRef: code.item_hash, entrypoint: 'main:app', runtime, encoding: Encoding.zip, channel })
  assert.equal(await status(program.item_hash), 'processed')
})
await call(19, 'a program of a file', async () => {
  const message = await client.createProgram({ file: Buffer.concat([archive, archive]), entrypoint: 'main:app', runtime, encoding: Encoding.zip, channel })
  assert.equal(await status(message.item_hash), 'processed')
  assert.equal(await status(message.content.code.ref), 'processed')
})

const machine = { rootfs: { parent: { ref: runtime } }, authorized_keys: ['ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJconformance user@example'], channel }
// The SDK does not tell the code of a refusal, nor the hash: the wallet sees the hash when it signs.
async function refusedWith(code, config) {
  const { account } = newEthereum()
  let hash
  const poor = { address: account.address, getChain: () => account.getChain(), sign: (m) => ((hash = m.item_hash), account.sign(m)) }
  await assert.rejects(new AuthenticatedAlephHttpClient(poor, api).createInstance(config), { name: 'InvalidMessageError' })
  const refused = await fetchJSON(`/api/v0/messages/${hash}`)
  assert.deepEqual([refused.status, refused.error_code], ['rejected', code])
}
let instance
for (const [name, payment, code] of [['hold', hold, 5], ['credit', credit, 6]]) {
  await call(20, name, async () => {
    instance = await client.createInstance({ ...machine, payment })
    assert.equal(await status(instance.item_hash), 'processed')
  })
  await call(20, `${name} without funds`, async () => refusedWith(code, { ...machine, payment }))
}

const costs = (cost, type) => {
  assert.equal(cost.payment_type, type)
  assert.ok(Number(cost.cost) > 0, `cost ${cost.cost}`)
  assert.equal(typeof cost.required_tokens, 'number')
  assert.ok(Array.isArray(cost.detail) && cost.detail.length > 0)
}
await call(21, 'estimate of a store', async () => {
  costs(await client.storeClient.getEstimatedCost({ account: accountA, fileObject: Buffer.alloc(2 << 20), storageEngine: ItemType.storage, channel, payment: credit }), 'credit')
})
await call(21, 'estimate of a program', async () => {
  costs(await client.programClient.getEstimatedCost({ account: accountA, file: archive, entrypoint: 'main:app', runtime, channel, payment: hold }), 'hold')
})
await call(21, 'estimate of an instance', async () => {
  costs(await client.instanceClient.getEstimatedCost({ ...machine, account: accountA, payment: credit }), 'credit')
})
await call(21, 'cost of a program', async () => costs(await client.programClient.getCost(program.item_hash), 'hold'))
await call(21, 'cost of an instance', async () => costs(await client.instanceClient.getCost(instance.item_hash), 'credit'))

await call(22, 'a forgotten message says so', async () => {
  const victim = await processed(client, { content: { text: 'to be forgotten' } })
  const forget = await client.forget({ hashes: [victim.item_hash], reason: 'conformance', channel, sync: true })
  assert.equal(await status(forget.item_hash), 'processed')
  await assert.rejects(client.getMessage(victim.item_hash), { name: 'ForgottenMessageError' })
})
await call(23, 'a wrong signature is refused', async () => {
  const stub = { address: accountA.address, getChain: () => accountA.getChain(), sign: async () => `0x${'11'.repeat(64)}1b` }
  const forger = new AuthenticatedAlephHttpClient(stub, api)
  await assert.rejects(forger.createPost({ postType: 'conformance', content: { a: 1 }, channel, sync: true }), { name: 'InvalidMessageError' })
})

await call(24, 'a socket replays and follows', async () => {
  const socket = new BaseMessageClient(api, api.replace(/^http/, 'ws')).getMessagesSocket({ addresses: [accountA.address], channels: [channel], history: 5 })
  try {
    await eventually(() => assert.equal(socket.getData().length, 5))
    const live = await processed(client, { content: { text: 'live' } })
    await eventually(() => assert.ok(socket.getData().some((m) => m.item_hash === live.item_hash)))
  } finally {
    socket.closeSocket()
  }
})

process.exit(0)
