import { createWakeline } from "./wakeline";

export type { Categories, Properties, Wakeline } from "./api";
export type { Cart, Order, Product, ProductList } from "./commerce";
export type { Options, StorageKind } from "./options";

/** Does nothing before `init`, so it may be imported where there is no page. */
export const wakeline = createWakeline("");
