// Prints how large each module is in an application, minified and compressed, and fails when the core is too large.
import { readFile } from "node:fs/promises";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";

/** Bytes that the core may take. */
const limit = 30_000;

const { exports } = JSON.parse(await readFile(new URL("../package.json", import.meta.url), "utf8"));
const wallets = ["ethereum", "solana", "substrate", "tezos"].map((name) => `./wallets/${name}`);
for (const name of [...Object.keys(exports), ...wallets]) {
  if (name === "./node" || name.includes("*")) continue;
  const specifier = "@aleph-im/sdk" + name.slice(1);
  const { outputFiles } = await build({
    stdin: { contents: `import * as all from "${specifier}"; console.log(all);`, resolveDir: new URL("..", import.meta.url).pathname },
    bundle: true,
    minify: true,
    format: "esm",
    platform: "browser",
    write: false,
  });
  const size = gzipSync(outputFiles[0].contents, { level: 9 }).length;
  console.log(`${specifier.padEnd(26)} ${(size / 1000).toFixed(1).padStart(5)} kB`);
  if (name === "." && size > limit) throw new Error(`the core is larger than ${limit} bytes`);
}
