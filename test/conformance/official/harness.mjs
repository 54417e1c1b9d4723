// What the calls of the TypeScript SDK share: the node and wallets to use, and the lines that official.go reads.
import { randomUUID } from 'node:crypto'

export function setting(name, meaning) {
  const value = process.env[name]
  if (!value) {
    console.error(`set ${name} (${meaning})`)
    process.exit(2)
  }
  return value
}

export const api = setting('ALEPH_API', 'base URL of a node')
export const keyA = setting('ALEPH_PRIVATE_KEY', 'hex, a wallet with tokens and credits')
export const keyB = setting('ALEPH_PRIVATE_KEY_B', 'hex, another one')
export const runtime = setting('ALEPH_RUNTIME', 'item hash of a STORE message with a runtime image')
export const channel = `CONFORMANCE-${randomUUID()}`

// call runs one step of the call with the given number and prints what came of it. A step that fails hides no other.
export async function call(number, step, run) {
  try {
    await run()
    console.log(`${number} ts ok ${step}`)
  } catch (error) {
    const body = error?.response?.data ?? error?.errorMessages
    const why = [String(error?.stack ?? error).split('\n').slice(0, 6).join(' | ')]
    if (body) why.push(body instanceof ArrayBuffer || Buffer.isBuffer(body) ? String(Buffer.from(body)) : JSON.stringify(body))
    console.log(`${number} ts FAIL ${step}: ${why.join(' ').replace(/\s+/g, ' ').slice(0, 600)}`)
  }
}

// fetchJSON asks the node without the SDK, for what the SDK does not tell.
export async function fetchJSON(path) {
  const answer = await fetch(`${api}${path}`)
  if (!answer.ok) throw new Error(`GET ${path}: ${answer.status}`)
  return answer.json()
}

// eventually repeats a check until it holds or ten seconds are over.
export async function eventually(check) {
  const deadline = Date.now() + 10_000
  for (;;) {
    try {
      return await check()
    } catch (error) {
      if (Date.now() > deadline) throw error
      await new Promise((resolve) => setTimeout(resolve, 100))
    }
  }
}
