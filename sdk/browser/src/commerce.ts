/** https://segment.com/docs/connections/spec/ecommerce/v2/ */
export const COMMERCE_METHODS = [
  "productListViewed",
  "productViewed",
  "productAdded",
  "productRemoved",
  "cartViewed",
  "checkoutStarted",
  "orderCompleted",
] as const;

/** The event that a method sends: `productListViewed` is "Product List Viewed". */
export function eventOf(method: string): string {
  return method.replace(/^.|[A-Z]/g, (letter, index) => (index ? " " : "") + letter.toUpperCase());
}

export interface Product {
  product_id: string;
  sku?: string;
  name?: string;
  brand?: string;
  category?: string;
  variant?: string;
  price?: number;
  quantity?: number;
  currency?: string;
  coupon?: string;
  position?: number;
  url?: string;
  image_url?: string;
  [property: string]: unknown;
}

export interface ProductList {
  list_id?: string;
  category?: string;
  products?: Product[];
  [property: string]: unknown;
}

export interface Cart {
  cart_id?: string;
  products?: Product[];
  [property: string]: unknown;
}

export interface Order {
  order_id: string;
  total?: number;
  revenue?: number;
  shipping?: number;
  tax?: number;
  discount?: number;
  coupon?: string;
  currency?: string;
  products?: Product[];
  [property: string]: unknown;
}
