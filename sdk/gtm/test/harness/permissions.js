// The permissions of a template, decided as Tag Manager does:
// https://developers.google.com/tag-platform/tag-manager/templates/permissions

/** Decides from a ___WEB_PERMISSIONS___ section, and remembers which grants were needed. */
export class Permissions {
  #granted;

  constructor(section) {
    this.#granted = new Map(section.map(({ instance }) => [instance.key.publicId, plainParams(instance.param)]));
    this.used = new Set();
  }

  /** Every grant there is, named as in `used`. */
  all() {
    return [...this.#granted].flatMap(([name, params]) => (GRANTS[name] ?? unknown(name))(params)).sort();
  }

  /** Whether the template may do this; arguments are those of queryPermission. */
  allows(name, ...wanted) {
    if (!this.#granted.has(name)) return false;
    const grant = (DECISIONS[name] ?? unknown(name))(this.#granted.get(name), ...wanted);
    if (grant === undefined) return false;
    this.used.add(grant);
    return true;
  }

  /** Throws as Tag Manager does when an API is used without its permission. */
  require(name, ...wanted) {
    if (!this.allows(name, ...wanted)) throw new Error(`Permission denied: ${name} ${wanted.join(" ")}`);
  }
}

const GRANTS = {
  access_consent: ({ consentTypes }) => consentTypes.map((row) => `access_consent ${row.consentType} ${modes(row)}`),
  access_globals: ({ keys }) => keys.map((row) => `access_globals ${row.key} ${modes(row)}`),
  inject_script: ({ urls }) => urls.map((pattern) => `inject_script ${pattern}`),
  logging: ({ environments }) => [`logging ${environments}`],
  read_data_layer: ({ keyPatterns }) => keyPatterns.map((key) => `read_data_layer ${key}`),
};

const DECISIONS = {
  access_consent: ({ consentTypes }, type, mode) => {
    const row = consentTypes.find((one) => one.consentType === type && one[mode]);
    return row && `access_consent ${type} ${modes(row)}`;
  },
  access_globals: ({ keys }, mode, key) => {
    const needed = mode === "readwrite" ? ["read", "write"] : [mode];
    const row = keys.find((one) => one.key === key && needed.every((each) => one[each]));
    return row && `access_globals ${key} ${modes(row)}`;
  },
  inject_script: ({ urls }, url) => {
    const pattern = urls.find((one) => matches(one, url));
    return pattern && `inject_script ${pattern}`;
  },
  logging: ({ environments }) => `logging ${environments}`,
  read_data_layer: ({ allowedKeys, keyPatterns }, key) =>
    allowedKeys === "specific" && keyPatterns.includes(key) ? `read_data_layer ${key}` : undefined,
};

const modes = (row) => ["read", "write", "execute"].filter((mode) => row[mode]).join("+");

function unknown(name) {
  throw new Error(`the harness does not know the permission ${name}; add how it decides`);
}

// A pattern has a host and a path; a star in the host does not reach over it.
function matches(pattern, url) {
  const [, host, path] = /^https:\/\/([^/]+)(\/.*)$/.exec(pattern);
  const quoted = (text, any) => text.split("*").map((part) => part.replace(/[.?+^${}()|[\]\\]/g, "\\$&")).join(any);
  return new RegExp(`^https://${quoted(host, "[^/?#]+")}${quoted(path, ".*")}$`).test(url);
}

function plainParams(params) {
  return Object.fromEntries(params.map(({ key, value }) => [key, plain(value)]));
}

// Tag Manager's typed values: 1 text, 2 list, 3 map, 8 boolean.
function plain(value) {
  switch (value.type) {
    case 1: return value.string;
    case 2: return value.listItem.map(plain);
    case 3: return Object.fromEntries(value.mapKey.map((key, index) => [plain(key), plain(value.mapValue[index])]));
    case 8: return value.boolean;
    default: throw new Error(`a value of type ${value.type} is none of Tag Manager's`);
  }
}
