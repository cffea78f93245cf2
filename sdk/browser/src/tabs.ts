import { guarded, listen } from "./guard";

/**
 * Calls `adopt` for each of the other owners as soon as that owner is gone; `own` holds our own name until we leave.
 *
 * Web Locks (https://w3c.github.io/web-locks/) end with their page, also when it crashes. They exist only with TLS;
 * without them everything found is adopted at once, and what was sent twice counts once.
 */
export function watchOwners(own: string, others: () => string[], adopt: (owner: string) => void): void {
  const locks = navigator.locks as LockManager | undefined;
  let leave = new AbortController();

  const start = guarded(() => {
    leave = new AbortController();
    const { signal } = leave;
    if (!locks) return others().forEach(adopt);
    const held = new Promise((release) => (signal.onabort = release));
    return Promise.all([
      locks.request(own, () => held),
      ...others().map((owner) => locks.request(owner, { signal }, () => adopt(owner)).catch(unlessLeaving(signal))),
    ]);
  });

  // A page with locks cannot be kept for the back button.
  listen(window, "pagehide", () => leave.abort());
  listen(window, "pageshow", (event) => (event as PageTransitionEvent).persisted && start());
  start();
}

const unlessLeaving = (signal: AbortSignal) => (error: unknown) => {
  if (!signal.aborted) throw error;
};
