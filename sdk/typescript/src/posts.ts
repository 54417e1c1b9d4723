import { NotFoundError, VerificationError } from "./errors.ts";
import { type PostFilter, postNames, query } from "./filter.ts";
import { type Page, defaultPage, page, walk } from "./lists.ts";
import type { Messages } from "./messages.ts";
import type { CallOptions, Nodes } from "./nodes.ts";
import type { Publisher, SendOptions, Submission } from "./publish.ts";
import type { Hash, Post, PostV0 } from "./wire.ts";

/** What a post is made from. */
export interface NewPost extends SendOptions {
  type: string;
  content: unknown;
  /** What the post is about; free text. */
  ref?: string;
}

/** Writes and reads posts. Lists of them are a node's own sums; what get returns is checked against the signed message. */
export class Posts {
  readonly #nodes: Nodes;
  readonly #publisher: Publisher;
  readonly #messages: Messages;
  readonly #verify: boolean;

  constructor(nodes: Nodes, publisher: Publisher, messages: Messages, verify: boolean) {
    this.#nodes = nodes;
    this.#publisher = publisher;
    this.#messages = messages;
    this.#verify = verify;
  }

  create({ type, content, ref, ...o }: NewPost): Promise<Submission> {
    return this.#publisher.send("POST", { type, content, ...(ref !== undefined && { ref }) }, o);
  }

  /** Replaces the content of a post, which is named by the hash of its original. */
  amend(original: Hash, content: unknown, o: SendOptions = {}): Promise<Submission> {
    return this.create({ ...o, type: "amend", ref: original, content });
  }

  /** The post with this original. */
  async get<T = unknown>(original: Hash, o: CallOptions = {}): Promise<Post<T>> {
    const found = await this.page<T>({ hashes: [original] }, 1, o);
    const post = found.items[0];
    if (!post) throw new NotFoundError("GET", `post ${original}`, 404, "the node has no such post");
    return this.#verify ? this.#vouched(post, original, o) : post;
  }

  /** The post with the content of the message that it names, which must be one of this post. */
  async #vouched<T>(post: Post<T>, original: Hash, o: CallOptions): Promise<Post<T>> {
    const info = await this.#messages.get(post.item_hash, o);
    const message = info.status === "processed" || info.status === "removing" ? info.message : undefined;
    const ours =
      message?.type === "POST" &&
      post.original_item_hash === original &&
      (post.item_hash === original ? message.content.address === post.address : message.content.type === "amend" && message.content.ref === original);
    if (!ours) throw new VerificationError(`post ${original}: the node says it is message ${post.item_hash}, which it is not`);
    return { ...post, content: message.content.content as T };
  }

  /** One page of the posts that match. */
  page<T = unknown>(filter: PostFilter = {}, at = 1, o: CallOptions = {}): Promise<Page<Post<T>>> {
    return page(this.#nodes, "/api/v1/posts.json", "posts", query(filter, postNames), at, filter.pageSize ?? 20, o);
  }

  /** The same in the form of the first version of the API. */
  pageV0<T = unknown>(filter: PostFilter = {}, at = 1, o: CallOptions = {}): Promise<Page<PostV0<T>>> {
    return page(this.#nodes, "/api/v0/posts.json", "posts", query(filter, postNames), at, filter.pageSize ?? 20, o);
  }

  /** Walks through the posts that match, the last changed first unless the filter says otherwise. */
  iterate<T = unknown>(filter: PostFilter = {}, o: CallOptions = {}): AsyncGenerator<Post<T>, void, undefined> {
    return walk(this.#nodes, "/api/v1/posts.json", "posts", query(filter, postNames), filter.pageSize ?? defaultPage, o);
  }
}
