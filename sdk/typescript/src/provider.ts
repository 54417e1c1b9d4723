import { AlephError } from "./errors.ts";

/** What every wallet of Ethereum in a browser offers (EIP-1193). */
export interface Provider {
  request(call: { method: string; params?: unknown[] }): Promise<unknown>;
}

/** Codes of errors after which a wallet, or its chain's node, has done nothing (EIP-1193, EIP-1474, JSON-RPC). */
const nothingDone: Record<number, string> = {
  4001: "the user refused",
  4100: "the user has not allowed",
  4200: "the wallet does not know",
  [-32003]: "the chain's node refused",
  [-32600]: "the wallet did not understand",
  [-32601]: "the wallet does not know",
  [-32602]: "the wallet did not understand",
};

/**
 * A wallet's failure. `code` is `refused` when its user said no, else `wallet`; `details` is the wallet's own code. With `settled`
 * it is known that nothing was done.
 */
export class WalletError extends AlephError {
  override name = "WalletError";
  readonly settled: boolean;

  constructor(method: string, failure: unknown) {
    const { code, message } = (failure ?? {}) as { code?: unknown; message?: unknown };
    const said = typeof code === "number" ? nothingDone[code] : undefined;
    super(`${said === undefined ? `the wallet failed at ${method}` : `${said} ${method}`}: ${String(message ?? failure)}`, {
      code: code === 4001 ? "refused" : "wallet",
      details: code,
      cause: failure,
    });
    this.settled = said !== undefined;
  }
}

/** Asks a wallet. Wallets fail with plain objects; here a failure is a {@link WalletError}. */
export async function ask(provider: Provider, method: string, ...params: unknown[]): Promise<unknown> {
  try {
    return await provider.request({ method, params });
  } catch (failure) {
    throw new WalletError(method, failure);
  }
}
