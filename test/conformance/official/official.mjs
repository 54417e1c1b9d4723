// The published TypeScript SDK, unmodified, against the node at ALEPH_API, as the wallet of ALEPH_PRIVATE_KEY.
// The numbers are those of the calls in spec/sdk-cli.md §6.4.
import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'

import { AuthenticatedAlephHttpClient } from '@aleph-sdk/client'
import { importAccountFromPrivateKey } from '@aleph-sdk/ethereum'
import { ItemType } from '@aleph-sdk/message'

const api = process.env.ALEPH_API
const key = process.env.ALEPH_PRIVATE_KEY
if (!api || !key) {
  console.error('official.mjs: set ALEPH_API (base URL of a node) and ALEPH_PRIVATE_KEY (hex, a funded wallet)')
  process.exit(2)
}

const client = new AuthenticatedAlephHttpClient(importAccountFromPrivateKey(key), api)
const channel = `CONFORMANCE-${randomUUID()}`
let passed = 0
let failed = 0

async function call(name, fn) {
  try {
    await fn()
    passed++
    console.log(`PASS ${name}`)
  } catch (error) {
    failed++
    console.log(`FAIL ${name}: ${String(error?.stack ?? error).split('\n').slice(0, 4).join(' | ')}`)
  }
}

const content = { text: `hello ${channel}` }
const file = Buffer.from(`a file of ${channel}`)
let post
let store

await call('1 createPost is processed', async () => {
  post = await client.createPost({ postType: 'conformance', content, channel, sync: true })
  const answer = await fetch(`${api}/api/v0/messages/${post.item_hash}`)
  assert.equal(answer.status, 200)
  assert.equal((await answer.json()).status, 'processed')
})
await call('16 getMessage returns the post', async () => {
  const message = await client.getMessage(post.item_hash)
  assert.deepEqual(message.content.content, content)
  assert.equal(message.sender, post.sender)
  assert.ok(Array.isArray(message.confirmations))
})
await call('10 createStore stores a file', async () => {
  store = await client.createStore({ fileObject: file, storageEngine: ItemType.storage, channel, sync: true })
  assert.match(store.content.item_hash, /^[0-9a-f]{64}$/)
})
await call('13 downloadFile returns its bytes', async () => {
  assert.deepEqual(Buffer.from(await client.downloadFile(store.content.item_hash)), file)
})
await call('13 downloadFile of an unknown file is a 404', async () => {
  await assert.rejects(client.downloadFile('0'.repeat(64)), (error) => error.response?.status === 404)
})

console.log(`${passed} passed, ${failed} failed`)
process.exit(failed ? 1 : 0)
