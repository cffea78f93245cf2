import { warn } from "./guard";
import type { Store } from "./store";

// What a shop visit of an hour offline makes; localStorage holds 5 MB of two-byte characters for everybody.
const MOST_EVENTS = 1_000;
const MOST_BYTES = 1_000_000;

export interface Entry {
  /** Name in the store. */
  name: string;
  json: string;
  bytes: number;
  /** On its way; the answer is not known yet. */
  busy?: boolean;
}

/** Events that the collector has not confirmed: in memory in order, and one by one in the store. */
export interface Queue {
  add(json: string): void;
  /** The oldest that are not on their way, up to a count and a number of bytes but at least one; now they are. */
  take(mostBytes: number, mostEvents: number): Entry[];
  /** They did not arrive, or nobody knows. */
  release(entries: Entry[]): void;
  remove(entries: Entry[]): void;
  /** All but the events with this name. */
  clear(spared: string): void;
  /** Go on with what a tab left that is gone: `name` begins what it stored. */
  adopt(prefix: string): void;
  waiting(): number;
}

export const bytesOf = (text: string): number => new TextEncoder().encode(text).length;

export function createQueue(store: Store, prefix: string): Queue {
  let entries: Entry[] = [];
  let count = 0;
  let dropped = 0;

  function insert(json: string): void {
    const name = prefix + (count++).toString(36).padStart(6, "0");
    store.set(name, json);
    entries.push({ name, json, bytes: bytesOf(json) });
  }

  function remove(gone: Entry[]): void {
    for (const { name } of gone) store.set(name, undefined);
    entries = entries.filter((entry) => !gone.includes(entry));
  }

  function makeRoom(): void {
    let bytes = entries.reduce((sum, entry) => sum + entry.bytes, 0);
    const excess = entries.filter((entry, index) => {
      const over = !entry.busy && (entries.length - index > MOST_EVENTS || bytes > MOST_BYTES);
      if (over) bytes -= entry.bytes;
      return over;
    });
    if (!excess.length) return;
    remove(excess);
    // Told together, so that a page that floods the queue does not flood the console as well.
    if (!dropped) setTimeout(tellDropped, 1_000);
    dropped += excess.length;
  }

  function tellDropped(): void {
    warn(`${dropped} unsent events were dropped`);
    dropped = 0;
  }

  return {
    add(json) {
      insert(json);
      makeRoom();
    },
    take(mostBytes, mostEvents) {
      const taken: Entry[] = [];
      let bytes = 0;
      for (const entry of entries) {
        if (entry.busy) continue;
        bytes += entry.bytes + 1;
        if (taken.length && (bytes > mostBytes || taken.length >= mostEvents)) break;
        entry.busy = true;
        taken.push(entry);
      }
      return taken;
    },
    release(back) {
      for (const entry of back) entry.busy = false;
    },
    remove,
    clear: (spared) => remove(entries.filter(({ json }) => !json.includes(spared))),
    adopt(left) {
      for (const name of store.names(left).sort()) {
        const json = store.get(name);
        store.set(name, undefined);
        if (json) insert(json);
      }
      makeRoom();
    },
    waiting: () => entries.filter((entry) => !entry.busy).length,
  };
}
