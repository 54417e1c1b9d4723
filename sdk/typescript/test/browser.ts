// Does everything in a real browser, in a page and in a worker of it: browser.js PROGRAM, such as chromium or chromium-headless-shell. Not part of the tests, as
// no package of a browser is there on every system. The page, served from loopback, holds the package as applications bundle
// it, and a core node of a devnet answers it.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { build } from "esbuild";
import { TestNode, repository } from "./node.js";

const program = process.argv[2];
if (!program) throw new Error("say which browser to start: npm run browser -- chromium");

const node = new TestNode();
await node.start();
const code = `
  import { everything } from "./build/test/portable.js";
  const where = typeof document === "undefined" ? "worker" : "page";
  if (where === "page") new Worker("/bundle.js", { type: "module" });
  const tell = (text) => fetch("/result", { method: "POST", body: where + ": " + text });
  everything(${JSON.stringify(node.url)}, false).then((done) => tell(done.join(", ")), (error) => tell("failed: " + error.stack));`;
const bundle = await build({
  stdin: { contents: code, resolveDir: join(repository, "sdk/typescript") },
  bundle: true,
  minify: true,
  format: "esm",
  platform: "browser",
  write: false,
});

const results: string[] = [];
let tell: (result: string) => void = () => {};
const told = new Promise<void>((resolve) => {
  tell = (result) => {
    results.push(result);
    if (result.includes("failed: ") || results.length === 2) resolve();
  };
});
const server = createServer(async (asked, answer) => {
  if (asked.url === "/bundle.js") return answer.writeHead(200, { "content-type": "text/javascript" }).end(bundle.outputFiles[0]!.contents);
  if (asked.url === "/result") {
    let text = "";
    for await (const part of asked) text += part;
    tell(text);
    return answer.end();
  }
  answer.writeHead(200, { "content-type": "text/html" }).end('<!doctype html><script type="module" src="/bundle.js"></script>');
});
server.listen(0, "127.0.0.1");
await once(server, "listening");
const page = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;

const profile = await mkdtemp(join(tmpdir(), "aleph-browser-"));
const options = ["--headless", "--no-first-run", "--disable-gpu", `--user-data-dir=${profile}`, "--remote-debugging-port=0"];
if (process.getuid?.() === 0) options.push("--no-sandbox"); // browsers refuse one to root
const browser = spawn(program, [...options, page], { stdio: "ignore" });
browser.once("error", (error) => tell(`failed: ${error.message}`));
const timer = setTimeout(() => tell("failed: the page or its worker said nothing for a minute"), 60_000);
await told;
clearTimeout(timer);
console.log(results.join("\n"));

browser.kill();
if (browser.pid !== undefined && browser.exitCode === null && browser.signalCode === null) await once(browser, "exit");
server.close();
server.closeAllConnections();
await rm(profile, { recursive: true, force: true, maxRetries: 10 });
await node.stop();
process.exitCode = results.some((result) => result.includes("failed: ")) ? 1 : 0;
