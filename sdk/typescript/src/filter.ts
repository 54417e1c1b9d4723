import type { Hash, MessageStatus, MessageType } from "./wire.ts";

/** Selects messages. Members of one list are alternatives, and all lists must match; what is absent selects everything. */
export interface MessageFilter {
  types?: readonly MessageType[];
  statuses?: readonly MessageStatus[];
  hashes?: readonly Hash[];
  /** Who signed. */
  addresses?: readonly string[];
  /** In whose name. */
  owners?: readonly string[];
  chains?: readonly string[];
  channels?: readonly string[];
  refs?: readonly string[];
  tags?: readonly string[];
  /** Types of posts. */
  contentTypes?: readonly string[];
  /** Keys of aggregates. */
  contentKeys?: readonly string[];
  /** Files that STORE messages keep. */
  contentFiles?: readonly Hash[];
  /** From this time on. */
  since?: Date | number;
  /** Before this time. */
  until?: Date | number;
  oldestFirst?: boolean;
  /** Of one request, 1 … 200. */
  pageSize?: number;
}

/** Selects posts, by what their original says; since and until are about the latest amend. */
export interface PostFilter extends Pick<MessageFilter, "hashes" | "channels" | "refs" | "tags" | "since" | "until" | "oldestFirst" | "pageSize"> {
  types?: readonly string[];
  /** Owners. */
  addresses?: readonly string[];
}

const names: Record<string, string> = {
  types: "msgTypes",
  statuses: "msgStatuses",
  contentFiles: "contentHashes",
  since: "startDate",
  until: "endDate",
};

/** Writes a filter as the parameters of a query (ccn-api §3.1, §5). */
export function query(filter: MessageFilter | PostFilter, rename: Record<string, string> = names): Record<string, string> {
  const q: Record<string, string> = {};
  for (const [member, value] of Object.entries(filter)) {
    const name = rename[member] ?? member;
    if (Array.isArray(value)) {
      if (value.length > 0) q[name] = value.join(",");
    } else if (member === "since" || member === "until") {
      q[name] = String(value instanceof Date ? value.getTime() / 1000 : value);
    } else if (member === "oldestFirst") {
      if (value) q["sortOrder"] = "1";
    }
  }
  return q;
}

/** The names of parameters that lists of posts know. */
export const postNames: Record<string, string> = { since: "startDate", until: "endDate" };
