export interface Options {
  /** The source's write key. It is no secret: everybody can read it in the page. */
  writeKey: string;
  /** Address of the collector, e.g. `https://events.shop.example`; by default where wakeline.js came from. */
  endpoint?: string;
  /** `"required"`: nothing is stored and nothing is sent before `consent()` grants it. */
  consent?: "optional" | "required";
  /** Where ids and unsent events are kept; cookies are never used. */
  storage?: StorageKind;
  /** Send a page view at load and at every change of the address. */
  pageViews?: boolean;
  /** Most events that wait for each other; this many are sent at once. */
  batchSize?: number;
  /** Longest wait of an event for others, in seconds. */
  flushSeconds?: number;
  /** Engaged seconds after which "Page Engaged" is sent. */
  heartbeatSeconds?: number;
  /** Seconds without any activity after which a person no longer counts as engaged. */
  idleSeconds?: number;
}

export type StorageKind = "local" | "session" | "memory";

export type Settings = Required<Options>;

export const DEFAULTS: Settings = {
  writeKey: "",
  endpoint: "",
  consent: "optional",
  storage: "local",
  pageViews: true,
  batchSize: 20,
  flushSeconds: 1,
  heartbeatSeconds: 10,
  idleSeconds: 15,
};

/** The settings that the options mean. Throws an Error naming the option that is wrong. */
export function readOptions(options: Options, ownOrigin: string): Settings {
  const settings = { ...DEFAULTS, endpoint: ownOrigin, ...options };
  for (const [name, value] of Object.entries(settings)) check(name as keyof Settings, value);
  settings.endpoint = settings.endpoint.replace(/\/+$/, "");
  return settings;
}

function check(name: keyof Settings, value: unknown): void {
  const usual = DEFAULTS[name];
  const fine = typeof value === typeof usual && (ALLOWED[name] ?? (typeof usual === "number" ? /^[^-]*[1-9]/ : /./));
  const text = String(value);
  if (!fine || !fine.test(text)) throw new Error(`option "${name}" is unknown or wrong: ${text}`);
}

const ALLOWED: Partial<Record<keyof Settings, RegExp>> = {
  endpoint: /^https?:\/\//,
  consent: /^(optional|required)$/,
  storage: /^(local|session|memory)$/,
};

/** Options given as data attributes of a script element: `data-write-key`, `data-page-views="false"` ... */
export function optionsOf(data: DOMStringMap): Options {
  const options: Record<string, unknown> = {};
  for (const [name, usual] of Object.entries(DEFAULTS)) {
    const text = data[name];
    if (text !== undefined) options[name] = parsers[typeof usual]?.(text) ?? text;
  }
  return options as unknown as Options;
}

const parsers: Record<string, (text: string) => unknown> = {
  number: Number,
  boolean: (text) => text !== "false",
};
