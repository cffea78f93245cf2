import { type Cart, COMMERCE_METHODS, type Order, type Product, type ProductList } from "./commerce";
import type { Options } from "./options";

export type Properties = Record<string, unknown>;

/** Categories of consent; `analytics` and `advertising` decide whether anything is collected at all. */
export interface Categories {
  analytics?: boolean;
  advertising?: boolean;
  /** Mails. It outranks an earlier unsubscribe: only when the person says it, never from a cookie banner. */
  marketing?: boolean;
  [category: string]: boolean | undefined;
}

/** Everything a page can ask for. Calls before `init` wait for it. No method ever throws. */
export interface Wakeline {
  init(options: Options): void;
  page(name?: string, properties?: Properties): void;
  page(properties: Properties): void;
  track(event: string, properties?: Properties): void;
  identify(userId: string | number, traits?: Properties): void;
  identify(traits: Properties): void;
  group(groupId: string | number, traits?: Properties): void;
  alias(userId: string | number, previousId?: string | number): void;
  /** The person logged out: forget who it was and what it said about mails, and begin with a new anonymous id. */
  reset(): void;
  /** Send what waits now. */
  flush(): void;
  /** What the person grants or refuses; what was said before says nothing again. */
  consent(categories: Categories): void;
  /** What "Page Engaged" says about this page, e.g. `category` and `product_id`; ends with the page. */
  setPageProperties(properties: Properties): void;
  productListViewed(list: ProductList): void;
  productViewed(product: Product): void;
  productAdded(product: Product & { cart_id?: string }): void;
  productRemoved(product: Product & { cart_id?: string }): void;
  cartViewed(cart: Cart): void;
  checkoutStarted(order: Partial<Order>): void;
  orderCompleted(order: Order): void;
}

/** The names of all methods. */
export const METHODS = [
  "init",
  "page",
  "track",
  "identify",
  "group",
  "alias",
  "reset",
  "flush",
  "consent",
  "setPageProperties",
  ...COMMERCE_METHODS,
] as const satisfies readonly (keyof Wakeline)[];

export type Method = (typeof METHODS)[number];

type None<Missing extends never> = Missing;

/** Does not compile when METHODS lacks a method. */
export type MissingMethods = None<Exclude<keyof Wakeline, Method>>;
