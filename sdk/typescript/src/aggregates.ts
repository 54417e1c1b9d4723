import { NotFoundError } from "./errors.ts";
import type { CallOptions, Nodes } from "./nodes.ts";
import type { Publisher, SendOptions, Submission } from "./publish.ts";

/** Writes and reads aggregates: one object for each key of an owner, merged from what was sent. */
export class Aggregates {
  readonly #nodes: Nodes;
  readonly #publisher: Publisher;

  constructor(nodes: Nodes, publisher: Publisher) {
    this.#nodes = nodes;
    this.#publisher = publisher;
  }

  /** Merges members into an aggregate: what is given replaces what was there, the rest stays. */
  merge(key: string, content: object, o: SendOptions = {}): Promise<Submission> {
    return this.#publisher.send("AGGREGATE", { key, content }, o);
  }

  /** Sets an aggregate to exactly these members: those that are there besides become null. */
  async set(key: string, content: object, o: SendOptions = {}): Promise<Submission> {
    const there = (await this.find(this.#publisher.owner(o), key, o)) ?? {};
    const gone = Object.fromEntries(Object.keys(there).map((member) => [member, null]));
    return this.merge(key, { ...gone, ...content }, o);
  }

  /** Sets members to null, which is how the network deletes them. */
  deleteMembers(key: string, members: readonly string[], o: SendOptions = {}): Promise<Submission> {
    return this.merge(key, Object.fromEntries(members.map((member) => [member, null])), o);
  }

  /** The merged object. One that does not exist is a {@link NotFoundError}. */
  async get<T = Record<string, unknown>>(owner: string, key: string, o: CallOptions = {}): Promise<T> {
    const found = await this.find<T>(owner, key, o);
    if (found === undefined) throw new NotFoundError("GET", `aggregate ${key} of ${owner}`, 404, "the node has no such aggregate");
    return found;
  }

  /** The merged object, or undefined. */
  async find<T = Record<string, unknown>>(owner: string, key: string, o: CallOptions = {}): Promise<T | undefined> {
    return (await this.all(owner, [key], o))[key] as T | undefined;
  }

  /** Aggregates of an owner by key: those that are named and exist, or all. */
  async all(owner: string, keys?: readonly string[], o: CallOptions = {}): Promise<Record<string, unknown>> {
    try {
      const q: Record<string, string> | undefined = keys && { keys: keys.join(",") };
      return (await this.#nodes.get<{ data: Record<string, unknown> }>(`/api/v0/aggregates/${encodeURIComponent(owner)}.json`, q, o)).data;
    } catch (error) {
      if (error instanceof NotFoundError) return {};
      throw error;
    }
  }
}
