___INFO___

{
  "type": "TAG",
  "id": "cvt_temp_public_id",
  "version": 1,
  "securityGroups": [],
  "displayName": "Wakeline",
  "categories": [
    "ANALYTICS",
    "EMAIL_MARKETING",
    "PERSONALIZATION"
  ],
  "brand": {
    "id": "brand_wakeline",
    "displayName": "Wakeline"
  },
  "description": "Sends page views, events, people and GA4 e-commerce from the data layer to your Wakeline collector.",
  "containerContexts": [
    "WEB"
  ]
}


___TEMPLATE_PARAMETERS___

[
  {
    "type": "SELECT",
    "name": "tagType",
    "displayName": "Tag type",
    "macrosInSelect": false,
    "selectItems": [
      {
        "value": "init",
        "displayValue": "Initialize"
      },
      {
        "value": "page",
        "displayValue": "Page"
      },
      {
        "value": "event",
        "displayValue": "Event"
      },
      {
        "value": "identify",
        "displayValue": "Identify"
      },
      {
        "value": "ecommerce",
        "displayValue": "E-commerce from the data layer"
      }
    ],
    "simpleValueType": true,
    "defaultValue": "init",
    "help": "Fire <b>Initialize</b> once per page, on the Consent Initialization or Initialization trigger. The others may fire before it: nothing is lost."
  },
  {
    "type": "GROUP",
    "name": "initGroup",
    "displayName": "Collector",
    "groupStyle": "NO_ZIPPY",
    "enablingConditions": [
      {
        "paramName": "tagType",
        "paramValue": "init",
        "type": "EQUALS"
      }
    ],
    "subParams": [
      {
        "type": "TEXT",
        "name": "writeKey",
        "displayName": "Write key",
        "simpleValueType": true,
        "help": "The write key of your collector. It is public: it only allows sending.",
        "valueValidators": [
          {
            "type": "NON_EMPTY"
          }
        ]
      },
      {
        "type": "TEXT",
        "name": "endpoint",
        "displayName": "Collector address",
        "simpleValueType": true,
        "valueHint": "https://events.example.com",
        "help": "The https address of your collector. The script is loaded from its /wakeline.js.",
        "valueValidators": [
          {
            "type": "NON_EMPTY"
          },
          {
            "type": "REGEX",
            "args": [
              "^https://[^/?#]+/?$|^\\{\\{.+\\}\\}$"
            ],
            "errorMessage": "The address must look like https://events.example.com."
          }
        ]
      },
      {
        "type": "SELECT",
        "name": "consentMode",
        "displayName": "Consent",
        "macrosInSelect": false,
        "selectItems": [
          {
            "value": "gtm",
            "displayValue": "Follow Google consent mode"
          },
          {
            "value": "required",
            "displayValue": "Wait until the page calls wakeline.consent()"
          },
          {
            "value": "none",
            "displayValue": "Not needed"
          }
        ],
        "simpleValueType": true,
        "defaultValue": "gtm",
        "help": "With consent mode, <b>analytics</b> follows analytics_storage, and <b>advertising</b> needs ad_storage, ad_user_data and ad_personalization. Nothing is stored or sent before one of the two is granted. Consent to mails is not asked here: the page tells it with wakeline.consent({marketing: ...})."
      },
      {
        "type": "TEXT",
        "name": "heartbeatSeconds",
        "displayName": "Seconds between engagement heartbeats",
        "simpleValueType": true,
        "defaultValue": "10",
        "valueValidators": [
          {
            "type": "POSITIVE_NUMBER"
          }
        ]
      }
    ]
  },
  {
    "type": "TEXT",
    "name": "pageName",
    "displayName": "Page name",
    "simpleValueType": true,
    "help": "Leave empty for the page's title.",
    "enablingConditions": [
      {
        "paramName": "tagType",
        "paramValue": "page",
        "type": "EQUALS"
      }
    ]
  },
  {
    "type": "TEXT",
    "name": "eventName",
    "displayName": "Event name",
    "simpleValueType": true,
    "help": "For example <b>Newsletter Joined</b>.",
    "valueValidators": [
      {
        "type": "NON_EMPTY"
      }
    ],
    "enablingConditions": [
      {
        "paramName": "tagType",
        "paramValue": "event",
        "type": "EQUALS"
      }
    ]
  },
  {
    "type": "SIMPLE_TABLE",
    "name": "properties",
    "displayName": "Properties",
    "simpleTableColumns": [
      {
        "defaultValue": "",
        "displayName": "Name",
        "name": "name",
        "type": "TEXT",
        "isUnique": true,
        "valueValidators": [
          {
            "type": "NON_EMPTY"
          }
        ]
      },
      {
        "defaultValue": "",
        "displayName": "Value",
        "name": "value",
        "type": "TEXT"
      },
      {
        "defaultValue": "asis",
        "displayName": "Type",
        "name": "type",
        "type": "SELECT",
        "macrosInSelect": false,
        "selectItems": [
          {
            "value": "asis",
            "displayValue": "as it is"
          },
          {
            "value": "number",
            "displayValue": "number"
          },
          {
            "value": "boolean",
            "displayValue": "true or false"
          }
        ]
      }
    ],
    "newRowButtonText": "Add property",
    "enablingConditions": [
      {
        "paramName": "tagType",
        "paramValue": "page",
        "type": "EQUALS"
      },
      {
        "paramName": "tagType",
        "paramValue": "event",
        "type": "EQUALS"
      }
    ]
  },
  {
    "type": "TEXT",
    "name": "userId",
    "displayName": "User id",
    "simpleValueType": true,
    "help": "Your own id of the person, the same on every device. Empty when only traits are known.",
    "enablingConditions": [
      {
        "paramName": "tagType",
        "paramValue": "identify",
        "type": "EQUALS"
      }
    ]
  },
  {
    "type": "SIMPLE_TABLE",
    "name": "traits",
    "displayName": "Traits",
    "simpleTableColumns": [
      {
        "defaultValue": "",
        "displayName": "Name",
        "name": "name",
        "type": "TEXT",
        "isUnique": true,
        "valueValidators": [
          {
            "type": "NON_EMPTY"
          }
        ]
      },
      {
        "defaultValue": "",
        "displayName": "Value",
        "name": "value",
        "type": "TEXT"
      },
      {
        "defaultValue": "asis",
        "displayName": "Type",
        "name": "type",
        "type": "SELECT",
        "macrosInSelect": false,
        "selectItems": [
          {
            "value": "asis",
            "displayValue": "as it is"
          },
          {
            "value": "number",
            "displayValue": "number"
          },
          {
            "value": "boolean",
            "displayValue": "true or false"
          }
        ]
      }
    ],
    "newRowButtonText": "Add trait",
    "enablingConditions": [
      {
        "paramName": "tagType",
        "paramValue": "identify",
        "type": "EQUALS"
      }
    ]
  },
  {
    "type": "CHECKBOX",
    "name": "valueIsTotal",
    "checkboxText": "Order values in the data layer include tax and shipping",
    "simpleValueType": true,
    "defaultValue": false,
    "help": "Google asks for <b>value</b> without tax and shipping. Tick this if your shop puts the amount paid there.",
    "enablingConditions": [
      {
        "paramName": "tagType",
        "paramValue": "ecommerce",
        "type": "EQUALS"
      }
    ]
  }
]


___SANDBOXED_JS_FOR_WEB_TEMPLATE___

const Math = require('Math');
const Object = require('Object');
const addConsentListener = require('addConsentListener');
const copyFromDataLayer = require('copyFromDataLayer');
const createQueue = require('createQueue');
const getType = require('getType');
const injectScript = require('injectScript');
const isConsentGranted = require('isConsentGranted');
const logToConsole = require('logToConsole');
const makeNumber = require('makeNumber');
const queryPermission = require('queryPermission');

// Anew for each call: the SDK replaces the queue's push when it is loaded.
const push = (call) => createQueue('wakeline')(call);

const fail = (reason) => {
  logToConsole('Wakeline: ' + reason);
  data.gtmOnFailure();
};

const isBlank = (value) => value === undefined || value === null || value === '';

// What is not a number stays as it came: the collector's side decides about it.
const numeric = (value) => {
  const number = makeNumber(value);
  return number === number ? number : value;
};

const typed = (value, type) => {
  if (isBlank(value)) return undefined;
  if (type === 'number') return numeric(value);
  if (type === 'boolean') return value === true || value === 'true';
  return value;
};

const fromTable = (rows) => {
  const found = {};
  (rows || []).forEach((row) => {
    const value = typed(row.value, row.type);
    if (!isBlank(value)) found[row.name] = value;
  });
  return found;
};

// Initialize

// No type of Google's asks about mails: said as marketing, a banner would undo an unsubscribe.
const CONSENT_TYPES = {
  analytics: ['analytics_storage'],
  advertising: ['ad_storage', 'ad_user_data', 'ad_personalization']
};

const followConsent = () => {
  const granted = {};
  const every = (category) => CONSENT_TYPES[category].every((type) => granted[type]);
  let analytics = false;
  let advertising = false;
  // Denied from the start means that nobody has chosen yet; said to the SDK it would be a refusal.
  const tell = () => {
    if (every('analytics') === analytics && every('advertising') === advertising) return;
    analytics = every('analytics');
    advertising = every('advertising');
    push(['consent', {analytics: analytics, advertising: advertising}]);
  };
  CONSENT_TYPES.analytics.concat(CONSENT_TYPES.advertising).forEach((type) => {
    granted[type] = isConsentGranted(type);
    addConsentListener(type, (changed, isGranted) => {
      granted[changed] = isGranted;
      tell();
    });
  });
  tell();
};

const initOptions = (endpoint) => {
  const options = {writeKey: data.writeKey, endpoint: endpoint};
  const heartbeatSeconds = makeNumber(data.heartbeatSeconds);
  if (heartbeatSeconds > 0) options.heartbeatSeconds = heartbeatSeconds;
  if (data.consentMode !== 'none') options.consent = 'required';
  return options;
};

const withoutSlash = (address) =>
  address.charAt(address.length - 1) === '/' ? address.slice(0, address.length - 1) : address;

const init = () => {
  const endpoint = withoutSlash((data.endpoint || '').trim());
  const script = endpoint + '/wakeline.js';
  if (!data.writeKey) return fail('the write key is missing.');
  if (!queryPermission('inject_script', script)) {
    return fail('the collector address must start with https:// and be allowed by the template: ' + endpoint);
  }
  push(['init', initOptions(endpoint)]);
  if (data.consentMode === 'gtm') followConsent();
  injectScript(script, data.gtmOnSuccess, data.gtmOnFailure, script);
};

// Page, event, identify

const page = () => {
  push(['page', data.pageName || undefined, fromTable(data.properties)]);
  data.gtmOnSuccess();
};

const track = (name, properties) => push(['track', name, properties]);

const event = () => {
  if (!data.eventName) return fail('the event name is missing.');
  track(data.eventName, fromTable(data.properties));
  data.gtmOnSuccess();
};

const identify = () => {
  push(['identify', data.userId || undefined, fromTable(data.traits)]);
  data.gtmOnSuccess();
};

// E-commerce: from https://developers.google.com/analytics/devguides/collection/ga4/ecommerce
// to https://segment.com/docs/connections/spec/ecommerce/v2/

const NUMBERS = ['discount', 'index', 'price', 'quantity', 'revenue', 'shipping', 'tax', 'total', 'value'];

const ITEM_NAMES = {
  index: 'position',
  item_brand: 'brand',
  item_category: 'category',
  item_id: 'product_id',
  item_list_id: 'list_id',
  item_list_name: 'list_name',
  item_name: 'name',
  item_variant: 'variant'
};

const EVENT_NAMES = {
  item_list_id: 'list_id',
  item_list_name: 'list_name',
  payment_type: 'payment_method',
  shipping_tier: 'shipping_method',
  transaction_id: 'order_id'
};

const PROMOTION_NAMES = {
  creative_name: 'creative',
  creative_slot: 'position',
  promotion_id: 'promotion_id',
  promotion_name: 'name'
};

const merged = (first, second) => {
  const all = {};
  Object.keys(first).forEach((key) => { all[key] = first[key]; });
  Object.keys(second).forEach((key) => { all[key] = second[key]; });
  return all;
};

const renamed = (source, names, left) => {
  const found = {};
  Object.keys(source).forEach((key) => {
    if (isBlank(source[key]) || left.indexOf(key) >= 0) return;
    const name = getType(names[key]) === 'string' ? names[key] : key;
    found[name] = NUMBERS.indexOf(key) >= 0 ? numeric(source[key]) : source[key];
  });
  return found;
};

const itemsOf = (ecommerce) => (getType(ecommerce.items) === 'array' ? ecommerce.items : []);

const product = (item) => renamed(item, ITEM_NAMES, []);

// An amount for all items together says nothing about one of them.
const perItem = (name, ecommerce) => {
  const shared = renamed(ecommerce, EVENT_NAMES, ['items', 'value']);
  return itemsOf(ecommerce).map((item) => ({name: name, properties: merged(shared, product(item))}));
};

const properties = (ecommerce) => {
  const found = renamed(ecommerce, EVENT_NAMES, ['items']);
  if (itemsOf(ecommerce).length) found.products = itemsOf(ecommerce).map(product);
  return found;
};

const whole = (name, ecommerce) => [{name: name, properties: properties(ecommerce)}];

const rounded = (amount) => Math.round(amount * 100) / 100;

const orNothing = (amount) => (getType(amount) === 'number' ? amount : 0);

const amounts = (found) => {
  const extra = orNothing(found.tax) + orNothing(found.shipping);
  return {
    revenue: rounded(data.valueIsTotal ? found.value - extra : found.value),
    total: rounded(data.valueIsTotal ? found.value : found.value + extra)
  };
};

// A total or revenue that the data layer names itself wins.
const order = (name, ecommerce) => {
  const found = properties(ecommerce);
  const isKnown = getType(found.value) === 'number';
  const named = renamed(found, {}, isKnown ? ['value'] : []);
  return [{name: name, properties: merged(isKnown ? amounts(found) : {}, named)}];
};

const isPromotion = (source) => !isBlank(source.promotion_id) || !isBlank(source.promotion_name);

const promotion = (source) => {
  const found = {};
  Object.keys(PROMOTION_NAMES).forEach((key) => {
    if (!isBlank(source[key])) found[PROMOTION_NAMES[key]] = source[key];
  });
  return found;
};

// GA4 allows a promotion at the event or at each item; items of the same promotion are one.
const promotions = (name, ecommerce) => {
  if (isPromotion(ecommerce)) return [{name: name, properties: promotion(ecommerce)}];
  const seen = [];
  return itemsOf(ecommerce).filter((item) => {
    const id = item.promotion_id || item.promotion_name;
    if (!isPromotion(item) || seen.indexOf(id) >= 0) return false;
    seen.push(id);
    return true;
  }).map((item) => ({name: name, properties: promotion(item)}));
};

const MAPPING = {
  add_payment_info: {name: 'Payment Info Entered', shape: whole},
  add_shipping_info: {name: 'Checkout Step Completed', shape: whole},
  add_to_cart: {name: 'Product Added', shape: perItem},
  add_to_wishlist: {name: 'Product Added to Wishlist', shape: perItem},
  begin_checkout: {name: 'Checkout Started', shape: whole},
  purchase: {name: 'Order Completed', shape: order},
  refund: {name: 'Order Refunded', shape: order},
  remove_from_cart: {name: 'Product Removed', shape: perItem},
  select_item: {name: 'Product Clicked', shape: perItem},
  select_promotion: {name: 'Promotion Clicked', shape: promotions},
  view_cart: {name: 'Cart Viewed', shape: whole},
  view_item: {name: 'Product Viewed', shape: perItem},
  view_item_list: {name: 'Product List Viewed', shape: whole},
  view_promotion: {name: 'Promotion Viewed', shape: promotions}
};

const ecommerce = () => {
  const name = copyFromDataLayer('event');
  const payload = copyFromDataLayer('ecommerce');
  if (!name || name.indexOf('gtm.') === 0) return fail('the trigger is no data layer event of the shop: ' + name);
  if (getType(payload) !== 'object') return fail('the data layer has no ecommerce object for ' + name + '.');
  const known = getType(MAPPING[name]) === 'object' ? MAPPING[name] : {name: name, shape: whole};
  const messages = known.shape(known.name, payload);
  if (!messages.length) return fail('the ecommerce object of ' + name + ' names no items or promotion.');
  messages.forEach((message) => track(message.name, message.properties));
  data.gtmOnSuccess();
};

const ACTIONS = {init: init, page: page, event: event, identify: identify, ecommerce: ecommerce};
ACTIONS[data.tagType]();


___WEB_PERMISSIONS___

[
  {
    "instance": {
      "key": {
        "publicId": "access_globals",
        "versionId": "1"
      },
      "param": [
        {
          "key": "keys",
          "value": {
            "type": 2,
            "listItem": [
              {
                "type": 3,
                "mapKey": [
                  {
                    "type": 1,
                    "string": "key"
                  },
                  {
                    "type": 1,
                    "string": "read"
                  },
                  {
                    "type": 1,
                    "string": "write"
                  },
                  {
                    "type": 1,
                    "string": "execute"
                  }
                ],
                "mapValue": [
                  {
                    "type": 1,
                    "string": "wakeline"
                  },
                  {
                    "type": 8,
                    "boolean": true
                  },
                  {
                    "type": 8,
                    "boolean": true
                  },
                  {
                    "type": 8,
                    "boolean": false
                  }
                ]
              }
            ]
          }
        }
      ]
    },
    "clientAnnotations": {
      "isEditedByUser": true
    },
    "isRequired": true
  },
  {
    "instance": {
      "key": {
        "publicId": "inject_script",
        "versionId": "1"
      },
      "param": [
        {
          "key": "urls",
          "value": {
            "type": 2,
            "listItem": [
              {
                "type": 1,
                "string": "https://*/wakeline.js"
              }
            ]
          }
        }
      ]
    },
    "clientAnnotations": {
      "isEditedByUser": true
    },
    "isRequired": true
  },
  {
    "instance": {
      "key": {
        "publicId": "read_data_layer",
        "versionId": "1"
      },
      "param": [
        {
          "key": "allowedKeys",
          "value": {
            "type": 1,
            "string": "specific"
          }
        },
        {
          "key": "keyPatterns",
          "value": {
            "type": 2,
            "listItem": [
              {
                "type": 1,
                "string": "ecommerce"
              },
              {
                "type": 1,
                "string": "event"
              }
            ]
          }
        }
      ]
    },
    "clientAnnotations": {
      "isEditedByUser": true
    },
    "isRequired": true
  },
  {
    "instance": {
      "key": {
        "publicId": "access_consent",
        "versionId": "1"
      },
      "param": [
        {
          "key": "consentTypes",
          "value": {
            "type": 2,
            "listItem": [
              {
                "type": 3,
                "mapKey": [
                  {
                    "type": 1,
                    "string": "consentType"
                  },
                  {
                    "type": 1,
                    "string": "read"
                  },
                  {
                    "type": 1,
                    "string": "write"
                  }
                ],
                "mapValue": [
                  {
                    "type": 1,
                    "string": "analytics_storage"
                  },
                  {
                    "type": 8,
                    "boolean": true
                  },
                  {
                    "type": 8,
                    "boolean": false
                  }
                ]
              },
              {
                "type": 3,
                "mapKey": [
                  {
                    "type": 1,
                    "string": "consentType"
                  },
                  {
                    "type": 1,
                    "string": "read"
                  },
                  {
                    "type": 1,
                    "string": "write"
                  }
                ],
                "mapValue": [
                  {
                    "type": 1,
                    "string": "ad_storage"
                  },
                  {
                    "type": 8,
                    "boolean": true
                  },
                  {
                    "type": 8,
                    "boolean": false
                  }
                ]
              },
              {
                "type": 3,
                "mapKey": [
                  {
                    "type": 1,
                    "string": "consentType"
                  },
                  {
                    "type": 1,
                    "string": "read"
                  },
                  {
                    "type": 1,
                    "string": "write"
                  }
                ],
                "mapValue": [
                  {
                    "type": 1,
                    "string": "ad_user_data"
                  },
                  {
                    "type": 8,
                    "boolean": true
                  },
                  {
                    "type": 8,
                    "boolean": false
                  }
                ]
              },
              {
                "type": 3,
                "mapKey": [
                  {
                    "type": 1,
                    "string": "consentType"
                  },
                  {
                    "type": 1,
                    "string": "read"
                  },
                  {
                    "type": 1,
                    "string": "write"
                  }
                ],
                "mapValue": [
                  {
                    "type": 1,
                    "string": "ad_personalization"
                  },
                  {
                    "type": 8,
                    "boolean": true
                  },
                  {
                    "type": 8,
                    "boolean": false
                  }
                ]
              }
            ]
          }
        }
      ]
    },
    "clientAnnotations": {
      "isEditedByUser": true
    },
    "isRequired": true
  },
  {
    "instance": {
      "key": {
        "publicId": "logging",
        "versionId": "1"
      },
      "param": [
        {
          "key": "environments",
          "value": {
            "type": 1,
            "string": "debug"
          }
        }
      ]
    },
    "clientAnnotations": {
      "isEditedByUser": true
    },
    "isRequired": true
  }
]


___TESTS___

scenarios:
- name: Initialize loads the script of the collector after the settings were queued
  code: |-
    mock('isConsentGranted', (type) => true);

    runCode({tagType: 'init', writeKey: 'key', endpoint: 'https://events.example.com/', consentMode: 'none', heartbeatSeconds: '5'});

    assertThat(queued).isEqualTo([
      ['init', {writeKey: 'key', endpoint: 'https://events.example.com', heartbeatSeconds: 5}]
    ]);
    assertThat(injected).isEqualTo(['https://events.example.com/wakeline.js']);
    assertApi('isConsentGranted').wasNotCalled();
    assertApi('gtmOnSuccess').wasCalled();
    assertApi('gtmOnFailure').wasNotCalled();
- name: Initialize refuses an address that is not https
  code: |-
    runCode({tagType: 'init', writeKey: 'key', endpoint: 'http://events.example.com', consentMode: 'none'});

    assertThat(queued).isEqualTo([]);
    assertApi('injectScript').wasNotCalled();
    assertApi('gtmOnFailure').wasCalled();
- name: Initialize refuses an empty write key
  code: |-
    runCode({tagType: 'init', writeKey: '', endpoint: 'https://events.example.com', consentMode: 'none'});

    assertThat(queued).isEqualTo([]);
    assertApi('gtmOnFailure').wasCalled();
- name: A script that does not load is a failure
  code: |-
    mock('injectScript', (url, onSuccess, onFailure) => onFailure());

    runCode({tagType: 'init', writeKey: 'key', endpoint: 'https://events.example.com', consentMode: 'required'});

    assertThat(queued[0][1].consent).isEqualTo('required');
    assertApi('gtmOnFailure').wasCalled();
    assertApi('gtmOnSuccess').wasNotCalled();
- name: Consent that was given before is told right after the settings
  code: |-
    mock('isConsentGranted', (type) => true);

    runCode({tagType: 'init', writeKey: 'key', endpoint: 'https://events.example.com', consentMode: 'gtm'});

    assertThat(queued).isEqualTo([
      ['init', {writeKey: 'key', endpoint: 'https://events.example.com', consent: 'required'}],
      ['consent', {analytics: true, advertising: true}]
    ]);
- name: Consent that nobody has chosen yet is not told as a refusal, and each change is told once
  code: |-
    const listeners = {};
    mock('isConsentGranted', (type) => false);
    mock('addConsentListener', (type, listener) => { listeners[type] = listener; });

    runCode({tagType: 'init', writeKey: 'key', endpoint: 'https://events.example.com', consentMode: 'gtm'});
    assertThat(queued.length).isEqualTo(1);

    listeners['ad_storage']('ad_storage', true);
    assertThat(queued.length).isEqualTo(1);
    listeners['analytics_storage']('analytics_storage', true);
    listeners['ad_user_data']('ad_user_data', true);
    listeners['ad_personalization']('ad_personalization', true);
    listeners['ad_storage']('ad_storage', false);
    listeners['analytics_storage']('analytics_storage', false);
    assertThat(queued.slice(1)).isEqualTo([
      ['consent', {analytics: true, advertising: false}],
      ['consent', {analytics: true, advertising: true}],
      ['consent', {analytics: true, advertising: false}],
      ['consent', {analytics: false, advertising: false}]
    ]);
- name: A page has a name and typed properties, and blank ones are left out
  code: |-
    runCode({tagType: 'page', pageName: 'Shirts', properties: [
      {name: 'category', value: 'shirts', type: 'asis'},
      {name: 'results', value: '24', type: 'number'},
      {name: 'sale', value: 'true', type: 'boolean'},
      {name: 'rating', value: 'none', type: 'number'},
      {name: 'empty', value: '', type: 'number'},
      {name: 'unset', value: undefined, type: 'asis'}
    ]});

    assertThat(queued).isEqualTo([
      ['page', 'Shirts', {category: 'shirts', results: 24, sale: true, rating: 'none'}]
    ]);
    assertApi('gtmOnSuccess').wasCalled();
- name: An event has a name and properties
  code: |-
    runCode({tagType: 'event', eventName: 'Newsletter Joined', properties: [{name: 'place', value: 'footer', type: 'asis'}]});
    runCode({tagType: 'event', eventName: 'Video Played'});

    assertThat(queued).isEqualTo([
      ['track', 'Newsletter Joined', {place: 'footer'}],
      ['track', 'Video Played', {}]
    ]);
    assertApi('gtmOnSuccess').wasCalled();
- name: An event without a name is a failure
  code: |-
    runCode({tagType: 'event', eventName: ''});

    assertThat(queued).isEqualTo([]);
    assertApi('gtmOnFailure').wasCalled();
- name: A person is identified by id and traits
  code: |-
    runCode({tagType: 'identify', userId: '42', traits: [{name: 'email', value: 'ann@example.com', type: 'asis'}]});

    assertThat(queued).isEqualTo([['identify', '42', {email: 'ann@example.com'}]]);
    assertApi('gtmOnSuccess').wasCalled();
- name: A purchase becomes Order Completed with what was paid
  code: |-
    dataLayer.event = 'purchase';
    dataLayer.ecommerce = {
      transaction_id: 'T1', value: 25.42, tax: 4.9, shipping: 5.99, currency: 'USD', coupon: 'SUMMER',
      items: [{item_id: 'p1', item_name: 'Tee', item_brand: 'Google', item_category: 'Apparel', price: '9.99', quantity: 2}]
    };

    runCode({tagType: 'ecommerce'});
    runCode({tagType: 'ecommerce', valueIsTotal: true});

    assertThat(queued[0]).isEqualTo(['track', 'Order Completed', {
      revenue: 25.42, total: 36.31, order_id: 'T1', tax: 4.9, shipping: 5.99, currency: 'USD', coupon: 'SUMMER',
      products: [{product_id: 'p1', name: 'Tee', brand: 'Google', category: 'Apparel', price: 9.99, quantity: 2}]
    }]);
    assertThat(queued[1][2].revenue).isEqualTo(14.53);
    assertThat(queued[1][2].total).isEqualTo(25.42);
    assertApi('gtmOnSuccess').wasCalled();
- name: Each item added to the cart is an event of its own
  code: |-
    dataLayer.event = 'add_to_cart';
    dataLayer.ecommerce = {currency: 'EUR', value: 30, cart_id: 'c1', items: [
      {item_id: 'p1', price: 10, quantity: 1, index: 0}, {item_id: 'p2', price: 20, quantity: 1, currency: 'USD'}
    ]};

    runCode({tagType: 'ecommerce'});

    assertThat(queued).isEqualTo([
      ['track', 'Product Added', {currency: 'EUR', cart_id: 'c1', product_id: 'p1', price: 10, quantity: 1, position: 0}],
      ['track', 'Product Added', {currency: 'USD', cart_id: 'c1', product_id: 'p2', price: 20, quantity: 1}]
    ]);
- name: An event that GA4 does not know keeps its name
  code: |-
    dataLayer.event = 'size_chosen';
    dataLayer.ecommerce = {size: 'XL'};

    runCode({tagType: 'ecommerce'});

    assertThat(queued).isEqualTo([['track', 'size_chosen', {size: 'XL'}]]);
- name: No ecommerce object, no items and no event of the shop are failures
  code: |-
    dataLayer.event = 'add_to_cart';
    runCode({tagType: 'ecommerce'});
    dataLayer.ecommerce = {items: []};
    runCode({tagType: 'ecommerce'});
    dataLayer.event = 'gtm.dom';
    runCode({tagType: 'ecommerce'});

    assertThat(queued).isEqualTo([]);
    assertApi('gtmOnFailure').wasCalled();
    assertApi('gtmOnSuccess').wasNotCalled();
setup: |-
  const queued = [];
  const injected = [];
  const dataLayer = {};

  mock('createQueue', (name) => (message) => { queued.push(message); });
  mock('injectScript', (url, onSuccess, onFailure) => {
    injected.push(url);
    onSuccess();
  });
  mock('copyFromDataLayer', (key) => dataLayer[key]);
  mock('isConsentGranted', (type) => false);
  mock('addConsentListener', (type, listener) => {});


___NOTES___

Sandboxed JavaScript: no template literals, spread, destructuring or regular expressions.
Test outside of Tag Manager with: npm test
