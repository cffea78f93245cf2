import { METHODS, type Method, type Wakeline } from "./api";
import { type Client, start } from "./client";
import { guarded, listen, warn } from "./guard";
import { type Options, readOptions } from "./options";

// Calls before init; a page that never calls it must not fill the memory.
const MOST_EARLY = 1_000;

type Call = (...args: unknown[]) => void;

/** The methods, before anything has begun; `ownOrigin` is the collector if no other is named. */
export function createWakeline(ownOrigin: string): Wakeline {
  let begun = false;
  let client: Client | undefined;
  let early: [Method, unknown[]][] = [];

  function call(name: Method, args: unknown[]): void {
    if (client) (client as unknown as Record<Method, Call>)[name](...args);
    else if (early.push([name, args]) > MOST_EARLY) early.shift();
  }

  function begin(options: Options): void {
    client = start(readOptions(options, ownOrigin));
    for (const [name, args] of early.splice(0)) methods[name]!(...args);
  }

  function init(options: Options): void {
    if (begun) return warn("init was called before");
    readOptions(options, ownOrigin);
    begun = true;
    // A page that is only prepared was not seen by anybody.
    if (document.prerendering) listen(document, "prerenderingchange", () => begin(options));
    else begin(options);
  }

  const methods = Object.fromEntries(METHODS.map((name) => [name, guarded((...args: unknown[]) => call(name, args))]));
  methods["init"] = guarded(init) as Call;
  return methods as unknown as Wakeline;
}
