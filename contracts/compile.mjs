// Compiles the contracts into artifacts/, which is committed so that Go programs need no compiler.
//   node compile.mjs           writes the artifacts
//   node compile.mjs --check   fails when they are not what the sources compile to
import { readFileSync, writeFileSync, mkdirSync, existsSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import solc from 'solc'

const here = dirname(fileURLToPath(import.meta.url))
const contracts = ['AlephToken', 'AlephSync', 'AlephFlows']

const input = {
  language: 'Solidity',
  sources: Object.fromEntries(contracts.map((name) => [`${name}.sol`, { content: readFileSync(join(here, `${name}.sol`), 'utf8') }])),
  settings: {
    evmVersion: 'shanghai',
    optimizer: { enabled: true, runs: 200 },
    metadata: { bytecodeHash: 'none' },
    outputSelection: { '*': { '*': ['abi', 'evm.bytecode.object', 'evm.deployedBytecode.object'] } },
  },
}

const output = JSON.parse(solc.compile(JSON.stringify(input)))
for (const problem of output.errors ?? []) console.error(problem.formattedMessage)
if (output.errors?.length) process.exit(1)

mkdirSync(join(here, 'artifacts'), { recursive: true })
let stale = false
for (const name of contracts) {
  const { abi, evm } = output.contracts[`${name}.sol`][name]
  const artifact = JSON.stringify({ contract: name, compiler: solc.version(), abi, bytecode: '0x' + evm.bytecode.object, deployedBytecode: '0x' + evm.deployedBytecode.object }, null, 1) + '\n'
  const path = join(here, 'artifacts', `${name}.json`)
  if (!process.argv.includes('--check')) {
    writeFileSync(path, artifact)
  } else if (!existsSync(path) || readFileSync(path, 'utf8') !== artifact) {
    stale = true
    console.error(`contracts: artifacts/${name}.json is not what ${name}.sol compiles to; run "npm run compile" and commit it`)
  }
}
if (stale) process.exit(1)
console.log(`contracts: ${contracts.length} artifacts ${process.argv.includes('--check') ? 'match their sources' : 'written'}`)
