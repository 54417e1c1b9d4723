/** How a folder on disk becomes the code of a program. The rules are those of the Go SDK and of `aleph` (docs/programs.md). */
import { open, readFile, readdir, stat } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { AlephError } from "./errors.ts";
import { zip } from "./zip.ts";

/** How a program takes requests. One of WSGI is of the interface binary to the network, as a script starts its server. */
export type Interface = "asgi" | "wsgi" | "binary" | "wasm";

/** A program as it is packed. */
export interface Code {
  /** Zip. */
  archive: Uint8Array<ArrayBuffer>;
  entrypoint: string;
  interface: "asgi" | "binary" | "wasm";
  /** Whether its runtime needs Node.js. */
  node: boolean;
}

/** What is said of a program, or found. */
interface Found {
  entrypoint: string;
  interface: Interface | undefined;
  /** Content of the file that starts a program which is no binary by itself. */
  script?: string;
  node?: boolean;
}

/** Folders that are no part of a program. */
const leftOut = [".git", ".hg", ".venv", "venv", "node_modules", "__pycache__", ".mypy_cache", ".pytest_cache", ".ruff_cache"];

/** The same of a Node program, which brings its modules along. The tools in .bin are links. */
const leftOutOfNode = [".git", ".hg", ".bin"];

/** The file that starts a program which is no binary by itself. It is made. */
const startScript = "aleph-start";

// How a Python file says that it has an application. PEP 3333 calls one of WSGI application; Flask and Bottle make no others.
const someApp = /^app\s*(:[^=\n]+)?=/m;
const wsgiMade = /^app\s*(:[^=\n]+)?=\s*(flask\.Flask|Flask|bottle\.Bottle|Bottle|bottle\.default_app|default_app)\(/m;
const wsgiName = /^(application\s*(:[^=\n]+)?=|def\s+application\s*\()/m;

const elf = "\x7fELF";
const wasm = "\0asm";

/**
 * Packs a folder or a file. The same files make the same bytes, so that what is on the network already has the same hash.
 * An entrypoint is module:variable of a Python program, or the file to run, which listens on port 8080 or is WebAssembly. What
 * is not said is found: an application in main.py or wsgi.py, a Node program, or the only binary.
 */
export async function packCode(path: string, o: { entrypoint?: string | undefined; interface?: Interface | undefined } = {}): Promise<Code> {
  const alone = (await stat(path)).isFile();
  const root = alone ? dirname(path) : path;
  let files = alone ? [basename(path)] : await list(root, leftOut);
  let found: Found = o.entrypoint === undefined ? await detect(root, files, o.interface) : { entrypoint: o.entrypoint, interface: o.interface };
  if (found.node) files = await list(root, leftOutOfNode);
  let kind: Interface = found.interface ?? (found.entrypoint.includes(":") ? "asgi" : (await begins(join(root, found.entrypoint), wasm)) ? "wasm" : "binary");
  if (kind === "asgi" || kind === "wsgi") {
    if (!/^[^:]+:./.test(found.entrypoint)) throw refused(`entrypoint ${found.entrypoint}: a Python program is named module:variable, such as main:app`);
  } else if (kind !== "binary" && kind !== "wasm") {
    throw refused(`interface ${kind as string}: want asgi, wsgi, binary or wasm`);
  } else if (found.script === undefined && !files.includes(found.entrypoint)) {
    throw refused(`entrypoint ${found.entrypoint}: there is no such file in ${root}`);
  }
  if (kind === "wsgi") {
    found = startsWith(`python3 -m uvicorn --interface wsgi ${quote(found.entrypoint)} --host 127.0.0.1 --port "$PORT" --no-access-log`);
    kind = "binary";
  }
  const entries = [];
  for (const name of files) {
    const runs = (kind === "binary" && name === found.entrypoint) || ((await stat(join(root, name))).mode & 0o111) !== 0;
    entries.push({ name, bytes: await readFile(join(root, name)), runs });
  }
  if (found.script !== undefined) entries.push({ name: startScript, bytes: Buffer.from(found.script), runs: true });
  return { archive: zip(entries), entrypoint: found.entrypoint, interface: kind, node: found.node ?? false };
}

/** The name of what a path leads to. */
export function nameOf(path: string): string {
  return basename(resolve(path));
}

function refused(what: string): AlephError {
  return new AlephError(what, { code: "argument" });
}

async function list(root: string, leftOut: readonly string[]): Promise<string[]> {
  const below = async (folder: string): Promise<string[]> => {
    const found: string[] = [];
    for (const entry of await readdir(join(root, folder), { withFileTypes: true })) {
      const path = folder + entry.name;
      if (entry.isDirectory()) {
        if (!leftOut.includes(entry.name)) found.push(...(await below(path + "/")));
      } else if (!entry.isFile()) {
        throw refused(`${join(root, path)} is not a regular file and cannot be packed; put a copy of what it stands for in its place`);
      } else if (!path.endsWith(".pyc")) found.push(path);
    }
    return found;
  };
  const files = (await below("")).sort();
  if (files.length === 0) throw refused(`${root} holds no files`);
  return files;
}

async function detect(root: string, files: readonly string[], kind: Interface | undefined): Promise<Found> {
  const python = await detectPython(root, files);
  if (python) return { ...python, interface: kind ?? python.interface };
  if (files.includes("package.json") || files.includes("server.js")) return detectNode(root, files);
  const binaries: string[] = [];
  for (const name of files) if (!name.includes("/") && (await begins(join(root, name), elf, wasm))) binaries.push(name);
  if (binaries.length === 1) return { entrypoint: binaries[0]!, interface: kind };
  if (binaries.length === 0 && files.includes("index.html")) throw refused(`${root} is a website, which needs no program: websites.deploy`);
  throw refused(
    `${root}: how it starts is not clear: there is no main.py with a variable app, no main.py or wsgi.py with an application, no package.json or server.js, and ${binaries.length} binaries of Linux or WebAssembly; name an entrypoint`,
  );
}

/** Finds an application of ASGI, which is named app, or of WSGI. */
async function detectPython(root: string, files: readonly string[]): Promise<Found | undefined> {
  for (const module of ["main", "wsgi"]) {
    if (!files.includes(`${module}.py`)) continue;
    const source = await readFile(join(root, `${module}.py`), "utf8");
    if (wsgiMade.test(source) || (module === "wsgi" && someApp.test(source))) return { entrypoint: `${module}:app`, interface: "wsgi" };
    if (someApp.test(source)) return { entrypoint: `${module}:app`, interface: "asgi" };
    if (wsgiName.test(source)) return { entrypoint: `${module}:application`, interface: "wsgi" };
  }
  return undefined;
}

/** Finds the command of a Node program: its script "start" where that calls node, else what package.json names. */
async function detectNode(root: string, files: readonly string[]): Promise<Found> {
  let manifest: { main?: unknown; scripts?: { start?: unknown } } | null = {};
  if (files.includes("package.json")) {
    try {
      manifest = JSON.parse(await readFile(join(root, "package.json"), "utf8")) as typeof manifest;
    } catch (wrong) {
      throw refused(`${root}: package.json: ${(wrong as Error).message}`);
    }
  }
  const start = manifest?.scripts?.start;
  if (typeof start === "string" && start.startsWith("node ")) return { ...startsWith(start), node: true }; // what else it may call is not in the runtime
  const main = typeof manifest?.main === "string" ? manifest.main.replace(/^\.\//, "") : "";
  const script = [main, "server.js", "index.js"].find((name) => files.includes(name));
  if (script === undefined) {
    throw refused(
      `${root}: how it starts is not clear: package.json has no script start that begins with node and names no main that is there, and there is no server.js or index.js; name an entrypoint`,
    );
  }
  return { ...startsWith(`node ${quote(script)}`), node: true };
}

function startsWith(command: string): Found {
  return { entrypoint: startScript, interface: "binary", script: `#!/bin/sh\nexec ${command}\n` };
}

/** Makes a word of the shell of any text. */
function quote(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

async function begins(path: string, ...magic: string[]): Promise<boolean> {
  try {
    const file = await open(path);
    try {
      const { buffer, bytesRead } = await file.read(Buffer.alloc(4), 0, 4, 0);
      return bytesRead === 4 && magic.includes(buffer.toString("latin1"));
    } finally {
      await file.close();
    }
  } catch {
    return false;
  }
}
