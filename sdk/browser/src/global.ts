import type { Method, Wakeline } from "./api";
import { guarded, warn } from "./guard";

type Call = ArrayLike<unknown>;

/** `window.wakeline`: an array that calls can be pushed into, with the methods on it. */
export type CallQueue = Call[] & Partial<Wakeline> & { version?: string };

/** Puts the methods on this same array, makes the calls that wait in it, and from then on every call at once. */
export function attach(queue: CallQueue, methods: Wakeline): void {
  const dispatch = guarded((call: Call) => {
    const [name, ...args] = Array.from(call);
    if (!Object.keys(methods).includes(name as string)) return warn(`there is no method "${String(name)}"`);
    (methods[name as Method] as (...args: unknown[]) => void)(...args);
  });
  const waiting = queue.splice(0);
  Object.assign(queue, methods, { version: VERSION });
  queue.push = (...calls) => {
    calls.forEach((call) => dispatch(call));
    return 0;
  };
  waiting.forEach((call) => dispatch(call));
}
