import type { Aggregates } from "./aggregates.ts";
import type { CallOptions, Nodes } from "./nodes.ts";
import type { Publisher, SendOptions, Submission } from "./publish.ts";
import type { Authorization } from "./wire.ts";

/** Lets others write in the signer's name, and takes that back (the aggregate `security`). */
export class Authorizations {
  readonly #nodes: Nodes;
  readonly #aggregates: Aggregates;
  readonly #publisher: Publisher;

  constructor(nodes: Nodes, aggregates: Aggregates, publisher: Publisher) {
    this.#nodes = nodes;
    this.#aggregates = aggregates;
    this.#publisher = publisher;
  }

  /** All authorizations that an owner has granted. */
  async list(owner: string, o: CallOptions = {}): Promise<Authorization[]> {
    const security = await this.#aggregates.find<{ authorizations?: Authorization[] }>(owner, "security", o);
    return security?.authorizations ?? [];
  }

  /** Authorizations that an address has received, by who granted them. */
  async received(address: string, o: CallOptions = {}): Promise<Record<string, Omit<Authorization, "address">[]>> {
    const all: Record<string, Omit<Authorization, "address">[]> = {};
    for (let page = 1, more = true; more; page++) {
      const answer = await this.#nodes.get<{ authorizations: typeof all; pagination_total: number }>(
        `/api/v0/authorizations/received/${encodeURIComponent(address)}.json`,
        { page: String(page), pagination: "500" },
        o,
      );
      Object.assign(all, answer.authorizations);
      more = page * 500 < answer.pagination_total;
    }
    return all;
  }

  /** Adds an authorization to those that are there. */
  async grant(authorization: Authorization, o: SendOptions = {}): Promise<Submission> {
    return this.#write([...(await this.list(this.#publisher.owner(o), o)), authorization], o);
  }

  /** Takes back everything that was granted to an address. */
  async revoke(address: string, o: SendOptions = {}): Promise<Submission> {
    const kept = (await this.list(this.#publisher.owner(o), o)).filter((a) => a.address !== address);
    return this.#write(kept, o);
  }

  /** The network knows only the whole list. */
  #write(authorizations: Authorization[], o: SendOptions): Promise<Submission> {
    return this.#aggregates.merge("security", { authorizations }, o);
  }
}
