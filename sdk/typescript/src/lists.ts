import type { CallOptions, Nodes } from "./nodes.ts";

/** One page of a list. */
export interface Page<T> {
  items: T[];
  page: number;
  pageSize: number;
  /** Items on all pages. */
  total: number;
}

type Raw = Record<string, unknown>;

/** Reads one page; pages count from 1. */
export async function page<T>(nodes: Nodes, path: string, member: string, q: Record<string, string>, at: number, size: number, o: CallOptions): Promise<Page<T>> {
  const raw = await nodes.get<Raw>(path, { ...q, page: String(at), pagination: String(size) }, o);
  return {
    items: raw[member] as T[],
    page: at,
    pageSize: raw["pagination_per_page"] as number,
    total: raw["pagination_total"] as number,
  };
}

/** Follows the cursors of a list (ccn-api §1.8). Pages are fetched while the loop asks for them. */
export async function* walk<T>(nodes: Nodes, path: string, member: string, q: Record<string, string>, size: number, o: CallOptions): AsyncGenerator<T, void, undefined> {
  for (let cursor: string | null = ""; ; ) {
    const raw: Raw = await nodes.get<Raw>(path, { ...q, cursor, pagination: String(size) }, o);
    yield* raw[member] as T[];
    const next = raw["next_cursor"] as string | null | undefined;
    if (next == null || next === cursor) return;
    cursor = next;
  }
}

/** Items of one request when the caller does not say. */
export const defaultPage = 200;
