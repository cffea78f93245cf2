import { warn } from "./guard";
import type { StorageKind } from "./options";

export const PREFIX = "wakeline.";

/** Text by name. What the browser refuses to keep stays in memory. */
export interface Store {
  get(name: string): string | undefined;
  set(name: string, value: string | undefined): void;
  /** All that begin so. */
  names(prefix?: string): string[];
}

/** A store of this kind; nothing is written before the first `set`. */
export function openStore(kind: StorageKind): Store {
  const memory = new Map<string, string>();
  const attempt = attempts(kind);
  return {
    get: (name) => memory.get(name) ?? attempt((disk) => disk.getItem(PREFIX + name)) ?? undefined,
    set(name, value) {
      memory.delete(name);
      if (value !== undefined && attempt((disk) => (disk.setItem(PREFIX + name, value), true))) return;
      // Also what could not be replaced: the next page would take it for the latest.
      attempt((disk) => disk.removeItem(PREFIX + name));
      if (value !== undefined) memory.set(name, value);
    },
    names: (prefix = "") =>
      [...memory.keys(), ...(attempt(namesOn) ?? [])].filter((name) => name.startsWith(prefix)),
  };
}

/** Storage may be full, forbidden or missing, at any time; that is told once. */
function attempts(kind: StorageKind): <T>(use: (disk: Storage) => T) => T | undefined {
  let told = kind === "memory";
  return (use) => {
    if (kind === "memory") return undefined;
    try {
      return use(kind === "local" ? localStorage : sessionStorage);
    } catch (error) {
      if (!told) warn(`the browser refuses storage: ${String(error)}`);
      told = true;
      return undefined;
    }
  };
}

function namesOn(disk: Storage): string[] {
  const names = Object.keys(disk).filter((name) => name.startsWith(PREFIX));
  return names.map((name) => name.slice(PREFIX.length));
}

/** The JSON under a name; undefined also when something else wrote there what is none. */
export function readJson<T>(store: Store, name: string): T | undefined {
  try {
    return JSON.parse(store.get(name) ?? "null") ?? undefined;
  } catch {
    return undefined;
  }
}

/** Moves everything from one store to another. */
export function moveAll(from: Store, to: Store): void {
  for (const name of from.names()) {
    to.set(name, from.get(name));
    from.set(name, undefined);
  }
}
