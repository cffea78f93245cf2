import { guarded } from "./guard";
import { bytesOf, type Entry, type Queue } from "./queue";

// The collector refuses bodies over 500 KB; the rest is for what surrounds the events.
const BATCH_BYTES = 480_000;

// Browsers allow 64 KiB of requests that outlive the page (https://fetch.spec.whatwg.org/#http-network-or-cache-fetch).
const KEEPALIVE_BYTES = 60_000;

// More than what a batch has around its events.
const ENVELOPE_BYTES = 500;

const TIMEOUT_MS = 30_000;
const FIRST_BACKOFF_MS = 1_000;
const LONGEST_BACKOFF_MS = 60_000;
const LONGEST_WAIT_MS = 3_600_000;

export interface Sender {
  /** Something was added: send it soon, or now if enough waits. */
  nudge(): void;
  /** Send what waits now, unless the collector asked for a pause. */
  flush(): void;
  /** The network is back. */
  retry(): void;
  /** Perhaps the last chance; with `answered` false nobody will be there to hear the answer. */
  leave(answered: boolean): void;
  /** The page came back after `leave(false)`. */
  returned(): void;
}

export interface SenderOptions {
  /** Where batches are posted. */
  address: string;
  writeKey: string;
  batchSize: number;
  flushMs: number;
}

export function createSender(queue: Queue, { address, writeKey, batchSize, flushMs }: SenderOptions): Sender {
  let timer = 0;
  let running = false;
  let failures = 0;
  let notBefore = 0;
  let pauseAsked = false;
  let mostEvents = Infinity;
  let outliving = 0;
  let beaconed: Entry[] = [];
  const complaints = new Set<number>();

  const bodyOf = (entries: Entry[]): string =>
    `{"batch":[${entries.map((entry) => entry.json).join()}],` +
    `"sentAt":"${new Date().toISOString()}","writeKey":${JSON.stringify(writeKey)}}`;

  const run = guarded(async () => {
    clearTimeout(timer);
    timer = 0;
    if (running) return;
    running = true;
    try {
      while (performance.now() >= notBefore) {
        const entries = queue.take(BATCH_BYTES, mostEvents);
        if (!entries.length) break;
        await post(entries);
      }
    } finally {
      running = false;
      if (queue.waiting()) schedule(0);
    }
  });

  function schedule(ms: number): void {
    if (!timer) timer = setTimeout(run, Math.max(ms, notBefore - performance.now()));
  }

  async function post(entries: Entry[]): Promise<void> {
    const body = bodyOf(entries);
    const bytes = outliving + bytesOf(body) <= KEEPALIVE_BYTES ? bytesOf(body) : 0;
    const signal = AbortSignal.timeout?.(TIMEOUT_MS) ?? null;
    outliving += bytes;
    const answer = await fetch(address, { method: "POST", body, keepalive: bytes > 0, credentials: "omit", signal })
      // Offline, blocked or timed out: the browser itself says so in the console.
      .catch(() => undefined);
    outliving -= bytes;
    if (answer) await settle(entries, answer);
    else later(entries, 0);
  }

  async function settle(entries: Entry[], answer: Response): Promise<void> {
    const { status } = answer;
    if (status === 429 || status === 408 || status >= 500) {
      later(entries, pauseOf(answer.headers.get("Retry-After")));
    } else if (status === 413 && entries.length > 1) {
      mostEvents = entries.length >> 1;
      queue.release(entries);
      schedule(0);
    } else {
      queue.remove(entries);
      failures = notBefore = 0;
      mostEvents = Infinity;
      if (!answer.ok) complain(status, await answer.text());
    }
  }

  function later(entries: Entry[], pauseMs: number): void {
    queue.release(entries);
    const most = Math.min(FIRST_BACKOFF_MS * 2 ** failures++, LONGEST_BACKOFF_MS);
    pauseAsked = pauseMs > 0;
    // Full jitter: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
    notBefore = performance.now() + Math.max(Math.random() * most, pauseMs);
    schedule(0);
  }

  function complain(status: number, reason: string): void {
    if (complaints.has(status)) return;
    complaints.add(status);
    console.error(`wakeline: events refused (${status}) and dropped: ${reason.slice(0, 300)}`);
  }

  function beacon(entries: Entry[]): boolean {
    const taken = navigator.sendBeacon(address, bodyOf(entries));
    if (taken) beaconed.push(...entries);
    return taken;
  }

  return {
    nudge: () => (queue.waiting() >= batchSize ? run() : schedule(flushMs)),
    flush: run,
    retry() {
      if (!pauseAsked) failures = notBefore = 0;
      run();
    },
    leave(answered) {
      // Only the tab is hidden, and the pause goes on.
      if (answered && performance.now() < notBefore) return;
      for (;;) {
        const room = KEEPALIVE_BYTES - ENVELOPE_BYTES - outliving;
        const entries = queue.take(room, mostEvents);
        if (!entries.length) return;
        const fits = entries[0]!.bytes < room;
        if (fits && answered) void post(entries);
        // What finds no room stays in the store for the next page.
        else if (!fits || !beacon(entries)) return queue.release(entries);
      }
    },
    returned() {
      // Whether they arrived is not known; the collector counts an event once however often it comes.
      queue.release(beaconed);
      beaconed = [];
      run();
    },
  };
}

/** Milliseconds until what the header says, seconds or a date (RFC 9110, 10.2.3); 0 when it says nothing. */
function pauseOf(retryAfter: string | null): number {
  const seconds = Number(retryAfter);
  const ms = Number.isNaN(seconds) ? Date.parse(retryAfter!) - Date.now() : seconds * 1_000;
  return Math.min(Math.max(ms || 0, 0), LONGEST_WAIT_MS);
}
