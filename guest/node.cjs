// Node may go on in copies. Each of them must draw random numbers of its own.
"use strict";

const net = require("net");
const { performance } = require("perf_hooks");

// More than Node draws ahead for randomUUID and for randomInt.
const drawnAhead = 1024;

// generator is xoshiro128**, whose state can be renewed. That of V8's own generator cannot.
function generator(crypto) {
  const state = new Uint32Array(4);
  const rotl = (x, k) => (x << k) | (x >>> (32 - k));
  const next = () => {
    const result = Math.imul(rotl(Math.imul(state[1], 5), 7), 9) >>> 0;
    const t = state[1] << 9;
    state[2] ^= state[0];
    state[3] ^= state[1];
    state[1] ^= state[2];
    state[0] ^= state[3];
    state[2] ^= t;
    state[3] = rotl(state[3], 11);
    return result;
  };
  return {
    seed: () => crypto.randomFillSync(state),
    random: () => ((next() >>> 5) * 2 ** 26 + (next() >>> 6)) / 2 ** 53,
  };
}

// prepare returns what renews the random numbers, or nothing where that cannot be.
function prepare() {
  // Of OpenSSL since 1.1.1 it is known that its generators take a new seed when the clock has gone back.
  if (!/^(1\.1\.1|3\.)/.test(process.versions.openssl)) return;
  const crypto = require("crypto");
  const numbers = generator(crypto);
  numbers.seed();
  if (!crypto.randomUUID || !crypto.randomInt || !Reflect.set(Math, "random", numbers.random)) return;
  return () => {
    numbers.seed();
    for (let i = 0; i < drawnAhead; i++) {
      crypto.randomUUID();
      crypto.randomInt(2);
    }
  };
}

// Its own clock stood still in the copy: what it began with is brought up to now.
function renewTime() {
  const value = Date.now() - performance.now();
  Object.defineProperty(performance, "timeOrigin", { value, configurable: true, enumerable: true });
}

// wait hears twice in each copy: when it is one, and when the clock is in the past.
function wait(renewNumbers) {
  const host = net.connect("/run/aleph/renew.sock");
  let inPast = false;
  host.on("data", () => {
    if (inPast) renewNumbers();
    else renewTime();
    host.write(inPast ? "\n" : "past\n");
    inPast = !inPast;
  });
  host.on("error", () => {});
  host.unref();
}

const renewNumbers = prepare();
if (renewNumbers) wait(renewNumbers);
