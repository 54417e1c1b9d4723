import type { Progress } from "./source.ts";
import { unlessStalled } from "./upload.ts";

/** What sees the bytes of a download, and throws at their end when they are not the right ones. */
export interface Check {
  update(chunk: Uint8Array): unknown;
  end(): void;
}

export const unchecked: Check = { update: () => {}, end: () => {} };

/** Hands a download on as it comes. The stream fails at its end when the check does. */
export function checked(body: ReadableStream<Uint8Array>, check: Check, size: number | undefined, progress: Progress | undefined): ReadableStream<Uint8Array> {
  const reader = body.getReader();
  let got = 0;
  return new ReadableStream<Uint8Array>({
    async pull(out) {
      try {
        const { done, value } = await unlessStalled(reader.read());
        if (!done) {
          got += value.length;
          check.update(value);
          progress?.(got, size);
          return out.enqueue(value);
        }
        check.end();
        out.close();
      } catch (error) {
        await reader.cancel(error).catch(() => {});
        throw error;
      }
    },
    cancel: (why) => reader.cancel(why),
  });
}

/** Bytes that will come, when the answer says it. */
export function lengthOf(response: Response): number | undefined {
  const length = response.headers.get("content-length");
  return length === null || response.headers.has("content-encoding") ? undefined : Number(length);
}
