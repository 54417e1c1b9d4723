import { NotFoundError } from "./errors.ts";
import { defaultPage, walk } from "./lists.ts";
import type { CallOptions, Nodes } from "./nodes.ts";
import type { Publisher, SendOptions, Submission } from "./publish.ts";
import type { Balance, CreditEntry, CreditSummary, Hash, OwnedFile } from "./wire.ts";

/** What addresses hold and own. */
export class Accounts {
  readonly #nodes: Nodes;
  readonly #publisher: Publisher;

  constructor(nodes: Nodes, publisher: Publisher) {
    this.#nodes = nodes;
    this.#publisher = publisher;
  }

  /** An address that the node never heard of holds nothing. */
  balance(address: string, o: CallOptions = {}): Promise<Balance> {
    return this.#nodes.get(this.#path(address, "balance"), { include_credit_details: "true" }, o);
  }

  /** Walks through the files that an address keeps, the newest first. */
  files(address: string, o: CallOptions = {}): AsyncGenerator<OwnedFile, void, undefined> {
    return this.#walk(address, "files", "files", o);
  }

  /** Walks through the credits that an address got and spent, the latest first. */
  creditHistory(address: string, o: CallOptions = {}): AsyncGenerator<CreditEntry, void, undefined> {
    return this.#walk(address, "credit_history", "credit_history", o);
  }

  creditSummary(address: string, o: CallOptions = {}): Promise<CreditSummary> {
    return this.#nodes.get(this.#path(address, "credit_history/summary"), undefined, o);
  }

  /** Credits that a workload or a file has used. */
  async consumedCredits(hash: Hash, o: CallOptions = {}): Promise<number> {
    return (await this.#nodes.get<{ consumed_credits: number }>(`/api/v0/messages/${encodeURIComponent(hash)}/consumed_credits`, undefined, o)).consumed_credits;
  }

  /** Gives credits to others. They expire when expiration says, if ever. */
  transferCredits(to: readonly { address: string; amount: number; expiration?: number }[], o: SendOptions = {}): Promise<Submission> {
    return this.#publisher.send("POST", { type: "aleph_credit_transfer", content: { transfer: { credits: to } } }, { channel: "ALEPH_CREDIT", ...o });
  }

  #path(address: string, what: string): string {
    return `/api/v0/addresses/${encodeURIComponent(address)}/${what}`;
  }

  /** Lists of an address answer 404 when they are empty. */
  async *#walk<T>(address: string, what: string, member: string, o: CallOptions): AsyncGenerator<T, void, undefined> {
    try {
      yield* walk<T>(this.#nodes, this.#path(address, what), member, {}, defaultPage, o);
    } catch (error) {
      if (!(error instanceof NotFoundError)) throw error;
    }
  }
}
