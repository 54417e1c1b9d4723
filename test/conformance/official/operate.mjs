// What the Console asks of a compute node, at ALEPH_CRN: the requests of web pages, signed with the keys of accounts of the
// published TypeScript SDK, which has no calls for these nodes. The numbers are those of calls.json.
import assert from 'node:assert/strict'
import { webcrypto } from 'node:crypto'

import { AuthenticatedAlephHttpClient } from '@aleph-sdk/client'
import { importAccountFromPrivateKey } from '@aleph-sdk/ethereum'
import { newAccount as newSolana } from '@aleph-sdk/solana'
import bs58 from 'bs58'
import WebSocket from 'ws'

import { api, call, channel, eventually, keyA, keyB, setting } from './harness.mjs'

const node = setting('ALEPH_CRN', 'base URL of a compute node')
const instance = setting('ALEPH_INSTANCE', 'item hash of an instance of the first wallet, for that node')
const program = setting('ALEPH_PROGRAM', 'item hash of a program of the first wallet')
const origin = 'https://console.example'

// A page sends its origin, and reads an answer only if that is allowed.
async function page(method, path, { headers = {}, body } = {}) {
  const answer = await fetch(node + path, { method, body, headers: { origin, ...headers } })
  assert.equal(answer.headers.get('access-control-allow-origin'), origin, `${method} ${path} is not for pages: ${answer.status}`)
  return { status: answer.status, text: await answer.text() }
}

async function json(method, path, options) {
  const { status, text } = await page(method, path, options)
  return { status, body: JSON.parse(text) }
}

const hex = (bytes) => Buffer.from(bytes).toString('hex')

// session has a wallet delegate to a key of the page, once for all nodes, and signs with that key.
async function session(address, chain, sign) {
  const keys = await webcrypto.subtle.generateKey({ name: 'ECDSA', namedCurve: 'P-256' }, true, ['sign', 'verify'])
  const { kty, crv, x, y } = await webcrypto.subtle.exportKey('jwk', keys.publicKey)
  const expires = new Date(Date.now() + 7_200_000).toISOString()
  const payload = hex(JSON.stringify({ alg: 'ECDSA', pubkey: { kty, crv, x, y }, address, chain, expires }))
  const key = { payload, signature: await sign(payload) }

  async function operation(path) {
    const time = new Date().toISOString().replace('Z', '+00:00')
    const text = Buffer.from(JSON.stringify({ time, path, domain: new URL(node).hostname, method: 'POST' }))
    return { payload: hex(text), signature: hex(await webcrypto.subtle.sign({ name: 'ECDSA', hash: 'SHA-256' }, keys.privateKey, text)) }
  }
  const headers = async (path) => ({
    'content-type': 'application/json', 'x-signedpubkey': JSON.stringify(key), 'x-signedoperation': JSON.stringify(await operation(path)),
  })
  return {
    post: async (path, body) => page('POST', path, { headers: await headers(path), body }),
    order: async (vm, what) => page('POST', `/control/machine/${vm}/${what}`, { headers: await headers(`/control/machine/${vm}/${what}`) }),
    async logs(vm, last) {
      const path = `/control/machine/${vm}/stream_logs`
      const auth = { 'X-SignedOperation': await operation(path), 'X-SignedPubKey': key }
      return new Promise((resolve, reject) => {
        const socket = new WebSocket(node.replace(/^http/, 'ws') + path, { origin })
        const frames = []
        socket.on('error', reject)
        socket.on('open', () => socket.send(JSON.stringify({ auth })))
        socket.on('close', () => resolve(frames))
        socket.on('message', (text) => {
          frames.push(JSON.parse(text))
          if (last && frames.at(-1).message?.includes(last)) socket.close()
        })
      })
    },
  }
}

// What the accounts of the SDK are given to sign is a message; this is all that they ask of one.
const signable = (bytes) => ({ getVerificationBuffer: () => Buffer.from(bytes) })

const ethereum = (key, account = importAccountFromPrivateKey(key)) =>
  session(account.address, 'ETH', (payload) => importAccountFromPrivateKey(key).sign(signable(Buffer.from(payload, 'hex'))))

// Wallets of Solana show what is signed, so it is the text.
const solana = (account) =>
  session(account.address, 'SOL', async (payload) => hex(bs58.decode(JSON.parse(await account.sign(signable(payload))).signature)))

const execution = async (vm) => (await json('GET', '/v2/about/executions/list')).body[vm]
const startedAt = async () => {
  const { running, status } = await execution(instance)
  assert.equal(running, true)
  return status.started_at
}
const notify = async () => {
  const options = { headers: { 'content-type': 'application/json' }, body: JSON.stringify({ instance }) }
  const { body } = await json('POST', '/control/allocation/notify', options)
  assert.equal(body.success, true, JSON.stringify(body))
}

const owner = await ethereum(keyA)
const client = new AuthenticatedAlephHttpClient(importAccountFromPrivateKey(keyA), api)

await call(54, 'usage of the node', async () => {
  const { status, body } = await json('GET', '/about/usage/system')
  assert.equal(status, 200)
  assert.ok(body.cpu.count > 0 && body.mem.available_kB > 0 && body.disk.available_kB > 0)
  assert.deepEqual(body.gpu.devices, [])
  assert.ok(body.properties.cpu.architecture && body.period.start_timestamp)
})
await call(54, 'configuration of the node', async () => {
  const { status, body } = await json('GET', '/status/config')
  assert.equal(status, 200)
  assert.match(body.version, /^\d+\.\d+\.\d+/)
  assert.ok(body.computing && body.networking && body.payment)
})
await call(54, 'connectivity of the node', async () => {
  const { status, body } = await json('GET', '/status/check/ipv6')
  assert.ok([200, 503].includes(status), `status ${status}`)
  assert.deepEqual(Object.keys(body).sort(), ['host', 'vm'])
})
await call(54, 'both lists of what runs', async () => {
  await notify()
  const v2 = await execution(instance)
  assert.equal(v2.running, true)
  for (const name of ['host_ipv4', 'ipv4_network', 'ipv4_ip', 'ipv6_network', 'ipv6_ip']) assert.ok(v2.networking[name], name)
  assert.ok(v2.networking.mapped_ports['22'].host > 0)
  const v1 = (await json('GET', '/about/executions/list')).body[instance]
  assert.equal(v1.networking.ipv6, v2.networking.ipv6_network)
})

await call(55, 'reserve_resources', async () => {
  const { content } = await client.getMessage(instance)
  const answer = await owner.post('/control/reserve_resources', JSON.stringify(content))
  assert.equal(JSON.parse(answer.text).status, 'reserved', answer.text)
})
await call(55, 'notify of what is not there says so in JSON', async () => {
  const { status, body } = await json('POST', '/control/allocation/notify', { body: JSON.stringify({ instance: '0'.repeat(64) }) })
  assert.equal(status, 404)
  assert.ok(body.error)
})
await call(55, 'pages may send the headers of orders', async () => {
  const wanted = 'content-type,x-signedoperation,x-signedpubkey'
  for (const path of ['/control/allocation/notify', '/control/reserve_resources', ...['stop', 'reboot', 'erase', 'expire', 'update'].map((name) => `/control/machine/${instance}/${name}`)]) {
    const headers = { origin, 'access-control-request-method': 'POST', 'access-control-request-headers': wanted }
    const answer = await fetch(node + path, { method: 'OPTIONS', headers })
    assert.ok(answer.ok, `${path}: ${answer.status}`)
    assert.equal(answer.headers.get('access-control-allow-headers'), wanted)
  }
})

await call(56, 'output, and then the first line again', async () => {
  for (let i = 0; i < 2; i++) {
    const [first, ...frames] = await owner.logs(instance, 'small guest: boot')
    assert.deepEqual(first, { status: 'connected' })
    assert.ok(frames.every((frame) => frame.type === 'stdout' && typeof frame.message === 'string'))
  }
})
await call(56, 'reboot', async () => {
  const before = await startedAt()
  assert.deepEqual(await owner.order(instance, 'reboot'), { status: 200, text: `Rebooted VM with ref ${instance}` })
  assert.notEqual(await startedAt(), before)
})
await call(56, 'stop, and notify', async () => {
  assert.deepEqual(await owner.order(instance, 'stop'), { status: 200, text: `Stopped VM with ref ${instance}` })
  assert.equal((await execution(instance)).running, false)
  const frames = await owner.logs(instance)
  assert.deepEqual(frames.at(-1), { type: 'system', message: 'VM is not running, past logs sent' })
  await notify()
  await startedAt()
})
await call(56, 'expire names no time, which is said', async () => {
  const { status, text } = await owner.order(instance, 'expire')
  assert.deepEqual({ status, ...JSON.parse(text) }, { status: 400, error: 'Invalid timeout duration' })
})
await call(56, 'update, unsigned', async () => {
  const options = { headers: { 'content-type': 'application/json' } }
  assert.deepEqual(await json('POST', `/control/machine/${instance}/update`, options), { status: 200, body: {} })
})
await call(56, 'erase, and notify', async () => {
  assert.deepEqual(await owner.order(instance, 'erase'), { status: 200, text: `Erased VM with ref ${instance}` })
  await notify()
  await startedAt()
})
await call(56, 'a program runs, prints and is stopped', async () => {
  assert.equal((await fetch(`${node}/vm/${program}/count`)).status, 200)
  const frames = await owner.logs(program, 'probe: started')
  assert.ok(frames.length > 1)
  assert.equal((await owner.order(program, 'stop')).status, 200)
})

await call(57, 'a Solana wallet that the owner trusts', async () => {
  const { account } = newSolana()
  const wallet = await solana(account)
  const trust = (authorizations) => client.createAggregate({ key: 'security', content: { authorizations }, channel, sync: true })
  await trust([{ address: account.address, types: ['INSTANCE'] }])
  // A node may have read just before that nobody is trusted.
  await eventually(async () => assert.equal((await wallet.order(instance, 'reboot')).text, `Rebooted VM with ref ${instance}`))
  const [first] = await wallet.logs(instance, 'small guest: boot')
  assert.deepEqual(first, { status: 'connected' })
  await trust([])
})
await call(57, 'an unknown wallet is refused', async () => {
  const stranger = await ethereum(keyB)
  assert.deepEqual(await stranger.order(instance, 'reboot'), { status: 403, text: 'Unauthorized sender' })
  assert.deepEqual(await stranger.logs(instance), [{ status: 'failed', reason: 'unauthorized sender' }])
})
await call(57, 'a signature of another wallet is refused', async () => {
  const thief = await ethereum(keyB, importAccountFromPrivateKey(keyA))
  const { status, text } = await thief.order(instance, 'reboot')
  assert.deepEqual({ status, ...JSON.parse(text) }, { status: 401, error: 'Invalid signature' })
})

process.exit(0)
