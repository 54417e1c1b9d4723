import type { ItemType } from "./envelope.ts";
import type { Hash } from "./hash.ts";

/** Members that every content has. */
export interface Content {
  /** In whose name the message acts. */
  address: string;
  /** Unix seconds; orders posts, aggregates and files. */
  time: number;
}

export interface Payment {
  type: "hold" | "superfluid" | "credit";
  chain?: string | null;
  /** Who gets the stream. */
  receiver?: string | null;
}

export interface PostContent extends Content {
  /** Free text; `amend` changes the post that ref names. */
  type: string;
  content?: unknown;
  ref?: string | object | null;
}

export interface AggregateContent extends Content {
  key: string | { name: string };
  content: Record<string, unknown>;
}

export interface StoreContent extends Content {
  item_type: ItemType;
  /** The file. */
  item_hash: Hash;
  /** The STORE message that this one replaces, or a name of the owner's own. */
  ref?: string | null;
  metadata?: Record<string, unknown> | null;
  payment?: Payment | null;
  size?: number | null;
  content_type?: string | null;
}

export interface ForgetContent extends Content {
  hashes: Hash[];
  aggregates?: Hash[];
  reason?: string | null;
}

/** A disk that a STORE message keeps, read-only. */
export interface ImmutableVolume {
  mount?: string | null;
  comment?: string | null;
  ref: Hash;
  /** Follows newer versions of the file. */
  use_latest?: boolean;
}

/** A disk that lives as long as one run. */
export interface EphemeralVolume {
  mount?: string | null;
  comment?: string | null;
  ephemeral?: true;
  /** MiB, 1 … 1000. */
  size_mib: number;
}

/** A disk that stays on the node, or in storage. */
export interface PersistentVolume {
  mount?: string | null;
  comment?: string | null;
  parent?: { ref: Hash; use_latest?: boolean } | null;
  persistence?: "host" | "store" | null;
  name?: string | null;
  /** MiB. */
  size_mib: number;
}

export type Volume = ImmutableVolume | EphemeralVolume | PersistentVolume;

export interface Resources {
  vcpus?: number;
  /** MiB. */
  memory?: number;
  /** How long one call may take. */
  seconds?: number;
  published_ports?: { protocol?: "tcp" | "udp"; port: number }[] | null;
}

export interface Requirements {
  cpu?: { architecture?: string | null; vendor?: string | null; features?: string[] | null } | null;
  node?: { owner?: string | null; address_regex?: string | null; node_hash?: Hash | null; terms_and_conditions?: Hash | null } | null;
  gpu?: { vendor: string; device_name: string; device_class: "0300" | "0302"; device_id: string }[] | null;
}

/** What programs and instances have in common. */
export interface Executable extends Content {
  allow_amend: boolean;
  metadata?: Record<string, unknown> | null;
  authorized_keys?: string[] | null;
  variables?: Record<string, string> | null;
  resources: Resources;
  payment?: Payment | null;
  requirements?: Requirements | null;
  volumes?: Volume[];
  replaces?: Hash | null;
}

export interface ProgramContent extends Executable {
  type: "vm-function";
  environment: { reproducible?: boolean; internet?: boolean; aleph_api?: boolean; shared_cache?: boolean };
  code: {
    encoding: string;
    entrypoint: string;
    ref: Hash;
    interface?: string | null;
    args?: string[] | null;
    use_latest?: boolean;
  };
  runtime: { ref: Hash; use_latest?: boolean; comment: string };
  data?: { encoding: string; mount: string; ref: Hash; use_latest?: boolean | null } | null;
  export?: { encoding: string; mount: string } | null;
  on: { http: boolean; message?: Record<string, unknown>[] | null; persistent?: boolean | null };
}

export interface InstanceContent extends Executable {
  environment: {
    reproducible?: boolean;
    internet?: boolean;
    aleph_api?: boolean;
    shared_cache?: boolean;
    hypervisor?: "qemu" | "firecracker" | null;
    trusted_execution?: { firmware?: Hash | null; policy?: number } | null;
  };
  rootfs: {
    parent: { ref: Hash; use_latest?: boolean };
    persistence: "host" | "store";
    /** MiB. */
    size_mib: number;
    forgotten_by?: string[] | null;
  };
}

/** A program whose every byte is measured. */
export interface VProgramContent extends Executable {
  payment: Payment;
  environment: { internet?: boolean };
  runtime: { ref: Hash; comment?: string };
  workload: { ref: Hash; hash_tree: Hash; roothash: string };
  verification: { backend: "sev_snp"; policy?: number; measurements: { platform: "sev_snp"; digest: string; vcpu_type?: string | null }[] };
}

/** The content of each type of message. */
export interface AnyContent {
  POST: PostContent;
  AGGREGATE: AggregateContent;
  STORE: StoreContent;
  PROGRAM: ProgramContent;
  INSTANCE: InstanceContent;
  FORGET: ForgetContent;
  "V-PROGRAM": VProgramContent;
}
