/**
 * The SDK of the Aleph network: {@link Client} reads, writes and watches messages, posts, aggregates, files and workloads
 * through core nodes. Accounts of each chain are modules of their own, such as `@aleph-im/sdk/eth`.
 * @module
 */
export * from "./accounts.ts";
export * from "./aggregates.ts";
export * from "./authorizations.ts";
export * from "./client.ts";
export * from "./envelope.ts";
export { AlephError, HttpError, InsufficientFundsError, NetworkError, NotFoundError, RejectedError, TimeoutError, VerificationError } from "./errors.ts";
export * from "./files.ts";
export type * from "./filter.ts";
export * from "./hash.ts";
export type { Page } from "./lists.ts";
export * from "./messages.ts";
export * from "./names.ts";
export { type CallOptions, Nodes, type NodesConfig, mainnet } from "./nodes.ts";
export * from "./posts.ts";
export * from "./prices.ts";
export * from "./publish.ts";
export type * from "./signer.ts";
export type { FileSource, Progress } from "./source.ts";
export { FileCID } from "./unixfs.ts";
export type { WatchOptions } from "./watch.ts";
export type * from "./wire.ts";
export * from "./workloads.ts";
