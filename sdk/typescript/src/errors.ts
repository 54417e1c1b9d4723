import type { Hash } from "./wire.ts";

/** Every failure that this SDK reports. */
export class AlephError extends Error {
  override name = "AlephError";
  /** A word, an HTTP status, or the network's code of a rejection, for programs to branch on. */
  readonly code: string | number;
  /** Whether the same call may work later. */
  readonly retryable: boolean;
  /** What the node said, as it said it. */
  readonly details: unknown;

  constructor(message: string, about: { code: string | number; retryable?: boolean; details?: unknown; cause?: unknown }) {
    super(message, about.cause === undefined ? undefined : { cause: about.cause });
    this.code = about.code;
    this.retryable = about.retryable ?? false;
    this.details = about.details;
  }
}

/** No node could be reached, or none answered in time. */
export class NetworkError extends AlephError {
  override name = "NetworkError";
  constructor(message: string, cause: unknown) {
    super(message, { code: "network", retryable: true, cause });
  }
}

/** The deadline of a call has passed. */
export class TimeoutError extends AlephError {
  override name = "TimeoutError";
  constructor(message: string, cause?: unknown) {
    super(message, { code: "timeout", retryable: true, cause });
  }
}

/** An answer with a status that the call has no better word for. `code` is the status, `details` the beginning of the body. */
export class HttpError extends AlephError {
  override name = "HttpError";
  readonly method: string;
  readonly url: string;
  readonly requestId: string | undefined;

  constructor(method: string, url: string, status: number, body: string, requestId?: string) {
    super(`${method} ${url}: ${status}${body ? `: ${body}` : ""}`, { code: status, retryable: triesLater(status), details: body });
    this.method = method;
    this.url = url;
    this.requestId = requestId;
  }

  get status(): number {
    return this.code as number;
  }
}

/** The node knows nothing of what was asked for, or not any more. */
export class NotFoundError extends HttpError {
  override name = "NotFoundError";
}

/** A node sent what is not what was asked for: other bytes, another hash, a signature that is not the sender's. */
export class VerificationError extends AlephError {
  override name = "VerificationError";
  constructor(message: string) {
    super(message, { code: "verification" });
  }
}

/** The network refused a message. `code` says why (ccn-api §1.9). */
export class RejectedError extends AlephError {
  override name = "RejectedError";
  readonly hash: Hash;
  readonly reason: string;

  constructor(hash: Hash, code: number, details: unknown) {
    const reason = reasons[code] ?? "a reason that this SDK does not know";
    super(`message ${hash} was rejected: ${reason} (code ${code})${details == null ? "" : `: ${JSON.stringify(details)}`}`, {
      code,
      details,
    });
    this.hash = hash;
    this.reason = reason;
  }
}

/** An account cannot pay. Amounts are decimals of ALEPH to hold, or of credits. */
export class InsufficientFundsError extends RejectedError {
  override name = "InsufficientFundsError";
  readonly kind: "ALEPH" | "CREDIT";
  /** undefined when the node did not say. */
  readonly required: string | undefined;
  readonly available: string | undefined;

  constructor(hash: Hash, code: 5 | 6, details: unknown) {
    super(hash, code, details);
    this.kind = code === 5 ? "ALEPH" : "CREDIT";
    const amounts = (details as { errors?: Record<string, unknown>[] } | null | undefined)?.errors?.[0];
    const [required, available] = code === 5 ? ["required_balance", "account_balance"] : ["required_credits", "account_credits"];
    const amount = (name: string) => (amounts?.[name] == null ? undefined : String(amounts[name]));
    this.required = amount(required as string);
    this.available = amount(available as string);
    if (this.required !== undefined) {
      const unit = this.kind === "ALEPH" ? "ALEPH" : "credits";
      this.message = `this needs ${this.required} ${unit}, but the account has only ${this.available ?? "less"} to spare`;
    }
  }
}

/** The error for a rejection with this code. */
export function rejection(hash: Hash, code: number, details: unknown): RejectedError {
  return code === 5 || code === 6 ? new InsufficientFundsError(hash, code, details) : new RejectedError(hash, code, details);
}

/** The error for an answer with this status. */
export function httpError(method: string, url: string, status: number, body: string, requestId?: string): HttpError {
  const kind = status === 404 || status === 410 ? NotFoundError : HttpError;
  return new kind(method, url, status, body.trim(), requestId);
}

/** Whether a status asks to try the same request again later. */
export function triesLater(status: number): boolean {
  return status === 429 || status === 502 || status === 503 || status === 504;
}

const reasons: Record<number, string> = {
  [-1]: "internal error",
  0: "invalid format",
  1: "invalid signature",
  2: "permission denied",
  3: "content unavailable",
  4: "file unavailable",
  5: "insufficient balance",
  6: "insufficient credit",
  100: "an amend must name a post in ref",
  101: "the post to amend was not found",
  102: "an amend cannot be amended, amend the original",
  200: "the file to replace was not found",
  201: "a new version must name the original file",
  202: "this way to pay is no longer allowed",
  300: "a message that the workload names was not found",
  301: "a volume that the workload names was not found",
  302: "the workload does not allow amends",
  303: "an update must name the original workload",
  304: "a volume is smaller than the image under it",
  500: "nothing was named to forget",
  501: "the message to forget was not found",
  502: "a FORGET cannot be forgotten",
  503: "the file is in use and cannot be forgotten",
  504: "the message was forgotten before",
};
